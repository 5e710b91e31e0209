//! The agent of an emulated board, asked over a socket: `board/emulator/agent` is the other end.
//!
//! A request is a line and so many bytes, its answer a line `answer STATUS LENGTH` and so many bytes. The exit
//! status comes in-band; an answer that does not come until a deadline, or a socket that closes, is an error.
//! Knows no QEMU.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err as fs;

use super::inband;
use crate::data::project::is_executable;
use crate::error::{Context, Result, bail};
use crate::interrupt;

/// How often a wait looks whether somebody wants it to end.
const TURN: Duration = Duration::from_millis(100);
/// What a command's limit is enforced with is in the guest; this long after it the guest itself is given up.
const GRACE: Duration = Duration::from_secs(90);

/// An agent that has answered.
#[derive(Debug)]
pub struct Agent {
    socket: UnixStream,
    /// What has come and was not asked for yet.
    held: Vec<u8>,
}

/// The board did not answer in time: it hangs.
#[derive(Debug, thiserror::Error)]
#[error("the board did not answer for {0} s")]
pub struct Hung(u64);

/// The board stopped while it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the board went down")]
pub struct Down;

impl Agent {
    /// Waits until the agent at the other end answers; what an earlier asker left unread is dropped.
    pub fn hello(socket: UnixStream, limit: Duration) -> Result<Self> {
        socket.set_read_timeout(Some(TURN)).context("set up the agent's socket")?;
        socket.set_write_timeout(Some(TURN)).context("set up the agent's socket")?;
        let mut agent = Self { socket, held: Vec::new() };
        let word = inband::random()?;
        let deadline = Deadline::new(limit);
        agent.write(format!("hello {word}\n").as_bytes(), &deadline)?;
        while agent.line(&deadline)? != format!("hello {word}") {}
        Ok(agent)
    }

    /// Runs a script with the board's shell; gives its exit status and its output, standard error included.
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<(i32, Vec<u8>)> {
        let deadline = Deadline::new(limit + GRACE);
        let head = format!("run {} {}\n", script.len(), limit.as_secs().max(1));
        self.write(head.as_bytes(), &deadline)?;
        self.write(script.as_bytes(), &deadline)?;
        self.answer(&deadline)
    }

    /// Sends a file. The copy is as long as the file, or it is an error.
    pub fn put(&mut self, local: &Path, remote: &str, progress: &mut dyn FnMut(u64)) -> Result<()> {
        if remote.contains('\n') {
            bail!("send {}: a path on the board cannot hold a newline", local.display());
        }
        let mut file = fs::File::open(local)?;
        let size = file.metadata()?.len();
        let mode = if is_executable(local)? { "755" } else { "644" };
        self.write(format!("put {size} {mode} {remote}\n").as_bytes(), &Deadline::new(GRACE))?;
        let mut buffer = vec![0; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = file.read(&mut buffer[..most])?;
            if count == 0 {
                bail!("{} became shorter while it was sent", local.display());
            }
            // The board has so long for each piece, not for the whole.
            self.write(&buffer[..count], &Deadline::new(GRACE))?;
            left -= count as u64;
            progress(count as u64);
        }
        let (status, output) = self.answer(&Deadline::new(GRACE))?;
        if status != 0 {
            bail!("the board could not write {remote}: {}", String::from_utf8_lossy(&output).trim());
        }
        Ok(())
    }

    fn answer(&mut self, deadline: &Deadline) -> Result<(i32, Vec<u8>)> {
        let line = self.line(deadline)?;
        let parsed = line.strip_prefix("answer ").and_then(|rest| {
            let (status, length) = rest.split_once(' ')?;
            Some((status.parse().ok()?, length.parse::<usize>().ok()?))
        });
        let Some((status, length)) = parsed else { bail!("the board's agent said `{line}`, which is no answer") };
        while self.held.len() < length {
            self.more(deadline)?;
        }
        Ok((status, self.held.drain(..length).collect()))
    }

    fn line(&mut self, deadline: &Deadline) -> Result<String> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.held[seen..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.held.drain(..=seen + at).collect();
                return Ok(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
            }
            seen = self.held.len();
            self.more(deadline)?;
        }
    }

    /// Waits for more bytes.
    fn more(&mut self, deadline: &Deadline) -> Result<()> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(Down.into()),
                Ok(count) => {
                    self.held.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) => deadline.go_on(error)?,
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8], deadline: &Deadline) -> Result<()> {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => deadline.go_on(error)?,
            }
        }
        Ok(())
    }
}

struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// Looks at what kept a read or a write: an error unless it is only time that passed.
    fn go_on(&self, error: std::io::Error) -> Result<()> {
        interrupt::check()?;
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => return Err(Down.into()),
            _ => return Err(error).context("talk to the board's agent"),
        }
        match self.started.elapsed() > self.limit {
            true => Err(Hung(self.limit.as_secs()).into()),
            false => Ok(()),
        }
    }
}
