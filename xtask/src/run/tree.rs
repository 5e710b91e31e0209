//! Source trees: copies, and the order in which their folders list what they hold.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;

use crate::data::project;
use crate::error::Result;
use crate::plan::EPOCH;

use super::store::{set_mode, set_mtime};

/// Holds what a folder held while it is put back in another order; no source has the name.
const ASIDE: &str = ".slipway-aside";

/// Copies a folder of sources: modes and times normalised, as an archive's would be.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for path in project::walk(from)? {
        let (source, copy) = (from.join(&path), to.join(&path));
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent)?;
        }
        if source.is_symlink() {
            fs::os::unix::fs::symlink(fs::read_link(&source)?, &copy)?;
            continue;
        }
        fs::copy(&source, &copy)?;
        set_mode(&copy, if project::is_executable(&source)? { 0o755 } else { 0o644 })?;
        set_mtime(&copy, EPOCH)?;
    }
    Ok(())
}

/// Turns round the order in which every folder of a tree lists what it holds. Where that is the order of the names'
/// hashes, it stays as it is.
pub fn reverse(dir: &Path) -> Result<()> {
    let listed = list(dir)?;
    for name in &listed {
        let path = dir.join(name);
        if path.symlink_metadata()?.is_dir() {
            reverse(&path)?;
        }
    }
    // Some list the newest first, as a tmpfs does, others the oldest.
    refill(dir, listed.iter())?;
    if list(dir)? == listed {
        refill(dir, listed.iter().rev())?;
    }
    Ok(())
}

/// The names in a folder, in the file system's order.
pub fn list(dir: &Path) -> Result<Vec<OsString>> {
    Ok(fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?)
}

/// Takes everything out of a folder and puts it back in the order that is given.
fn refill<'a>(dir: &Path, names: impl Iterator<Item = &'a OsString> + Clone) -> Result<()> {
    let time = u64::try_from(fs::metadata(dir)?.mtime()).unwrap_or_default();
    let aside = dir.join(ASIDE);
    fs::create_dir(&aside)?;
    for name in names.clone() {
        fs::rename(dir.join(name), aside.join(name))?;
    }
    for name in names {
        fs::rename(aside.join(name), dir.join(name))?;
    }
    fs::remove_dir(&aside)?;
    set_mtime(dir, time)
}
