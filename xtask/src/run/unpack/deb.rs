//! A Debian package's outer layer: an ar archive of few members, one of which is the tar with its files.
//!
//! Reads what dpkg writes and nothing more: ar's own long names, tables and gaps have no place in a package.
//! Knows no tar.

use std::io::{Read, Seek, SeekFrom};

use fs_err as fs;

use super::place::{At, shown};
use crate::error::Result;

/// What every ar archive begins with.
pub(super) const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;
/// A package has three members; a few more are allowed to those who add to it.
const MEMBERS: usize = 16;

/// One member: its name, and where its content is.
struct Member {
    name: Vec<u8>,
    start: u64,
    size: u64,
}

/// Sets `file` to the start of the `data` member and gives its size. All members are looked at first: a
/// second `data` would be other files for other programs.
pub(super) fn find_data(at: &At, file: &mut fs::File) -> Result<u64> {
    let end = file.metadata()?.len();
    let mut next = MAGIC.len() as u64;
    let mut version = false;
    let mut data: Option<Member> = None;
    for _ in 0..MEMBERS {
        if next >= end {
            break;
        }
        let member = read_member(at, file, next, end)?;
        // Contents begin at even places.
        next = member.start + member.size + member.size % 2;
        match member.name.as_slice() {
            b"debian-binary" if !version => check_version(at, file, &member)?,
            _ if !version => return Err(at.refused("is an ar archive, but not a Debian package")),
            name if is_tar(name, b"data") && data.is_none() => data = Some(member),
            name if is_tar(name, b"data") => return Err(at.refused("has two data members")),
            name if is_tar(name, b"control") => {}
            // Reserved for those who add to a package after it was made.
            [b'_', ..] => {}
            name => return Err(at.refused(format!("has a member `{}`, which is not a package's", shown(name)))),
        }
        version = true;
    }
    if next < end {
        return Err(at.refused(format!("has more than {MEMBERS} members")));
    }
    let Some(data) = data else {
        return Err(at.refused("is truncated or damaged: a Debian package without its data"));
    };
    file.seek(SeekFrom::Start(data.start))?;
    Ok(data.size)
}

/// `data.tar.xz` and its like; how it is compressed, its bytes say.
fn is_tar(name: &[u8], stem: &[u8]) -> bool {
    let packed = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix(b".tar"));
    packed.is_some_and(|packed| matches!(packed, b"" | b".gz" | b".bz2" | b".xz" | b".zst"))
}

fn read_member(at: &At, file: &mut fs::File, start: u64, end: u64) -> Result<Member> {
    let mut header = [0; HEADER];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut header).map_err(|error| at.damaged(error))?;
    let damaged = || at.refused(format!("is truncated or damaged: no member of an ar archive at byte {start}"));
    let (name, size) = (header[..16].trim_ascii_end(), header[48..58].trim_ascii_end());
    if !header.ends_with(b"`\n") || size.is_empty() || !size.iter().all(u8::is_ascii_digit) {
        return Err(damaged());
    }
    // Ten digits at most.
    let size: u64 = std::str::from_utf8(size).ok().and_then(|size| size.parse().ok()).ok_or_else(damaged)?;
    let name = name.strip_suffix(b"/").unwrap_or(name).to_vec();
    let start = start + HEADER as u64;
    if start + size > end {
        let missing = start + size - end;
        return Err(at.refused(format!("is truncated: {missing} bytes of `{}` are missing", shown(&name))));
    }
    Ok(Member { name, start, size })
}

fn check_version(at: &At, file: &mut fs::File, member: &Member) -> Result<()> {
    let mut version = Vec::new();
    file.take(member.size.min(16)).read_to_end(&mut version)?;
    if version.starts_with(b"2.") {
        return Ok(());
    }
    Err(at.refused(format!("is a Debian package of the unknown format `{}`", shown(version.trim_ascii_end()))))
}
