//! The folders that a build's commands see, and what they are called there.
//!
//! A plan writes them as `{src}`, `{tool}` and so on. In a sandbox each has the same path on every machine;
//! without one it is where it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::process::Spawn;
use super::sandbox::{Bind, Sandbox};
use crate::data::types::{Name, RelPath};

/// Where commands see the build tree.
pub const SRC: &str = "/build/src";
/// The most data that a process of a build may have. The largest seen, Go's linker, takes 1.5 GB.
const MEMORY: u64 = 16 << 30;
/// What a host's compiler and shell need of it, where a plan uses them.
const HOST: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives"];

/// What commands see.
pub struct Places {
    /// Name in plans → path for commands.
    names: Vec<(&'static str, String)>,
    sandbox: Option<Sandbox>,
    /// Whether the host's programs are seen.
    host: bool,
}

impl Places {
    /// Without `host`, commands in a sandbox see nothing of the host's programs and libraries.
    pub fn new(sandboxed: bool, host: bool) -> Self {
        let sandbox = Sandbox { memory: Some(MEMORY), ..Sandbox::default() };
        let mut places = Self { names: Vec::new(), sandbox: sandboxed.then_some(sandbox), host };
        if host {
            places.show_host();
        }
        places
    }

    /// Shows the folder `real` to commands, who cannot change it.
    pub fn read(&mut self, name: &'static str, real: &Path, inside: &str) {
        self.add(name, real, inside, false);
    }

    /// Shows the folder `real` to commands, who may write to it.
    pub fn write(&mut self, name: &'static str, real: &Path, inside: &str) {
        self.add(name, real, inside, true);
    }

    /// The same as `read`, and the name stands for a folder in it.
    pub fn read_part(&mut self, name: &'static str, real: &Path, inside: &str, part: Option<&RelPath>) {
        self.add(name, real, inside, false);
        if let (Some(part), Some((_, path))) = (part, self.names.last_mut()) {
            *path = format!("{path}/{part}");
        }
    }

    /// Shows a tool's folder; gives its path for commands.
    pub fn tool(&mut self, name: &Name, real: &Path) -> PathBuf {
        let Some(sandbox) = &mut self.sandbox else { return real.to_owned() };
        let inside = PathBuf::from(format!("/build/tools/{name}"));
        sandbox.binds.push(Bind { from: real.to_owned(), to: inside.clone(), writable: false });
        inside
    }

    /// A link in the root of a sandbox to a place in it, where the host has not its own.
    pub fn link(&mut self, at: &RelPath, target: &str) {
        let target = self.fill(target);
        if let Some(sandbox) = self.sandbox.as_mut().filter(|_| !self.host) {
            sandbox.links.push((Path::new("/").join(at), target.into()));
        }
    }

    /// A program of the host, which is where it is.
    pub fn host(&mut self, name: &'static str, path: &Path) {
        self.names.push((name, path.to_string_lossy().into_owned()));
    }

    /// Replaces the places of a plan's text by paths.
    pub fn fill(&self, word: &str) -> String {
        self.names.iter().fold(word.to_owned(), |word, (name, path)| word.replace(&format!("{{{name}}}"), path))
    }

    /// A command in the folder `dir`, which it sees as [`SRC`].
    pub fn spawn(&self, argv: Vec<OsString>, dir: &Path, env: BTreeMap<String, OsString>) -> Spawn {
        let Some(sandbox) = &self.sandbox else { return Spawn::isolated(argv, dir, env) };
        let mut sandbox = sandbox.clone();
        sandbox.binds.retain(|bind| bind.to != Path::new(SRC));
        Spawn::isolated(argv, Path::new(SRC), env).sandbox(sandbox.write(dir, SRC))
    }

    pub fn sandboxed(&self) -> bool {
        self.sandbox.is_some()
    }

    fn add(&mut self, name: &'static str, real: &Path, inside: &str, writable: bool) {
        match &mut self.sandbox {
            Some(sandbox) => {
                sandbox.binds.push(Bind { from: real.to_owned(), to: inside.into(), writable });
                self.names.push((name, inside.to_owned()));
            }
            None => self.names.push((name, real.to_string_lossy().into_owned())),
        }
    }

    /// The host's shell and small tools. Most of these folders are links on most systems today.
    fn show_host(&mut self) {
        let Some(sandbox) = &mut self.sandbox else { return };
        for path in HOST.map(Path::new) {
            match std::fs::read_link(path) {
                Ok(target) => sandbox.links.push((path.to_owned(), target)),
                Err(_) if path.is_dir() => {
                    sandbox.binds.push(Bind { from: path.to_owned(), to: path.to_owned(), writable: false });
                }
                Err(_) => {}
            }
        }
    }
}
