//! Executes plans: looks a result up in the store, or makes it, step by step.
//!
//! Knows steps, never recipes. A result appears in the store whole, with a record of every file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::data::project::{self, Project};
use crate::data::recipe::{ConfigValue, Symbol};
use crate::data::source::Pinned;
use crate::data::toolchain::{CTools, ToolKind, Toolchain};
use crate::data::types::{Arch, ImportPath, RelPath, Sha256};
use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;
use crate::plan::step::{Command, GOPATH, HOST_CC, Package, Plan, Step, config_line};
use crate::plan::{Choice, EPOCH, Input};
use crate::ui::{self, Ui};

use super::fetch::Fetcher;
use super::jobs::Jobs;
use super::places::{self, Places};
use super::process::{self, Spawn};
use super::sandbox::{self, Level};
use super::store::{Store, hash_file, remove_tree, set_mode, write_atomic};
use super::tools::{self, Tools};
use super::{debian_source, elf, patch, tree, unpack};

/// A build that takes longer than this hangs. A cold kubelet took 20 minutes on a loaded machine.
const STEP_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// What a build needs around it.
pub struct Builder<'a> {
    pub project: &'a Project,
    pub store: &'a Store,
    pub fetcher: &'a Fetcher,
    pub tools: Tools<'a>,
    pub jobs: &'a Jobs,
    pub ui: &'a Ui,
    /// Whether the steps run in a sandbox.
    pub sandbox: bool,
    /// Whether sources list their files in another order than they came in: `repro` asks for it.
    pub reversed: bool,
}

/// A finished build in the store.
#[derive(Debug, Clone)]
pub struct Built {
    pub key: Sha256,
    /// The folder that holds the record's files.
    pub files: PathBuf,
    pub record: Record,
}

/// What a result holds: `record.json` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What the steps ran in. A record of before this was written down does not say: then the least is believed.
    #[serde(default = "Record::least")]
    pub sandbox: Level,
    pub entries: Vec<Entry>,
}

impl Record {
    fn least() -> Level {
        Level::Off
    }
}

/// One file or link of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Entry {
    File { path: String, sha256: Sha256, size: u64, executable: bool },
    Link { path: String, target: String },
}

impl Entry {
    pub fn path(&self) -> &str {
        match self {
            Entry::File { path, .. } | Entry::Link { path, .. } => path,
        }
    }
}

impl Builder<'_> {
    /// The key of a plan's result: its text, for a host's compiler what that is, and whether the steps are
    /// caged: a result that was built without a sandbox is never taken for one that was built in it.
    pub fn key(&self, plan: &Plan) -> Result<Sha256> {
        let toolchains = plan.tools.iter().map(|tool| &self.project.toolchains[&tool.name]);
        let mut text = self.text(plan);
        for toolchain in toolchains {
            if let Some(host) = toolchain.c().and_then(|c| c.host.as_ref()) {
                text += &tools::identity(&tools::cross_cc(toolchain, host, plan.choice.arch)?, host)?;
            }
        }
        Ok(Sha256::of(text))
    }

    /// The plan's text, and whether its steps are caged.
    pub fn text(&self, plan: &Plan) -> String {
        plan.text() + if self.sandbox { "sandbox on\n" } else { "sandbox off\n" }
    }

    /// The result of a plan: from the store if it is there and whole, else built now. Two processes
    /// that want the same share the work: one builds, the other waits.
    pub fn build(&self, plan: &Plan) -> Result<Built> {
        let key = self.key(plan)?;
        if let Some(built) = self.stored(&key)? {
            return Ok(built);
        }
        let waiting = || self.ui.note("waiting", &format!("another process builds {}", plan.choice));
        let _lock = self.store.lock(&format!("out-{key}"), waiting)?;
        if let Some(built) = self.stored(&key)? {
            return Ok(built);
        }
        self.remove_damaged(&key)?;
        // First, because a machine that forbids it need fetch nothing.
        let level = self.level()?;
        let source = self.fetch(plan)?;
        self.own_tools(plan)?;
        let work = Work::prepare(self, plan, &key)?;
        self.run_steps(plan, &work, &source).with_context(|| format!("build {}", plan.choice))?;
        let record = Record { sandbox: level, entries: entries_of(&work.files)? };
        write_atomic(&work.out.join("record.json"), &serde_json::to_vec_pretty(&record)?)?;
        write_atomic(&work.out.join("plan.txt"), self.text(plan).as_bytes())?;
        let out = self.out(&key);
        self.store.publish(&work.out, &out)?;
        remove_tree(&work.dir)?;
        Ok(Built { key, files: out.join("files"), record })
    }

    /// How far the sandbox of the steps reaches on this machine.
    fn level(&self) -> Result<Level> {
        match self.sandbox {
            true => sandbox::required(),
            false => Ok(Level::Off),
        }
    }

    /// Looks a result up; one that does not hold every file as recorded is none.
    fn stored(&self, key: &Sha256) -> Result<Option<Built>> {
        let Ok(text) = fs::read(self.out(key).join("record.json")) else { return Ok(None) };
        let files = self.out(key).join("files");
        let record = serde_json::from_slice::<Record>(&text).ok();
        let whole = record.filter(|record| entries_of(&files).is_ok_and(|actual| actual == record.entries));
        // An interrupted reading says nothing about the result.
        interrupt::check()?;
        Ok(whole.map(|record| Built { key: key.clone(), files, record }))
    }

    /// Makes room where a result is damaged. Only for the holder of the key's lock: without it, what was
    /// not there a moment ago may be another process's result by now.
    fn remove_damaged(&self, key: &Sha256) -> Result<()> {
        let dir = self.out(key);
        if dir.exists() {
            self.ui.note("warning", &format!("{} was damaged; it is built again", dir.display()));
        }
        remove_tree(&dir)
    }

    /// The folder of a result.
    fn out(&self, key: &Sha256) -> PathBuf {
        self.store.path("out").join(key.as_str())
    }

    /// Gets the source's bytes: the files it comes in. None for a folder of this repository.
    fn fetch(&self, plan: &Plan) -> Result<Vec<PathBuf>> {
        match &plan.source {
            Input::Archive(packings) => Ok(vec![self.fetcher.any_of(packings)?.1]),
            Input::Git(git) => Ok(vec![self.fetcher.git(git)?]),
            Input::Debian(package) => {
                let title = format!("{} {}", package.source.package, package.version);
                self.fetcher.all_of(&title, &package.files)
            }
            Input::Tree(..) => Ok(Vec::new()),
        }
    }

    /// The source as the patches leave it, in `into`, a new folder: what a build begins with.
    pub fn patched_tree(&self, plan: &Plan, into: &Path) -> Result<()> {
        let source = self.fetch(plan)?;
        let libraries = self.libraries(plan)?;
        for step in &plan.steps {
            self.jobs.check()?;
            match step {
                Step::Unpack => self.unpack(plan, into, &source).context("unpack the source")?,
                Step::Borrow(path) => borrow(libraries.as_deref(), into, path)?,
                Step::Patch(path) => self.patch(plan, into, path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The GOPATH of the libraries that a Debian source package builds with.
    fn libraries(&self, plan: &Plan) -> Result<Option<PathBuf>> {
        match &plan.source {
            Input::Debian(package) => self.tools.libraries(package).map(Some),
            _ => Ok(None),
        }
    }

    fn run_steps(&self, plan: &Plan, work: &Work, source: &[PathBuf]) -> Result<()> {
        for (index, step) in plan.steps.iter().enumerate() {
            self.jobs.check()?;
            match step {
                Step::Unpack => {
                    self.unpack(plan, &work.src, source).context("unpack the source")?;
                    if self.reversed {
                        tree::reverse(&work.src).context("turn the order of the source's folders round")?;
                    }
                }
                Step::Patch(path) => self.patch(plan, &work.src, path)?,
                Step::Borrow(path) => borrow(work.libraries.as_deref(), &work.src, path)?,
                Step::Import { folder, path } => import(work, folder.as_ref(), path)?,
                Step::Run(command) => self.run(plan, work, index + 1, command)?,
                Step::Linked { programs, values } => linked(&work.src, programs, values)?,
                Step::Configure(values) => configure(&work.src.join(".config"), values)?,
                Step::Configured(values) => configured(&work.src.join(".config"), values)?,
                Step::Install { from, to } => install(&work.src.join(from), &work.files.join(to), from)?,
                Step::Link { at, target } => link(&work.files.join(at), target)?,
                Step::Inspect(arch) => inspect(plan, work, *arch)?,
            }
        }
        Ok(())
    }

    fn unpack(&self, plan: &Plan, into: &Path, source: &[PathBuf]) -> Result<()> {
        match &plan.source {
            Input::Archive(packings) => {
                let file = source.first().context("an archive was fetched")?;
                let is_it = |pinned: &&Pinned| self.store.source(&pinned.sha256, &pinned.file) == *file;
                let pinned = packings.iter().find(is_it).context("an archive is in the store")?;
                tools::verify(self.store, file, &pinned.sha256)?;
                let strip = unpack::Strip::TopFolder;
                let options = unpack::Options { strip, only: None, mtime: EPOCH, limits: unpack::Limits::default() };
                unpack::unpack(file, into, &options)?;
                Ok(())
            }
            Input::Git(git) => self.fetcher.git_checkout(git, into),
            Input::Debian(package) => self.unpack_debian(package, source, into),
            Input::Tree(path, _) => tree::copy(&self.project.root.join(path), into),
        }
    }

    fn unpack_debian(&self, package: &Package, source: &[PathBuf], into: &Path) -> Result<()> {
        let mut files = Vec::new();
        for (pinned, file) in package.files.iter().zip(source) {
            tools::verify(self.store, file, &pinned.sha256)?;
            files.push((pinned.file.clone(), file.clone()));
        }
        let series = debian_source::assemble(&files, into, EPOCH)?;
        debian_source::apply_series(into, &series, EPOCH)
    }

    fn patch(&self, plan: &Plan, into: &Path, path: &str) -> Result<()> {
        let patches = self.project.patches(&plan.choice.recipe, &plan.choice.version);
        let found = patches.iter().find(|patch| patch.path == path).context("a patch of the plan is the project's")?;
        patch::apply(path, &found.bytes, into, EPOCH)?;
        Ok(())
    }

    fn run(&self, plan: &Plan, work: &Work, number: usize, command: &Command) -> Result<()> {
        let tokens = if command.takes_jobs() { self.jobs.free()? } else { vec![self.jobs.one()?] };
        let jobs = tokens.len().to_string();
        let fill = |word: &String| OsString::from(work.places.fill(word).replace("{jobs}", &jobs));
        let mut env = work.env.clone();
        env.extend(command.env.iter().map(|(name, value)| (name.clone(), fill(value))));
        let argv = self.argv(plan, work, command)?.iter().map(fill).collect();
        let mut spawn = work.places.spawn(argv, &work.src, env).limit(STEP_LIMIT);
        spawn.cancel = Some(self.jobs.cancelled());
        let log_path = work.logs.join(format!("{number:02}-{}.log", command.label.replace([' ', '/'], "-")));
        let mut log = fs::File::create(&log_path)?;
        process::log_header(&mut log, &spawn)?;

        let (verb, object) = shown_as(command, &plan.choice);
        let task = self.ui.task(verb, object.clone());
        let mut heard = Heard::new(command.expect.as_deref());
        let finished = spawn.stream(Some(self.jobs.client()), &mut |line| {
            std::io::Write::write_all(&mut log, line).with_context(|| format!("write {}", log_path.display()))?;
            heard.listen(line);
            self.ui.log(&object, String::from_utf8_lossy(line).trim_end());
            Ok(())
        })?;
        if finished.success() && heard.all() {
            task.done("");
            return Ok(());
        }
        let how = match finished.success() {
            true => format!("it did not print {:?}", command.expect.as_deref().unwrap_or_default()),
            false => finished.how(),
        };
        task.failed(&how);
        self.jobs.failed();
        Err(step_failed(plan, &command.label, &spawn, &how, log_path)?.into())
    }

    /// A command's words; for a wrapper those that it stands for, so that a build which only compiles needs
    /// no shell.
    fn argv(&self, plan: &Plan, work: &Work, command: &Command) -> Result<Vec<String>> {
        let Some(wrapper) = command.argv.first().and_then(|program| plan.wrappers.get(program)) else {
            return Ok(command.argv.clone());
        };
        let words = tools::wrapped(wrapper, &work.places)?;
        Ok(words.into_iter().chain(command.argv[1..].iter().cloned()).collect())
    }

    /// The C compiler, if there is one, tried once before the first step that needs it; likewise that for
    /// the build machine.
    fn try_compilers(&self, plan: &Plan, work: &Work) -> Result<()> {
        if !plan.tools.iter().any(|tool| tool.name == plan.choice.toolchain) {
            return Ok(());
        }
        let toolchain = self.project.c_toolchain(plan.choice.toolchain.as_str())?;
        let c = toolchain.c().context("a C toolchain")?;
        for (arch, name) in [(plan.choice.arch, plan.env["CC"].as_str()), (Arch::BUILD, HOST_CC)] {
            let Some(words) = plan.wrappers.get(name) else { continue };
            let scene = tools::Scene {
                title: toolchain.title(),
                libc: &c.libc,
                arch,
                compiler: tools::wrapped(words, &work.places)?,
                env: work.env.clone(),
                cache: work.cache.clone().context("a compiler has a cache")?,
                words,
                places: &work.places,
            };
            self.tools.try_compiler(&scene, self.jobs)?;
        }
        Ok(())
    }
}

/// The failure of a step, with all that a person needs to look into it.
fn step_failed(plan: &Plan, label: &str, spawn: &Spawn, how: &str, log: PathBuf) -> Result<Failure> {
    let choice = &plan.choice;
    let mut failure = Failure::new(Kind::Build, format!("{label} of {choice} failed: {how}"));
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    // The first line is the command, which is shown by itself.
    let output = text.split_once('\n').map_or("", |(_, output)| output);
    if let Some(memory) = spawn.sandbox.as_ref().and_then(|sandbox| sandbox.memory).filter(|_| out_of_memory(output)) {
        let memory = ui::size(memory);
        failure =
            failure.next(format!("each process of a step may have {memory} of data in the sandbox; it may need more"));
    }
    failure.log = Some((process::tail(output, 20), log));
    failure.command = Some(spawn.shell_line());
    let again = format!("cargo xtask recipe {} --version {} --arch {} -v", choice.recipe, choice.version, choice.arch);
    Ok(failure.next(format!("{again}   (builds it alone and shows the log as it grows)")))
}

/// What programs say when the kernel gives them no more memory: how they end, each chooses for itself.
fn out_of_memory(output: &str) -> bool {
    let output = output.to_lowercase();
    ["cannot allocate memory", "out of memory", "memory exhausted", "bad_alloc"]
        .iter()
        .any(|text| output.contains(text))
}

/// Waits for a text that a command must print. It may stand on any line, at its beginning if it begins
/// with a line's end.
struct Heard<'a> {
    expect: Option<&'a str>,
    heard: bool,
}

impl<'a> Heard<'a> {
    fn new(expect: Option<&'a str>) -> Self {
        Self { expect, heard: expect.is_none() }
    }

    fn listen(&mut self, line: &[u8]) {
        let Some(expect) = self.expect else { return };
        let line = String::from_utf8_lossy(line);
        self.heard |= match expect.strip_prefix('\n') {
            Some(start) => line.starts_with(start),
            None => line.contains(expect),
        };
    }

    fn all(&self) -> bool {
        self.heard
    }
}

/// The folders of one running build.
struct Work {
    dir: PathBuf,
    /// The build tree.
    src: PathBuf,
    /// What will be published: `files/`, the record, the plan.
    out: PathBuf,
    files: PathBuf,
    logs: PathBuf,
    env: BTreeMap<String, OsString>,
    /// What commands see, and under which paths.
    places: Places,
    /// The C compiler's cache.
    cache: Option<PathBuf>,
    /// The GOPATH of the libraries.
    libraries: Option<PathBuf>,
    /// Strings that must not appear in what ships.
    private: Vec<(&'static str, String)>,
}

impl Work {
    /// Makes the folders, the tools and the environment. The folder has the key in its name and the
    /// caller holds the key's lock, so what a killed run left there is ours to remove.
    fn prepare(builder: &Builder<'_>, plan: &Plan, key: &Sha256) -> Result<Self> {
        let store = builder.store;
        let name = format!("{}-{}", plan.choice.slug(), key.short());
        let dir = store.path("work").join(&name);
        remove_tree(&dir)?;
        let place = |part: &str| dir.join(part);
        let bin = place("bin");
        for part in ["src", "bin", "home", "tmp", "out/files"] {
            fs::create_dir_all(place(part))?;
        }
        let logs = store.path("logs").join(&name);
        remove_tree(&logs)?;
        fs::create_dir_all(&logs)?;

        let mut places = Places::new(builder.sandbox, plan.host);
        places.write("src", &place("src"), places::SRC);
        places.read("bin", &bin, "/build/bin");
        places.write("home", &place("home"), "/build/home");
        places.write("tmp", &place("tmp"), "/build/tmp");
        let mut work = Self {
            src: place("src"),
            out: place("out"),
            files: place("out/files"),
            logs,
            env: BTreeMap::new(),
            places,
            cache: None,
            libraries: builder.libraries(plan)?,
            private: vec![("the build folder", shown(&dir)), ("the store", shown(store.root()))],
            dir: dir.clone(),
        };
        if builder.sandbox {
            let inside = [places::SRC, "/build/home", "/build/tmp"];
            work.private.extend(inside.map(|path| ("the build folder", path.to_owned())));
        }
        work.add_tools(builder, plan, &bin)?;
        work.env = plan.env.iter().map(|(name, value)| (name.clone(), work.places.fill(value).into())).collect();
        builder.try_compilers(plan, &work)?;
        Ok(work)
    }

    /// Makes every tool of the plan ready and puts it into `bin`.
    fn add_tools(&mut self, builder: &Builder<'_>, plan: &Plan, bin: &Path) -> Result<()> {
        for tool in &plan.tools {
            let toolchain = &builder.project.toolchains[&tool.name];
            match &toolchain.kind {
                ToolKind::C(c) => self.add_c(builder, plan, toolchain, c)?,
                ToolKind::Go(go) => {
                    let ready = builder.tools.ready(toolchain)?;
                    self.places.read_part("go", &ready.dir, "/build/go", go.root.as_ref());
                    fs::create_dir_all(&ready.cache)?;
                    self.places.write("gocache", &ready.cache, "/build/gocache");
                }
                ToolKind::Program(_) => {
                    let real = match &tool.files {
                        Some(files) => builder.tools.built(toolchain, files),
                        None => builder.tools.ready(toolchain)?.dir,
                    };
                    let dir = self.places.tool(&toolchain.name, &real);
                    link_programs(&dir, &toolchain.programs, bin)?;
                }
                ToolKind::Userland(userland) => {
                    let files = tool.files.as_ref().context("a userland is built")?;
                    self.places.read("userland", &builder.tools.built(toolchain, files), "/build/userland");
                    for (at, program) in &userland.links {
                        self.places.link(at, &format!("{{userland}}/{program}"));
                    }
                }
                ToolKind::Loader(_) => {
                    self.places.read("loader", &builder.tools.ready(toolchain)?.dir, "/build/loader");
                }
            }
        }
        if let Some(libraries) = &self.libraries {
            self.places.read("libs", libraries, "/build/libs");
        }
        tools::write_wrappers(plan, bin, &self.places)
    }

    fn add_c(&mut self, builder: &Builder<'_>, plan: &Plan, toolchain: &Toolchain, c: &CTools) -> Result<()> {
        let cache = if let Some(host) = &c.host {
            let found = tools::cross_cc(toolchain, host, plan.choice.arch)?;
            self.places.host("found", &found);
            builder.store.path("tool-cache").join(format!("host-{}", toolchain.name))
        } else {
            let ready = builder.tools.ready(toolchain)?;
            self.places.read("tool", &ready.dir, "/build/tool");
            ready.cache
        };
        fs::create_dir_all(&cache)?;
        self.places.write("cache", &cache, "/build/cache");
        self.cache = Some(cache);
        if c.host.is_some() && plan.wrappers.contains_key(HOST_CC) {
            self.places.host("host_cc", &tools::host_cc()?);
        }
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn link_programs(tool: &Path, programs: &[RelPath], bin: &Path) -> Result<()> {
    for program in programs {
        fs::os::unix::fs::symlink(tool.join(program), bin.join(program.file_name()))?;
    }
    Ok(())
}

/// A command as the screen shows it: its verb, and on what. `go build ctr` of containerd is
/// ("go build", "containerd 1.6.20 aarch64: ctr").
fn shown_as(command: &Command, choice: &Choice) -> (&'static str, String) {
    let with = |part: &str| format!("{choice}: {part}");
    if let Some(program) = command.label.strip_prefix("go build ") {
        return ("go build", with(program));
    }
    if let Some(package) = command.label.strip_prefix("go test ") {
        return ("go test", with(package));
    }
    let verb = match command.label.as_str() {
        "configure" => "configure",
        "defconfig" => "defconfig",
        "oldconfig" => "oldconfig",
        "cc" => "compile",
        _ => "make",
    };
    (verb, choice.to_string())
}

/// Copies a library into the build tree, where it comes before the one that all builds share.
fn borrow(libraries: Option<&Path>, src: &Path, path: &ImportPath) -> Result<()> {
    let from = libraries.context("borrowed libraries come from the libraries")?.join("src").join(path.path());
    if !from.is_dir() {
        let what = format!("there is no library {path} among those that the lock pins");
        return Err(Failure::new(Kind::Data, what).next("correct `patched` in the recipe").into());
    }
    tree::copy(&from, &src.join(GOPATH).join("src").join(path.path()))
}

/// Links a folder of the source to where Go looks for its import path.
fn import(work: &Work, folder: Option<&RelPath>, path: &ImportPath) -> Result<()> {
    let folder = folder.map_or(work.src.clone(), |folder| work.src.join(folder));
    if !folder.is_dir() {
        let what = format!("the source has no folder {}, which is imported as {path}", folder.display());
        return Err(Failure::new(Kind::Data, what).next("correct `import` in the recipe's [build.go]").into());
    }
    let at = work.src.join(GOPATH).join("src").join(path.path());
    if let Some(parent) = at.parent() {
        fs::create_dir_all(parent)?;
    }
    // Relative: commands see the tree under another path.
    let up = "../".repeat(path.as_str().matches('/').count() + 2);
    let target = folder.strip_prefix(&work.src).map_or(up.clone(), |folder| format!("{up}{}", folder.display()));
    Ok(fs::os::unix::fs::symlink(target.trim_end_matches('/'), at)?)
}

/// Checks that each text is in one of the programs.
fn linked(src: &Path, programs: &[RelPath], values: &[String]) -> Result<()> {
    let bytes = programs.iter().map(|program| fs::read(src.join(program))).collect::<std::io::Result<Vec<_>>>()?;
    let missing = |value: &&String| !bytes.iter().any(|bytes| elf::find(bytes, value.as_bytes()).is_some());
    let missing: Vec<&str> = values.iter().filter(missing).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<&str> = programs.iter().map(RelPath::as_str).collect();
    let what = format!("{}: not in it is what the linker was to set: {}", programs.join(", "), missing.join(", "));
    let next = "look for the variable's full path in the source: one that does not exist is ignored without a word";
    Err(Failure::new(Kind::Check, what).next(next).into())
}

/// Puts the values into a `.config`, replacing the lines that are there.
fn configure(path: &Path, values: &BTreeMap<Symbol, ConfigValue>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let asked = |line: &str| config_symbol(line).is_some_and(|symbol| values.keys().any(|key| key.as_str() == symbol));
    let mut lines: Vec<String> = text.lines().filter(|line| !asked(line)).map(str::to_owned).collect();
    for (symbol, value) in values {
        let off = || format!("# CONFIG_{} is not set", symbol.as_str());
        lines.push(config_line(symbol, value).unwrap_or_else(off));
    }
    write_atomic(path, (lines.join("\n") + "\n").as_bytes())
}

/// Checks that the program's own tools kept the values: a dependency can switch a symbol back.
fn configured(path: &Path, values: &BTreeMap<Symbol, ConfigValue>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let actual = |symbol: &str| text.lines().find(|line| config_symbol(line) == Some(symbol) && !line.starts_with('#'));
    let mut wrong = Vec::new();
    for (symbol, value) in values {
        let expected = config_line(symbol, value);
        let found = actual(symbol.as_str());
        if expected.as_deref() != found {
            let shown = |line: Option<&str>| line.map_or("off".to_owned(), str::to_owned);
            wrong.push(format!(
                "{}: asked for {}, in force is {}",
                symbol.as_str(),
                shown(expected.as_deref()),
                shown(found)
            ));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Kind::Build, format!("the configuration was not kept:\n  {}", wrong.join("\n  ")))
            .next("look at what the symbol depends on in the program's Config.in")
            .into()),
    }
}

/// The symbol of `CONFIG_X=y` or `# CONFIG_X is not set`.
fn config_symbol(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let rest = line.strip_prefix("CONFIG_")?;
    rest.split(['=', ' ']).next()
}

fn install(from: &Path, to: &Path, shown: &RelPath) -> Result<()> {
    if !from.is_file() {
        let what = format!("the build made no file `{shown}`, which the recipe ships");
        return Err(Failure::new(Kind::Build, what).next("correct the path in [files], or look at the logs").into());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to)?;
    set_mode(to, if project::is_executable(from)? { 0o755 } else { 0o644 })
}

fn link(at: &Path, target: &RelPath) -> Result<()> {
    if let Some(parent) = at.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::os::unix::fs::symlink(target, at)?)
}

/// Checks every file of the result; all problems are told, not only the first.
fn inspect(plan: &Plan, work: &Work, arch: Arch) -> Result<()> {
    let private: Vec<(&str, &[u8])> = work.private.iter().map(|(what, path)| (*what, path.as_bytes())).collect();
    let mut problems = Vec::new();
    for path in project::walk(&work.files)? {
        let full = work.files.join(&path);
        if full.is_symlink() {
            continue;
        }
        if let Err(error) = elf::check(&full, &path.to_string_lossy(), arch, &private) {
            problems.push(format!("{error:#}"));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => {
            let what = format!("{} must not ship as it is:\n{}", plan.choice, problems.join("\n"));
            Err(Failure::new(Kind::Check, what).next(format!("the build tree is kept: {}", work.src.display())).into())
        }
    }
}

/// What a folder of results holds, in the order of the paths.
fn entries_of(files: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in project::walk(files)? {
        let full = files.join(&path);
        let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned();
        entries.push(match full.is_symlink() {
            true => Entry::Link { path, target: shown(&fs::read_link(&full)?) },
            false => Entry::File {
                path,
                sha256: hash_file(&full)?,
                size: fs::metadata(&full)?.len(),
                executable: project::is_executable(&full)?,
            },
        });
    }
    Ok(entries)
}
