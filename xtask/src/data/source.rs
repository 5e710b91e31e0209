//! Where bytes come from: pinned files, git commits, folders of this repository.
//!
//! Knows what is pinned, not how it is fetched.

use serde::Deserialize;
use toml::Spanned;

use super::types::{Arch, Commit, DebianVersion, ImportPath, Name, Package, RelPath, Sha256, Url, Version};

/// `[release."V".archive]`: one file, the same bytes from any place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Upstream's addresses, tried in order.
    pub urls: Vec<Url>,
    /// The Debian source package that carries the same bytes as its upstream tarball.
    pub debian: Option<DebianSource>,
    pub sha256: Sha256,
    /// Debian's own packing, where it is not upstream's to the byte.
    pub repacked: Option<Repacked>,
}

/// An upstream tarball as Debian packed it anew, without what it may not carry. What is built from it must
/// be the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repacked {
    pub suite: Name,
    pub package: Package,
    pub file: RelPath,
    pub sha256: Sha256,
}

/// A source package of Debian's archive. Its revision is not pinned: the file is found by its sha256,
/// which stays the same when Debian updates its packaging.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSource {
    /// The release's code name: `bookworm`, `trixie`.
    pub suite: Name,
    pub package: Package,
}

/// A binary package of Debian's archive, for one architecture or for all. Like a source package's file it
/// is found by its sha256; the version says to people which one that was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianBinary {
    /// The release's code name.
    pub suite: Name,
    /// In whose lists it is found.
    #[serde(default = "build_machine")]
    pub arch: Arch,
    pub package: Package,
    pub version: DebianVersion,
}

/// Tools run on the build machine.
fn build_machine() -> Arch {
    Arch::X86_64
}

/// `[release."V".git]`: one commit of a repository; its files as they are in it, no `export-subst`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Git {
    pub url: Url,
    /// For people; the commit alone decides what is built.
    pub tag: Option<String>,
    pub commit: Commit,
}

/// `[release."V".tree]`: a folder of this repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    pub path: Spanned<RelPath>,
}

/// `[release."V".debian]`: a Debian source package with its own patches applied, and the Go libraries that
/// it builds with. `locks/SUITE/PACKAGE.toml` pins all of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianTree {
    pub suite: Name,
    pub package: Package,
    /// Libraries that our patches change: they are copied into the build tree first.
    #[serde(default)]
    pub patched: Vec<ImportPath>,
}

impl DebianTree {
    /// What the lock is a lock of.
    pub fn source(&self) -> DebianSource {
        DebianSource { suite: self.suite.clone(), package: self.package.clone() }
    }
}

/// A prebuilt Python wheel, had through the machine's own pip. A wheel is a zip file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// The project's name on the package index.
    pub package: Name,
    pub version: Version,
    /// The wheel's file name, which also names the platform.
    pub file: RelPath,
    pub sha256: Sha256,
}

/// One file that is known by its hash, and the places that may have it. What a fetch works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The name it is stored and mirrored under.
    pub file: String,
    pub sha256: Sha256,
    /// Tried in order, after the store and the mirrors.
    pub origins: Vec<Origin>,
}

/// A place outside this machine that may have a pinned file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An upstream address.
    Url(Url),
    /// Debian's archive, through the machine's own apt.
    Debian(DebianSource),
    /// One of Debian's binary packages, likewise.
    Deb(DebianBinary),
    /// The Python package index, through the machine's own pip.
    Pip { package: Name, version: Version },
}

impl Archive {
    /// The files to fetch, any of which will do: upstream's, then the repacked one.
    pub fn packings(&self) -> Vec<Pinned> {
        let repacked = self.repacked.iter().map(|repacked| Pinned {
            file: repacked.file.as_str().to_owned(),
            sha256: repacked.sha256.clone(),
            origins: vec![Origin::Debian(DebianSource {
                suite: repacked.suite.clone(),
                package: repacked.package.clone(),
            })],
        });
        [self.pinned()].into_iter().chain(repacked).collect()
    }

    /// Upstream's file: from upstream first, then from Debian.
    fn pinned(&self) -> Pinned {
        let urls = self.urls.iter().cloned().map(Origin::Url);
        let debian = self.debian.iter().cloned().map(Origin::Debian);
        Pinned {
            file: self.urls[0].file_name().to_owned(),
            sha256: self.sha256.clone(),
            origins: urls.chain(debian).collect(),
        }
    }
}

impl Wheel {
    /// The file to fetch.
    pub fn pinned(&self) -> Pinned {
        let pip = Origin::Pip { package: self.package.clone(), version: self.version.clone() };
        Pinned { file: self.file.as_str().to_owned(), sha256: self.sha256.clone(), origins: vec![pip] }
    }
}
