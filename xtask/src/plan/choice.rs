//! Which program, in which version, for which architecture, by which compiler.

use std::str::FromStr;

use crate::data::project::{Project, check_arch};
use crate::data::text::unknown;
use crate::data::types::{Arch, Invalid, Name, Version};
use crate::error::{Failure, Kind, Result};

/// One program to build, fully decided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    pub recipe: Name,
    pub version: Version,
    pub arch: Arch,
    pub toolchain: Name,
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

/// `--set RECIPE.KEY=VALUE`: changes one program of a target for this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pub recipe: Name,
    pub value: Setting,
}

/// The keys that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    Version(Version),
    Arch(Arch),
    Toolchain(Name),
}

impl FromStr for Override {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts = text.split_once('=').and_then(|(path, value)| Some((path.split_once('.')?, value)));
        let Some(((recipe, key), value)) = parts else {
            return Err(Invalid(format!("`{text}` is not of the form RECIPE.KEY=VALUE, like iptables.arch=aarch64")));
        };
        let value = match key {
            "version" => Setting::Version(value.parse()?),
            "arch" => Setting::Arch(value.parse()?),
            "toolchain" => Setting::Toolchain(value.parse()?),
            other => return Err(Invalid(unknown("a key that can be set", other, ["version", "arch", "toolchain"]))),
        };
        Ok(Self { recipe: recipe.parse()?, value })
    }
}

/// The programs of a target, in the order of their names, with the overrides applied.
pub fn choose(project: &Project, target: &str, overrides: &[Override], toolchain: Option<&str>) -> Result<Vec<Choice>> {
    let target = project.target(target)?;
    let default = toolchain_name(project, toolchain)?;
    let mut choices: Vec<Choice> = target
        .recipes
        .iter()
        .map(|(recipe, selection)| Choice {
            recipe: recipe.clone(),
            version: selection.version.get_ref().clone(),
            arch: selection.arch,
            toolchain: default.clone(),
        })
        .collect();
    for change in overrides {
        let Some(choice) = choices.iter_mut().find(|choice| choice.recipe == change.recipe) else {
            let known = target.recipes.keys().map(Name::as_str);
            let what = unknown(&format!("a recipe of the target {}", target.name), change.recipe.as_str(), known);
            return Err(Failure::new(Kind::Data, format!("--set: {what}")).into());
        };
        match &change.value {
            Setting::Version(version) => choice.version = version.clone(),
            Setting::Arch(arch) => choice.arch = *arch,
            Setting::Toolchain(name) => choice.toolchain = name.clone(),
        }
    }
    choices.iter().try_for_each(|choice| check(project, choice))?;
    Ok(choices)
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
    let choice = Choice {
        recipe: recipe.name.clone(),
        version: version.unwrap_or_else(|| recipe.newest()).clone(),
        arch: arch.unwrap_or(Arch::Aarch64),
        toolchain: toolchain_name(project, toolchain)?,
    };
    check(project, &choice)?;
    Ok(choice)
}

fn toolchain_name(project: &Project, asked: Option<&str>) -> Result<Name> {
    let toolchain = match asked {
        Some(name) => project.c_toolchain(name)?,
        None => project.default_c_toolchain()?,
    };
    Ok(toolchain.name.clone())
}

fn check(project: &Project, choice: &Choice) -> Result<()> {
    let recipe = project.recipe(choice.recipe.as_str())?;
    project.release(recipe, &choice.version)?;
    check_arch(project.c_toolchain(choice.toolchain.as_str())?, choice.arch)
}
