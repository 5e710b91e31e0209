//! Locks: `locks/SUITE/PACKAGE.toml`, one revision of a Debian source package and the Go libraries it
//! builds with, each pinned by its hash.
//!
//! Written by `cargo xtask update`, read by everyone; knows nothing of how the archive is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::source::{DebianBinary, DebianSource, Origin, Pinned};
use super::text::Text;
use super::types::{Arch, DebianVersion, Name, Package, Sha256};
use crate::error::{Failure, Kind, Result};

/// What stands at the head of every lock.
const HEAD: &str = "\
# A Debian source package and the Go libraries it is built with, each file pinned.
# Written by `cargo xtask update RECIPE`, which takes what the archive has now; not by hand.
";

/// One source package, pinned with all that its build reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The release's code name: `bookworm`.
    pub suite: Name,
    /// The source package.
    pub package: Package,
    /// Its revision.
    pub version: DebianVersion,
    /// The files of the source package but the `.dsc`, which says what this lock says: the upstream
    /// tarball, its further components, Debian's own part with the patches. In the order of their names.
    pub source: Vec<SourceFile>,
    /// The binary packages of Go libraries, in the order of their names.
    #[serde(default)]
    pub library: Vec<Library>,
}

/// One file of a source package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    pub file: String,
    /// In bytes.
    pub size: u64,
    pub sha256: Sha256,
}

/// One binary package that holds Go sources under `usr/share/gocode/src`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    pub package: Package,
    pub version: DebianVersion,
    pub file: String,
    /// In bytes.
    pub size: u64,
    pub sha256: Sha256,
}

/// One difference between two locks of the same package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "change")]
pub enum Change<'a> {
    /// The source package: another revision, or other bytes under the same.
    Source {
        from: &'a DebianVersion,
        to: &'a DebianVersion,
    },
    Added {
        package: &'a Package,
        version: &'a DebianVersion,
    },
    Removed {
        package: &'a Package,
        version: &'a DebianVersion,
    },
    Changed {
        package: &'a Package,
        from: &'a DebianVersion,
        to: &'a DebianVersion,
    },
}

impl Lock {
    /// Where a checkout keeps the lock of a package.
    pub fn path(suite: &Name, package: &Package) -> String {
        format!("locks/{suite}/{package}.toml")
    }

    /// Reads a lock.
    pub fn parse(text: &Text) -> Result<Self> {
        let lock: Self = text.parse()?;
        let plain = |file: &str| !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\\', '\0']);
        if let Some((file, _)) = lock.files().find(|(file, _)| !plain(file)) {
            let what = format!("{}: `{}` is not the name of a file", text.path, file.escape_debug());
            return Err(Failure::new(Kind::Data, what).into());
        }
        Ok(lock)
    }

    /// The lock's text: the same for the same lock, and [`Lock::parse`] reads it back.
    pub fn render(&self) -> String {
        let mut text = format!(
            "{HEAD}suite   = \"{}\"\npackage = \"{}\"\nversion = \"{}\"\n",
            self.suite, self.package, self.version
        );
        for SourceFile { file, size, sha256 } in &self.source {
            text.push_str(&format!("\n[[source]]\nfile   = {}\nsize   = {size}\n", quoted(file)));
            text.push_str(&format!("sha256 = \"{sha256}\"\n"));
        }
        for Library { package, version, file, size, sha256 } in &self.library {
            text.push_str(&format!("\n[[library]]\npackage = \"{package}\"\nversion = \"{version}\"\n"));
            text.push_str(&format!("file    = {}\nsize    = {size}\nsha256  = \"{sha256}\"\n", quoted(file)));
        }
        text
    }

    /// Name and size of every file.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        let source = self.source.iter().map(|file| (file.file.as_str(), file.size));
        source.chain(self.library.iter().map(|library| (library.file.as_str(), library.size)))
    }

    /// What is another in `newer`, a lock of the same package; nothing if the two are equal.
    pub fn changes<'a>(&'a self, newer: &'a Self) -> Vec<Change<'a>> {
        let mut changes = Vec::new();
        if (&self.version, &self.source) != (&newer.version, &newer.source) {
            changes.push(Change::Source { from: &self.version, to: &newer.version });
        }
        let by_name = |lock: &'a Self| -> BTreeMap<&'a Package, &'a Library> {
            lock.library.iter().map(|library| (&library.package, library)).collect()
        };
        let (old, new) = (by_name(self), by_name(newer));
        let names: BTreeSet<&Package> = old.keys().chain(new.keys()).copied().collect();
        changes.extend(names.into_iter().filter_map(|package| match (old.get(package), new.get(package)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(Change::Changed { package, from: &old.version, to: &new.version }),
            (Some(old), None) => Some(Change::Removed { package, version: &old.version }),
            (None, new) => Some(Change::Added { package, version: &new?.version }),
        }));
        changes
    }

    /// The files of the source package, to fetch.
    pub fn source_files(&self) -> Vec<Pinned> {
        let source = DebianSource { suite: self.suite.clone(), package: self.package.clone() };
        let pinned = |file: &SourceFile| Pinned {
            file: file.file.clone(),
            sha256: file.sha256.clone(),
            origins: vec![Origin::Debian(source.clone())],
        };
        self.source.iter().map(pinned).collect()
    }

    /// The libraries, to fetch.
    pub fn library_files(&self) -> Vec<Pinned> {
        let pinned = |library: &Library| Pinned {
            file: library.file.clone(),
            sha256: library.sha256.clone(),
            origins: vec![Origin::Deb(DebianBinary {
                suite: self.suite.clone(),
                arch: Arch::X86_64,
                package: library.package.clone(),
                version: library.version.clone(),
            })],
        };
        self.library.iter().map(pinned).collect()
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
