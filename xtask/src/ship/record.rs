//! The record of a bundle: the hash of its tarball, and of every file in it, in the form of `sha256sum`.
//!
//! The project keeps one for a target in `dist/TARGET.sha256`, so that a change of the bytes shows where it was
//! made. The `.sha256` beside a published tarball is a record too: one that knows no files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use fs_err as fs;

use crate::data::types::Sha256;
use crate::error::{Context, Result};
use crate::run::store::{hash_file, write_atomic};

/// What a bundle's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub bundle: Sha256,
    /// The tarball's name, without a folder.
    pub name: String,
    /// Path in the bundle, its top folder included → the file's hash. Empty if only the tarball was recorded.
    pub files: BTreeMap<String, Sha256>,
}

/// One file that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub recorded: Option<Sha256>,
    pub built: Option<Sha256>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |hash: &Option<Sha256>| hash.as_ref().map_or("not there".to_owned(), ToString::to_string);
        write!(f, "{}\n    recorded  {}\n    built     {}", self.path, show(&self.recorded), show(&self.built))
    }
}

impl Record {
    /// Where the project keeps a target's record.
    pub fn path(project: &Path, target: &str) -> PathBuf {
        project.join("dist").join(format!("{target}.sha256"))
    }

    /// Of a written bundle.
    pub fn of(bundle: &Path) -> Result<Self> {
        let name = bundle.file_name().context("a bundle has a name")?.to_string_lossy().into_owned();
        let mut tar = tar::Archive::new(GzDecoder::new(fs::File::open(bundle)?));
        for entry in tar.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let Some(top) = path.strip_suffix("/SHA256SUMS") else { continue };
            let mut sums = String::new();
            entry.read_to_string(&mut sums).with_context(|| format!("read {path} of {}", bundle.display()))?;
            let files = parse(&sums).with_context(|| format!("{path} is no list of hashes"))?;
            let files = files.into_iter().map(|(file, hash)| (format!("{top}/{file}"), hash)).collect();
            return Ok(Self { bundle: hash_file(bundle)?, name, files });
        }
        anyhow::bail!("{} holds no SHA256SUMS", bundle.display())
    }

    /// Reads a record; `None` if `bytes` are something else, such as the bundle itself.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let lines = parse(std::str::from_utf8(bytes).ok()?)?;
        let mut lines = lines.into_iter();
        let (name, bundle) = lines.next()?;
        Some(Self { bundle, name, files: lines.collect() })
    }

    /// As `sha256sum` writes it: the tarball first.
    pub fn text(&self) -> String {
        let files = self.files.iter().map(|(path, hash)| format!("{hash}  {path}\n"));
        format!("{}  {}\n{}", self.bundle, self.name, files.collect::<String>())
    }

    /// Writes it; false if the file says the same already.
    pub fn write(&self, path: &Path) -> Result<bool> {
        let text = self.text();
        if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(false);
        }
        write_atomic(path, text.as_bytes())?;
        Ok(true)
    }

    /// Every file that `built` has otherwise.
    pub fn changes(&self, built: &Record) -> Vec<Change> {
        let paths: BTreeSet<&String> = self.files.keys().chain(built.files.keys()).collect();
        let change = |path: &String| {
            let (recorded, built) = (self.files.get(path).cloned(), built.files.get(path).cloned());
            (recorded != built).then(|| Change { path: path.clone(), recorded, built })
        };
        paths.into_iter().filter_map(change).collect()
    }
}

/// `HASH  PATH` lines, in their order.
fn parse(text: &str) -> Option<Vec<(String, Sha256)>> {
    let line = |line: &str| {
        let (hash, path) = line.split_once("  ")?;
        Some((path.to_owned(), hash.parse().ok()?))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(files: &[(&str, &str)]) -> Record {
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), Sha256::of(content))).collect();
        Record { bundle: Sha256::of("bundle"), name: "b.tar.gz".to_owned(), files }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let written = record(&[("b/bin/one", "1"), ("b/etc/a name  with spaces", "2")]);
        assert_eq!(Record::parse(written.text().as_bytes()), Some(written));
        let published = format!("{}  b.tar.gz\n", Sha256::of("bundle"));
        assert_eq!(Record::parse(published.as_bytes()).unwrap().files, BTreeMap::new());
        for other in ["", "\n", "b.tar.gz\n", "0123  b.tar.gz\n", "\x1f\x08"] {
            assert_eq!(Record::parse(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(Record::parse(&[0x1f, 0x8b, 8, 0]), None);
    }

    #[test]
    fn what_changed_came_and_went_is_listed() {
        let recorded = record(&[("b/changed", "1"), ("b/gone", "2"), ("b/same", "3")]);
        let built = record(&[("b/changed", "other"), ("b/new", "4"), ("b/same", "3")]);
        let changes = recorded.changes(&built);
        let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["b/changed", "b/gone", "b/new"]);
        assert_eq!(changes[1].built, None);
        assert!(changes[2].to_string().contains("recorded  not there"), "{}", changes[2]);
        assert_eq!(recorded.changes(&recorded), []);
    }
}
