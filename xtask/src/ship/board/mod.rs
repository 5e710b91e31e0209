//! Boards: how to reach one, and what is done to it.
//!
//! A [`Link`] runs commands on a board and sends files to it; each way there is a file of its own. None
//! of them is believed about exit statuses, which come in-band ([`inband`]), nor about files, which are
//! hashed on the board ([`upload`]). Knows the layout of the board's folder, and the names of its script's
//! commands; what those do is the script's affair.

pub mod adb;
pub mod agent;
pub mod device;
pub mod emulator;
pub mod facts;
pub mod hdc;
pub mod inband;
pub mod package;
pub mod script;
pub mod ssh;
pub mod terminal;
pub mod upload;
mod usb;

use std::path::Path;

use crate::error::{Failure, Kind, Result};
use crate::run::process::{Spawn, tail};

use inband::Framed;

/// A way to a board.
pub trait Link {
    /// How a person tells it from others: `hdc 7001005458323933`.
    fn name(&self) -> String;

    /// Runs a POSIX shell command, one line without a newline, and gives each line of its output (standard
    /// error included, in the order in which it was written) to `sink` as it comes. The exit status is the
    /// command's own. It is an error if the command could not be run, or how it ended is not known.
    fn stream(&self, command: &str, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<i32>;

    /// Sends a file; tells `progress` how many more bytes are there. The receiver's copy is not yet verified.
    fn send(&self, local: &Path, remote: &str, progress: &mut dyn FnMut(u64)) -> Result<()>;

    /// Hands the terminal over to the board: to `command`, or to its own shell where none is given or the way
    /// cannot start one with a terminal. Gives the exit status, 0 if the way does not carry it.
    fn interact(&self, command: Option<&str>) -> Result<i32>;

    /// Runs a command to its end and keeps what it printed.
    fn shell(&self, command: &str) -> Result<Answer> {
        let mut output = Vec::new();
        let status = self.stream(command, &mut |line| {
            output.extend_from_slice(line);
            Ok(())
        })?;
        Ok(Answer { status, output: String::from_utf8_lossy(&output).into_owned() })
    }
}

/// What a command on a board came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    /// Standard output and error, in the order in which they were written.
    pub output: String,
}

impl Answer {
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

/// Runs a way's client, which runs the framed command on the board, and takes the exit status out of what it
/// prints. `advice` knows what the client's own messages mean.
fn run_client(
    name: &str,
    client: &Spawn,
    framed: &Framed,
    advice: &dyn Fn(&str) -> Vec<String>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<i32> {
    let mut reader = framed.reader();
    let mut said = Vec::new();
    let finished = client.stream(None, &mut |line| {
        reader.line(line, &mut |output| {
            said.extend_from_slice(output);
            let spare = said.len().saturating_sub(4096);
            said.drain(..spare);
            sink(output)
        })
    })?;
    if let Some(status) = reader.status() {
        return Ok(status);
    }
    let said = tail(String::from_utf8_lossy(&said).trim(), 10);
    let what = match said.is_empty() {
        true => format!("{name}: the connection ended before the command did ({})", finished.how()),
        false => format!("{name}: the connection ended before the command did:\n{said}"),
    };
    Err(failure(what, advice(&said)).into())
}

/// A failure of a board or of the way to it.
fn failure(what: impl Into<String>, next: Vec<String>) -> Failure {
    next.into_iter().fold(Failure::new(Kind::Board, what), Failure::next)
}
