//! The folder that an archive lands in, and what is in it so far.
//!
//! The folder starts empty and only we write there, so what is in memory here is what is on disk: no path
//! is looked at twice, and none is followed. Knows no archive format.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::Unpacked;
use super::place::{At, leads_out, shown};
use crate::error::Result;
use crate::interrupt;
use crate::run::store;

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File,
    Symlink,
}

/// What becomes of a symlink that leads out of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outward {
    Refused,
    LeftOut,
}

pub(super) struct Tree<'a> {
    root: &'a Path,
    mtime: u64,
    outward: Outward,
    /// By place: `/`-separated, below the root.
    nodes: HashMap<Vec<u8>, Node>,
    unpacked: Unpacked,
    buffer: Vec<u8>,
}

impl<'a> Tree<'a> {
    pub fn new(root: &'a Path, mtime: u64, outward: Outward) -> Self {
        let nodes = HashMap::from([(Vec::new(), Node::Folder)]);
        Self { root, mtime, outward, nodes, unpacked: Unpacked::default(), buffer: vec![0; 128 * 1024] }
    }

    /// A folder, which may be there already: archives repeat them.
    pub fn folder(&mut self, at: &At, place: &[u8]) -> Result<()> {
        match self.nodes.get(place) {
            Some(Node::Folder) => Ok(()),
            Some(other) => Err(twice(at, *other)),
            None => {
                self.make_parent(at, place)?;
                self.make_folder(place)
            }
        }
    }

    /// A file of exactly `size` bytes.
    pub fn file(&mut self, at: &At, place: &[u8], exec: bool, size: u64, content: &mut dyn Read) -> Result<()> {
        let path = self.claim(at, place, Node::File)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        self.copy(at, size, content, &mut file)?;
        let mode = if exec { 0o755 } else { 0o644 };
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        drop(file);
        self.unpacked.files += 1;
        self.unpacked.bytes += size;
        store::set_mtime(&path, self.mtime)
    }

    pub fn symlink(&mut self, at: &At, place: &[u8], target: &[u8]) -> Result<()> {
        if let Some(how) = leads_out(at, place, target)? {
            if self.outward == Outward::Refused {
                return Err(at.refused(format!("is a symlink to `{}`, which {how}", shown(target))));
            }
            // Its place is taken all the same: nothing may land behind it.
            return self.claim(at, place, Node::Symlink).map(|_| ());
        }
        let path = self.claim(at, place, Node::Symlink)?;
        fs::os::unix::fs::symlink(OsStr::from_bytes(target), &path)?;
        store::set_mtime(&path, self.mtime)
    }

    /// One more name for a file that is there.
    pub fn hard_link(&mut self, at: &At, place: &[u8], to: &[u8]) -> Result<()> {
        match self.nodes.get(to) {
            Some(Node::File) => {}
            Some(Node::Folder) => return Err(at.refused(format!("is a hard link to the folder `{}`", shown(to)))),
            Some(Node::Symlink) => return Err(at.refused(format!("is a hard link to the symlink `{}`", shown(to)))),
            None => return Err(at.refused(format!("is a hard link to `{}`, which is not there", shown(to)))),
        }
        let path = self.claim(at, place, Node::File)?;
        fs::hard_link(self.path(to), &path)?;
        self.unpacked.files += 1;
        Ok(())
    }

    /// Sets the folders' times, which change with every file put into them.
    pub fn finish(self) -> Result<Unpacked> {
        for (place, node) in &self.nodes {
            if *node == Node::Folder {
                store::set_mtime(&self.path(place), self.mtime)?;
            }
        }
        store::set_mode(self.root, 0o755)?;
        Ok(self.unpacked)
    }

    /// Notes that `place` is taken from now on, and gives its path.
    fn claim(&mut self, at: &At, place: &[u8], node: Node) -> Result<PathBuf> {
        self.make_parent(at, place)?;
        match self.nodes.entry(place.to_vec()) {
            Entry::Occupied(there) => return Err(twice(at, *there.get())),
            Entry::Vacant(free) => free.insert(node),
        };
        Ok(self.path(place))
    }

    /// Makes the folders above `place` that no entry spoke of.
    fn make_parent(&mut self, at: &At, place: &[u8]) -> Result<()> {
        let Some(slash) = place.iter().rposition(|byte| *byte == b'/') else { return Ok(()) };
        let parent = &place[..slash];
        match self.nodes.get(parent) {
            Some(Node::Folder) => Ok(()),
            Some(Node::File) => Err(at.refused(format!("lies below `{}`, which is a file", shown(parent)))),
            Some(Node::Symlink) => Err(at.refused(format!("lies behind the symlink `{}`", shown(parent)))),
            None => {
                self.make_parent(at, parent)?;
                self.make_folder(parent)
            }
        }
    }

    fn make_folder(&mut self, place: &[u8]) -> Result<()> {
        let path = self.path(place);
        fs::create_dir(&path)?;
        store::set_mode(&path, 0o755)?;
        self.nodes.insert(place.to_vec(), Node::Folder);
        Ok(())
    }

    fn copy(&mut self, at: &At, size: u64, from: &mut dyn Read, to: &mut fs::File) -> Result<()> {
        let mut left = size;
        loop {
            interrupt::check()?;
            let count = from.read(&mut self.buffer).map_err(|error| at.damaged(error))?;
            if count == 0 {
                break;
            }
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| at.refused(format!("holds more than the {size} bytes that it declares")))?;
            to.write_all(&self.buffer[..count])?;
        }
        if left > 0 {
            return Err(at.refused(format!("is truncated: {left} of its {size} bytes are missing")));
        }
        Ok(())
    }

    fn path(&self, place: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(place))
    }
}

fn twice(at: &At, there: Node) -> anyhow::Error {
    let what = match there {
        Node::Folder => "folder",
        Node::File => "file",
        Node::Symlink => "symlink",
    };
    at.refused(format!("is in the archive twice: there is a {what} at its place"))
}
