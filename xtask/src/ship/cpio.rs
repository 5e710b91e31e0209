//! An initramfs: a cpio archive in the `newc` format, whose bytes depend on its content alone.
//!
//! Entries in the order of their paths, owned by 0:0, numbered from 1, the time 0. Knows no compression: the
//! kernel takes it as it is.

use std::collections::BTreeMap;

use crate::error::{Context, Result, bail};

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

/// What is packed, by its path.
#[derive(Debug, Default)]
pub struct Cpio {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

impl Cpio {
    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: &str) -> Result<()> {
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let folder = &path[..at];
            let entry = self.entries.entry(folder.to_owned());
            if entry.or_insert_with(|| Entry { mode: FOLDER, content: Vec::new() }).mode != FOLDER {
                bail!("`{folder}` is a folder of the initramfs and something else too");
            }
        }
        Ok(())
    }

    /// Adds a file with mode 0755 or 0644.
    pub fn file(&mut self, path: &str, content: Vec<u8>, executable: bool) -> Result<()> {
        let mode = FILE | if executable { 0o755 } else { 0o644 };
        self.add(path, Entry { mode, content })
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.add(path, Entry { mode: LINK, content: target.as_bytes().to_vec() })
    }

    fn add(&mut self, path: &str, entry: Entry) -> Result<()> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder)?;
        }
        match self.entries.insert(path.to_owned(), entry) {
            None => Ok(()),
            Some(_) => bail!("`{path}` is in the initramfs twice"),
        }
    }

    /// The archive. A folder's path comes before the paths below it, as it must.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            let number = u32::try_from(number + 1).context("number the entries of a cpio archive")?;
            append(&mut out, number, path, entry.mode, &entry.content)?;
        }
        append(&mut out, 0, "TRAILER!!!", 0, &[])?;
        // Another archive may follow.
        out.resize(out.len().next_multiple_of(512), 0);
        Ok(out)
    }
}

fn append(out: &mut Vec<u8>, number: u32, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let size = u32::try_from(content.len()).with_context(|| format!("`{path}` is too large for a cpio archive"))?;
    let name = u32::try_from(path.len() + 1).context("a path that fits a cpio archive")?;
    let links = if mode == FOLDER { 2 } else { 1 };
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    let fields = [number, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::types::Sha256;

    fn sample(turn: bool) -> Cpio {
        let mut cpio = Cpio::default();
        let mut steps = [0, 1, 2, 3];
        if turn {
            steps.reverse();
        }
        for step in steps {
            let added = match step {
                0 => cpio.file("init", b"#!/bin/sh\n".to_vec(), true),
                1 => cpio.file("a/b/notes", b"abc".to_vec(), false),
                2 => cpio.link("a/sh", "busybox"),
                _ => cpio.folder("proc"),
            };
            added.unwrap();
        }
        cpio
    }

    #[test]
    fn bytes_depend_on_the_content_alone() {
        let bytes = sample(false).bytes().unwrap();
        assert_eq!(bytes, sample(true).bytes().unwrap());
        assert_eq!(Sha256::of(&bytes).as_str(), "cc9707695250f129cec290058010127d15843fa1aa5755036035253a53cf9746");
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn entries_are_where_the_kernel_looks_for_them() {
        let bytes = sample(false).bytes().unwrap();
        let text = |at: usize, length: usize| std::str::from_utf8(&bytes[at..at + length]).unwrap();
        let number = |at: usize| usize::from_str_radix(text(at, 8), 16).unwrap();
        let (mut at, mut seen) = (0, Vec::new());
        loop {
            assert_eq!(text(at, 6), "070701");
            let (mode, size, name) = (number(at + 14), number(at + 54), number(at + 94));
            let path = text(at + 110, name - 1).to_owned();
            let content = (at + 110 + name).next_multiple_of(4);
            if path == "TRAILER!!!" {
                break;
            }
            seen.push((path, format!("{mode:o}"), text(content, size).to_owned()));
            at = (content + size).next_multiple_of(4);
        }
        let expected = [
            ("a", "40755", ""),
            ("a/b", "40755", ""),
            ("a/b/notes", "100644", "abc"),
            ("a/sh", "120777", "busybox"),
            ("init", "100755", "#!/bin/sh\n"),
            ("proc", "40755", ""),
        ];
        let expected = expected.map(|(path, mode, content)| (path.to_owned(), mode.to_owned(), content.to_owned()));
        assert_eq!(seen, expected);
    }

    #[test]
    fn no_path_is_two_things() {
        let mut cpio = sample(false);
        let twice = cpio.file("init", Vec::new(), true).unwrap_err().to_string();
        assert_eq!(twice, "`init` is in the initramfs twice");
        let both = cpio.file("a/sh/x", Vec::new(), true).unwrap_err().to_string();
        assert_eq!(both, "`a/sh` is a folder of the initramfs and something else too");
    }
}
