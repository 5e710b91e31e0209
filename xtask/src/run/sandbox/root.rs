//! The new root: an empty file system in memory, with what was declared bound into it, and nothing else.

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::inside::{Doing, wrong};
use super::{Bind, GID, HOST_NAME, Refusal, Sandbox, UID};

/// Where the host's root is while ours is made.
const OLD: &str = "/.old";
/// Device files that every build may expect, each harmless.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// What a program may write besides the writable binds.
const SCRATCH: &str = "/tmp";

type Attempt<T> = std::result::Result<T, Refusal>;

/// Makes the root and enters it. True if /proc is our own.
pub fn make(sandbox: &Sandbox) -> Attempt<bool> {
    let sources = sources(sandbox)?;
    enter_empty_root().doing("make a root for the sandbox")?;
    furnish().doing("furnish the root of the sandbox")?;
    let own_proc = proc()?;
    for (bind, source) in sandbox.binds.iter().zip(&sources) {
        bind_in(source, &bind.to)?;
    }
    for (at, target) in &sandbox.links {
        link(at, target)?;
    }
    no_more_namespaces();
    freeze(&sandbox.binds)?;
    Ok(own_proc)
}

/// Found while the host's root is still ours: its absolute links would lead astray later.
fn sources(sandbox: &Sandbox) -> Attempt<Vec<PathBuf>> {
    let find = |bind: &Bind| {
        let what = || format!("show {} as {} in the sandbox", bind.from.display(), bind.to.display());
        std::fs::canonicalize(&bind.from).asked(what())
    };
    sandbox.binds.iter().map(find).collect()
}

/// The new root is mounted over /proc, the one folder that is surely there, and then takes the old one's place.
fn enter_empty_root() -> rustix::io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    rustix::mount::mount("tmpfs", "/proc", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")?;
    rustix::process::chdir("/proc")?;
    rustix::fs::mkdir(&OLD[1..], 0o755.into())?;
    rustix::process::pivot_root(".", &OLD[1..])?;
    rustix::process::chdir("/")
}

/// What is in every root: devices, a folder to write, and the files that name users and hosts.
fn furnish() -> std::io::Result<()> {
    for dir in ["/dev", "/etc", "/proc", SCRATCH] {
        rustix::fs::mkdir(dir, 0o755.into())?;
    }
    for device in DEVICES {
        let path = Path::new("/dev").join(device);
        std::fs::File::create(&path)?;
        rustix::mount::mount_bind(Path::new(OLD).join("dev").join(device), &path)?;
    }
    let links = [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("shm", SCRATCH)];
    for (name, target) in links {
        std::os::unix::fs::symlink(target, Path::new("/dev").join(name))?;
    }
    rustix::mount::mount("tmpfs", SCRATCH, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    let files = [
        ("passwd", format!("builder:x:{UID}:{GID}:builder:/nonexistent:/bin/sh\n{NOBODY}:/nonexistent:/bin/false\n")),
        ("group", format!("builder:x:{GID}:\nnogroup:x:65534:\n")),
        ("hosts", format!("127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n")),
        ("hostname", format!("{HOST_NAME}\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n".to_owned()),
    ];
    for (name, text) in files {
        std::fs::File::create(Path::new("/etc").join(name))?.write_all(text.as_bytes())?;
    }
    Ok(())
}

const NOBODY: &str = "nobody:x:65534:65534:nobody";

/// A container whose own /proc is partly masked may not mount a whole one: then it is the host's.
fn proc() -> Attempt<bool> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if rustix::mount::mount("proc", "/proc", "proc", flags, None).is_ok() {
        return Ok(true);
    }
    rustix::mount::mount_bind_recursive(format!("{OLD}/proc"), "/proc").doing("show /proc in the sandbox")?;
    Ok(false)
}

fn bind_in(source: &Path, to: &Path) -> Attempt<()> {
    let what = format!("show {} as {} in the sandbox", source.display(), to.display());
    let mut old = PathBuf::from(OLD);
    old.extend(source.components().filter(|part| matches!(part, Component::Normal(_))));
    let folder = std::fs::metadata(&old).asked(&*what)?.is_dir();
    let point = make_place(to, &what)?;
    if let Some(point) = point.filter(|_| !folder) {
        std::fs::File::create(point).asked(&*what)?;
    } else if folder && !to.exists() {
        rustix::fs::mkdir(to, 0o755.into()).asked(&*what)?;
    }
    rustix::mount::mount_bind_recursive(&old, to).doing(what)
}

/// Makes the folders above `to`; gives `to` if it is not there yet. What lies inside another bind is the
/// host's: nothing is made there.
fn make_place(to: &Path, what: &str) -> Attempt<Option<PathBuf>> {
    let plain = to.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !to.is_absolute() || !plain || to == Path::new("/") {
        return Err(wrong(what, "a place in a sandbox is an absolute path below /, without `..`"));
    }
    let ours = std::fs::metadata("/").doing(what)?.dev();
    let mut ancestors: Vec<&Path> = to.ancestors().filter(|path| *path != Path::new("/")).collect();
    ancestors.reverse();
    for path in ancestors {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => {
                return Err(wrong(what, format!("{} is a symbolic link", path.display())));
            }
            Ok(_) => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).asked(what),
        }
        let above = path.parent().unwrap_or(Path::new("/"));
        if std::fs::metadata(above).asked(what)?.dev() != ours {
            return Err(wrong(what, format!("{} is not there, and {} is bound", path.display(), above.display())));
        }
        if path == to {
            return Ok(Some(to.to_owned()));
        }
        rustix::fs::mkdir(path, 0o755.into()).asked(what)?;
    }
    Ok(None)
}

fn link(at: &Path, target: &Path) -> Attempt<()> {
    let what = format!("make the link {} in the sandbox", at.display());
    match make_place(at, &what)? {
        Some(at) => std::os::unix::fs::symlink(target, at).asked(what),
        None => Err(wrong(what, "something is there already")),
    }
}

/// A namespace inside ours would give its maker capabilities, and so more of the kernel to attack. Best effort:
/// they could not undo what is frozen below.
fn no_more_namespaces() {
    let path = "/proc/sys/user/max_user_namespaces";
    let _ = std::fs::File::options().write(true).open(path).and_then(|mut file| file.write_all(b"0"));
}

/// Lets go of the host's root, and makes every mount read-only but those to be written.
fn freeze(binds: &[Bind]) -> Attempt<()> {
    let table = fs_err::read_to_string("/proc/self/mountinfo").doing("list the mounts of the sandbox")?;
    rustix::mount::unmount(OLD, UnmountFlags::DETACH).doing("let go of the host's root")?;
    rustix::fs::rmdir(OLD).doing("let go of the host's root")?;
    let mut done = HashSet::new();
    for (path, options) in table.lines().filter_map(mount_point).filter(|(path, _)| !path.starts_with(OLD)) {
        if done.insert(path.clone()) {
            let what = format!("protect {} in the sandbox", path.display());
            rustix::mount::mount_remount(&path, flags(&path, options, binds), c"").doing(what)?;
        }
    }
    Ok(())
}

/// A line of mountinfo: `36 35 98:0 / /mnt/a\040b rw,noatime shared:1 - ext4 …`.
fn mount_point(line: &str) -> Option<(PathBuf, &str)> {
    let mut words = line.split(' ').skip(4);
    let path = words.next()?;
    let path = path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    Some((PathBuf::from(path), words.next()?))
}

/// What a mount got from the host must be kept: the kernel refuses to take it away.
fn flags(path: &Path, options: &str, binds: &[Bind]) -> MountFlags {
    let had = |name: &str| options.split(',').any(|option| option == name);
    let mut flags = MountFlags::BIND | MountFlags::NOSUID;
    flags.set(MountFlags::NODEV, had("nodev") || !path.starts_with("/dev"));
    flags.set(MountFlags::NOEXEC, had("noexec"));
    flags.set(MountFlags::RDONLY, had("ro") || !is_writable(path, binds));
    flags
}

fn is_writable(path: &Path, binds: &[Bind]) -> bool {
    let nearest =
        binds.iter().filter(|bind| path.starts_with(&bind.to)).max_by_key(|bind| bind.to.components().count());
    nearest.map_or(path == Path::new(SCRATCH), |bind| bind.writable)
}

/// The same once more, by other means: Landlock refuses to write anything but the writable folders. False
/// where the kernel has none, or too old a one: the first could not rename from folder to folder.
pub fn landlock(sandbox: &Sandbox) -> bool {
    restrict(sandbox).is_ok_and(|status| status != RulesetStatus::NotEnforced)
}

fn restrict(sandbox: &Sandbox) -> std::result::Result<RulesetStatus, Box<dyn std::error::Error>> {
    let abi = ABI::V3;
    let all = AccessFs::from_all(abi);
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, AccessFs::from_read(abi)))?;
    let written = sandbox.binds.iter().filter(|bind| bind.writable).map(|bind| bind.to.as_path());
    let folders = written.chain([Path::new(SCRATCH)]).try_fold(rules, |rules, path| allow(rules, path, all))?;
    let device = AccessFs::WriteFile | AccessFs::Truncate;
    let all = DEVICES.iter().try_fold(folders, |rules, name| allow(rules, &Path::new("/dev").join(name), device))?;
    Ok(all.restrict_self()?.ruleset)
}

fn allow(
    rules: landlock::RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> std::result::Result<landlock::RulesetCreated, Box<dyn std::error::Error>> {
    let file = std::fs::metadata(path)?.is_dir();
    let access = if file { access } else { access & AccessFs::from_file(ABI::V3) };
    Ok(rules.add_rule(PathBeneath::new(PathFd::new(path)?, access))?)
}
