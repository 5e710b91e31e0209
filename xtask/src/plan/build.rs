//! From a choice to its plan: each kind of build, once.

use std::collections::BTreeMap;

use crate::data::arg::{Arg, InRecipe, InToolchain, OWN_PREFIX};
use crate::data::project::Project;
use crate::data::recipe::{
    self, Autotools, Build, Cc, ConfigValue, Go, GoMode, GoProgram, GoTest, Kconfig, Recipe, Release, Source, Symbol,
};
use crate::data::toolchain::{ArchSettings, CTools, GoTools, Loader, Toolchain, Userland};
use crate::data::types::{Arch, ImportPath, Name, RelPath, Sha256};
use crate::error::{Context, Failure, Kind, Result};

use super::EPOCH;
use super::choice::{Choice, choose_one};
use super::step::{Check, Command, GOPATH, HOST_CC, Input, Package, Plan, Stage, Step, Tool};

/// The plan of one choice that [`super::choose`] has checked.
pub fn plan(project: &Project, choice: &Choice) -> Result<Plan> {
    let userland = project.userland().map(Small::pinned);
    plan_with(project, choice, userland.unwrap_or(Small::Host))
}

/// The plan of a tool that is built from a recipe, for the build machine, by the default compiler.
pub fn tool(project: &Project, toolchain: &Toolchain, stage: &Stage) -> Result<Plan> {
    let built = toolchain.built.as_ref().context("a tool that is built")?.get_ref();
    let choice = choose_one(project, built.recipe.as_str(), toolchain.version.as_ref(), Some(Arch::BUILD), None)?;
    let small = match stage {
        Stage::First => Small::Host,
        Stage::Second(sha256) => Small::Tool(toolchain, sha256.clone()),
    };
    plan_with(project, &choice, small)
}

/// The plans of all tools that these plans need built, and of those that the tools need, each once.
pub fn of_tools(project: &Project, plans: &[Plan]) -> Result<Vec<Plan>> {
    let mut found: BTreeMap<Name, Plan> = BTreeMap::new();
    let names = |plan: &Plan| plan.tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
    let mut names_left: Vec<Name> = plans.iter().flat_map(names).collect();
    while let Some(name) = names_left.pop() {
        let toolchain = &project.toolchains[&name];
        if toolchain.built.is_some() && !found.contains_key(&name) {
            let plan = tool(project, toolchain, &Stage::First)?;
            names_left.extend(names(&plan));
            found.insert(name, plan);
        }
    }
    Ok(found.into_values().collect())
}

/// Where a shell and small tools come from, for a build that needs them.
enum Small<'a> {
    Host,
    Tool(&'a Toolchain, Sha256),
}

impl<'a> Small<'a> {
    fn pinned(toolchain: &'a Toolchain) -> Self {
        let recorded = toolchain.built.as_ref().map(|built| built.get_ref().sha256.clone());
        Self::Tool(toolchain, recorded.expect("a userland is built: checked when it was read"))
    }
}

fn plan_with(project: &Project, choice: &Choice, small: Small<'_>) -> Result<Plan> {
    let recipe = project.recipe(choice.recipe.as_str())?;
    let release = project.release(recipe, &choice.version)?;
    let source = input(project, recipe, choice)?;
    let scene = Scene::new(project, choice, release, &source, small)?;
    Ok(Plan {
        choice: choice.clone(),
        patches: project
            .patches(&recipe.name, &choice.version)
            .iter()
            .map(|patch| (patch.path.clone(), patch.sha256.clone()))
            .collect(),
        tools: scene.tools(project)?,
        wrappers: scene.wrappers()?,
        env: scene.env(&source),
        host: scene.sees_host(),
        steps: scene.steps(project, recipe),
        checks: recipe.checks.iter().map(|check| scene.check(check)).collect(),
        source,
    })
}

fn pinned(toolchain: &Toolchain) -> Tool {
    let files = toolchain.packings.iter().flat_map(|packing| &packing.files);
    Tool {
        name: toolchain.name.clone(),
        title: toolchain.title(),
        packings: files.map(|pinned| (pinned.file.clone(), pinned.sha256.clone())).collect(),
        files: toolchain.built.as_ref().map(|built| built.get_ref().sha256.clone()),
    }
}

fn input(project: &Project, recipe: &Recipe, choice: &Choice) -> Result<Input> {
    let release = project.release(recipe, &choice.version)?;
    Ok(match &release.source {
        Source::Archive(archive) => Input::Archive(archive.packings()),
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

/// The values of all variables for one choice, and the toolchains that have a part in it.
struct Scene<'a> {
    choice: &'a Choice,
    release: &'a Release,
    c: Option<CScene<'a>>,
    go: Option<GoScene<'a>>,
    /// The shell and small tools, if the build needs any and they are not the host's.
    userland: Option<UserlandScene<'a>>,
    cflags: String,
    /// The variables of recipes.
    recipe: BTreeMap<String, String>,
}

/// A Go toolchain, and what starts it.
struct GoScene<'a> {
    toolchain: &'a Toolchain,
    tools: &'a GoTools,
    loader: Option<(&'a Toolchain, &'a Loader)>,
}

/// The shell and the small tools, and the hash of the files that they are.
struct UserlandScene<'a> {
    toolchain: &'a Toolchain,
    settings: &'a Userland,
    sha256: Sha256,
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

    /// The same compiler for the build machine. A compiler of the host has the host's own beside it.
    fn host_cc(&self) -> Result<Vec<String>> {
        if self.tools.host.is_some() {
            return Ok(vec!["{host_cc}".to_owned()]);
        }
        let Some(arch) = self.tools.arch.get(&Arch::BUILD) else {
            let what =
                format!("{} has no [c.arch.{}], and {{host_cc}} is for that one", self.toolchain.name, Arch::BUILD);
            return Err(Failure::new(Kind::Data, what).into());
        };
        let build = CScene { arch, ..*self };
        Ok(build.argv(&self.tools.tools["gcc"], true))
    }

    fn argv(&self, argv: &[Arg<InToolchain>], compiles: bool) -> Vec<String> {
        let words = argv.iter().map(|arg| arg.expand(&self.variables()));
        let flags = self.arch.flags.iter().filter(|_| compiles).cloned();
        words.chain(flags).collect()
    }
}

impl<'a> Scene<'a> {
    fn new(
        project: &'a Project,
        choice: &'a Choice,
        release: &'a Release,
        source: &Input,
        small: Small<'a>,
    ) -> Result<Self> {
        let c = match release.build.uses_c() {
            true => Some(CScene::of(project, choice)?),
            false => None,
        };
        let go = match &choice.go {
            Some(name) => {
                let toolchain = project.go_toolchain(name.as_str())?;
                let loader = project.loader(toolchain).and_then(|loader| Some((loader, loader.loader()?)));
                Some(GoScene { toolchain, tools: toolchain.go().context("a Go toolchain")?, loader })
            }
            None => None,
        };
        let userland = match small {
            Small::Tool(toolchain, sha256) if release.build.needs_userland() => {
                Some(UserlandScene { toolchain, settings: toolchain.userland().context("a userland")?, sha256 })
            }
            _ => None,
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
                ("host_cc", HOST_CC),
            ]));
        }
        Ok(Self { choice, release, c, go, userland, cflags, recipe })
    }

    /// The compiler first.
    fn tools(&self, project: &Project) -> Result<Vec<Tool>> {
        let go = self.go.iter().map(|go| go.toolchain);
        let compilers = go.chain(self.c.as_ref().map(|c| c.toolchain));
        let loader = self.go.iter().filter_map(|go| Some(go.loader?.0));
        let mut tools: Vec<Tool> = compilers.chain(loader).map(pinned).collect();
        if self.release.build.needs_make() {
            tools.push(pinned(project.program("make")?));
        }
        let userland = self.userland.iter();
        tools.extend(userland.map(|own| Tool { files: Some(own.sha256.clone()), ..pinned(own.toolchain) }));
        Ok(tools)
    }

    /// Whether commands see the programs of the host: where its compiler is used, or its shell.
    fn sees_host(&self) -> bool {
        let compiler = self.c.as_ref().is_some_and(|c| c.tools.host.is_some());
        compiler || self.release.build.needs_userland() && self.userland.is_none()
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
        let on = kconfig.on.iter().map(|symbol| (symbol.clone(), ConfigValue::Bool(true)));
        let off = kconfig.off.iter().map(|symbol| (symbol.clone(), ConfigValue::Bool(false)));
        let set = kconfig.set.iter().map(|(symbol, value)| (symbol.clone(), value.clone()));
        let values: BTreeMap<Symbol, ConfigValue> = on.chain(off).chain(set).collect();
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
        let flags = self.go.as_ref().map(|go| go.tools.flags.clone()).unwrap_or_default();
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

    fn wrappers(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut wrappers = BTreeMap::new();
        if let Some((_, loader)) = self.go.as_ref().and_then(|go| go.loader) {
            let start = loader.start.iter().map(|word| word.expand(&BTreeMap::<&str, String>::new()));
            wrappers.insert("go".to_owned(), start.chain(["{go}/bin/go".to_owned()]).collect());
        }
        let Some(c) = &self.c else { return Ok(wrappers) };
        if self.release.build.uses_host_cc() {
            wrappers.insert(HOST_CC.to_owned(), c.host_cc()?);
        }
        for (name, argv) in &c.tools.tools {
            let compiles = matches!(name.as_str(), "gcc" | "cc");
            wrappers.insert(format!("{}-{name}", c.arch.triple), c.argv(argv, compiles));
        }
        Ok(wrappers)
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
        env.insert("PATH".to_owned(), self.path());
        if let Some(c) = &self.c {
            env.extend(self.c_env(c));
        }
        if let Some(go) = &self.go {
            env.extend(self.go_env(go.tools, source));
        }
        if let Some(own) = &self.userland {
            let values = BTreeMap::<&str, String>::new();
            env.extend(own.settings.env.iter().map(|(name, value)| (name.clone(), value.expand(&values))));
        }
        env
    }

    fn path(&self) -> String {
        let mut folders = vec!["{bin}".to_owned()];
        folders.extend(self.go.iter().map(|_| "{go}/bin".to_owned()));
        folders.extend(self.userland.iter().map(|own| format!("{{userland}}/{}", own.settings.path)));
        if self.sees_host() {
            folders.extend(["/usr/bin", "/bin"].map(str::to_owned));
        }
        folders.join(":")
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
