//! What a failure is, and the one place that prints it.
//!
//! Errors travel as `anyhow::Error`: a chain of plain sentences, what was being done first. Where code
//! or the exit status must tell failures apart, a link of the chain is a [`Failure`].

use std::fmt::Write as _;
use std::path::PathBuf;

pub use anyhow::{Context, Result, bail};

/// The kinds of failure that have an exit status of their own. `docs/architecture.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A step of a build failed.
    Build,
    /// A recipe, target, toolchain or patch file is wrong.
    Data,
    /// A source or tool could not be had from any place.
    Source,
    /// What was built is not what must ship: a failed ELF or run check.
    Check,
    /// This machine lacks something; `cargo xtask doctor` lists what.
    Host,
    /// A board could not be reached, lacks something, or did not do what it was asked.
    Board,
    /// The script on the board ended with this status, which is ours then.
    Script(u8),
    /// Ctrl-C, SIGTERM or SIGHUP.
    Interrupted,
}

impl Kind {
    /// The process's exit status. 0 is success, 1 any other failure, 2 wrong usage (clap's own).
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Build => 3,
            Kind::Data => 4,
            Kind::Source => 5,
            Kind::Check => 6,
            Kind::Host => 7,
            Kind::Board => 8,
            Kind::Script(status) => status,
            Kind::Interrupted => 130,
        }
    }
}

/// A failure with a kind, and what a person needs to go on.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    /// One sentence: what went wrong with which object. May span lines (aligned hashes, a table).
    pub message: String,
    /// The failed command, ready to be pasted into a shell.
    pub command: Option<String>,
    /// The last lines of the step's log, and where the whole of it is.
    pub log: Option<(String, PathBuf)>,
    /// What to do next, most likely first.
    pub next: Vec<String>,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), command: None, log: None, next: Vec::new() }
    }

    /// Adds one thing to try.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The exit status that `error` asks for.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    failure(error).map_or(1, |failure| failure.kind.exit_code())
}

/// True if the work stopped because a person (or the system) asked for it.
pub fn is_interrupt(error: &anyhow::Error) -> bool {
    failure(error).is_some_and(|failure| failure.kind == Kind::Interrupted)
}

/// The error as a person reads it: what was being done, why it failed, where to look, what to do.
pub fn render(error: &anyhow::Error) -> String {
    let mut links = error.chain();
    let mut text = format!("error: {}\n", links.next().expect("a chain has a first link"));
    for link in links {
        let _ = writeln!(text, "  why: {}", link.to_string().replace('\n', "\n       "));
    }
    let Some(failure) = failure(error) else { return text };
    if let Some((tail, path)) = &failure.log {
        if !tail.is_empty() {
            let _ = writeln!(text, "\n  the log ends with:");
            for line in tail.lines() {
                let _ = writeln!(text, "  | {line}");
            }
        }
        let _ = writeln!(text, "\n  log:     {}", path.display());
    }
    if let Some(command) = &failure.command {
        let _ = writeln!(text, "  command: {command}");
    }
    for next in &failure.next {
        let _ = writeln!(text, "  try:     {}", next.replace('\n', "\n           "));
    }
    text
}

fn failure(error: &anyhow::Error) -> Option<&Failure> {
    error.chain().find_map(|link| link.downcast_ref::<Failure>())
}
