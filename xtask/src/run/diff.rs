//! Two source trees into the unified diff between them: what [`super::patch`] applies.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use diffy::DiffOptions;
use fs_err as fs;

use crate::data::project;
use crate::error::{Context, Failure, Kind, Result};

/// What an editor or a merge leaves behind.
const LEFTOVERS: [&str; 4] = ["~", ".orig", ".rej", ".swp"];

/// The difference between two trees.
#[derive(Debug, Default)]
pub struct Difference {
    /// The unified diff; empty if the trees are the same.
    pub text: Vec<u8>,
    /// The files that it changes, sorted.
    pub files: Vec<String>,
    /// Files that were left out, since only an editor or a merge makes such names.
    pub leftovers: Vec<String>,
}

/// Compares `old` with `new`. Contents alone: times do not matter, and what a diff cannot say (symbolic
/// links, executable bits) is an error.
pub fn trees(old: &Path, new: &Path) -> Result<Difference> {
    let mut paths: BTreeSet<PathBuf> = project::walk(old)?.into_iter().collect();
    paths.extend(project::walk(new)?);
    let mut difference = Difference::default();
    for path in paths {
        let shown = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        let (before, after) = (read(&old.join(&path))?, read(&new.join(&path))?);
        if before == after {
            continue;
        }
        if before.is_none() && LEFTOVERS.iter().any(|end| shown.ends_with(end)) {
            difference.leftovers.push(shown.to_owned());
            continue;
        }
        difference.text.extend(file(shown, before.as_ref(), after.as_ref())?);
        difference.files.push(shown.to_owned());
    }
    Ok(difference)
}

/// A file or link of a tree.
#[derive(PartialEq, Eq)]
enum Item {
    File { bytes: Vec<u8>, executable: bool },
    Link(PathBuf),
}

fn read(path: &Path) -> Result<Option<Item>> {
    if path.is_symlink() {
        return Ok(Some(Item::Link(fs::read_link(path)?)));
    }
    if !path.is_file() {
        return Ok(None);
    }
    Ok(Some(Item::File { bytes: fs::read(path)?, executable: project::is_executable(path)? }))
}

fn file(shown: &str, before: Option<&Item>, after: Option<&Item>) -> Result<Vec<u8>> {
    let refused = |why: &str| -> anyhow::Error {
        Failure::new(Kind::Data, format!("{shown} {why}, which a patch here cannot say"))
            .next("put it back, or make the change in the recipe")
            .into()
    };
    let bytes = |item: Option<&Item>| match item {
        Some(Item::Link(_)) => Err(refused("is or was a symbolic link")),
        Some(Item::File { bytes, .. }) if bytes.contains(&0) => Err(refused("is binary")),
        Some(Item::File { bytes, executable }) => Ok((bytes.clone(), *executable)),
        None => Ok((Vec::new(), false)),
    };
    let ((old, was), (new, is)) = (bytes(before)?, bytes(after)?);
    if was != is && after.is_some() {
        return Err(refused("changed its executable bit"));
    }
    if old.is_empty() && new.is_empty() {
        return Err(refused("is empty, and new or gone"));
    }
    let name = |item: Option<&Item>, side: &str| match item {
        Some(_) => format!("{side}/{shown}"),
        None => "/dev/null".to_owned(),
    };
    let mut options = DiffOptions::new();
    options.set_original_filename(name(before, "a")).set_modified_filename(name(after, "b"));
    Ok(options.create_patch_bytes(&old, &new).to_bytes())
}
