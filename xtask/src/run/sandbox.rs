//! A cage for one command: Linux namespaces, entered without root and without a daemon.
//!
//! In it there is no network, nothing of the host but what was declared, and nothing that differs from
//! machine to machine and could be hidden: user, groups, host name, folders, devices, limits. When the
//! command ends, or whoever started it, everything in the cage ends.
//!
//! This file is the outside: what a sandbox holds, how a command is started in it, and how far this
//! machine lets us go. Three processes are involved, all of them this program, because namespaces can
//! only be entered by a process without threads, and by its children ([`inside`]):
//!
//! ```text
//! builder ── __sandbox: unshares ── its fork: PID 1, makes the root ── the command
//! ```
//!
//! The command's description goes in by way of an anonymous file as standard input, so that neither argv
//! nor the environment limits it; how it ended comes back in the same file.

mod forbidden;
pub mod inside;
mod root;
mod sys;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use self::forbidden::Why;
use crate::error::{Context, Failure, Kind, Result};
use crate::run::process::quote;

/// The user and the group that every command runs as. Not 0: `install -o root` and `tar` must not try to
/// give files away, which only works for one id here.
pub const UID: u32 = 1000;
/// See [`UID`].
pub const GID: u32 = 1000;
/// What `hostname` says.
pub const HOST_NAME: &str = "slipway";

/// What a command sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// In this order: a later one may lie inside an earlier one, if its mount point is there.
    pub binds: Vec<Bind>,
    /// Symbolic links in the new root: where they are, and what they hold.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// The most data each process may have, in bytes. It counts what can be written (`RLIMIT_DATA`), not the
    /// address space, of which Go and zig reserve far more than they use.
    pub memory: Option<u64>,
}

/// A file or folder of the host, shown at another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    pub from: PathBuf,
    /// Absolute; folders on the way to it are made.
    pub to: PathBuf,
    pub writable: bool,
}

impl Sandbox {
    /// Shows `from` at `to`; nothing can change it there.
    pub fn read(mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        self.binds.push(Bind { from: from.into(), to: to.into(), writable: false });
        self
    }

    /// Shows `from` at `to`, to be written.
    pub fn write(mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        self.binds.push(Bind { from: from.into(), to: to.into(), writable: true });
        self
    }

    /// Makes a symbolic link `at` that holds `target`.
    pub fn link(mut self, at: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.links.push((at.into(), target.into()));
        self
    }

    /// Where paths of the inside are outside, as a person reads it below a command.
    pub fn places(&self) -> String {
        let show = |bind: &Bind| {
            let written = if bind.writable { " (writable)" } else { "" };
            format!("{} is {}{written}", bind.to.display(), quote(&bind.from.to_string_lossy()))
        };
        self.binds.iter().map(show).collect::<Vec<_>>().join(", ").replace('\n', " ")
    }
}

/// How far a sandbox reaches: each result's record says how far its own did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Level {
    /// Namespaces, and Landlock on top.
    Full,
    /// Namespaces, but not all that there could be.
    Partial(Partial),
    /// None: `--sandbox=off`.
    Off,
}

/// What a sandbox below [`Level::Full`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partial {
    pub landlock: bool,
    /// False if /proc is the host's, read-only: it tells of the host's processes, but gives nothing away that
    /// any user may not know.
    pub own_proc: bool,
}

impl Level {
    fn of(landlock: bool, own_proc: bool) -> Self {
        match (landlock, own_proc) {
            (true, true) => Level::Full,
            _ => Level::Partial(Partial { landlock, own_proc }),
        }
    }
}

impl Level {
    /// All of them, the strongest first.
    fn all() -> [Level; 5] {
        let reached = [(true, true), (true, false), (false, true), (false, false)];
        let [a, b, c, d] = reached.map(|(landlock, own_proc)| Level::of(landlock, own_proc));
        [a, b, c, d, Level::Off]
    }

    /// What can be said of several builds; of none at all, nothing.
    pub fn weakest(levels: impl Iterator<Item = Level>) -> Level {
        let rank = |level: &Level| Level::all().iter().position(|other| other == level);
        levels.max_by_key(rank).unwrap_or(Level::Off)
    }

    /// What it means for the bytes of a build, in the manifest's words. Not whether Landlock was there too: that is a
    /// second lock on the same door, and a bundle must not depend on the kernel that it was built on.
    pub fn in_manifest(self) -> &'static str {
        match self {
            Level::Full | Level::Partial(_) => "namespaces",
            Level::Off => "off",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Level::Full => "namespaces+landlock",
            Level::Partial(Partial { landlock: true, own_proc: true }) => "namespaces+landlock",
            Level::Partial(Partial { landlock: true, own_proc: false }) => "namespaces+landlock, host's /proc",
            Level::Partial(Partial { landlock: false, own_proc: true }) => "namespaces",
            Level::Partial(Partial { landlock: false, own_proc: false }) => "namespaces, host's /proc",
            Level::Off => "off",
        })
    }
}

impl From<Level> for String {
    fn from(level: Level) -> String {
        level.to_string()
    }
}

impl TryFrom<String> for Level {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        Level::all()
            .into_iter()
            .find(|level| level.to_string() == text)
            .ok_or_else(|| format!("`{text}` is no level of a sandbox"))
    }
}

/// Enters a sandbox and comes back: how far this machine lets us go, or why not at all. Asked once per process.
pub fn probe() -> std::result::Result<Level, Why> {
    static ANSWER: OnceLock<std::result::Result<Level, Why>> = OnceLock::new();
    ANSWER.get_or_init(ask).clone()
}

/// The same for who cannot go on without one.
pub fn required() -> Result<Level> {
    probe().map_err(|why| why.failure().into())
}

fn ask() -> std::result::Result<Level, Why> {
    let mut entry = Entry::new(&Sandbox::default(), &[], &BTreeMap::new(), Path::new("/"))
        .map_err(|error| Why::unknown(format!("{error:#}"), None))?;
    let ran = entry
        .command
        .output()
        .map_err(|error| Why::unknown(format!("start this program again: {error}"), error.raw_os_error()))?;
    match entry.report.read() {
        Some(Report { level: Some(level), outcome: Outcome::Exited(0) }) => Ok(level),
        Some(Report { outcome: Outcome::Refused(refusal), .. }) => Err(Why::of(&refusal)),
        _ => Err(Why::unknown(format!("{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr).trim()), None)),
    }
}

/// A command that enters a sandbox, and where the answer will be.
pub struct Entry {
    /// Standard input is taken; everything else is the caller's to set. Its environment is empty: a jobserver
    /// may add its variables, which reach the command.
    pub command: Command,
    pub report: ReportFile,
}

impl Entry {
    /// A command without words enters, leaves again and only reports.
    pub fn new(sandbox: &Sandbox, argv: &[OsString], env: &BTreeMap<String, OsString>, dir: &Path) -> Result<Self> {
        let spec = Spec { argv: argv.to_vec(), env: env.clone(), dir: dir.to_owned(), sandbox: sandbox.clone() };
        let memory = rustix::fs::memfd_create("sandbox", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file = File::from(memory.context("make an anonymous file for a sandbox")?);
        let text = serde_json::to_vec(&spec).context("describe a sandbox")?;
        file.write_all(&text).and_then(|()| file.rewind()).context("describe a sandbox")?;
        let mut command = Command::new(program());
        command.arg(inside::OUTER).env_clear().current_dir("/").stdin(Stdio::from(file.try_clone()?));
        Ok(Self { command, report: ReportFile { file } })
    }
}

/// The file that a sandbox was described in; once it has ended, how.
pub struct ReportFile {
    file: File,
}

impl ReportFile {
    /// Fails if it was the sandbox that failed, not the command in it.
    pub fn check(&mut self) -> Result<()> {
        let Some(Report { outcome: Outcome::Refused(refusal), .. }) = self.read() else { return Ok(()) };
        Err(match refusal.ours {
            true => Why::of(&refusal).failure(),
            false => Failure::new(Kind::Host, format!("the sandbox failed: {refusal}")),
        }
        .into())
    }

    /// None if the sandbox was killed: then its status says enough.
    fn read(&mut self) -> Option<Report> {
        let mut text = Vec::new();
        self.file.rewind().ok()?;
        self.file.read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// All that the inside must know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    argv: Vec<OsString>,
    env: BTreeMap<String, OsString>,
    dir: PathBuf,
    sandbox: Sandbox,
}

/// All that the inside has to tell.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    level: Option<Level>,
    outcome: Outcome,
}

#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Exited(i32),
    Signalled(i32),
    Refused(Refusal),
}

/// A step on the way in that failed.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    doing: String,
    errno: Option<i32>,
    why: String,
    /// True if the machine forbids it; false if what was asked for is wrong: a missing file or program.
    ours: bool,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.doing, self.why)
    }
}

/// Runs `path` instead of the running program: for test programs, which know no hidden subcommands.
#[doc(hidden)]
pub fn set_program(path: &Path) {
    let _ = PROGRAM.set(path.to_owned());
}

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Not `current_exe`, which has no file any more once cargo has built the program anew.
fn program() -> PathBuf {
    PROGRAM.get().cloned().unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}
