//! Unpacks archives into a folder, and refuses those that would do anything else.
//!
//! Knows archives, not where they come from or what is in them. What kind an archive is, its first
//! bytes say, never its name. Names are bytes: sources are older than UTF-8.
//!
//! Everything gets one fixed time. make rebuilds a target that is *older* than what it is made from,
//! compared to the nanosecond, and takes equal for up to date. So in an autotools tree, where
//! `configure`, `aclocal.m4`, `Makefile.in` and their sources all have the same time, no rule wants to
//! run automake. With the archive's own times one may: some are packed in the wrong order, some unpacked
//! with their nanoseconds cut off. What a build makes is newer, as long as the fixed time is in the past;
//! configure itself insists on that ("newly created file is older than distributed files"). The time is
//! in whole seconds so that a copy through a tool that knows no nanoseconds stays equal. It must not be
//! 0, which make takes for a missing file.

mod deb;
mod decode;
mod place;
mod tree;

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use fs_err as fs;

use self::decode::{Budget, Format};
use self::place::{At, Landing};
use self::tree::{Outward, Tree};
use crate::data::types::RelPath;
use crate::error::{Context, Result, bail};
use crate::interrupt;
use crate::run::store;
use crate::ui;

/// How an archive is unpacked.
#[derive(Debug, Clone)]
pub struct Options {
    pub strip: Strip,
    /// Takes only this folder, named as it is after stripping; its contents land directly in `into`. Of a
    /// Debian package, which is made for the root of a system, symlinks to elsewhere in that system are then
    /// left out, and it may have nothing in the folder.
    pub only: Option<RelPath>,
    /// The time of everything unpacked, in seconds since 1970: not 0, and in the past.
    pub mtime: u64,
    pub limits: Limits,
}

/// What becomes of an archive's top folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strip {
    /// It stays: names are as they are in the archive.
    None,
    /// The archive has exactly one, whatever its name; its contents land directly in `into`.
    TopFolder,
}

/// What no archive may exceed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Everything unpacked, a tar's headers included.
    pub bytes: u64,
    pub entries: u64,
    /// One file.
    pub entry_bytes: u64,
    /// Everything unpacked, as a multiple of the archive's own size. Does not hold small archives back.
    pub ratio: u64,
}

/// Room for a compiler with its libraries, several times over.
impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 30, entries: 400_000, entry_bytes: 2 << 30, ratio: 200 }
    }
}

impl Limits {
    /// The bytes that an archive of `size` bytes may unpack to.
    fn allowance(&self, size: u64) -> u64 {
        /// Below this a high ratio harms nobody: a megabyte of zeros packs to a kilobyte.
        const HARMLESS: u64 = 64 << 20;
        self.bytes.min(size.saturating_mul(self.ratio).max(HARMLESS))
    }
}

/// What was unpacked: files (hard links included, folders and symlinks not) and the bytes in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub files: u64,
    pub bytes: u64,
}

/// An archive that is not unpacked because of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused to unpack {archive}: {} {why}", subject(.entry.as_deref()))]
pub struct Refused {
    /// The archive's file name.
    pub archive: String,
    /// The entry's name, made printable; `None` if the archive as a whole is refused.
    pub entry: Option<String>,
    pub why: String,
}

fn subject(entry: Option<&str>) -> String {
    entry.map_or("it".to_owned(), |name| format!("entry `{name}`"))
}

/// Unpacks `archive` into `into`, an empty or missing folder. After an error it is empty or missing again.
///
/// Files get mode 0755 if anyone may execute them, else 0644; folders 0755; everything `options.mtime`.
/// Owners, times and other bits are ignored.
pub fn unpack(archive: &Path, into: &Path, options: &Options) -> Result<Unpacked> {
    let existed = prepare(into)?;
    match fill(archive, into, options) {
        Ok(unpacked) => Ok(unpacked),
        Err(error) => match clear(into, existed) {
            Ok(()) => Err(error),
            Err(also) => Err(error.context(format!("what was unpacked could not be removed: {also:#}"))),
        },
    }
}

/// Makes the folder; true if it was there, empty, before.
fn prepare(into: &Path) -> Result<bool> {
    match fs::symlink_metadata(into) {
        Ok(metadata) if !metadata.is_dir() => bail!("unpack into {}: it is not a folder", into.display()),
        Ok(_) if fs::read_dir(into)?.next().is_some() => bail!("unpack into {}: it is not empty", into.display()),
        Ok(_) => Ok(true),
        Err(_) => Ok(fs::create_dir_all(into).map(|()| false)?),
    }
}

fn clear(into: &Path, existed: bool) -> Result<()> {
    store::remove_tree(into)?;
    if existed {
        fs::create_dir(into)?;
    }
    Ok(())
}

fn fill(archive: &Path, into: &Path, options: &Options) -> Result<Unpacked> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let mut file = fs::File::open(archive)?;
    let size = file.metadata()?.len();
    let at = At::archive(&name);
    let Some(format) = format(&mut file).with_context(|| format!("read {}", archive.display()))? else {
        return Err(at.refused("is not a tar (plain, gzip, bzip2, xz, zstd), zip or deb archive"));
    };
    // A Debian package is made for the root of a system: what is taken of it may hold links to the rest of
    // that system, and a package that only stands for another has nothing there.
    let part_of_system = matches!(format, Format::Deb) && options.only.is_some();
    let mut job = Job {
        archive: at,
        limits: options.limits,
        allowance: options.limits.allowance(size),
        landing: Landing::new(options.strip, options.only.as_ref()),
        tree: Tree::new(into, options.mtime, if part_of_system { Outward::LeftOut } else { Outward::Refused }),
        taken: false,
    };
    match format {
        Format::Zip => job.zip(file)?,
        Format::Deb => job.deb(file)?,
        Format::Tar(codec) => job.tar(codec.reader(file)?)?,
    }
    if !job.taken && !part_of_system {
        return Err(job.archive.refused(job.landing.nothing()));
    }
    job.tree.finish()
}

/// What the bytes from here on are, told from the first of them; they can still be read afterwards.
fn format(file: &mut fs::File) -> std::io::Result<Option<Format>> {
    let start = file.stream_position()?;
    let mut head = Vec::new();
    file.take(512).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(start))?;
    Ok(Format::of(&head))
}

/// One archive on its way into one folder.
struct Job<'a> {
    archive: At<'a>,
    limits: Limits,
    /// All the bytes that this archive may unpack to.
    allowance: u64,
    landing: Landing<'a>,
    tree: Tree<'a>,
    /// Whether anything landed.
    taken: bool,
}

impl Job<'_> {
    /// The files of a Debian package: the tar inside it that is its `data`.
    fn deb(&mut self, mut file: fs::File) -> Result<()> {
        let size = deb::find_data(&self.archive, &mut file)?;
        match format(&mut file)? {
            Some(Format::Tar(codec)) => self.tar(codec.reader(file.take(size))?),
            _ => Err(self.archive.refused("has a data member that is not a tar")),
        }
    }

    fn tar(&mut self, reader: Box<dyn Read>) -> Result<()> {
        /// What may stand between two files' contents: headers, long names, pax records.
        const HEADERS: u64 = 1 << 20;
        let budget = Budget::new(self.allowance);
        let mut archive = tar::Archive::new(budget.meter(reader));
        let mut count = 0;
        let mut last = self.archive.clone();
        let mut entries = archive.entries().map_err(|error| self.archive.damaged(error))?;
        loop {
            interrupt::check()?;
            // The tar crate reads long names and pax records into memory, whatever size they say they have.
            budget.allow(HEADERS);
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(|error| last.damaged_after(error))?;
            last = self.archive.entry(&entry.path_bytes());
            count += 1;
            self.check_count(count)?;
            self.tar_entry(&last, &mut entry, &budget)?;
        }
        if budget.ended() {
            return Err(last.damaged_after(std::io::Error::other("no end mark")));
        }
        budget.allow(u64::MAX);
        self.check_tail(archive.into_inner())
    }

    fn tar_entry(&mut self, at: &At, entry: &mut tar::Entry<'_, impl Read>, budget: &Budget) -> Result<()> {
        let header = entry.header();
        let kind = header.entry_type();
        let mode = header.mode().map_err(|error| at.damaged(error))?;
        check_pax(at, kind, entry)?;
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        budget.allow(u64::MAX);

        let name = entry.path_bytes().into_owned();
        let size = entry.size();
        // Before there was a type for it, a folder was a file whose name ends in a slash.
        let folder = kind.is_dir() || (kind.is_file() && name.ends_with(b"/"));
        if (folder || kind.is_symlink() || kind.is_hard_link()) && size != 0 {
            return Err(at.refused(format!("is a folder or link that claims to hold {size} bytes")));
        }
        let place = self.landing.place(at, &name, folder)?;
        let link = entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
        if folder {
            self.folder(at, place)
        } else if kind.is_file() {
            self.file(at, place, mode & 0o111 != 0, size, entry)
        } else if kind.is_symlink() {
            self.symlink(at, place, &link)
        } else if kind.is_hard_link() {
            self.hard_link(at, place, &link)
        } else {
            Err(at.refused(tar_kind(kind)))
        }
    }

    /// Nothing but padding may follow, and reading it lets the decoder check its sums.
    fn check_tail(&self, mut reader: impl Read) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            interrupt::check()?;
            match reader.read(&mut buffer).map_err(|error| self.archive.damaged(error))? {
                0 => return Ok(()),
                count if buffer[..count].iter().all(|byte| *byte == 0) => {}
                _ => return Err(self.archive.refused("has something behind its end")),
            }
        }
    }

    fn zip(&mut self, file: fs::File) -> Result<()> {
        let mut archive = zip::ZipArchive::new(file).map_err(|error| self.archive.damaged(error))?;
        self.check_count(archive.len() as u64)?;
        // Local headers, central ones and data must tell one story: overlaps are how a small zip unpacks to
        // petabytes, differences how one program sees other files than the next, or a name comes twice.
        archive.validate_header_consistency().map_err(|error| self.archive.damaged(error))?;
        let sizes = (0..archive.len()).filter_map(|index| archive.by_index_data(index).ok());
        if sizes.fold(0, |sum: u64, entry| sum.saturating_add(entry.size())) > self.allowance {
            return Err(self.archive.refused(decode::too_much(self.allowance)));
        }
        for index in 0..archive.len() {
            interrupt::check()?;
            let mut entry = archive.by_index(index).map_err(|error| self.archive.damaged(error))?;
            let at = self.archive.entry(entry.name_raw());
            self.zip_entry(&at, &mut entry)?;
        }
        Ok(())
    }

    fn zip_entry(&mut self, at: &At, entry: &mut zip::read::ZipFile<'_, fs::File>) -> Result<()> {
        let name = entry.name_raw().to_vec();
        if name.contains(&b'\\') || std::str::from_utf8(&name).is_err() {
            return Err(at.refused("has a backslash, or a byte that is not UTF-8, in its name"));
        }
        let mode = entry.unix_mode().unwrap_or(0);
        let size = entry.size();
        let folder = name.ends_with(b"/");
        let place = self.landing.place(at, &name, folder)?;
        match (mode & 0o170_000, folder) {
            (0 | 0o040_000, true) if size == 0 => self.folder(at, place),
            (0 | 0o100_000, false) => self.file(at, place, mode & 0o111 != 0, size, entry),
            (0o120_000, false) if size <= place::LONGEST as u64 => {
                let mut target = Vec::new();
                entry.take(size + 1).read_to_end(&mut target).map_err(|error| at.damaged(error))?;
                self.symlink(at, place, &target)
            }
            (kind, _) => {
                Err(at.refused(format!("is neither file, folder nor symlink (mode {kind:06o}, {size} bytes)")))
            }
        }
    }

    fn folder(&mut self, at: &At, place: Option<Vec<u8>>) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        self.taken = true;
        self.tree.folder(at, &place)
    }

    fn file(&mut self, at: &At, place: Option<Vec<u8>>, exec: bool, size: u64, content: &mut dyn Read) -> Result<()> {
        if size > self.limits.entry_bytes {
            let (size, limit) = (ui::size(size), ui::size(self.limits.entry_bytes));
            return Err(at.refused(format!("has {size}, more than the {limit} that one file may have")));
        }
        let Some(place) = place else { return Ok(()) };
        self.taken = true;
        self.tree.file(at, &place, exec, size, content)
    }

    fn symlink(&mut self, at: &At, place: Option<Vec<u8>>, target: &[u8]) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        self.taken = true;
        self.tree.symlink(at, &place, target)
    }

    fn hard_link(&mut self, at: &At, place: Option<Vec<u8>>, to: &[u8]) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        self.taken = true;
        match self.landing.place(at, to, false)? {
            Some(to) => self.tree.hard_link(at, &place, &to),
            None => Err(at.refused("is a hard link to something that is not unpacked")),
        }
    }

    fn check_count(&self, count: u64) -> Result<()> {
        if count <= self.limits.entries {
            return Ok(());
        }
        Err(self.archive.refused(format!("has more than {} entries", self.limits.entries)))
    }
}

/// Refuses pax records that cannot be read as such, and those that change what an entry is.
fn check_pax(at: &At, kind: tar::EntryType, entry: &mut tar::Entry<'_, impl Read>) -> Result<()> {
    let Some(records) = entry.pax_extensions().map_err(|error| at.damaged(error))? else { return Ok(()) };
    for record in records {
        let key = record.map_err(|error| at.damaged(error))?.key_bytes();
        if key.starts_with(b"GNU.sparse.") {
            return Err(at.refused("is a sparse file"));
        }
        // Some programs heed these, the tar crate does not: they would see different files.
        if kind.is_pax_global_extensions() && matches!(key, b"path" | b"linkpath" | b"size") {
            return Err(at.refused("renames or resizes all entries that follow"));
        }
    }
    Ok(())
}

fn tar_kind(kind: tar::EntryType) -> String {
    match kind {
        tar::EntryType::Char | tar::EntryType::Block => "is a device".to_owned(),
        tar::EntryType::Fifo => "is a FIFO".to_owned(),
        tar::EntryType::GNUSparse => "is a sparse file".to_owned(),
        other => format!("is of the unknown type `{}`", char::from(other.as_byte()).escape_debug()),
    }
}
