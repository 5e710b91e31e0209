//! What a plan is made of, and its text.
//!
//! Places that only a running build knows are written `{src}` (the build tree), `{bin}` (the wrappers),
//! `{tool}` and `{cache}` (the compiler and its cache), `{found}` and `{host_cc}` (compilers of the host),
//! `{go}` and `{gocache}` (the same of Go), `{loader}` (what starts it), `{libs}` (the libraries' GOPATH),
//! `{userland}` (shell and small tools), `{home}` and `{tmp}` (empty folders), `{jobs}` (how many processors a
//! command may use that does not ask for them); `run` fills them in.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::data::lock::Lock;
use crate::data::recipe::{ConfigValue, Symbol};
use crate::data::source::{DebianSource, Git, Pinned};
use crate::data::types::{Arch, DebianVersion, ImportPath, Name, RelPath, Sha256};

use super::choice::Choice;

/// The folder of the build tree in which Go finds the source under its import path, and borrowed libraries.
pub const GOPATH: &str = ".gopath";

/// What the compiler for programs that the build itself runs is called.
pub const HOST_CC: &str = "host-cc";

/// How results are made from plans. Raised when `run` does something else with the same text.
const FORMAT: u32 = 2;

/// All that is done for one program.
#[derive(Debug, Clone)]
pub struct Plan {
    pub choice: Choice,
    pub source: Input,
    /// Patches by path and hash; the bytes are the project's.
    pub patches: Vec<(String, Sha256)>,
    pub tools: Vec<Tool>,
    /// Name → argv of each wrapper in `{bin}`.
    pub wrappers: BTreeMap<String, Vec<String>>,
    /// The whole environment of every command.
    pub env: BTreeMap<String, String>,
    /// Whether commands see the programs of the host; `PATH` tells it too.
    pub host: bool,
    pub steps: Vec<Step>,
    /// Runs of the finished program. Not part of the build's key: they change nothing in the result.
    pub checks: Vec<Check>,
}

/// Where a program's source comes from.
#[derive(Debug, Clone)]
pub enum Input {
    /// One file; where there are several, any of them.
    Archive(Vec<Pinned>),
    Git(Git),
    Debian(Package),
    Tree(RelPath, Sha256),
}

/// A Debian source package and the libraries that it builds with, as a lock pins them.
#[derive(Debug, Clone)]
pub struct Package {
    pub source: DebianSource,
    pub version: DebianVersion,
    pub files: Vec<Pinned>,
    pub libraries: Vec<Pinned>,
}

impl Package {
    /// What tells one set of libraries from another: their files and hashes.
    pub fn libraries_key(&self) -> Sha256 {
        let lines = self.libraries.iter().map(|library| format!("{} {}\n", library.sha256, library.file));
        Sha256::of(lines.collect::<String>())
    }
}

/// A tool that the build uses: pinned by the hashes of its packings, by the hash of what it is where it is
/// built here, or named as the host's.
#[derive(Debug, Clone)]
pub struct Tool {
    pub name: Name,
    pub title: String,
    pub packings: Vec<(String, Sha256)>,
    /// All its files.
    pub files: Option<Sha256>,
}

/// With which tools a tool is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// With those of the host.
    First,
    /// With what the first stage made: the hash of its files.
    Second(Sha256),
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The source into `{src}`.
    Unpack,
    /// One of the plan's patches, onto `{src}`.
    Patch(String),
    /// One of the libraries into `{src}`, for our patches to change.
    Borrow(ImportPath),
    /// A folder of the source under the path that Go code imports it by.
    Import { folder: Option<RelPath>, path: ImportPath },
    /// A command in `{src}`.
    Run(Command),
    /// Values into `{src}/.config`.
    Configure(BTreeMap<Symbol, ConfigValue>),
    /// The same values must be in force in `{src}/.config` after the program's own tools had it.
    Configured(BTreeMap<Symbol, ConfigValue>),
    /// Each text that the linker was to set is in one of the programs: Go's leaves out, without a word, what
    /// it cannot find.
    Linked { programs: Vec<RelPath>, values: Vec<String> },
    /// A file of the build tree into the result.
    Install { from: RelPath, to: String },
    /// A symbolic link into the result.
    Link { at: RelPath, target: RelPath },
    /// Every ELF file of the result: machine, static, stripped, no executable stack, no build path.
    Inspect(Arch),
}

/// A command of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it does, for the screen and the log's name: a verb, and a program where there are several.
    pub label: String,
    pub argv: Vec<String>,
    /// Besides, or in place of, the plan's environment.
    pub env: BTreeMap<String, String>,
    /// What its output must contain: for commands that succeed without doing anything.
    pub expect: Option<String>,
}

impl Command {
    /// Whether it uses the processors that it is given instead of asking for them.
    pub fn takes_jobs(&self) -> bool {
        self.argv.iter().chain(self.env.values()).any(|word| word.contains("{jobs}"))
    }
}

/// One run of the finished program under qemu-user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub argv: Vec<String>,
    pub expect: String,
    pub status: i32,
    pub input: BTreeMap<RelPath, String>,
}

impl Plan {
    /// The plan as people and the build's key read it.
    pub fn text(&self) -> String {
        let with: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).take(1).collect();
        let mut text = format!("plan {FORMAT}: {} with {}\n", self.choice, with.join(""));
        let _ = writeln!(text, "source {}", self.source);
        for tool in &self.tools {
            let _ = writeln!(text, "tool {}", tool.title);
            for (file, sha256) in &tool.packings {
                let _ = writeln!(text, "  {file}\n    sha256 {sha256}");
            }
            if let Some(sha256) = &tool.files {
                let _ = writeln!(text, "  built here, all its files\n    sha256 {sha256}");
            }
        }
        for (name, argv) in &self.wrappers {
            let _ = writeln!(text, "wrapper {name} = {}", words(argv));
        }
        for (name, value) in &self.env {
            let _ = writeln!(text, "env {name}={value}");
        }
        for (number, step) in self.steps.iter().enumerate() {
            let _ = writeln!(text, "{:2}. {}", number + 1, self.step_text(step));
        }
        text
    }

    /// The checks as people read them.
    pub fn checks_text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            for (name, content) in &check.input {
                let _ = writeln!(text, "input {name} = {content:?}");
            }
            let _ = writeln!(text, "check {} => status {}, {:?}", words(&check.argv), check.status, check.expect);
        }
        text
    }

    /// The patch's hash belongs to the text: changed bytes are another plan.
    fn step_text(&self, step: &Step) -> String {
        let hash = |path: &str| self.patches.iter().find(|(patch, _)| patch == path).map(|(_, hash)| hash);
        match step {
            Step::Patch(path) => match hash(path) {
                Some(hash) => format!("patch {path}\n      sha256 {hash}"),
                None => format!("patch {path}"),
            },
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Unpack => f.write_str("unpack the source into {src}"),
            Step::Patch(path) => write!(f, "patch {path}"),
            Step::Borrow(path) => write!(f, "copy the library {path} into {{src}}/{GOPATH}"),
            Step::Import { folder, path } => {
                let folder = folder.as_ref().map_or(String::new(), |folder| format!("/{folder}"));
                write!(f, "import {{src}}{folder} as {path}")
            }
            Step::Run(command) => command.fmt(f),
            Step::Linked { programs, values } => {
                let programs: Vec<&str> = programs.iter().map(RelPath::as_str).collect();
                write!(f, "look in {} for {}", programs.join(", "), words(values))
            }
            Step::Configure(values) => write!(f, "set in .config: {}", config_text(values)),
            Step::Configured(values) => write!(f, "check .config: {}", config_text(values)),
            Step::Install { from, to } => write!(f, "install {from} as {to}"),
            Step::Link { at, target } => write!(f, "link {at} -> {target}"),
            Step::Inspect(arch) => {
                write!(f, "inspect every ELF file: {arch}, static, stripped, no executable stack, no build path")
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}:", self.label)?;
        for (name, value) in &self.env {
            write!(f, " {name}={}", words(std::slice::from_ref(value)))?;
        }
        write!(f, " {}", words(&self.argv))?;
        match &self.expect {
            Some(expect) => write!(f, "\n      must print {expect:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "debian {} {} ({}), its own patches applied", self.source.package, self.version, self.source.suite)?;
        for file in &self.files {
            write!(f, "\n  {}\n    sha256 {}", file.file, file.sha256)?;
        }
        if !self.libraries.is_empty() {
            let lock = Lock::path(&self.source.suite, &self.source.package);
            write!(f, "\nlibraries: the {} of {lock}\n  sha256 {}", self.libraries.len(), self.libraries_key())?;
        }
        Ok(())
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Archive(packings) => {
                let lines =
                    packings.iter().map(|pinned| format!("archive {}\n  sha256 {}", pinned.file, pinned.sha256));
                f.write_str(&lines.collect::<Vec<_>>().join("\nor "))
            }
            Input::Git(git) => write!(f, "git {}\n  commit {}", git.url, git.commit),
            Input::Debian(package) => package.fmt(f),
            Input::Tree(path, sha256) => write!(f, "tree {path}\n  sha256 {sha256}"),
        }
    }
}

/// `CONFIG_STATIC=y`, as `.config` has it; `None` for a symbol that is off.
pub fn config_line(symbol: &Symbol, value: &ConfigValue) -> Option<String> {
    let symbol = symbol.as_str();
    match value {
        ConfigValue::Bool(false) => None,
        ConfigValue::Bool(true) => Some(format!("CONFIG_{symbol}=y")),
        ConfigValue::Number(number) => Some(format!("CONFIG_{symbol}={number}")),
        ConfigValue::Text(text) => Some(format!("CONFIG_{symbol}=\"{text}\"")),
    }
}

fn config_text(values: &BTreeMap<Symbol, ConfigValue>) -> String {
    let lines = values
        .iter()
        .map(|(symbol, value)| config_line(symbol, value).unwrap_or_else(|| format!("CONFIG_{} off", symbol.as_str())));
    lines.map(|line| format!("\n      {line}")).collect()
}

/// The argv, quoted where a word would be read as two.
fn words(argv: &[String]) -> String {
    let quoted = argv.iter().map(|word| match word.is_empty() || word.contains([' ', '\'', '"', '\n', '\\']) {
        true => format!("{word:?}"),
        false => word.clone(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}
