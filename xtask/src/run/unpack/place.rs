//! Where an entry lands, told from its name alone, and how its refusal is worded.
//!
//! Knows no archive format and no file system.

use std::io;

use super::decode::TooMuch;
use super::{Refused, Strip};
use crate::data::types::RelPath;
use crate::error::Result;

/// The longest name and link target, in bytes: Linux's own `PATH_MAX`.
pub(super) const LONGEST: usize = 4096;

/// The archive, or the entry of it, that a refusal speaks of.
#[derive(Clone)]
pub(super) struct At<'a> {
    archive: &'a str,
    entry: Option<String>,
}

impl<'a> At<'a> {
    pub fn archive(archive: &'a str) -> Self {
        Self { archive, entry: None }
    }

    pub fn entry(&self, name: &[u8]) -> Self {
        Self { archive: self.archive, entry: Some(shown(name)) }
    }

    /// `why` goes on the sentence "entry `x` …".
    pub fn refused(&self, why: impl Into<String>) -> anyhow::Error {
        Refused { archive: self.archive.to_owned(), entry: self.entry.clone(), why: why.into() }.into()
    }

    /// A reader or decoder failed on the bytes of this entry.
    pub fn damaged(&self, error: impl Into<io::Error>) -> anyhow::Error {
        let error = error.into();
        match TooMuch::within(&error) {
            Some(too_much) => Self::archive(self.archive).refused(too_much.to_string()),
            None => self.refused(format!("is truncated or damaged: {error}")),
        }
    }

    /// A reader or decoder failed behind this entry.
    pub fn damaged_after(&self, error: impl Into<io::Error>) -> anyhow::Error {
        let archive = Self::archive(self.archive);
        let error = error.into();
        match &self.entry {
            Some(last) if TooMuch::within(&error).is_none() => {
                archive.refused(format!("is truncated or damaged behind the entry `{last}`: {error}"))
            }
            _ => archive.damaged(error),
        }
    }
}

/// A name as it can be shown on a terminal.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().flat_map(show).collect()
}

fn show(c: char) -> Vec<char> {
    // `escape_debug` would escape quotes and backslashes too, which are harmless here.
    if c.is_control() || c == '\u{fffd}' { c.escape_default().collect() } else { vec![c] }
}

/// Turns the names of one archive into places below the folder that it is unpacked into.
pub(super) struct Landing<'a> {
    strip: Strip,
    only: Option<&'a str>,
    /// The top folder's name, once it was seen.
    top: Option<Vec<u8>>,
}

impl<'a> Landing<'a> {
    pub fn new(strip: Strip, only: Option<&'a RelPath>) -> Self {
        Self { strip, only: only.map(RelPath::as_str), top: None }
    }

    /// The place, `/`-separated, empty for the folder itself; `None` if the entry is not wanted.
    pub fn place(&mut self, at: &At, name: &[u8], folder: bool) -> Result<Option<Vec<u8>>> {
        let mut parts = parts(at, name)?;
        if parts.is_empty() && !folder {
            return Err(at.refused("has no name"));
        }
        if self.strip == Strip::TopFolder && !parts.is_empty() {
            self.check_top(at, &parts, folder)?;
            parts.remove(0);
        }
        let place = parts.join(&b'/');
        match self.only {
            None => Ok(Some(place)),
            Some(only) => below(at, place, only.as_bytes(), folder),
        }
    }

    fn check_top(&mut self, at: &At, parts: &[&[u8]], folder: bool) -> Result<()> {
        let top = self.top.get_or_insert_with(|| parts[0].to_vec());
        if top != parts[0] {
            return Err(at.refused(format!("lies outside the archive's top folder `{}`", shown(top))));
        }
        if parts.len() == 1 && !folder {
            return Err(at.refused("is where the archive's top folder should be, and is not a folder"));
        }
        Ok(())
    }

    /// Why an archive is refused of which nothing landed.
    pub fn nothing(&self) -> String {
        match self.only {
            Some(only) => format!("has nothing in a folder `{only}`"),
            None => "has nothing in it".to_owned(),
        }
    }
}

fn below(at: &At, place: Vec<u8>, only: &[u8], folder: bool) -> Result<Option<Vec<u8>>> {
    match place.strip_prefix(only) {
        Some([]) if folder => Ok(Some(Vec::new())),
        Some([]) => Err(at.refused("should be the folder to unpack, and is not a folder")),
        Some([b'/', rest @ ..]) => Ok(Some(rest.to_vec())),
        _ => Ok(None),
    }
}

/// Cuts a name into parts, none of which is empty, `.` or `..`.
fn parts<'a>(at: &At, name: &'a [u8]) -> Result<Vec<&'a [u8]>> {
    check_bytes(at, "name", name)?;
    if name.starts_with(b"/") {
        return Err(at.refused("is an absolute path"));
    }
    let parts = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(at.refused("climbs out of the folder"));
    }
    Ok(parts)
}

/// Why a symlink at `place` does not lead to somewhere below the folder; `None` if it does.
///
/// Told from the text alone, which is exact as long as nothing climbs behind a name: the name may be
/// another symlink's, and what is above *its* target nobody reads off a text. Leading `..` are safe,
/// since an entry never lies behind a symlink.
pub(super) fn leads_out(at: &At, place: &[u8], target: &[u8]) -> Result<Option<&'static str>> {
    check_bytes(at, "target", target)?;
    if target.is_empty() {
        return Ok(Some("is no path"));
    }
    if target.starts_with(b"/") {
        return Ok(Some("is absolute"));
    }
    let mut depth = place.iter().filter(|byte| **byte == b'/').count();
    let mut named = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named => return Ok(Some("climbs behind a name")),
            b".." if depth == 0 => return Ok(Some("leaves the folder")),
            b".." => depth -= 1,
            _ => named = true,
        }
    }
    Ok(None)
}

fn check_bytes(at: &At, what: &str, name: &[u8]) -> Result<()> {
    if name.len() >= LONGEST {
        return Err(at.refused(format!("has a {what} of {} bytes, longer than a path can be", name.len())));
    }
    if name.iter().any(u8::is_ascii_control) {
        return Err(at.refused(format!("has a control character in its {what}")));
    }
    Ok(())
}
