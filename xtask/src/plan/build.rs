//! From a choice to its plan: each kind of build, once.

use std::collections::BTreeMap;

use crate::data::arg::{Arg, InRecipe, OWN_PREFIX};
use crate::data::project::Project;
use crate::data::recipe::{
    self, Autotools, Build, Cc, ConfigValue, Go, GoMode, GoProgram, GoTest, Kconfig, Recipe, Release, Source, Symbol,
};
use crate::data::toolchain::{ArchSettings, CTools, GoTools, Toolchain};
use crate::data::types::{ImportPath, RelPath};
use crate::error::{Context, Result};

use super::EPOCH;
use super::choice::Choice;
use super::step::{Check, Command, GOPATH, Input, Package, Plan, Step, Tool};

/// The plan of one choice that [`super::choose`] has checked.
pub fn plan(project: &Project, choice: &Choice) -> Result<Plan> {
    let recipe = project.recipe(choice.recipe.as_str())?;
    let release = project.release(recipe, &choice.version)?;
    let source = input(project, recipe, choice)?;
    let scene = Scene::new(project, choice, release, &source)?;
    Ok(Plan {
        choice: choice.clone(),
        patches: project
            .patches(&recipe.name, &choice.version)
            .iter()
            .map(|patch| (patch.path.clone(), patch.sha256.clone()))
            .collect(),
        tools: scene.tools(project)?,
        wrappers: scene.wrappers(),
        env: scene.env(&source),
        steps: scene.steps(project, recipe),
        checks: recipe.checks.iter().map(|check| scene.check(check)).collect(),
        source,
    })
}

fn tool(toolchain: &Toolchain) -> Tool {
    let files = toolchain.packings.iter().flat_map(|packing| &packing.files);
    Tool {
        name: toolchain.name.clone(),
        title: toolchain.title(),
        packings: files.map(|pinned| (pinned.file.clone(), pinned.sha256.clone())).collect(),
    }
}

fn input(project: &Project, recipe: &Recipe, choice: &Choice) -> Result<Input> {
    let release = project.release(recipe, &choice.version)?;
    Ok(match &release.source {
        Source::Archive(archive) => Input::Archive(archive.pinned()),
        Source::Git(git) => Input::Git(git.clone()),
        Source::Debian(tree) => {
            let lock = project.lock(recipe, &choice.version, &tree.source())?;
            let (files, libraries) = (lock.source_files(), lock.library_files());
            Input::Debian(Package { source: tree.source(), version: lock.version.clone(), files, libraries })
        }
        Source::Tree(tree) => {
            let path = tree.path.get_ref();
            Input::Tree(path.clone(), project.tree(path).clone())
        }
    })
}

/// What the release calls this state of the source, else what the source itself says.
fn revision(release: &Release, source: &Input) -> Option<String> {
    let own = match source {
        Input::Git(git) => Some(git.commit.to_string()),
        Input::Debian(package) => Some(package.version.to_string()),
        Input::Archive(_) | Input::Tree(..) => None,
    };
    release.revision.clone().or(own)
}

fn needs_make(build: &Build) -> bool {
    match build {
        Build::Autotools(_) | Build::Make(_) | Build::Kconfig(_) => true,
        Build::Cc(_) | Build::Go(_) | Build::Prebuilt(_) => false,
    }
}

/// The values of all variables for one choice, and the toolchains that have a part in it.
struct Scene<'a> {
    choice: &'a Choice,
    release: &'a Release,
    c: Option<CScene<'a>>,
    go: Option<(&'a Toolchain, &'a GoTools)>,
    cflags: String,
    /// The variables of recipes.
    recipe: BTreeMap<String, String>,
}

/// A C toolchain and what the architecture is to it.
struct CScene<'a> {
    toolchain: &'a Toolchain,
    tools: &'a CTools,
    arch: &'a ArchSettings,
}

impl<'a> CScene<'a> {
    fn of(project: &'a Project, choice: &Choice) -> Result<Self> {
        let toolchain = project.c_toolchain(choice.toolchain.as_str())?;
        let tools = toolchain.c().context("a C toolchain")?;
        let arch = tools.arch.get(&choice.arch).context("an architecture of the toolchain")?;
        Ok(Self { toolchain, tools, arch })
    }

    /// The variables of toolchain files that are known before a build.
    fn variables(&self) -> BTreeMap<&str, String> {
        BTreeMap::from([("triple", self.arch.triple.to_string()), ("cpu", self.arch.cpu.clone())])
    }
}

impl<'a> Scene<'a> {
    fn new(project: &'a Project, choice: &'a Choice, release: &'a Release, source: &Input) -> Result<Self> {
        let c = match release.build.uses_c() {
            true => Some(CScene::of(project, choice)?),
            false => None,
        };
        let go = match &choice.go {
            Some(name) => {
                let toolchain = project.go_toolchain(name.as_str())?;
                Some((toolchain, toolchain.go().context("a Go toolchain")?))
            }
            None => None,
        };
        let cflags =
            std::iter::once("-Os".to_owned()).chain(release.cflags.iter().cloned()).collect::<Vec<_>>().join(" ");
        let mut recipe = environment([
            ("name", choice.recipe.as_str()),
            ("version", choice.version.as_str()),
            ("reported", &release.reported),
            ("arch", choice.arch.as_str()),
            ("cflags", &cflags),
        ]);
        recipe.extend(revision(release, source).map(|revision| ("revision".to_owned(), revision)));
        recipe.extend(choice.vars.iter().map(|(name, value)| (format!("{OWN_PREFIX}{name}"), value.to_string())));
        if let Some(c) = &c {
            let triple = c.arch.triple.as_str();
            let wrapper = |tool: &str| format!("{triple}-{tool}");
            recipe.extend(environment([
                ("triple", triple),
                ("cc", &wrapper("gcc")),
                ("ar", &wrapper("ar")),
                ("ranlib", &wrapper("ranlib")),
                ("ld", &wrapper("ld")),
                ("host_cc", "host-cc"),
            ]));
        }
        Ok(Self { choice, release, c, go, cflags, recipe })
    }

    /// The compiler first.
    fn tools(&self, project: &Project) -> Result<Vec<Tool>> {
        let compilers = self.go.map(|(toolchain, _)| toolchain).into_iter().chain(self.c.as_ref().map(|c| c.toolchain));
        let mut tools: Vec<Tool> = compilers.map(tool).collect();
        if needs_make(&self.release.build) {
            tools.push(tool(project.program("make")?));
        }
        Ok(tools)
    }

    fn steps(&self, project: &Project, recipe: &Recipe) -> Vec<Step> {
        let patches = project.patches(&recipe.name, &self.choice.version);
        let borrowed: &[ImportPath] = match &self.release.source {
            Source::Debian(tree) => &tree.patched,
            _ => &[],
        };
        [Step::Unpack]
            .into_iter()
            .chain(borrowed.iter().cloned().map(Step::Borrow))
            .chain(patches.iter().map(|patch| Step::Patch(patch.path.clone())))
            .chain(self.build_steps())
            .chain(self.ship_steps(recipe))
            .collect()
    }

    /// What ships, and the check of it.
    fn ship_steps(&self, recipe: &Recipe) -> Vec<Step> {
        let install = |from: &RelPath, to: String| Step::Install { from: from.clone(), to };
        let files = self.release.files.iter().map(|(to, from)| install(from, to.as_str().to_owned()));
        let licenses = self.release.license_files.iter();
        let licenses = licenses.map(|file| install(file, recipe::license_path(&recipe.name, file)));
        let links = recipe.links.iter().map(|(at, target)| Step::Link { at: at.clone(), target: target.clone() });
        files.chain(licenses).chain(links).chain([Step::Inspect(self.choice.arch)]).collect()
    }

    fn args(&self, args: &[Arg<InRecipe>]) -> impl Iterator<Item = String> {
        args.iter().map(|arg| arg.expand(&self.recipe))
    }

    fn build_steps(&self) -> Vec<Step> {
        match &self.release.build {
            Build::Autotools(autotools) => self.autotools(autotools),
            Build::Make(make) => vec![run("make", ["make".to_owned()].into_iter().chain(self.args(&make.make)))],
            Build::Kconfig(kconfig) => self.kconfig(kconfig),
            Build::Cc(cc) => vec![self.cc(cc)],
            Build::Go(go) => self.go(go),
            Build::Prebuilt(_) => Vec::new(),
        }
    }

    fn autotools(&self, autotools: &Autotools) -> Vec<Step> {
        let configure = ["sh".to_owned(), "./configure".to_owned(), format!("--host={}", self.recipe["triple"])];
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

    /// The source under its import paths, the tests of what was patched, then each program.
    fn go(&self, go: &Go) -> Vec<Step> {
        let imports =
            go.import.iter().map(|(folder, path)| Step::Import { folder: folder.path().cloned(), path: path.clone() });
        let tests = go.tests.iter().map(|test| self.go_test(go, test));
        let programs = go.programs.iter().map(|(output, program)| self.go_program(go, output, program));
        let values: Vec<String> = go.set.values().map(|value| value.expand(&self.recipe)).collect();
        let linked =
            (!values.is_empty()).then(|| Step::Linked { programs: go.programs.keys().cloned().collect(), values });
        imports.chain(tests).chain(programs).chain(linked).collect()
    }

    /// Runs on the build machine, so it is built for that one and without C.
    fn go_test(&self, go: &Go, test: &GoTest) -> Step {
        let argv = ["go", "test", "-v", "-vet=off", "-p", "{jobs}"].map(str::to_owned).into_iter();
        let argv = argv.chain(go_mode(go)).chain(go_tags(&go.tags, &[]));
        let argv = argv.chain(["-run".to_owned(), test.run.clone(), test.package.clone()]);
        Step::Run(Command {
            label: format!("go test {}", test.package),
            argv: argv.collect(),
            env: environment([("CGO_ENABLED", "0"), ("GOARCH", ""), ("GOARM", ""), ("GOMAXPROCS", "{jobs}")]),
            // A pattern that no test matches is success to Go.
            expect: Some("\n--- PASS: ".to_owned()),
        })
    }

    fn go_program(&self, go: &Go, output: &RelPath, program: &GoProgram) -> Step {
        let flags = self.go.map(|(_, tools)| tools.flags.clone()).unwrap_or_default();
        let argv = ["go", "build", "-trimpath", "-p", "{jobs}"].map(str::to_owned).into_iter();
        let argv = argv.chain(flags).chain(go_mode(go)).chain(go_tags(&go.tags, &program.tags));
        let argv = argv.chain([
            "-ldflags".to_owned(),
            self.go_ldflags(go, program),
            "-o".to_owned(),
            output.to_string(),
            program.package.clone(),
        ]);
        let cgo = if program.cgo { "1" } else { "0" };
        let mut env = environment([("CGO_ENABLED", cgo), ("GOMAXPROCS", "{jobs}")]);
        if program.cgo {
            let cflags = std::iter::once(self.cflags.clone()).chain(program.cflags.iter().cloned());
            env.insert("CGO_CFLAGS".to_owned(), cflags.collect::<Vec<_>>().join(" "));
        }
        Step::Run(Command {
            label: format!("go build {}", output.file_name()),
            argv: argv.collect(),
            env,
            expect: None,
        })
    }

    fn go_ldflags(&self, go: &Go, program: &GoProgram) -> String {
        let mut words: Vec<String> = ["-s", "-w", "-buildid="].map(str::to_owned).to_vec();
        if program.cgo {
            // Go's -s strips what Go links; the C objects' symbols, with the path of the cache that they
            // were compiled in, are stripped by the C linker.
            words.extend(["-linkmode", "external", "-extldflags", "-static -Wl,--strip-all"].map(str::to_owned));
        }
        words.extend(self.args(&go.ldflags));
        for (name, value) in &go.set {
            words.extend(["-X".to_owned(), format!("{name}={}", value.expand(&self.recipe))]);
        }
        let quoted = words.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { word.clone() });
        quoted.collect::<Vec<_>>().join(" ")
    }

    fn wrappers(&self) -> BTreeMap<String, Vec<String>> {
        let Some(c) = &self.c else { return BTreeMap::new() };
        let mut wrappers = BTreeMap::from([("host-cc".to_owned(), vec!["{host_cc}".to_owned()])]);
        for (name, argv) in &c.tools.tools {
            let mut words: Vec<String> = argv.iter().map(|arg| arg.expand(&c.variables())).collect();
            if matches!(name.as_str(), "gcc" | "cc") {
                words.extend(c.arch.flags.iter().cloned());
            }
            wrappers.insert(format!("{}-{name}", c.arch.triple), words);
        }
        wrappers
    }

    /// Everything that a command of the build sees. Nothing of the host's environment is in it.
    fn env(&self, source: &Input) -> BTreeMap<String, String> {
        let mut env = environment([
            ("HOME", "{home}"),
            ("TMPDIR", "{tmp}"),
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
            ("SOURCE_DATE_EPOCH", &EPOCH.to_string()),
        ]);
        let go = if self.go.is_some() { "{go}/bin:" } else { "" };
        env.insert("PATH".to_owned(), format!("{{bin}}:{go}/usr/bin:/bin"));
        if let Some(c) = &self.c {
            env.extend(self.c_env(c));
        }
        if let Some((_, tools)) = self.go {
            env.extend(self.go_env(tools, source));
        }
        env
    }

    fn c_env(&self, c: &CScene) -> BTreeMap<String, String> {
        let mut env = environment([("CC", self.recipe["cc"].as_str()), ("AR", self.recipe["ar"].as_str())]);
        if self.go.is_none() {
            env.extend(environment([
                // Kconfig writes the time into its headers, in the local time zone, unless told not to.
                ("KCONFIG_NOTIMESTAMP", "1"),
                // The host's libraries are for the host.
                ("PKG_CONFIG", "false"),
                ("RANLIB", self.recipe["ranlib"].as_str()),
                ("CFLAGS", self.cflags.as_str()),
                ("LDFLAGS", "-static -s"),
            ]));
        }
        env.extend(c.tools.env.iter().map(|(name, value)| (name.clone(), value.expand(&c.variables()))));
        env
    }

    /// Go asks nobody for anything: no proxy, no checksum server, no other toolchain, no settings of a user.
    fn go_env(&self, tools: &GoTools, source: &Input) -> BTreeMap<String, String> {
        let gopath = match source {
            Input::Debian(_) => format!("{{src}}/{GOPATH}:{{libs}}"),
            _ => format!("{{src}}/{GOPATH}"),
        };
        let modules = match &self.release.build {
            Build::Go(go) if go.mode == GoMode::Vendor => "on",
            _ => "off",
        };
        let arch = &tools.arch[&self.choice.arch];
        let mut env = environment([
            ("GOROOT", "{go}"),
            ("GOPATH", &gopath),
            ("GOCACHE", "{gocache}"),
            ("GOTMPDIR", "{tmp}"),
            ("GO111MODULE", modules),
            ("GOTOOLCHAIN", "local"),
            ("GOPROXY", "off"),
            ("GOSUMDB", "off"),
            ("GOENV", "off"),
            ("GOFLAGS", ""),
            ("GOOS", "linux"),
            ("GOARCH", &arch.goarch),
        ]);
        env.extend(arch.goarm.as_deref().map(|goarm| ("GOARM".to_owned(), goarm.to_owned())));
        if self.c.is_some() {
            // cgo links each package once by itself to see what it needs. Static, or zig would build a shared
            // libc for that alone: 100 CPU-seconds.
            env.insert("CGO_LDFLAGS".to_owned(), "-static".to_owned());
        }
        env
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
    let argv = argv.into_iter().collect();
    Step::Run(Command { label: label.to_owned(), argv, env: BTreeMap::new(), expect: None })
}

fn go_mode(go: &Go) -> Option<String> {
    (go.mode == GoMode::Vendor).then(|| "-mod=vendor".to_owned())
}

fn go_tags(all: &[String], own: &[String]) -> Vec<String> {
    let tags: Vec<&str> = all.iter().chain(own).map(String::as_str).collect();
    match tags.is_empty() {
        true => Vec::new(),
        false => vec!["-tags".to_owned(), tags.join(",")],
    }
}

fn environment<const N: usize>(variables: [(&str, &str); N]) -> BTreeMap<String, String> {
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
