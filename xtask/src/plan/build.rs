//! From a choice to its plan: each kind of build, once.

use std::collections::BTreeMap;

use crate::data::arg::{Arg, InRecipe};
use crate::data::project::Project;
use crate::data::recipe::{self, Autotools, Build, Cc, ConfigValue, Kconfig, Recipe, Release, Source, Symbol};
use crate::data::toolchain::Toolchain;
use crate::data::types::RelPath;
use crate::error::{Context, Result};

use super::EPOCH;
use super::choice::Choice;
use super::step::{Check, Input, Plan, Step, Tool};

/// The plan of one choice that [`super::choose`] has checked.
pub fn plan(project: &Project, choice: &Choice) -> Result<Plan> {
    let recipe = project.recipe(choice.recipe.as_str())?;
    let release = project.release(recipe, &choice.version)?;
    let toolchain = project.c_toolchain(choice.toolchain.as_str())?;
    let patches = project.patches(&recipe.name, &choice.version);
    let scene = Scene::new(choice, release, toolchain)?;

    let mut tools = vec![tool(toolchain)];
    if needs_make(&release.build) {
        tools.push(tool(project.program("make")?));
    }
    let mut steps = vec![Step::Unpack];
    steps.extend(patches.iter().map(|patch| Step::Patch(patch.path.clone())));
    steps.extend(scene.build_steps(&release.build)?);
    steps.extend(ship_steps(recipe, choice));
    Ok(Plan {
        choice: choice.clone(),
        source: input(project, release),
        patches: patches.iter().map(|patch| (patch.path.clone(), patch.sha256.clone())).collect(),
        tools,
        wrappers: scene.wrappers(toolchain)?,
        env: scene.env(toolchain)?,
        steps,
        checks: recipe.checks.iter().map(|check| scene.check(check)).collect(),
    })
}

fn tool(toolchain: &Toolchain) -> Tool {
    let packings = toolchain.packings.iter();
    Tool {
        name: toolchain.name.clone(),
        title: toolchain.title(),
        packings: packings.map(|packing| (packing.pinned.file.clone(), packing.pinned.sha256.clone())).collect(),
    }
}

fn input(project: &Project, release: &Release) -> Input {
    match &release.source {
        Source::Archive(archive) => Input::Archive(archive.pinned()),
        Source::Git(git) => Input::Git(git.clone()),
        Source::Tree(tree) => {
            let path = tree.path.get_ref();
            Input::Tree(path.clone(), project.tree(path).clone())
        }
    }
}

fn needs_make(build: &Build) -> bool {
    match build {
        Build::Autotools(_) | Build::Make(_) | Build::Kconfig(_) => true,
        Build::Cc(_) | Build::Prebuilt(_) => false,
    }
}

/// What ships, and the check of it.
fn ship_steps(recipe: &Recipe, choice: &Choice) -> Vec<Step> {
    let install = |from: &RelPath, to: String| Step::Install { from: from.clone(), to };
    let files = recipe.files.iter().map(|(to, from)| install(from, to.as_str().to_owned()));
    let licenses = recipe.license_files.iter().map(|file| install(file, recipe::license_path(&recipe.name, file)));
    let links = recipe.links.iter().map(|(at, target)| Step::Link { at: at.clone(), target: target.clone() });
    files.chain(licenses).chain(links).chain([Step::Inspect(choice.arch)]).collect()
}

/// The values of all variables for one choice.
struct Scene<'a> {
    triple: String,
    cflags: String,
    recipe: BTreeMap<&'static str, String>,
    toolchain: BTreeMap<&'static str, String>,
    choice: &'a Choice,
}

impl<'a> Scene<'a> {
    fn new(choice: &'a Choice, release: &Release, toolchain: &Toolchain) -> Result<Self> {
        let c = toolchain.c().context("a C toolchain")?;
        let arch = c.arch.get(&choice.arch).context("an architecture of the toolchain")?;
        let triple = arch.triple.to_string();
        let cflags =
            std::iter::once("-Os".to_owned()).chain(release.cflags.iter().cloned()).collect::<Vec<_>>().join(" ");
        let wrapper = |tool: &str| format!("{triple}-{tool}");
        Ok(Self {
            recipe: BTreeMap::from([
                ("name", choice.recipe.to_string()),
                ("version", choice.version.to_string()),
                ("reported", release.reported.clone()),
                ("arch", choice.arch.to_string()),
                ("triple", triple.clone()),
                ("cc", wrapper("gcc")),
                ("ar", wrapper("ar")),
                ("ranlib", wrapper("ranlib")),
                ("ld", wrapper("ld")),
                ("host_cc", "host-cc".to_owned()),
                ("cflags", cflags.clone()),
            ]),
            toolchain: BTreeMap::from([("triple", triple.clone()), ("cpu", arch.cpu.clone())]),
            triple,
            cflags,
            choice,
        })
    }

    fn args(&self, args: &[Arg<InRecipe>]) -> impl Iterator<Item = String> {
        args.iter().map(|arg| arg.expand(&self.recipe))
    }

    fn build_steps(&self, build: &Build) -> Result<Vec<Step>> {
        Ok(match build {
            Build::Autotools(autotools) => self.autotools(autotools),
            Build::Make(make) => vec![run("make", ["make".to_owned()].into_iter().chain(self.args(&make.make)))],
            Build::Kconfig(kconfig) => self.kconfig(kconfig),
            Build::Cc(cc) => vec![self.cc(cc)],
            Build::Prebuilt(_) => Vec::new(),
        })
    }

    fn autotools(&self, autotools: &Autotools) -> Vec<Step> {
        let configure = ["sh".to_owned(), "./configure".to_owned(), format!("--host={}", self.triple)];
        vec![
            run("configure", configure.into_iter().chain(self.args(&autotools.configure))),
            run("make", ["make".to_owned()].into_iter().chain(self.args(&autotools.make))),
        ]
    }

    fn kconfig(&self, kconfig: &Kconfig) -> Vec<Step> {
        let off = kconfig.off.iter().map(|symbol| (symbol.clone(), ConfigValue::Bool(false)));
        let set = kconfig.set.iter().map(|(symbol, value)| (symbol.clone(), value.clone()));
        let values: BTreeMap<Symbol, ConfigValue> = off.chain(set).collect();
        let make = |last: Vec<String>| ["make".to_owned()].into_iter().chain(self.args(&kconfig.common)).chain(last);
        vec![
            run("defconfig", make(vec![kconfig.base.expand(&self.recipe)])),
            Step::Configure(values.clone()),
            run("oldconfig", make(vec!["oldconfig".to_owned()])),
            Step::Configured(values),
            run("make", make(self.args(&kconfig.make).collect())),
        ]
    }

    fn cc(&self, cc: &Cc) -> Step {
        let words = std::iter::once(self.recipe["cc"].clone())
            .chain(self.cflags.split_whitespace().map(str::to_owned))
            .chain(self.args(&cc.flags))
            .chain(["-o".to_owned(), cc.output.to_string()])
            .chain(cc.sources.iter().map(ToString::to_string));
        run("cc", words)
    }

    fn wrappers(&self, toolchain: &Toolchain) -> Result<BTreeMap<String, Vec<String>>> {
        let c = toolchain.c().context("a C toolchain")?;
        let arch = &c.arch[&self.choice.arch];
        let mut wrappers = BTreeMap::from([("host-cc".to_owned(), vec!["{host_cc}".to_owned()])]);
        for (name, argv) in &c.tools {
            let mut words: Vec<String> = argv.iter().map(|arg| arg.expand(&self.toolchain)).collect();
            if matches!(name.as_str(), "gcc" | "cc") {
                words.extend(arch.flags.iter().cloned());
            }
            wrappers.insert(format!("{}-{name}", self.triple), words);
        }
        Ok(wrappers)
    }

    /// Everything that a command of the build sees. Nothing of the host's environment is in it.
    fn env(&self, toolchain: &Toolchain) -> Result<BTreeMap<String, String>> {
        let c = toolchain.c().context("a C toolchain")?;
        let cc = &self.recipe;
        let fixed = [
            ("PATH", "{bin}:/usr/bin:/bin".to_owned()),
            ("HOME", "{home}".to_owned()),
            ("TMPDIR", "{tmp}".to_owned()),
            ("LC_ALL", "C".to_owned()),
            ("TZ", "UTC".to_owned()),
            ("SOURCE_DATE_EPOCH", EPOCH.to_string()),
            // Kconfig writes the time into its headers, in the local time zone, unless told not to.
            ("KCONFIG_NOTIMESTAMP", "1".to_owned()),
            // The host's libraries are for the host.
            ("PKG_CONFIG", "false".to_owned()),
            ("CC", cc["cc"].clone()),
            ("AR", cc["ar"].clone()),
            ("RANLIB", cc["ranlib"].clone()),
            ("CFLAGS", self.cflags.clone()),
            ("LDFLAGS", "-static -s".to_owned()),
        ];
        let own = c.env.iter().map(|(name, value)| (name.clone(), value.expand(&self.toolchain)));
        Ok(fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own).collect())
    }

    fn check(&self, check: &recipe::Check) -> Check {
        Check {
            argv: self.args(&check.run).collect(),
            expect: check.expect.expand(&self.recipe),
            status: check.status,
            input: check.input.clone(),
        }
    }
}

fn run(label: &str, argv: impl IntoIterator<Item = String>) -> Step {
    Step::Run { label: label.to_owned(), argv: argv.into_iter().collect() }
}
