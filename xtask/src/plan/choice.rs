//! Which program, in which version, for which architecture, by which compiler.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::data::emulator::Emulator;
use crate::data::project::{Project, check_arch};
use crate::data::target::Target;
use crate::data::text::unknown;
use crate::data::types::{Arch, Invalid, Name, RelPath, Value, Version};
use crate::error::{Failure, Kind, Result};

use super::settings::{Changes, Settings};

/// One program to build, fully decided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    pub recipe: Name,
    pub version: Version,
    pub arch: Arch,
    /// The C toolchain.
    pub toolchain: Name,
    /// The Go toolchain, of programs in Go.
    pub go: Option<Name>,
    /// The recipe's own variables.
    pub vars: BTreeMap<Name, Value>,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.recipe, self.version, self.arch)
    }
}

impl Choice {
    /// `iptables-1.8.9-armhf`: for file names.
    pub fn slug(&self) -> String {
        format!("{}-{}-{}", self.recipe, self.version, self.arch)
    }
}

/// `--set …`: changes a target for this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Override {
    /// `RECIPE.KEY=VALUE`, or `GROUP.version=VALUE`.
    Program { name: Name, value: Setting },
    /// `VARIABLE=VALUE`.
    /// Its type decides what the value may be.
    Variable { name: Name, value: String },
}

/// The keys that can be set of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    Version(Version),
    Arch(Arch),
    Toolchain(Name),
    Go(Name),
}

impl FromStr for Override {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((path, value)) = text.split_once('=') else {
            return Err(Invalid(format!(
                "`{text}` is not of the form RECIPE.KEY=VALUE, like iptables.arch=aarch64, or VARIABLE=VALUE"
            )));
        };
        let Some((name, key)) = path.split_once('.') else {
            return Ok(Self::Variable { name: path.parse()?, value: value.to_owned() });
        };
        let value = match key {
            "version" => Setting::Version(value.parse()?),
            "arch" => Setting::Arch(value.parse()?),
            "toolchain" => Setting::Toolchain(value.parse()?),
            "go" => Setting::Go(value.parse()?),
            other => {
                return Err(Invalid(unknown("a key that can be set", other, ["version", "arch", "toolchain", "go"])));
            }
        };
        Ok(Self::Program { name: name.parse()?, value })
    }
}

/// The programs of a target, in the order of their names, with the overrides applied.
pub fn choose(project: &Project, target: &str, changes: &Changes, toolchain: Option<&str>) -> Result<Vec<Choice>> {
    let target = project.target(target)?;
    let mut asked = Asked::of(target, toolchain_name(project, toolchain)?);
    let settings = Settings::resolve(project, target, changes)?;
    changes.set.iter().try_for_each(|change| asked.apply(target, change))?;
    asked.programs.into_iter().map(|(recipe, program)| finish(project, recipe, program, Some(&settings))).collect()
}

/// What is asked for before the recipes have their say.
struct Asked {
    programs: BTreeMap<Name, Program>,
}

struct Program {
    version: Version,
    arch: Arch,
    toolchain: Name,
    go: Option<Name>,
}

impl Asked {
    fn of(target: &Target, toolchain: Name) -> Self {
        let programs = target.recipes.iter().map(|(recipe, selection)| {
            let version = selection.version.get_ref().clone();
            (recipe.clone(), Program { version, arch: selection.arch, toolchain: toolchain.clone(), go: None })
        });
        Self { programs: programs.collect() }
    }

    fn apply(&mut self, target: &Target, change: &Override) -> Result<()> {
        match change {
            // Resolved with the other variables.
            Override::Variable { .. } => {}
            Override::Program { name, value } if target.groups.contains_key(name) => {
                self.move_group(target, name, value)?
            }
            Override::Program { name, value } => {
                let names: Vec<Name> = target.recipes.keys().chain(target.groups.keys()).cloned().collect();
                let Some(program) = self.programs.get_mut(name) else {
                    return Err(wrong_set(target, "a recipe or group", name, names.iter()));
                };
                match value.clone() {
                    Setting::Version(version) => program.version = version,
                    Setting::Arch(arch) => program.arch = arch,
                    Setting::Toolchain(name) => program.toolchain = name,
                    Setting::Go(name) => program.go = Some(name),
                }
            }
        }
        Ok(())
    }

    /// Gives every member of a group the version that belongs to the group's.
    fn move_group(&mut self, target: &Target, name: &Name, value: &Setting) -> Result<()> {
        let group = &target.groups[name];
        let Setting::Version(version) = value else {
            let what = format!("--set: the programs of the group {name} share a version and nothing else");
            return Err(Failure::new(Kind::Data, what)
                .next(format!("--set {name}.version=V, or set one program"))
                .into());
        };
        let Some(members) = group.get(version) else {
            let known: Vec<&str> = group.keys().map(Version::as_str).collect();
            let what = unknown(&format!("a version of the group {name}"), version.as_str(), known);
            return Err(Failure::new(Kind::Data, format!("--set: {what}")).into());
        };
        for (recipe, version) in members {
            if let Some(program) = self.programs.get_mut(recipe.get_ref()) {
                program.version = version.get_ref().clone();
            }
        }
        Ok(())
    }
}

fn wrong_set<'a>(target: &Target, what: &str, name: &Name, known: impl Iterator<Item = &'a Name>) -> anyhow::Error {
    let known: Vec<&str> = known.map(Name::as_str).collect();
    let what = unknown(&format!("{what} of the target {}", target.name), name.as_str(), known);
    Failure::new(Kind::Data, format!("--set: {what}")).into()
}

/// Fills in what the recipe decides, and checks that all of it exists.
fn finish(project: &Project, name: Name, program: Program, settings: Option<&Settings>) -> Result<Choice> {
    let recipe = project.recipe(name.as_str())?;
    let release = project.release(recipe, &program.version)?;
    let toolchain = project.c_toolchain(program.toolchain.as_str())?;
    if release.build.uses_c() {
        check_arch(toolchain, program.arch)?;
    }
    let go = match (&release.go, program.go) {
        (Some(_), Some(asked)) => Some(asked),
        (Some(own), None) => Some(own.get_ref().clone()),
        (None, Some(asked)) => {
            let what = format!("{name} {} is not built with Go: {asked} cannot build it", program.version);
            return Err(Failure::new(Kind::Data, what).into());
        }
        (None, None) => None,
    };
    if let Some(go) = &go {
        check_arch(project.go_toolchain(go.as_str())?, program.arch)?;
    }
    let mut vars = BTreeMap::new();
    for (name, default) in &recipe.vars {
        let set = settings.map(|settings| settings.word(name)).transpose()?.flatten();
        vars.insert(name.clone(), set.unwrap_or_else(|| default.clone()));
    }
    let (version, arch, toolchain) = (program.version, program.arch, program.toolchain);
    Ok(Choice { recipe: name, version, arch, toolchain, go, vars })
}

/// One program by its name: the newest version for aarch64, unless said otherwise.
pub fn choose_one(
    project: &Project,
    recipe: &str,
    version: Option<&Version>,
    arch: Option<Arch>,
    toolchain: Option<&str>,
) -> Result<Choice> {
    let recipe = project.recipe(recipe)?;
    let program = Program {
        version: version.unwrap_or_else(|| recipe.newest()).clone(),
        arch: arch.unwrap_or(Arch::Aarch64),
        toolchain: toolchain_name(project, toolchain)?,
        go: None,
    };
    finish(project, recipe.name.clone(), program, None)
}

/// The programs that are built for an emulator's checks, by their names on the board: those that `target` has, and
/// those whose version is given.
pub fn choose_for_checks(project: &Project, target: &Target, emulator: &Emulator) -> Result<Vec<(RelPath, Choice)>> {
    let mut chosen = Vec::new();
    for (name, program) in &emulator.acceptance.programs {
        let of_target = target.recipes.get(&program.recipe).map(|used| used.version.get_ref());
        if let Some(version) = program.version.as_ref().or(of_target) {
            let choice = choose_one(project, program.recipe.as_str(), Some(version), Some(program.arch), None)?;
            chosen.push((name.clone(), choice));
        }
    }
    Ok(chosen)
}

fn toolchain_name(project: &Project, asked: Option<&str>) -> Result<Name> {
    let toolchain = match asked {
        Some(name) => project.c_toolchain(name)?,
        None => project.default_c_toolchain()?,
    };
    Ok(toolchain.name.clone())
}
