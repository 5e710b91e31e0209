//! A machine that QEMU makes: its disks, its start, its end. One process of QEMU is one run of the board; a
//! reboot ends it and starts the next with the same disks.
//!
//! Knows argv templates, sockets and files, not what runs on the board.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::data::emulator::Emulator;
use crate::data::types::Version;
use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;
use crate::run::process::{self, Background, Spawn};
use crate::run::store::{Store, remove_tree};
use crate::ship::board::agent::{Agent, Hung};
use crate::ship::board::emulator::{AGENT, CONSOLE, connect};

/// How much of the console is shown when the board is given up.
const SCREEN: usize = 24;
/// For a board to go down in order.
const DOWN: Duration = Duration::from_secs(120);

/// An emulated board, running or not.
pub struct Machine {
    dir: PathBuf,
    qemu: Spawn,
    version: String,
    boot: Duration,
    running: Option<(Background, Agent)>,
}

/// Where an emulated board of a target has its files.
pub fn folder(store: &Store, target: &str) -> PathBuf {
    store.path("emulator").join(target)
}

impl Machine {
    /// A machine with new disks. `memory` in MiB.
    pub fn new(
        emulator: &Emulator,
        dir: PathBuf,
        kernel: &Path,
        initramfs: &[u8],
        memory: Option<u32>,
    ) -> Result<Self> {
        remove_tree(&dir)?;
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("initramfs.cpio"), initramfs)?;
        let memory = memory.unwrap_or(emulator.qemu.memory).to_string();
        // The sockets by their names: a path to them may be longer than an address can be.
        let places = [
            ("{memory}", memory.as_str()),
            ("{kernel}", &kernel.to_string_lossy()),
            ("{initrd}", "initramfs.cpio"),
            ("{console}", CONSOLE),
            ("{agent}", AGENT),
            ("{log}", "console.log"),
        ];
        let program = program(&emulator.qemu.program, &emulator.qemu.install)?;
        let version = version(&program)?;
        let mut argv = vec![program.into_os_string()];
        argv.extend(emulator.qemu.args(number(&version).as_ref()).map(|word| fill(word, &places).into()));
        for (name, disk) in &emulator.disks {
            let file = format!("{name}.img");
            fs::File::create(dir.join(&file))?.set_len(disk.size)?;
            make_file_system(&dir, &file, &disk.make, &disk.install)?;
            let places = [("{disk}", name.as_str()), ("{file}", file.as_str())];
            argv.extend(emulator.qemu.disk.iter().map(|word| fill(word, &places).into()));
        }
        let qemu = Spawn { inherit: true, ..Spawn::isolated(argv, &dir, [].into()) };
        Ok(Self { dir, qemu, version, boot: Duration::from_secs(emulator.qemu.boot), running: None })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What QEMU says that it is: `QEMU emulator version 7.2.22 (Debian …)`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// All that the board's console has shown.
    pub fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// The command that starts it, as it can be pasted.
    pub fn command(&self) -> String {
        self.qemu.shell_line()
    }

    /// Starts the board and waits until it answers.
    pub fn start(&mut self) -> Result<Duration> {
        let started = Instant::now();
        for socket in [AGENT, CONSOLE] {
            // A killed QEMU leaves them behind.
            let _ = fs::remove_file(self.dir.join(socket));
        }
        let log = self.dir.join("qemu.log");
        let mut qemu = self.qemu.beside(&log)?;
        let socket = loop {
            if let Ok(socket) = connect(&self.dir, AGENT) {
                break socket;
            }
            interrupt::check()?;
            if let Some(status) = qemu.ended()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let mut failure = Failure::new(Kind::Host, format!("QEMU did not start: {status}"));
                failure.log = Some((process::tail(&said, 10), log));
                failure.command = Some(self.command());
                return Err(failure.into());
            }
            if started.elapsed() > self.boot {
                return Err(self.given_up("QEMU opened no socket"));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        match Agent::hello(socket, self.boot) {
            Ok(agent) => {
                self.running = Some((qemu, agent));
                Ok(started.elapsed())
            }
            Err(error) if error.downcast_ref::<Hung>().is_some() => {
                Err(self.given_up(&format!("the board did not come up in {} s", self.boot.as_secs())))
            }
            Err(error) if crate::error::is_interrupt(&error) => Err(error),
            Err(error) => Err(self.given_up(&format!("the board did not come up: {error:#}"))),
        }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The agent of the running board.
    pub fn agent(&mut self) -> Result<&mut Agent> {
        self.running.as_mut().map(|(_, agent)| agent).context("the board is not running")
    }

    /// Lets go of the agent, so that others can reach it, and gives QEMU to be waited for.
    pub fn release_agent(&mut self) -> Option<Background> {
        self.running.take().map(|(qemu, _)| qemu)
    }

    /// Shuts the board down in order and starts it again.
    pub fn reboot(&mut self, halt: &str) -> Result<Duration> {
        let (mut qemu, mut agent) = self.running.take().context("the board is not running")?;
        // It goes down while it is asked: its answer is the end of the connection.
        let asked = agent.run(halt, DOWN);
        let deadline = Instant::now() + DOWN;
        while qemu.ended()?.is_none() {
            interrupt::check()?;
            if Instant::now() > deadline {
                drop(qemu);
                return Err(self.given_up(&format!("the board did not go down: {asked:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.start()
    }

    /// Ends the board as a cut of power does.
    pub fn cut(&mut self) {
        self.running = None;
    }

    /// The failure of a board that hangs or has died, with what its screen showed last.
    pub fn given_up(&self, what: &str) -> anyhow::Error {
        let mut failure = Failure::new(Kind::Check, what);
        failure.log = Some((self.screen(), self.console_log()));
        failure.into()
    }

    /// The last lines of the console.
    pub fn screen(&self) -> String {
        let bytes = fs::read(self.console_log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let printable = |c: &char| *c == '\n' || *c == '\t' || !c.is_control();
        process::tail(&text.chars().filter(printable).collect::<String>(), SCREEN)
    }
}

fn fill(word: &str, places: &[(&str, &str)]) -> String {
    places.iter().fold(word.to_owned(), |word, (name, value)| word.replace(name, value))
}

/// A program of this machine; system programs are not in every user's `PATH`.
pub fn program(name: &str, install: &str) -> Result<PathBuf> {
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(|dir| Path::new(dir).join(name));
    process::find(name).or_else(|| system.into_iter().find(|path| path.is_file())).ok_or_else(|| {
        Failure::new(Kind::Host, format!("`{name}` is not installed, which an emulated board needs"))
            .next(install)
            .into()
    })
}

/// The first line of what a QEMU says of itself.
fn version(program: &Path) -> Result<String> {
    let argv = vec![program.into(), "--version".into()];
    let said = Spawn { inherit: true, ..Spawn::isolated(argv, Path::new("/"), [].into()) }.output()?.text();
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// The number in what QEMU says that it is.
fn number(said: &str) -> Option<Version> {
    said.split_once(" version ")?.1.split_whitespace().next()?.parse().ok()
}

fn make_file_system(dir: &Path, file: &str, make: &[String], install: &str) -> Result<()> {
    let mut argv = vec![program(&make[0], install)?.into_os_string()];
    argv.extend(make[1..].iter().map(|word| word.replace("{file}", file).into()));
    let spawn = Spawn { inherit: true, ..Spawn::isolated(argv, dir, [].into()) };
    let finished = spawn.output()?;
    if finished.success() {
        return Ok(());
    }
    let what = format!("the disk {file} could not be made: {}\n{}", finished.how(), finished.text().trim());
    let mut failure = Failure::new(Kind::Host, what);
    failure.command = Some(spawn.shell_line());
    Err(failure.into())
}
