//! A link to a running emulated board: its agent's socket for commands and files, its console for a terminal.
//!
//! Knows where a running emulator's sockets are, not how it is started.

use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fs_err as fs;

use super::Link;
use super::agent::Agent;
use super::terminal;
use crate::error::{Context, Failure, Kind, Result, bail};

/// The agent's socket in an emulator's folder.
pub const AGENT: &str = "agent.sock";
/// The console's.
pub const CONSOLE: &str = "console.sock";
/// A command of a person may take long; a board that hangs is ended by whoever started it.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// A running emulated board.
pub struct Emulated {
    name: String,
    dir: PathBuf,
    agent: Mutex<Agent>,
}

impl Emulated {
    /// The board that runs in the folder `dir`.
    pub fn attach(name: &str, dir: &Path) -> Result<Self> {
        let Ok(socket) = connect(dir, AGENT) else {
            let what = format!("no emulated board of {name} that is not busy runs on this machine");
            let next = format!("cargo xtask emulate --target {name} --shell   (in another terminal)");
            return Err(Failure::new(Kind::Host, what).next(next).into());
        };
        // It serves one at a time.
        let busy = || format!("reach the emulated board of {name}: do checks or another command run on it?");
        let agent = Agent::hello(socket, Duration::from_secs(60)).with_context(busy)?;
        Ok(Self { name: name.to_owned(), dir: dir.to_owned(), agent: Mutex::new(agent) })
    }

    fn agent(&self) -> std::sync::MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Emulated {
    fn name(&self) -> String {
        format!("emulator {}", self.name)
    }

    /// The lines come when the command has ended: its output goes through a file on the board.
    fn stream(&self, command: &str, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<i32> {
        let (status, output) = self.agent().run(command, LIMIT)?;
        for line in output.split_inclusive(|byte| *byte == b'\n') {
            sink(line)?;
        }
        Ok(status)
    }

    fn send(&self, local: &Path, remote: &str, progress: &mut dyn FnMut(u64)) -> Result<()> {
        self.agent().put(local, remote, progress)
    }

    /// The console, as at a board's serial port: it carries no exit status.
    fn interact(&self, command: Option<&str>) -> Result<i32> {
        console(&self.dir, command)?;
        Ok(0)
    }
}

/// Connects to a socket in `dir`. An address has room for 108 bytes, a folder's path may be longer.
pub fn connect(dir: &Path, name: &str) -> Result<UnixStream> {
    let folder = fs::File::open(dir)?;
    let path = format!("/proc/self/fd/{}/{name}", folder.file().as_raw_fd());
    UnixStream::connect(path).with_context(|| format!("connect to {}", dir.join(name).display()))
}

/// Hands the terminal to the console of the board in `dir`, until the key that leaves it or the board's end.
pub fn console(dir: &Path, command: Option<&str>) -> Result<()> {
    let socket = connect(dir, CONSOLE)?;
    if command.is_some_and(|command| command.contains('\n')) {
        bail!("a command for the console is one line");
    }
    terminal::hand_over(socket, command)
}
