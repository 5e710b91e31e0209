//! Makes a lock: the newest revision of a source package in a suite, and the Go libraries that building it
//! would install.
//!
//! Here the lists are believed, since the pins are read from them: they must be signed by Debian.

use std::collections::BTreeMap;

use xshell::{Shell, cmd};

use super::index::{self, File, Revision};
use super::{Archive, FORCE_SHA256, KEYRING, Shelf, Suite, complaint};
use crate::data::lock::{Library, Lock, SourceFile};
use crate::data::types::{DebianVersion, Name, Package, Sha256};
use crate::error::{Context, Failure, Kind, Result, bail};
use crate::run::fetch::Newest;
use crate::run::process::Finished;
use crate::run::store;
use crate::ui::Task;

/// The one format that is put together from pinned files.
const FORMAT: &str = "3.0 (quilt)";

/// Whether lists that nobody signed are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run::fetch) enum Trust {
    Signed,
    Anything,
}

impl Archive {
    pub fn resolve(&self, suite: &Name, package: &Package, trust: Trust, task: &Task) -> Result<Lock> {
        let (there, _lock) = self.renewed(&Shelf::of(suite), trust, task)?;
        task.now("what its build needs");
        let source = self.newest(&there, package)?;
        let library = self.closure(&there, package, &source)?;
        let files = source.files.iter().filter(|file| !file.name.ends_with(".dsc") && !file.name.ends_with(".asc"));
        let mut files = files.map(source_file).collect::<Result<Vec<_>>>()?;
        files.sort_by(|one, other| one.file.cmp(&other.file));
        let version = version(&source)?;
        Ok(Lock { suite: suite.clone(), package: package.clone(), version, source: files, library })
    }

    /// The binary package that `package` depends on first, in its newest revision, such as a kernel by the name that
    /// always means the newest.
    pub fn follow(&self, shelf: &Shelf, package: &Package, trust: Trust, task: &Task) -> Result<Newest> {
        let (there, _lock) = self.renewed(shelf, trust, task)?;
        let newest = |name: &str| -> Result<Revision> {
            let found = self.binaries(&there, &[name])?.into_iter().find(|revision| revision.package == name);
            found.ok_or_else(|| Failure::new(Kind::Source, format!("{} has no package {name}", there.name)).into())
        };
        let revision = newest(&newest(package.as_str())?.depends)?;
        let file = revision.files.first().context("a package has a file")?;
        let (file, sha256) = (file.name.clone(), file.sha256.parse().context("a package's sha256")?);
        Ok(Newest { package: revision.package, version: revision.version, file, sha256 })
    }

    /// A suite with the lists that the archive has now, and the lock under which they stay so.
    fn renewed(&self, shelf: &Shelf, trust: Trust, task: &Task) -> Result<(Suite, store::Lock)> {
        let there = self.suite(shelf)?.map_err(|why| Failure::new(Kind::Host, why))?;
        let lock = self.lock(&there, task)?;
        there.prepare(&self.clients)?;
        task.now("apt-get update");
        self.update(&there)?.map_err(|why| Failure::new(Kind::Source, why))?;
        if trust == Trust::Signed && !there.is_signed() {
            return Err(unsigned(&there).into());
        }
        Ok((there, lock))
    }

    /// The revision that apt itself would take.
    fn newest(&self, suite: &Suite, package: &Package) -> Result<Revision> {
        let (shell, name) = (Shell::new()?, package.as_str());
        let command = cmd!(shell, "apt-get {FORCE_SHA256...} source --only-source --download-only --print-uris {name}");
        let finished = self.run(suite, command)?;
        let addresses: BTreeMap<Sha256, _> =
            index::addresses(&finished.text()).into_iter().map(|(name, sha256, _)| (sha256, name)).collect();
        let revisions = self.sources(suite, package)?;
        if revisions.is_empty() {
            return Err(Failure::new(Kind::Data, format!("{} has no source package {package}", suite.name)).into());
        }
        // Two revisions may share the upstream tarball, but not all files.
        let taken = |file: &File| addresses.contains_key(file.sha256.as_str());
        let newest = revisions.into_iter().find(|revision| revision.files.iter().all(taken));
        let newest =
            newest.with_context(|| format!("apt-get names no files of {package}: {}", complaint(&finished)))?;
        if newest.format != FORMAT || newest.files.is_empty() {
            let (version, format) = (&newest.version, &newest.format);
            let what = format!("{package} {version} is a source package in the format {format}; only {FORMAT} is read");
            return Err(Failure::new(Kind::Data, what).into());
        }
        Ok(newest)
    }

    /// The packages of Go libraries that `apt-get build-dep` would install on an empty system, but those
    /// that are built from the source package itself, which takes their place.
    fn closure(&self, suite: &Suite, package: &Package, source: &Revision) -> Result<Vec<Library>> {
        let (shell, exact) = (Shell::new()?, format!("{package}={}", source.version));
        let command = cmd!(shell, "apt-get -q -y {FORCE_SHA256...} build-dep --only-source --print-uris {exact}");
        let finished = self.run(suite, command)?;
        if !finished.success() {
            let what = format!("apt finds no way to install what {package} {} is built with", source.version);
            return Err(Failure::new(Kind::Source, format!("{what}:\n{}", unmet(&finished)))
                .next("try again later: while the archive changes, a suite's packages may not fit together")
                .into());
        }
        let all = index::addresses(&finished.text());
        let libraries: Vec<(String, Sha256)> =
            all.into_iter().filter_map(|(file, sha256, _)| Some((library_name(&file)?.to_owned(), sha256))).collect();
        let names: Vec<&str> = libraries.iter().map(|(name, _)| name.as_str()).collect();
        let described = self.binaries(suite, &names)?;
        let mut closure = Vec::new();
        for (name, sha256) in &libraries {
            let of = |revision: &&Revision| {
                revision.package == *name && revision.files.iter().any(|file| file.sha256 == sha256.as_str())
            };
            let revision = described.iter().find(of);
            let revision = revision.with_context(|| format!("apt's lists do not describe {name}, which they name"))?;
            if revision.source != package.as_str() {
                closure.push(library(revision)?);
            }
        }
        closure.sort_by(|one, other| one.package.cmp(&other.package));
        Ok(closure)
    }
}

/// The package's name, if the file is one of a Go library.
fn library_name(file: &str) -> Option<&str> {
    let (name, _) = file.split_once('_').filter(|_| file.ends_with(".deb"))?;
    (name.starts_with("golang-") && name.ends_with("-dev")).then_some(name)
}

fn source_file(file: &File) -> Result<SourceFile> {
    Ok(SourceFile { file: file.name.clone(), size: file.size, sha256: file.sha256.parse()? })
}

fn library(revision: &Revision) -> Result<Library> {
    let [file] = revision.files.as_slice() else {
        bail!("apt's lists name {} files for {}", revision.files.len(), revision.package)
    };
    Ok(Library {
        package: revision.package.parse()?,
        version: version(revision)?,
        file: file.name.clone(),
        size: file.size,
        sha256: file.sha256.parse()?,
    })
}

fn version(revision: &Revision) -> Result<DebianVersion> {
    Ok(revision.version.parse()?)
}

fn unsigned(suite: &Suite) -> Failure {
    let what = format!(
        "the lists of {} from {} are not signed by a key that this machine knows ({KEYRING}), and a lock would \
         pin whatever they say",
        suite.name, suite.uri
    );
    Failure::new(Kind::Host, what)
        .next("apt-get install debian-archive-keyring")
        .next("--unsigned believes them all the same, for a mirror of your own that is not signed")
}

/// What apt says does not fit together, and its errors.
fn unmet(finished: &Finished) -> String {
    let text = finished.text();
    // The second as apt 3 words it.
    let head =
        |line: &str| ["The following packages have unmet", "Unsatisfied dep"].iter().any(|head| line.starts_with(head));
    let lines = text.lines().skip_while(|line| !head(line));
    let mut lines: Vec<&str> = lines.skip(1).take_while(|line| line.starts_with(' ')).collect();
    lines.truncate(8);
    let complaint = complaint(finished);
    lines.push(&complaint);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_their_names() {
        assert_eq!(library_name("golang-golang-x-sys-dev_0.3.0-1_all.deb"), Some("golang-golang-x-sys-dev"));
        let others = ["golang-1.19-go_1.19.8-2_amd64.deb", "libseccomp-dev_2.5.4-1_amd64.deb", "golang-a-dev_1.dsc"];
        assert!(others.into_iter().all(|other| library_name(other).is_none()));
    }
}
