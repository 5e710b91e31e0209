//! Asks a person for a line that must not be seen: the terminal's echo is off while it is typed.

use std::fs::File;
use std::io::Write as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::{Context, Result};
use crate::interrupt;

/// The longest line that is read; a terminal gives no longer one at once.
const LONGEST: usize = 4096;

/// Prints the question on the terminal and reads the answer, without its line's end. `None` at the end of input.
pub fn ask_hidden(mut terminal: &File, question: &str) -> Result<Option<String>> {
    let quiet = Quiet::begin(terminal)?;
    write!(terminal, "{question}: ").context("ask on the terminal")?;
    let line = read_line(terminal);
    drop(quiet);
    // The person's own Enter was not shown either.
    writeln!(terminal).context("ask on the terminal")?;
    let Some(mut line) = line? else { return Ok(None) };
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    String::from_utf8(line).map(Some).ok().context("what was typed is not text in UTF-8")
}

fn read_line(terminal: &File) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < LONGEST {
        wait(terminal)?;
        let mut buffer = [0; LONGEST];
        match rustix::io::read(terminal, &mut buffer) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR) => {}
            // A terminal whose other end has gone.
            Err(Errno::IO) => return Ok(None),
            Err(error) => return Err(error).context("read from the terminal"),
        }
    }
    Ok(Some(line))
}

/// Waits until something was typed, or a signal has come.
fn wait(terminal: &File) -> Result<()> {
    let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    loop {
        interrupt::check()?;
        match poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&moment)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error).context("wait for the terminal"),
        }
    }
}

/// Echo is off until this is dropped, on every way out.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a File) -> Result<Self> {
        let before = tcgetattr(terminal).context("read the terminal's modes")?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &quiet).context("turn the terminal's echo off")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing better can be done than to try.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
