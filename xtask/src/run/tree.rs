//! Copies of source trees.

use std::path::Path;

use fs_err as fs;

use crate::data::project;
use crate::error::Result;
use crate::plan::EPOCH;

use super::store::{set_mode, set_mtime};

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
