//! Boards: how to reach one, and what is done to it.
//!
//! A [`Link`] runs commands on a board and sends files to it; each way there is a file of its own. None of them is believed about exit statuses: those come in-band ([`inband`]).
//! Knows the layout of the board's folder, and the names of its script's commands; what those do is the
//! script's affair.

pub mod agent;
pub mod emulator;
pub mod inband;
pub mod terminal;

use std::path::Path;

use crate::error::Result;

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

    /// Hands the terminal over to the board: to `command`, or to its own shell. Gives that one's exit status,
    /// 0 if the way does not carry it.
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
