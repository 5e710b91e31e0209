//! A tar whose bytes depend on its content alone: entries in the order in which they are given, owned by
//! 0:0, with one mode of two and one fixed time.

use std::collections::BTreeSet;
use std::io::Write;

use crate::error::{Context, Result};
use crate::plan::EPOCH;

/// A tar that is being written. Folders come by themselves, before the first entry that needs them.
pub struct Tarball<W: Write> {
    tar: tar::Builder<W>,
    folders: BTreeSet<String>,
}

impl<W: Write> Tarball<W> {
    pub fn new(out: W) -> Self {
        Self { tar: tar::Builder::new(out), folders: BTreeSet::new() }
    }

    /// Adds a file with mode 0755 or 0644.
    pub fn file(&mut self, path: &str, bytes: &[u8], executable: bool) -> Result<()> {
        self.folders_of(path)?;
        let mut header = header(tar::EntryType::Regular, bytes.len() as u64, if executable { 0o755 } else { 0o644 });
        self.tar.append_data(&mut header, path, bytes).with_context(|| format!("pack {path}"))
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.folders_of(path)?;
        let mut header = header(tar::EntryType::Symlink, 0, 0o777);
        self.tar.append_link(&mut header, path, target).with_context(|| format!("pack {path}"))
    }

    /// Writes the tar's end and gives back what it was written to.
    pub fn finish(self) -> Result<W> {
        self.tar.into_inner().context("finish the tar")
    }

    fn folders_of(&mut self, path: &str) -> Result<()> {
        for (at, _) in path.match_indices('/') {
            if self.folders.insert(path[..at].to_owned()) {
                let mut header = header(tar::EntryType::Directory, 0, 0o755);
                self.tar.append_data(&mut header, &path[..=at], std::io::empty())?;
            }
        }
        Ok(())
    }
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(EPOCH);
    header
}
