//! The only place that starts processes.
//!
//! Each child gets exactly the environment it is given, no standard input unless it is given a file, and a
//! process group of its own that ends with it: on Ctrl-C, on a time limit, or when this process dies. Two
//! exceptions: what is [`lasting`](Spawn::lasting) may leave a server behind, and what is run to
//! [`interact`](Spawn::interact) has the terminal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;
use crate::run::sandbox::{Entry, ReportFile, Sandbox};

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
}

impl Finished {
    pub fn success(&self) -> bool {
        self.status.success() && !self.timed_out
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// `exit status 2`, `killed by signal 11 (SIGSEGV)`, `killed after 600 s`.
    pub fn how(&self) -> String {
        if self.timed_out {
            return "killed at its time limit".to_owned();
        }
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
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
        let (reader, writer) = std::io::pipe().context("open a pipe for a command's output")?;
        let (mut command, report) = self.command(writer)?;
        if let Some(jobserver) = jobserver {
            jobserver.configure_make(&mut command);
        }
        let child = command.spawn().with_context(|| format!("start `{}`", self.program()))?;
        drop(command); // It holds our end of the pipe: with it open the reader would never see the end.
        let mut group = Group { child, ended: false, lasting: self.lasting };

        let (lines, received) = std::sync::mpsc::sync_channel::<Vec<u8>>(256);
        let forward = std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            // A line that never ends is cut: a build must not be able to fill our memory.
            while matches!(read_line(&mut reader, &mut line), Ok(1..)) {
                if lines.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        let timed_out = group.follow(&received, self, sink)?;
        let status = group.end()?;
        drop(received);
        if !self.lasting {
            let _ = forward.join(); // Of one that leaves a server, the pipe may stay open as long as that lives.
        }
        report.map_or(Ok(()), |mut report| report.check())?;
        Ok(Finished { status, output: Vec::new(), timed_out })
    }

    /// Starts a helper that runs beside us until the guard is dropped, its output thrown away.
    pub fn background(&self) -> Result<Background> {
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
    /// Hands lines on until the pipe closes; true if the time limit ended the command.
    fn follow(
        &mut self,
        received: &std::sync::mpsc::Receiver<Vec<u8>>,
        spawn: &Spawn,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<bool> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        let started = Instant::now();
        let mut gone = false;
        loop {
            match received.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => sink(&line)?,
                Err(Disconnected) => return Ok(false),
                // A server holds the pipe. What the child itself wrote last has come by the turn after its end.
                Err(Timeout) if self.lasting && gone => return Ok(false),
                Err(Timeout) if self.lasting => gone = self.child.try_wait()?.is_some(),
                // The child is gone but something it started holds the pipe: end that too.
                Err(Timeout) if self.child.try_wait()?.is_some() => drop(self.kill()),
                Err(Timeout) => {}
            }
            interrupt::check()?;
            if spawn.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Err(Failure::new(Kind::Interrupted, "stopped because another build failed").into());
            }
            if spawn.limit.is_some_and(|limit| started.elapsed() > limit) {
                self.kill();
                return Ok(true);
            }
        }
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().context("wait for a command")?;
        self.ended = true;
        self.clear();
        Ok(status)
    }

    /// Ends whatever is left of the group, and comes back when it is gone: a process that was killed may
    /// still write for a moment.
    fn clear(&self) {
        if self.lasting {
            return;
        }
        let Some(group) = self.id().filter(|_| self.kill()) else { return };
        // A container without an init that reaps keeps the dead in their group: not for ever, then.
        for _ in 0..200 {
            if rustix::process::test_kill_process_group(group).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
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

/// Reads up to a newline or 64 KiB, whichever comes first.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    use std::io::Read;
    reader.take(64 * 1024).read_until(b'\n', line)
}

/// Writes all of `lines` to a log, the command first.
pub fn log_header(log: &mut impl Write, spawn: &Spawn) -> Result<()> {
    writeln!(log, "$ {}", spawn.shell_line()).context("write a log")
}
