//! Locks: `locks/SUITE/PACKAGE.toml`, one revision of a Debian source package and the Go libraries it
//! builds with, each pinned by its hash.
//!
//! Written by `cargo xtask update`, read by everyone; knows nothing of how the archive is asked.

use serde::{Deserialize, Serialize};

use super::source::{DebianBinary, DebianSource, Origin, Pinned};
use super::text::Text;
use super::types::{DebianVersion, Name, Package, Sha256};
use crate::error::Result;

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

impl Lock {
    /// Reads a lock.
    pub fn parse(text: &Text) -> Result<Self> {
        text.parse()
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
                package: library.package.clone(),
                version: library.version.clone(),
            })],
        };
        self.library.iter().map(pinned).collect()
    }
}
