//! One finished program as a folder: `dist/recipes/NAME-VERSION-ARCH/`.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::{Context, Result};
use crate::plan::Choice;
use crate::run::build::{Built, Entry};
use crate::run::store::{remove_tree, set_mode};

/// Copies a result out of the store, replacing an older copy as a whole.
pub fn write(choice: &Choice, built: &Built, dist: &Path) -> Result<PathBuf> {
    let parent = dist.join("recipes");
    fs::create_dir_all(&parent)?;
    let to = parent.join(choice.slug());
    let temp = tempfile::Builder::new().prefix(".tmp-").tempdir_in(&parent).context("make a temporary folder")?;
    let new = temp.path().join("new");
    for entry in &built.record.entries {
        let path = new.join(entry.path());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match entry {
            Entry::Link { target, .. } => fs::os::unix::fs::symlink(target, &path)?,
            Entry::File { path: inside, executable, .. } => {
                fs::copy(built.files.join(inside), &path)?;
                set_mode(&path, if *executable { 0o755 } else { 0o644 })?;
            }
        }
    }
    // The old copy steps aside first: a folder cannot be renamed onto a full one.
    if to.exists() {
        fs::rename(&to, temp.path().join("old"))?;
    }
    fs::rename(&new, &to)?;
    remove_tree(temp.path())?;
    Ok(to)
}
