//! The only place that starts processes.
//!
//! Each child gets exactly the environment it is given, no standard input unless it is given a file, and a
//! process group of its own that ends with it: on Ctrl-C, on a time limit, or when this process dies. Two
//! exceptions: what is [`lasting`](Spawn::lasting) may leave a server behind, and what is run to
//! [`interact`](Spawn::interact) has the terminal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;
use crate::run::sandbox::{Entry, ReportFile, Sandbox};

/// How long a command may be silent before we look at the time, at Ctrl-C, and whether it still lives.
const TURN: Duration = Duration::from_millis(100);
/// Turns until we give a killed process up that does not go: it hangs in the kernel, on a dead network disk say.
const PATIENCE: u32 = 2000;
/// A longer line is cut: a build must not be able to fill our memory.
const LINE: usize = 64 * 1024;
/// The most that is read after a command's end, from what has escaped it and still writes.
const REST: usize = 1 << 20;
/// The last of the signals that have names; the first is 1.
const LAST_SIGNAL: i32 = 31;

/// A command before it runs: argv, folder, environment and limits.
#[derive(Debug, Clone, Default)]
pub struct Spawn {
    pub argv: Vec<OsString>,
    /// The folder it runs in: with a sandbox, a path of its inside.
    pub dir: PathBuf,
    /// The whole environment, unless `inherit` is set, when it is added to ours.
    pub env: BTreeMap<String, OsString>,
    /// Keeps our own environment: for the host's clients (pip, apt-get, git), which are configured by it.
    pub inherit: bool,
    /// After this long the process group is killed.
    pub limit: Option<Duration>,
    /// Set from another thread, it ends the command.
    pub cancel: Option<Arc<AtomicBool>>,
    /// What it sees of this machine; without one, everything.
    pub sandbox: Option<Sandbox>,
    /// What it reads as its standard input; without one, nothing.
    pub input: Option<PathBuf>,
    /// A client whose server stays when it is gone (hdc, adb, a shared ssh connection).
    pub lasting: bool,
}

/// How a command ended, and all that it printed, standard output and error in the order they came.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub output: Vec<u8>,
    pub timed_out: bool,
    /// The time limit that it had.
    pub limit: Option<Duration>,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.status.success() && !self.timed_out
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// `exit status 2`, `killed by signal 11 (SIGSEGV)`, `killed at its time limit of 600 s`.
    pub fn how(&self) -> String {
        if self.timed_out {
            let limit = self.limit.map(|limit| format!(" of {} s", limit.as_secs_f32()));
            return format!("killed at its time limit{}", limit.unwrap_or_default());
        }
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(9)) => "killed by signal 9 (SIGKILL): by the kernel, if memory ran out".to_owned(),
            (None, Some(11)) => "killed by signal 11 (SIGSEGV)".to_owned(),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        }
    }
}

impl Spawn {
    /// A step of a build: nothing of our environment reaches it.
    pub fn isolated(argv: Vec<OsString>, dir: &Path, env: BTreeMap<String, OsString>) -> Self {
        Self { argv, dir: dir.to_owned(), env, ..Self::default() }
    }

    /// One of the host's own clients, run with our environment: `Spawn::host(cmd!(sh, "git --version"))`.
    pub fn host(command: xshell::Cmd<'_>) -> Self {
        let command = Command::from(command);
        let argv = std::iter::once(command.get_program()).chain(command.get_args()).map(OsString::from).collect();
        let env = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_owned())))
            .collect();
        let dir = command.get_current_dir().unwrap_or(Path::new("/")).to_owned();
        Self { argv, dir, env, inherit: true, ..Self::default() }
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.sandbox = Some(sandbox);
        self
    }

    pub fn input(mut self, file: &Path) -> Self {
        self.input = Some(file.to_owned());
        self
    }

    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// The command as it can be pasted into a POSIX shell, environment and folder included. Of a sandbox it
    /// tells in a comment which folders of this machine the command saw where.
    pub fn shell_line(&self) -> String {
        let mut line = format!("cd {} &&", quote(&self.dir.to_string_lossy()));
        if !self.inherit {
            line.push_str(" env -i");
        }
        for (name, value) in &self.env {
            line.push_str(&format!(" {}", quote(&format!("{name}={}", value.to_string_lossy()))));
        }
        for word in &self.argv {
            line.push_str(&format!(" {}", quote(&word.to_string_lossy())));
        }
        if let Some(sandbox) = &self.sandbox {
            line.push_str(&format!("  # in a sandbox: {}", sandbox.places()));
        }
        line
    }

    /// Runs to the end and keeps what was printed.
    pub fn output(&self) -> Result<Finished> {
        let mut output = Vec::new();
        let mut finished = self.stream(None, &mut |line| {
            output.extend_from_slice(line);
            Ok(())
        })?;
        finished.output = output;
        Ok(finished)
    }

    /// Runs to the end; gives each line that is printed to `sink` as it comes. With a jobserver, `make`
    /// and its like below the child share its tokens.
    pub fn stream(
        &self,
        jobserver: Option<&jobserver::Client>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Finished> {
        interrupt::check()?;
        adopt_orphans()?;
        let (reader, writer) = std::io::pipe().context("open a pipe for a command's output")?;
        let mut output = Output::new(reader)?;
        let (mut command, report) = self.command(writer)?;
        if let Some(jobserver) = jobserver {
            jobserver.configure_make(&mut command);
        }
        let child = command.spawn().with_context(|| format!("start `{}`", self.program()))?;
        drop(command); // It holds our end of the pipe: with it open we would never see the end.
        let mut group = Group { child, ended: false, lasting: self.lasting };
        let timed_out = group.follow(&mut output, self, sink)?;
        let status = group.end()?;
        output.rest(sink)?;
        report.map_or(Ok(()), |mut report| report.check())?;
        Ok(Finished { status, output: Vec::new(), timed_out, limit: self.limit })
    }

    /// Starts a helper that runs beside us until the guard is dropped, its output thrown away.
    pub fn background(&self) -> Result<Background> {
        adopt_orphans()?;
        let (mut command, _) = self.command(std::io::pipe()?.1)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("start `{}`", self.program()))?;
        Ok(Background { group: Group { child, ended: false, lasting: false } })
    }

    /// Starts a program that runs beside us until it ends by itself or the guard is dropped; what it prints goes
    /// to the end of `log`.
    pub fn beside(&self, log: &Path) -> Result<Background> {
        let (mut command, _) = self.command(std::io::pipe()?.1)?;
        let log = fs_err::File::options().create(true).append(true).open(log)?.into_parts().0;
        command.stderr(log.try_clone()?).stdout(log);
        let child = command.spawn().with_context(|| format!("start `{}`", self.program()))?;
        Ok(Background { group: Group { child, ended: false, lasting: false } })
    }

    /// Hands our terminal to the command until it ends: it is in our own process group, so it may read there,
    /// and Ctrl-C reaches it.
    pub fn interact(&self) -> Result<ExitStatus> {
        interrupt::check()?;
        let mut command = self.plain()?;
        command.stdin(Stdio::inherit());
        command.status().with_context(|| format!("start `{}`", self.program()))
    }

    fn program(&self) -> String {
        self.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn command(&self, output: std::io::PipeWriter) -> Result<(Command, Option<ReportFile>)> {
        let (mut command, report) = match &self.sandbox {
            Some(sandbox) => self.caged(sandbox)?,
            None => (self.plain()?, None),
        };
        command.process_group(0).stdout(output.try_clone()?).stderr(output);
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec only system calls are made, no allocation, no lock.
        unsafe {
            command.pre_exec(move || {
                // What our caller ignores, as nohup does, is no business of a build's. Two cannot be set, and stay.
                for signal in 1..=LAST_SIGNAL {
                    libc::signal(signal, libc::SIG_DFL);
                }
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before the line above took effect.
                if rustix::process::getppid() != Some(parent) {
                    return Err(std::io::Error::from(rustix::io::Errno::OWNERDEAD));
                }
                Ok(())
            });
        }
        Ok((command, report))
    }

    fn plain(&self) -> Result<Command> {
        let mut command = Command::new(self.argv.first().context("an empty command")?);
        if !self.inherit {
            command.env_clear();
        }
        let input = match &self.input {
            Some(file) => Stdio::from(std::fs::File::from(fs_err::File::open(file)?)),
            None => Stdio::null(),
        };
        command.args(&self.argv[1..]).envs(&self.env).current_dir(&self.dir).stdin(input);
        Ok(command)
    }

    fn caged(&self, sandbox: &Sandbox) -> Result<(Command, Option<ReportFile>)> {
        self.argv.first().context("an empty command")?;
        let ours = std::env::vars_os().filter(|_| self.inherit);
        let ours = ours.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let env = ours.chain(self.env.clone()).collect();
        let entry = Entry::new(sandbox, &self.argv, &env, &self.dir)?;
        Ok((entry.command, Some(entry.report)))
    }
}

/// Stops its process group when dropped.
pub struct Background {
    group: Group,
}

impl Background {
    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.group.child.try_wait().context("look after a command")
    }
}

/// A child and its process group; whoever drops it leaves nothing running.
struct Group {
    child: Child,
    ended: bool,
    /// Others of the group may stay.
    lasting: bool,
}

impl Group {
    /// Hands lines on until the command has ended; true if the time limit ended it.
    fn follow(
        &mut self,
        output: &mut Output,
        spawn: &Spawn,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<bool> {
        let started = Instant::now();
        let mut looked = started;
        loop {
            if output.hear(TURN, sink)? == Heard::End {
                return Ok(false);
            }
            interrupt::check()?;
            if spawn.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Err(Failure::new(Kind::Interrupted, "stopped because another build failed").into());
            }
            if spawn.limit.is_some_and(|limit| started.elapsed() > limit) {
                self.kill();
                return Ok(true);
            }
            // The child is gone but something that it started holds the pipe, and may hold it for ever.
            if looked.elapsed() >= TURN && self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            looked = if looked.elapsed() >= TURN { Instant::now() } else { looked };
        }
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().context("wait for a command")?;
        self.ended = true;
        self.clear();
        Ok(status)
    }

    /// Ends whatever is left of the group, and comes back when it is gone: a process that was killed may
    /// still write for a moment. Of a sandbox, PID 1 is in the group, and is gone only after all that is in it.
    fn clear(&self) {
        if self.lasting {
            return;
        }
        let Some(group) = self.id().filter(|_| self.kill()) else { return };
        for _ in 0..PATIENCE {
            match rustix::process::waitpgid(group, WaitOptions::NOHANG) {
                Ok(Some(_)) => continue,
                // None of the group is our child, or has become it: whoever is left has a parent elsewhere.
                Err(Errno::CHILD) if !self.kill() => return,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// False if the group is empty.
    fn kill(&self) -> bool {
        self.id().is_some_and(|group| rustix::process::kill_process_group(group, Signal::KILL).is_ok())
    }

    fn id(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            if self.lasting {
                let _ = self.child.kill();
            } else {
                self.kill();
            }
            let _ = self.child.wait();
            self.clear();
        }
    }
}

/// Makes us the parent of every process that loses its own below us. So we can wait for all that a command
/// leaves behind, and none stays as a dead entry where a container's first process reaps nothing.
fn adopt_orphans() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("become the parent of orphans")
}

/// What a command prints, line by line. Never waits longer than it is told: who holds the other end may hold
/// it for ever.
struct Output {
    pipe: PipeReader,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Something,
    Nothing,
    /// Nobody holds the other end any more.
    End,
}

impl Output {
    fn new(pipe: PipeReader) -> Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true).context("set up a pipe for a command's output")?;
        Ok(Self { pipe, line: Vec::new() })
    }

    /// Waits for something to read, at most for `turn`, and hands on the lines that are whole.
    fn hear(&mut self, turn: Duration, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Heard> {
        let turn = Timespec::try_from(turn).context("wait for a command's output")?;
        match rustix::event::poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&turn)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Heard::Nothing),
            ready => ready.context("wait for a command's output")?,
        };
        let mut bytes = [0; LINE];
        let count = match self.pipe.read(&mut bytes) {
            Ok(0) => return Ok(Heard::End),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(Heard::Nothing);
            }
            Err(error) => return Err(error).context("read a command's output"),
        };
        for part in bytes[..count].split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= LINE {
                sink(&std::mem::take(&mut self.line))?;
            }
        }
        Ok(Heard::Something)
    }

    /// Hands on what is still in the pipe after the command's end.
    fn rest(mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for _ in 0..REST / LINE {
            if self.hear(Duration::ZERO, sink)? != Heard::Something {
                break;
            }
        }
        match self.line.is_empty() {
            true => Ok(()),
            false => sink(&self.line),
        }
    }
}

/// Finds `program` in our own `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file())
}

/// Quotes a word for a POSIX shell, only where it needs it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The last `lines` lines of a log, for an error message.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Writes all of `lines` to a log, the command first.
pub fn log_header(log: &mut impl Write, spawn: &Spawn) -> Result<()> {
    writeln!(log, "$ {}", spawn.shell_line()).context("write a log")
}
