//! This terminal handed over to another machine's console: every key goes there, all it prints comes here.
//!
//! Ctrl-] leaves. Knows a socket, not what is behind it.

use std::io::{ErrorKind, IsTerminal as _, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::{Context, Result};
use crate::interrupt;

/// Ctrl-], as telnet has it.
const LEAVE: u8 = 0x1d;

/// Gives the terminal to `socket` until somebody leaves or the other end closes; types `command` first.
pub fn hand_over(mut socket: UnixStream, command: Option<&str>) -> Result<()> {
    // Wakes the prompt, which was printed before anybody listened.
    let first = command.map(|command| format!("{command}\n")).unwrap_or_else(|| "\n".to_owned());
    socket.write_all(first.as_bytes()).context("write to the console")?;
    socket.set_read_timeout(Some(Duration::from_millis(100))).context("set up the console's socket")?;
    let raw = Raw::enter()?;
    let keys = socket.try_clone().context("share the console's socket")?;
    // It ends with the process, or with the first key after the other end has closed.
    let typist = std::thread::spawn(move || type_keys(keys));
    let mut buffer = [0; 4096];
    let shown = loop {
        if typist.is_finished() || interrupt::requested() {
            break Ok(());
        }
        match socket.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(count) => {
                let mut out = std::io::stdout().lock();
                if out.write_all(&buffer[..count]).and_then(|()| out.flush()).is_err() {
                    break Ok(());
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => break Err(error).context("read the console"),
        }
    };
    drop(raw);
    shown
}

fn type_keys(mut socket: UnixStream) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
        let keys = &buffer[..count];
        let leave = keys.iter().position(|key| *key == LEAVE);
        if socket.write_all(&keys[..leave.unwrap_or(count)]).is_err() || leave.is_some() {
            return;
        }
    }
}

/// The terminal as the other machine wants it: no echo, no lines, no signals. Dropped, it is as it was.
struct Raw {
    before: Option<Termios>,
}

impl Raw {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(stdin.as_fd()).context("look at the terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Flush, &raw).context("set up the terminal")?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing is left to do if the terminal has gone.
            let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Flush, before);
        }
    }
}
