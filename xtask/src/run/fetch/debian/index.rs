//! What apt's lists say of packages: the text of its commands, read.
//!
//! Knows no folder and starts nothing.

use std::collections::BTreeMap;

use super::{Carrier, Found, Wanted};
use crate::data::types::Sha256;

/// One revision of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Revision {
    pub package: String,
    pub version: String,
    /// The source package it is built from; its own name for a source package.
    pub source: String,
    /// `3.0 (quilt)`, for a source package.
    pub format: String,
    /// The first package that a binary package depends on.
    pub depends: String,
    pub files: Vec<File>,
}

/// One file of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub name: String,
    pub size: u64,
    pub sha256: String,
}

/// What the lists say of the packages that were asked for.
#[derive(Debug, Default)]
pub(super) struct Index(pub BTreeMap<Carrier, Vec<Revision>>);

impl Index {
    /// The revision that carries the file.
    pub fn revision(&self, wanted: &Wanted<'_>) -> Option<&Revision> {
        let carries = |revision: &&Revision| revision.files.iter().any(|file| file.sha256 == wanted.sha256.as_str());
        self.0.get(wanted.carrier)?.iter().find(carries)
    }

    /// Why there is none: what the suite has in its place.
    pub fn lost(&self, suite: &str, carrier: &Carrier) -> String {
        let revisions = self.0.get(carrier).map(Vec::as_slice).unwrap_or_default();
        let package = carrier.package();
        let versions: Vec<&str> = revisions.iter().map(|revision| revision.version.as_str()).collect();
        match (versions.is_empty(), carrier) {
            (true, Carrier::Source(_)) => format!("{suite} has no source package {package}"),
            (true, Carrier::Binary(_)) => format!("{suite} has no package {package}"),
            _ => format!("{suite} has {package} {} now, without a file that has this sha256", versions.join(", ")),
        }
    }
}

/// The stanzas of `apt-cache showsrc` or `apt-cache show`.
pub(super) fn revisions(text: &str) -> Vec<Revision> {
    text.split("\n\n").filter_map(revision).collect()
}

fn revision(stanza: &str) -> Option<Revision> {
    let field = |name: &str| {
        let value = |line: &'_ str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
        stanza.lines().find_map(value)
    };
    let package = field("Package").unwrap_or_default();
    // `Source: golang-dbus (5.1.0-1)`, where the versions differ.
    let source = field("Source").and_then(|source| Some(source.split_whitespace().next()?.to_owned()));
    let listed = stanza.lines().skip_while(|line| !line.starts_with("Checksums-Sha256:")).skip(1);
    let mut files: Vec<File> = listed.take_while(|line| line.starts_with(' ')).filter_map(listed_file).collect();
    if let (Some(path), Some(size), Some(sha256)) = (field("Filename"), field("Size"), field("SHA256")) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        files.push(File { name, size: size.parse().ok()?, sha256 });
    }
    Some(Revision {
        source: source.unwrap_or_else(|| package.clone()),
        package,
        version: field("Version")?,
        format: field("Format").unwrap_or_default(),
        depends: field("Depends").and_then(|all| Some(all.split([' ', ',']).next()?.to_owned())).unwrap_or_default(),
        files,
    })
}

/// ` SHA256 SIZE NAME`.
fn listed_file(line: &str) -> Option<File> {
    let mut words = line.split_whitespace();
    let (sha256, size, name) = (words.next()?, words.next()?, words.next()?);
    Some(File { name: name.to_owned(), size: size.parse().ok()?, sha256: sha256.to_owned() })
}

/// The files that `--print-uris` names, in lines `'URL' file size SHA256:…`: name, digest and place.
pub(super) fn addresses(text: &str) -> Vec<(String, Sha256, Found)> {
    let address = |line: &str| {
        let (url, rest) = line.strip_prefix('\'')?.split_once('\'')?;
        let mut words = rest.split_whitespace();
        let (name, size) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let sha256 = words.find_map(|word| word.strip_prefix("SHA256:"))?.parse().ok()?;
        Some((name, sha256, Found { url: url.to_owned(), size }))
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_found_by_its_files() {
        let (orig, other) = (Sha256::of("orig"), Sha256::of("other"));
        let text = format!(
            "Package: iptables\nVersion: 1.8.9-2\nFormat: 3.0 (quilt)\nFiles:\n 00 1 a.dsc\nChecksums-Sha256:\n \
             {other} 27 a.dsc\n {orig} 63 iptables_1.8.9.orig.tar.xz\nHomepage: https://a.example/\n\n\
             Package: iptables\nVersion: 1.8.7-1\nChecksums-Sha256:\n {other} 5 b.dsc\n\nN: one more thing\n"
        );
        let carrier = Carrier::Source("iptables".parse().unwrap());
        let index = Index([(carrier.clone(), revisions(&text))].into());
        let of = |sha256: &Sha256| index.revision(&Wanted { carrier: &carrier, sha256 });
        let revision = of(&orig).unwrap();
        assert_eq!((revision.version.as_str(), revision.format.as_str()), ("1.8.9-2", "3.0 (quilt)"));
        assert_eq!((revision.files[1].name.as_str(), revision.files[1].size), ("iptables_1.8.9.orig.tar.xz", 63));
        assert_eq!(of(&Sha256::of("none")), None);
        let message = "bookworm has iptables 1.8.9-2, 1.8.7-1 now, without a file that has this sha256";
        assert_eq!(index.lost("bookworm", &carrier), message);
        let binary = Carrier::Binary("golang-dbus-dev".parse().unwrap());
        assert_eq!(index.lost("bookworm", &binary), "bookworm has no package golang-dbus-dev");
    }

    #[test]
    fn a_binary_package_says_what_it_is_built_from() {
        let sha256 = Sha256::of("deb");
        let text = format!(
            "Package: golang-dbus-dev\nSource: golang-dbus (5.1.0-1)\nVersion: 1:5.1.0-1+b1\n\
             Depends: golang-any (>= 1.15), other\nFilename: pool/main/g/golang-dbus/golang-dbus-dev_5.1.0-1+b1_amd64.deb\nSize: 63884\nSHA256: {sha256}\n\n"
        );
        let revision = revisions(&text).remove(0);
        assert_eq!((revision.source.as_str(), revision.version.as_str()), ("golang-dbus", "1:5.1.0-1+b1"));
        assert_eq!(revision.depends, "golang-any");
        assert_eq!(revision.files[0].name, "golang-dbus-dev_5.1.0-1+b1_amd64.deb");
        assert_eq!((revision.files[0].size, revision.files[0].sha256.as_str()), (63884, sha256.as_str()));
    }

    #[test]
    fn addresses_are_read() {
        let sha256 = Sha256::of("orig");
        let text = format!(
            "Need to get 666 kB of source archives.\n'http://m.example/i_1.dsc' i_1.dsc 27 MD5Sum:00\n\
             'http://m.example/i_1%2b.orig.tar.xz' i_1+.orig.tar.xz 637848 SHA256:{sha256}\n"
        );
        let found = Found { url: "http://m.example/i_1%2b.orig.tar.xz".to_owned(), size: 637_848 };
        assert_eq!(addresses(&text), [("i_1+.orig.tar.xz".to_owned(), sha256, found)]);
    }
}
