//! The inside: the two processes between a build and its command.
//!
//! [`OUTER`] is this program, started anew: without threads, without handlers, and before any flag is parsed.
//! It enters the namespaces, forks, and waits. Its child is PID 1 of the new process namespace: it makes the
//! root, gives up every right, runs the command, reaps what the command leaves behind, and tells how it
//! ended. Its death is the death of everything inside; it dies with the outer one, and that with the builder.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use rustix::fd::OwnedFd;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{GID, HOST_NAME, Level, Outcome, Refusal, Report, Spec, UID, root, sys};

/// The subcommand of the outer process.
pub const OUTER: &str = "__sandbox";
/// What the kernel refuses to root without `CAP_SETFCAP`.
pub(super) const UID_MAP: &str = "/proc/self/uid_map";

/// What a jobserver adds to the environment of the outer process: the only thing that passes from it.
const JOBSERVER: [&str; 3] = ["MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS"];
/// Open files: what every Linux allows without asking, so that every build sees the same.
const OPEN_FILES: u64 = 4096;
const STACK: u64 = 8 << 20;
/// If the report says why, the status need not.
const FAILED: u8 = 125;

type Attempt<T> = std::result::Result<T, Refusal>;

/// If this process was started as the outer one, runs it to its end. Called before anything else.
pub fn entered() -> Option<ExitCode> {
    (std::env::args_os().nth(1)? == OUTER).then(outer)
}

/// Names what was being done; the machine is to blame.
pub(super) trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Attempt<T>;
    /// What was asked for is to blame.
    fn asked(self, what: impl Into<String>) -> Attempt<T>;
}

impl<T, E: Into<std::io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Attempt<T> {
        self.map_err(|error| refusal(what, error.into(), true))
    }

    fn asked(self, what: impl Into<String>) -> Attempt<T> {
        self.map_err(|error| refusal(what, error.into(), false))
    }
}

fn refusal(doing: impl Into<String>, error: std::io::Error, ours: bool) -> Refusal {
    Refusal { doing: doing.into(), errno: error.raw_os_error(), why: error.to_string(), ours }
}

/// A refusal without an error of the system: the words say all.
pub(super) fn wrong(doing: impl Into<String>, why: impl Into<String>) -> Refusal {
    Refusal { doing: doing.into(), errno: None, why: why.into(), ours: false }
}

fn outer() -> ExitCode {
    let mut file = match standard_input() {
        Ok(file) => File::from(file),
        Err(_) => return ExitCode::from(FAILED),
    };
    let outcome = enter(&mut file).unwrap_or_else(|refusal| {
        if tell(&mut file, &Report { level: None, outcome: Outcome::Refused(refusal) }).is_err() {
            eprintln!("the sandbox failed, and could not say why");
        }
        Ended::Told
    });
    match outcome {
        Ended::Told => ExitCode::from(FAILED),
        Ended::Exited(code) => std::process::exit(code),
        Ended::Signalled(signal) => {
            die_by(signal);
            ExitCode::from(FAILED)
        }
    }
}

/// How PID 1 ended, for the outer process to end alike.
enum Ended {
    /// The command did not run; the report says why.
    Told,
    Exited(i32),
    Signalled(i32),
}

/// Writes the report over the description: whoever started us reads it when we have ended.
fn tell(file: &mut File, report: &Report) -> std::io::Result<()> {
    let text = serde_json::to_vec(report)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

/// Ends this process as the command ended, so that whoever waits need not know of the sandbox.
fn die_by(signal: i32) {
    no_core_files();
    // Rust's own handlers for a few signals would survive one.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
}

fn enter(file: &mut File) -> Attempt<Ended> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).doing("read what the sandbox is to hold")?;
    let spec: Spec =
        serde_json::from_slice(&text).map_err(|error| wrong("read what the sandbox is to hold", error.to_string()))?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare_namespaces().doing("enter new namespaces")?;
    write("/proc/self/setgroups", "deny")?;
    write(UID_MAP, &format!("{UID} {uid} 1"))?;
    write("/proc/self/gid_map", &format!("{GID} {gid} 1"))?;
    // We keep the other end open until we end, and never write: by it PID 1 sees that we still live.
    let (alive, ours) = std::io::pipe().doing("make a pipe")?;
    let Some(child) = sys::fork().doing("start PID 1 of the sandbox")? else {
        drop(ours);
        init(file, &spec, &alive)
    };
    let status = wait_for(child).doing("wait for the sandbox")?;
    match (status.code(), status.signal()) {
        // It was killed, and with it everything.
        (None, signal) => Ok(Ended::Signalled(signal.unwrap_or_default())),
        (Some(0), _) => read_end(file),
        (Some(_), _) => Err(wrong("run PID 1 of the sandbox", status.to_string())),
    }
}

fn wait_for(child: Pid) -> std::io::Result<ExitStatus> {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What PID 1 reported, for us to end alike.
fn read_end(file: &mut File) -> Attempt<Ended> {
    let mut text = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut text)).doing("read how the command ended")?;
    let report: Report =
        serde_json::from_slice(&text).map_err(|error| wrong("read how the command ended", error.to_string()))?;
    Ok(match report.outcome {
        Outcome::Exited(code) => Ended::Exited(code),
        Outcome::Signalled(signal) => Ended::Signalled(signal),
        Outcome::Refused(_) => Ended::Told,
    })
}

fn write(path: &str, text: &str) -> Attempt<()> {
    std::fs::File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .doing(format!("write {path}"))
}

/// Each set bit by itself: of capabilities that are newer than rustix, too.
fn single(bits: u64) -> impl Iterator<Item = CapabilitySet> {
    (0..64).map(|bit| 1 << bit).filter(move |bit| bits & bit != 0).map(CapabilitySet::from_bits_retain)
}

/// The life of PID 1, from its first moment to its last. Never comes back: what follows is the outer one's.
fn init(file: &mut File, spec: &Spec, alive: &PipeReader) -> ! {
    let mut level = None;
    let outcome = live(spec, alive, &mut level).unwrap_or_else(Outcome::Refused);
    match tell(file, &Report { level, outcome }) {
        Ok(()) => sys::end(0),
        Err(_) => sys::end(FAILED.into()),
    }
}

/// From the first mount to the end of the command.
fn live(spec: &Spec, alive: &PipeReader, level: &mut Option<Level>) -> Attempt<Outcome> {
    die_with_outer(alive).doing("tie the sandbox to its builder")?;
    rustix::system::sethostname(HOST_NAME.as_bytes()).doing("set the host name")?;
    rustix::system::setdomainname(b"(none)").doing("set the domain name")?;
    sys::loopback_up().doing("bring the loopback interface up")?;
    let keep = jobserver_files();
    close_all_but(&keep).doing("list the open files")?;
    let own_proc = root::make(&spec.sandbox)?;
    rustix::process::chdir(&spec.dir).asked(format!("enter the folder {} of the sandbox", spec.dir.display()))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Best effort: a container's filter may forbid it.
    let _ = sys::fixed_personality();
    give_up_rights().doing("give up all capabilities")?;
    *level = Some(Level::of(root::landlock(&spec.sandbox), own_proc));
    limit(spec.sandbox.memory).doing("set the limits")?;
    run(spec)
}

/// The outer process may have died before the kernel was told: then the other end of the pipe is closed.
fn die_with_outer(alive: &PipeReader) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut polled = [rustix::event::PollFd::new(alive, rustix::event::PollFlags::IN)];
    match rustix::event::poll(&mut polled, Some(&rustix::event::Timespec::default()))? {
        0 => Ok(()),
        _ => Err(ErrorKind::BrokenPipe.into()),
    }
}

/// The descriptors that a jobserver announces: `--jobserver-auth=3,4`.
fn jobserver_files() -> Vec<i32> {
    let flags = std::env::var("MAKEFLAGS").unwrap_or_default();
    let pairs = flags.split_whitespace().filter_map(|word| word.strip_prefix("--jobserver-auth="));
    pairs.flat_map(|pair| pair.split(',')).filter_map(|number| number.parse().ok()).collect()
}

/// Whatever our caller's caller left open must not be a way out of the root.
fn close_all_but(keep: &[i32]) -> std::io::Result<()> {
    for entry in fs_err::read_dir("/proc/self/fd")? {
        let fd = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(fd) = fd.filter(|fd| *fd > 2 && !keep.contains(fd)) {
            sys::close_on_exec(fd);
        }
    }
    Ok(())
}

/// No capability is left, and none can be had again.
fn give_up_rights() -> rustix::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::clear_ambient_capability_set()?;
    for capability in single(u64::MAX) {
        // The kernel knows fewer than 64.
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    // The command runs as the same user: it must not look into PID 1, nor speak in its name.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

fn limit(memory: Option<u64>) -> rustix::io::Result<()> {
    no_core_files();
    both(Resource::Nofile, OPEN_FILES)?;
    let stack = rustix::process::getrlimit(Resource::Stack);
    let soft = STACK.min(stack.maximum.unwrap_or(u64::MAX));
    rustix::process::setrlimit(Resource::Stack, Rlimit { current: Some(soft), maximum: stack.maximum })?;
    memory.map_or(Ok(()), |memory| both(Resource::Data, memory))
}

fn no_core_files() {
    let _ = both(Resource::Core, 0);
}

/// Sets both limits, as far as the hard one allows: it cannot be raised.
fn both(resource: Resource, value: u64) -> rustix::io::Result<()> {
    let value = Some(value.min(rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX)));
    rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
}

fn run(spec: &Spec) -> Attempt<Outcome> {
    let Some((program, args)) = spec.argv.split_first() else { return Ok(Outcome::Exited(0)) };
    let passed = JOBSERVER.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(&spec.env)
        .envs(passed)
        .stdin(Stdio::null())
        .spawn()
        .asked(format!("start `{}` in the sandbox", program.to_string_lossy()))?;
    reap_until(child.id()).doing("wait for the command")
}

/// PID 1 inherits every orphan; the command's end is the end of all.
fn reap_until(main: u32) -> std::io::Result<Outcome> {
    loop {
        let (pid, status) = match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if u32::try_from(pid.as_raw_nonzero().get()) != Ok(main) {
            continue;
        }
        let status = ExitStatus::from_raw(status.as_raw());
        return Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Outcome::Exited(code),
            (None, signal) => Outcome::Signalled(signal.unwrap_or_default()),
        });
    }
}

fn standard_input() -> std::io::Result<OwnedFd> {
    use std::os::fd::AsFd;
    std::io::stdin().as_fd().try_clone_to_owned()
}
