//! The local store: sources, tools and results, each under the hash of what it is or was made from.
//!
//! Everything appears whole or not at all: written under `tmp/`, synced, renamed. Locks are files
//! that the kernel lets go of when their holder dies, so nothing is ever left locked.
//!
//! ```text
//! sources/SHA256/FILE   bytes that matched their pin       out/KEY/       build results
//! git/COMMIT.pack       a commit's objects                 work/          running builds, and failed ones
//! partial/              downloads that can go on           logs/          one folder a build
//! quarantine/           bytes that did not match           tmp/, locks/   scaffolding
//! tools/, tool-cache/   unpacked toolchains and what they cache for themselves
//! repro/                second builds that are compared with the first; kept where they differ
//! emulator/TARGET/      the disks, sockets and logs of an emulated board
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use sha2::Digest;

use crate::data::types::Sha256;
use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;

const FOLDERS: [&str; 14] = [
    "sources",
    "git",
    "partial",
    "quarantine",
    "tools",
    "tool-cache",
    "out",
    "checked",
    "work",
    "logs",
    "repro",
    "emulator",
    "tmp",
    "locks",
];

/// A handle on the store's folder.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Held while one process works on one thing; let go when dropped or when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// `SLIPWAY_CACHE`, else `slipway` in `XDG_CACHE_HOME` or `~/.cache`.
    pub fn default_root() -> Result<PathBuf> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(root) = var("SLIPWAY_CACHE") {
            return std::path::absolute(root).context("resolve SLIPWAY_CACHE");
        }
        if let Some(cache) = var("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
            return Ok(cache.join("slipway"));
        }
        match var("HOME") {
            Some(home) => Ok(home.join(".cache/slipway")),
            None => Err(Failure::new(Kind::Host, "no folder for the store: neither SLIPWAY_CACHE nor HOME is set")
                .next("SLIPWAY_CACHE=/some/folder cargo xtask …")
                .into()),
        }
    }

    /// Opens the store, making its folders where they are missing.
    pub fn open(root: &Path) -> Result<Self> {
        for dir in FOLDERS {
            fs::create_dir_all(root.join(dir))
                .context("make the store's folders (SLIPWAY_CACHE chooses another place)")?;
        }
        Ok(Self { root: root.to_owned() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Where the source with this hash is kept, if it is there or not.
    pub fn source(&self, sha256: &Sha256, file: &str) -> PathBuf {
        self.root.join("sources").join(sha256.as_str()).join(file)
    }

    /// A new empty folder under `tmp/`, removed when dropped.
    pub fn temp_dir(&self) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .tempdir_in(self.root.join("tmp"))
            .context("make a folder in the store")
    }

    /// Takes the lock `name`; `waiting` is called once if somebody else holds it.
    pub fn lock(&self, name: &str, waiting: impl FnOnce()) -> Result<Lock> {
        let path = self.root.join("locks").join(name);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("open the lock {}", path.display()))?;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Says that this process uses the store, until the lock is dropped. The first one in also clears
    /// away what killed runs left under `tmp/`.
    pub fn in_use(&self) -> Result<Lock> {
        let path = self.root.join("locks/store");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("open the lock {}", path.display()))?;
        if file.try_lock().is_ok() {
            remove_contents(&self.root.join("tmp"))?;
            file.unlock().with_context(|| format!("unlock {}", path.display()))?;
        }
        // Only `clean` holds it for itself, and not for long.
        file.lock_shared().with_context(|| format!("lock {}", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// Removes build results, or with `all` everything, once no other process uses the store. Gives the
    /// names of the folders.
    pub fn clean(&self, all: bool, waiting: impl FnOnce()) -> Result<Vec<&'static str>> {
        let _lock = self.lock("store", waiting)?;
        let fetched = ["sources", "git", "partial", "tools", "apt"];
        let folders = FOLDERS.into_iter().chain(["apt", "bundles"]);
        let removed: Vec<_> = folders.filter(|name| *name != "locks" && (all || !fetched.contains(name))).collect();
        for name in &removed {
            remove_contents(&self.root.join(name))?;
        }
        Ok(removed)
    }

    /// Moves a whole folder or file into its final place, synced. If another process put the same
    /// thing there first, theirs stays and ours is removed.
    pub fn publish(&self, from: &Path, to: &Path) -> Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        if from.is_dir() {
            if to.exists() {
                return remove_tree(from);
            }
            sync_filesystem(from)?;
        } else {
            File::open(from).and_then(|file| file.sync_all()).with_context(|| format!("sync {}", from.display()))?;
        }
        fs::rename(from, to)?;
        sync_parent(to)
    }

    /// Puts bytes that did not match aside, where a person can look at them; gives their new place.
    pub fn quarantine(&self, from: &Path, actual: &Sha256, file: &str) -> Result<PathBuf> {
        let to = self.root.join("quarantine").join(format!("{}-{file}", actual.short()));
        fs::rename(from, &to)?;
        Ok(to)
    }
}

/// Writes `bytes` to `path` so that a reader, or a crash, sees the old file or the new one whole.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    fill_atomic(path, |file| file.write_all(bytes).with_context(|| format!("write {}", path.display())))
}

/// The same for content that is made while it is written. If `fill` fails, the old file stays.
pub fn fill_atomic<T>(path: &Path, fill: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let dir = path.parent().context("a file has a folder")?;
    fs::create_dir_all(dir)?;
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(dir).context("make a temporary file")?;
    let filled = fill(file.as_file_mut())?;
    set_mode(file.path(), 0o644)?;
    file.as_file().sync_all().with_context(|| format!("sync {}", path.display()))?;
    file.persist(path).with_context(|| format!("rename onto {}", path.display()))?;
    sync_parent(path)?;
    Ok(filled)
}

/// The digest of a file's bytes.
pub fn hash_file(path: &Path) -> Result<Sha256> {
    let mut file = fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        interrupt::check()?;
        match file.read(&mut buffer)? {
            0 => return Ok(Sha256::from_digest(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Removes a folder even where a build left parts of it read-only. A missing folder is no error.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(_) => make_writable(path)?,
    }
    fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))
}

/// Empties a folder; a missing one is empty already.
fn remove_contents(dir: &Path) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() && !path.is_symlink() {
            true => remove_tree(&path)?,
            false => fs::remove_file(&path)?,
        }
    }
    Ok(())
}

fn make_writable(dir: &Path) -> Result<()> {
    set_mode(dir, 0o755)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// Sets a file's permission bits, whatever the umask.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?)
}

/// Sets a file's, folder's or symlink's times to whole seconds since 1970; a symlink is not followed.
pub fn set_mtime(path: &Path, seconds: u64) -> Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: i64::try_from(seconds).context("a time far in the future")?, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("set the time of {}", path.display()))
}

fn sync_parent(path: &Path) -> Result<()> {
    let dir = path.parent().context("a file has a folder")?;
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| format!("sync {}", dir.display()))
}

/// One `syncfs` instead of an `fsync` for each of thousands of files.
fn sync_filesystem(path: &Path) -> Result<()> {
    let dir = File::open(path).with_context(|| format!("open {}", path.display()))?;
    rustix::fs::syncfs(&dir).with_context(|| format!("sync the file system of {}", path.display()))
}
