//! Applies unified diffs to a source tree: every line of context must be there, or nothing is written.
//!
//! Takes what `git format-patch`, `git diff`, quilt and `diff -urN` write, paths with one part in front
//! (`a/`, `b/`). Lines may have moved, as for `patch -F0`; they may not differ. Bytes stay bytes: line ends
//! and encodings are nobody's business here. Knows no recipes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use diffy::patch_set::{FileMode, FileOperation, FilePatch, ParseOptions, PatchSet};
use diffy::{Hunk, Line};
use fs_err as fs;

use crate::data::types::RelPath;
use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;
use crate::run::store;

/// What a file will be once the patch is applied; `None` for a file that will be gone.
type Changes = BTreeMap<RelPath, Option<Content>>;

#[derive(Debug, Clone)]
struct Content {
    bytes: Vec<u8>,
    exec: bool,
}

/// Applies `patch` to the tree in `dir`; gives the files that changed, sorted.
///
/// Everything is worked out before the first file is written. What is written gets the time `mtime`, which
/// must be the one the tree was unpacked with: a patched `configure.ac` must not look newer than `configure`,
/// or make runs an autoconf that is not there. A patch that wants something regenerated patches that too.
pub fn apply(patch_name: &str, patch: impl AsRef<[u8]>, dir: &Path, mtime: u64) -> Result<Vec<String>> {
    let patch = Patch { name: patch_name, text: patch.as_ref(), dir };
    let changes = patch.changes()?;
    for (file, content) in &changes {
        interrupt::check()?;
        write(dir, file, content.as_ref(), mtime).with_context(|| format!("apply {patch_name} to {file}"))?;
    }
    Ok(changes.into_keys().map(|file| file.as_str().to_owned()).collect())
}

/// One patch file and the tree it is meant for.
struct Patch<'a> {
    name: &'a str,
    text: &'a [u8],
    dir: &'a Path,
}

impl Patch<'_> {
    fn changes(&self) -> Result<Changes> {
        let git = lines(self.text).iter().any(|line| line.starts_with(b"diff --git "));
        let options = if git { ParseOptions::gitdiff() } else { ParseOptions::unidiff() };
        let mut changes = Changes::new();
        let mut hunks = 0;
        for file in PatchSet::parse_bytes(self.text, options) {
            interrupt::check()?;
            let file = file.map_err(|error| self.wrong(format!("it cannot be read: {error}")))?;
            hunks += file.patch().as_text().map_or(0, |text| text.hunks().len());
            self.add(&file, git, &mut changes)?;
        }
        self.check_complete(hunks)?;
        Ok(changes)
    }

    /// The parser takes a hunk that it did not expect for free text; nothing must be left out unnoticed.
    fn check_complete(&self, hunks: usize) -> Result<()> {
        let headers = lines(self.text).iter().filter(|line| line.starts_with(b"@@ -")).count();
        if headers == hunks {
            return Ok(());
        }
        Err(self
            .wrong(format!("it has {headers} hunks (lines that begin with `@@ -`), but only {hunks} belong to a file")))
    }

    fn add(&self, file: &FilePatch<'_, [u8]>, git: bool, changes: &mut Changes) -> Result<()> {
        let Some(text) = file.patch().as_text() else {
            return Err(self.wrong("it changes a binary file, which only a new source can do"));
        };
        for mode in [file.old_mode(), file.new_mode()].into_iter().flatten() {
            if matches!(mode, FileMode::Symlink | FileMode::Gitlink) {
                return Err(self.wrong("it makes or changes a symlink or submodule, which is not supported"));
            }
        }
        let exec = file.new_mode().map(|mode| *mode == FileMode::Executable);
        match file.operation() {
            FileOperation::Create(path) => self.create(self.path(path)?, text, exec, changes),
            FileOperation::Delete(path) => self.delete(self.path(path)?, text, changes),
            FileOperation::Modify { original, modified } => {
                let (original, path) = (self.path(original)?, self.path(modified)?);
                if original != path {
                    return Err(self.wrong(format!("it names two files for one change: {original} and {path}")));
                }
                self.modify(path, text, exec, git, changes)
            }
            FileOperation::Rename { from, to } | FileOperation::Copy { from, to } => Err(self.wrong(format!(
                "it renames or copies {} to {}; write it with `git format-patch --no-renames`",
                shown(from),
                shown(to)
            ))),
        }
    }

    fn create(&self, file: RelPath, text: &Text<'_>, exec: Option<bool>, changes: &mut Changes) -> Result<()> {
        if self.current(&file, changes)?.is_some() {
            return Err(self.wrong(format!("it makes a new file {file}, which is there already")));
        }
        let content = Content { bytes: self.patched(&file, &[], text)?, exec: exec.unwrap_or(false) };
        changes.insert(file, Some(content));
        Ok(())
    }

    fn delete(&self, file: RelPath, text: &Text<'_>, changes: &mut Changes) -> Result<()> {
        let left = self.patched(&file, &self.present(&file, changes)?.bytes, text)?;
        if !left.is_empty() {
            let count = lines(&left).len();
            return Err(self.wrong(format!("it deletes {file}, which has {count} lines that the patch does not know")));
        }
        changes.insert(file, None);
        Ok(())
    }

    fn modify(
        &self,
        file: RelPath,
        text: &Text<'_>,
        exec: Option<bool>,
        git: bool,
        changes: &mut Changes,
    ) -> Result<()> {
        // `diff -N` gives a missing file its name and a date in 1970, where git says /dev/null.
        let new =
            !git && matches!(text.hunks(), [only] if only.old_range().is_empty() && only.old_range().start() == 0);
        if new && self.current(&file, changes)?.is_none() {
            return self.create(file, text, exec, changes);
        }
        let mut content = self.present(&file, changes)?;
        content.bytes = self.patched(&file, &content.bytes, text)?;
        if content.bytes.is_empty() && !git {
            return Err(self.wrong(format!("it leaves nothing in {file}: a deletion says `+++ /dev/null`")));
        }
        content.exec = exec.unwrap_or(content.exec);
        changes.insert(file, Some(content));
        Ok(())
    }

    /// `file` with all hunks applied.
    fn patched(&self, file: &RelPath, bytes: &[u8], text: &Text<'_>) -> Result<Vec<u8>> {
        for (index, hunk) in text.hunks().iter().enumerate() {
            // Such a hunk would fit anywhere, so its line number alone would decide.
            if hunk.old_range().is_empty() && !bytes.is_empty() {
                return Err(self.wrong(format!("{file}, hunk {}: it has no lines of context", index + 1)));
            }
        }
        diffy::apply_bytes(bytes, text).map_err(|error| {
            let misfit = misfit(bytes, text.hunks()).unwrap_or_else(|| error.to_string());
            self.wrong(format!("{file}, {misfit}"))
        })
    }

    fn present(&self, file: &RelPath, changes: &Changes) -> Result<Content> {
        let current = self.current(file, changes)?;
        current.ok_or_else(|| self.wrong(format!("it changes {file}, which is not there")))
    }

    /// The file as earlier parts of this patch left it, else as it is on disk.
    fn current(&self, file: &RelPath, changes: &Changes) -> Result<Option<Content>> {
        if let Some(content) = changes.get(file) {
            return Ok(content.clone());
        }
        self.check_no_symlink(file)?;
        let path = self.dir.join(file);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !metadata.is_file() {
            return Err(self.wrong(format!("it changes {file}, which is not a file")));
        }
        Ok(Some(Content { bytes: fs::read(&path)?, exec: metadata.permissions().mode() & 0o111 != 0 }))
    }

    fn check_no_symlink(&self, file: &RelPath) -> Result<()> {
        let ends = file.as_str().match_indices('/').map(|(at, _)| at).chain([file.as_str().len()]);
        for end in ends {
            let part = &file.as_str()[..end];
            if self.dir.join(part).is_symlink() {
                return Err(self.wrong(format!("it changes {file}, but {part} is a symlink")));
            }
        }
        Ok(())
    }

    /// A path as the patch names it, without its first part.
    fn path(&self, path: &[u8]) -> Result<RelPath> {
        let text = std::str::from_utf8(path).ok().and_then(|text| text.split_once('/'));
        let Some((_, path)) = text else {
            return Err(self.wrong(format!("it names the file `{}`; a path begins with `a/` or `b/`", shown(path))));
        };
        path.parse().map_err(|error| self.wrong(format!("{error}")))
    }

    fn wrong(&self, why: impl AsRef<str>) -> anyhow::Error {
        Failure::new(Kind::Data, format!("the patch {} does not apply: {}", self.name, why.as_ref())).into()
    }
}

type Text<'a> = diffy::Patch<'a, [u8]>;

/// Says which hunk fits nowhere: the line it expects first that is not in its place, and what is there.
fn misfit(bytes: &[u8], hunks: &[Hunk<'_, [u8]>]) -> Option<String> {
    let there = lines(bytes);
    for (index, hunk) in hunks.iter().enumerate() {
        let wanted = old_lines(hunk);
        if there.windows(wanted.len().max(1)).any(|window| window == wanted) {
            continue;
        }
        let start = hunk.old_range().start().saturating_sub(1);
        let found = |offset: usize| there.get(start + offset).copied();
        let (offset, line) = wanted.iter().enumerate().find(|(offset, line)| found(*offset) != Some(**line))?;
        let number = start + offset + 1;
        let found = found(offset).map_or("the end of the file".to_owned(), |line| format!("`{}`", shown(line)));
        let wanted = shown(line);
        return Some(format!("hunk {}, line {number}:\n  expected `{wanted}`\n  found    {found}", index + 1));
    }
    None
}

/// The lines of the old file that a hunk holds.
fn old_lines<'a>(hunk: &Hunk<'a, [u8]>) -> Vec<&'a [u8]> {
    let old = hunk.lines().iter().filter_map(|line| match line {
        Line::Context(line) | Line::Delete(line) => Some(*line),
        Line::Insert(_) => None,
    });
    old.collect()
}

/// Lines with their ends.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// A line or path as it can be shown, its end left out, other control characters made visible.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    let show = |c: char| if c.is_control() && c != '\t' { c.escape_default().collect() } else { vec![c] };
    text.chars().flat_map(show).collect()
}

/// Puts one file into place whole; a hard link to the old one keeps the old content. Not synced: after a
/// crash the tree is unpacked again.
fn write(dir: &Path, file: &RelPath, content: Option<&Content>, mtime: u64) -> Result<()> {
    let path = dir.join(file);
    let parent = path.parent().context("a file has a folder")?;
    match content {
        None => fs::remove_file(&path)?,
        Some(content) => {
            make_folders(dir, file)?;
            let mut new = tempfile::Builder::new().prefix(".patch-").tempfile_in(parent)?;
            new.write_all(&content.bytes)?;
            store::set_mode(new.path(), if content.exec { 0o755 } else { 0o644 })?;
            store::set_mtime(new.path(), mtime)?;
            new.persist(&path)?;
        }
    }
    store::set_mtime(parent, mtime)
}

fn make_folders(dir: &Path, file: &RelPath) -> Result<()> {
    for (end, _) in file.as_str().match_indices('/') {
        let folder = dir.join(&file.as_str()[..end]);
        if !folder.exists() {
            fs::create_dir(&folder)?;
            store::set_mode(&folder, 0o755)?;
        }
    }
    Ok(())
}
