//! Compares two builds of the same thing, down to the section, the archive's member, the byte; and says what
//! most likely made them differ.
//!
//! Knows files and formats, not how or why anything was built. Archives are looked into, however deep; what
//! cannot be read as what it seems to be is compared as bytes.

mod bytes;
mod cause;
mod elf;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use diffy::DiffOptions;
use fs_err as fs;
use object::read::archive::ArchiveFile;
use serde::Serialize;

pub use self::cause::{Cause, Marks};
use crate::data::project;
use crate::error::{Context, Result};
use crate::interrupt;

/// What is unpacked in memory to be compared; more than that is compared as bytes.
const UNPACKED_LIMIT: u64 = 2 << 30;
/// Nobody reads more of a text's differences than this.
const DIFF_LINES: usize = 40;

/// What two sides have in common, and what not.
#[derive(Debug, Default, Serialize)]
pub struct Comparison {
    /// Files and links that are the same on both sides. What is inside archives is not counted.
    pub same: usize,
    pub differences: Vec<Difference>,
}

/// One file that is not the same.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// The file; for one inside archives, each archive's path and then its own: `a.tar: b.gz: c`.
    pub path: String,
    pub places: Vec<Place>,
    /// The likeliest first. Empty if nothing is recognised.
    pub causes: Vec<Cause>,
}

/// Where in a file something differs, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `section .rodata at 0x2000`, `mode`, `bytes`.
    pub name: String,
    /// Lines for a person: a diff, a dump, two values.
    pub detail: Vec<String>,
}

impl Place {
    fn new(name: impl Into<String>, detail: Vec<String>) -> Self {
        Self { name: name.into(), detail }
    }

    /// Two values, one under the other.
    fn values(name: impl Into<String>, first: impl std::fmt::Display, second: impl std::fmt::Display) -> Self {
        Self::new(name, vec![format!("first   {first}"), format!("second  {second}")])
    }
}

impl Comparison {
    /// Everything that was compared at the top: files and links of either side.
    pub fn total(&self) -> usize {
        self.same + self.differing()
    }

    /// How many files at the top are not the same, whatever is inside them.
    pub fn differing(&self) -> usize {
        let top = |difference: &Difference| difference.path.split(": ").next().unwrap_or_default().to_owned();
        self.differences.iter().map(top).collect::<BTreeSet<_>>().len()
    }

    /// How many of those only list the hashes and sizes of others.
    pub fn following(&self) -> usize {
        self.differences.iter().filter(|difference| difference.follows()).count()
    }

    /// The differences as a person reads them; those that follow from others come last.
    pub fn text(&self) -> String {
        let (followers, own): (Vec<_>, Vec<_>) = self.differences.iter().partition(|difference| difference.follows());
        own.into_iter().chain(followers).map(Difference::text).collect::<Vec<_>>().join("\n")
    }
}

impl Difference {
    fn follows(&self) -> bool {
        self.causes == [Cause::Follows]
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.path);
        for place in &self.places {
            text.push_str(&format!("  {}\n", place.name));
            for line in &place.detail {
                text.push_str(&format!("    {line}\n"));
            }
        }
        if self.causes.is_empty() {
            return text + "  likely cause: not recognised\n";
        }
        for cause in &self.causes {
            text.push_str(&format!("  likely cause: {cause}\n"));
        }
        text
    }
}

/// Compares two folders.
pub fn trees(first: &Path, second: &Path, marks: &Marks) -> Result<Comparison> {
    let mut comparer = Comparer::new(marks);
    comparer.members("", on_disk(first)?, on_disk(second)?)?;
    Ok(comparer.found)
}

/// Compares two archives: what they hold, then how it is packed.
pub fn archives(first: &Path, second: &Path, marks: &Marks) -> Result<Comparison> {
    let mut comparer = Comparer::new(marks);
    let (first, second) = (fs::read(first)?, fs::read(second)?);
    comparer.file("", &first, &second)?;
    Ok(comparer.found)
}

/// A file of a folder or an archive.
struct Member<'a> {
    name: String,
    /// What is known of it besides its content, by name.
    facts: BTreeMap<&'static str, String>,
    bytes: Cow<'a, [u8]>,
}

/// Differences of one file, while they are found.
#[derive(Default)]
struct Findings {
    places: Vec<Place>,
    causes: Vec<Cause>,
}

impl Findings {
    fn add(&mut self, place: Place, causes: impl IntoIterator<Item = Cause>) {
        self.places.push(place);
        for cause in causes {
            if !self.causes.contains(&cause) {
                self.causes.push(cause);
            }
        }
    }
}

struct Comparer<'a> {
    marks: &'a Marks,
    found: Comparison,
}

impl<'a> Comparer<'a> {
    fn new(marks: &'a Marks) -> Self {
        Self { marks, found: Comparison::default() }
    }

    fn report(&mut self, path: &str, findings: Findings) {
        let Findings { places, mut causes } = findings;
        causes.sort();
        self.found.differences.push(Difference { path: path.to_owned(), places, causes });
    }

    /// Compares two files that differ.
    fn file(&mut self, path: &str, first: &[u8], second: &[u8]) -> Result<()> {
        interrupt::check()?;
        if let (Some(a), Some(b)) = (gunzip(first), gunzip(second)) {
            return self.gzip(path, (first, &a), (second, &b));
        }
        if let (Some(a), Some(b)) = (tar_members(first), tar_members(second)) {
            // The top folder of what a person named carries a version, which may be what differs.
            return match path.is_empty() {
                true => self.members(path, without_top(a), without_top(b)),
                false => self.members(path, a, b),
            };
        }
        if let (Some(a), Some(b)) = (ar_members(first), ar_members(second)) {
            return self.members(path, a, b);
        }
        let mut findings = Findings::default();
        if !elf::compare(first, second, self.marks, &mut findings) && !text(first, second, self.marks, &mut findings) {
            bytes::compare("bytes", 0, (first, second), self.marks, &mut findings);
        }
        self.report(path, findings);
        Ok(())
    }

    /// Header and content apart: most often it is the header alone.
    fn gzip(&mut self, path: &str, (first, a): (&[u8], &[u8]), (second, b): (&[u8], &[u8])) -> Result<()> {
        if a != b {
            return self.file(path, a, b);
        }
        let mut findings = Findings::default();
        let time = |bytes: &[u8]| bytes.get(4..8).map(|time| u32::from_le_bytes([time[0], time[1], time[2], time[3]]));
        match (time(first), time(second)) {
            (Some(a), Some(b)) if a != b => {
                let place = Place::values("gzip header, the time of the original", a, b);
                findings
                    .add(place, [Cause::Clock("gzip recorded when its input was changed (gzip -n does not)".into())]);
            }
            _ => {
                bytes::compare("gzip stream; what it holds is the same", 0, (first, second), self.marks, &mut findings)
            }
        }
        self.report(path, findings);
        Ok(())
    }

    fn members(&mut self, at: &str, first: Vec<Member>, second: Vec<Member>) -> Result<()> {
        let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}: {name}") };
        let before = (self.found.differences.len(), self.found.same);
        let (pairs, alone) = pair(&first, &second);
        for (a, b) in &pairs {
            self.member(&below(&b.name), a, b, at.is_empty())?;
        }
        for (member, side) in &alone {
            let mut findings = Findings::default();
            findings.add(Place::new(format!("only in the {side} build"), Vec::new()), []);
            self.report(&below(&member.name), findings);
        }
        let in_order = pairs.windows(2).all(|two| position(&second, two[0].1) < position(&second, two[1].1));
        let shown =
            |members: &[Member]| members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
        let whole = if at.is_empty() { "the archive itself" } else { at };
        let mut findings = Findings::default();
        if !in_order {
            let place = Place::values("order of the members", cut(&shown(&first)), cut(&shown(&second)));
            findings.add(place, [Cause::Order]);
        } else if !at.is_empty() && before == (self.found.differences.len(), self.found.same) {
            let place = Place::new("how it is packed (padding, headers); every member is the same", Vec::new());
            findings.add(place, []);
        }
        if !findings.places.is_empty() {
            self.report(whole, findings);
        }
        Ok(())
    }

    fn member(&mut self, path: &str, first: &Member, second: &Member, top: bool) -> Result<()> {
        let mut findings = Findings::default();
        for name in first.facts.keys().chain(second.facts.keys()).collect::<BTreeSet<_>>() {
            let value = |member: &Member| member.facts.get(name).cloned().unwrap_or_else(|| "none".to_owned());
            let (a, b) = (value(first), value(second));
            if a != b {
                let cause = self.marks.of(a.as_bytes(), b.as_bytes()).or_else(|| Cause::of_fact(name));
                findings.add(Place::values(*name, a, b), cause);
            }
        }
        let same_bytes = first.bytes == second.bytes;
        if findings.places.is_empty() && same_bytes {
            // Folders in an archive are no files.
            self.found.same += usize::from(top && !first.name.ends_with('/'));
            return Ok(());
        }
        if !findings.places.is_empty() {
            self.report(path, findings);
        }
        match same_bytes {
            true => Ok(()),
            false => self.file(path, &first.bytes, &second.bytes),
        }
    }
}

fn position(members: &[Member], wanted: &Member) -> Option<usize> {
    members.iter().position(|member| std::ptr::eq(member, wanted))
}

type Pairs<'m, 'a> = (Vec<(&'m Member<'a>, &'m Member<'a>)>, Vec<(&'m Member<'a>, &'static str)>);

/// Brings together what belongs together: the same name, else the same but for hashes in it, since files are
/// often named by their content.
fn pair<'m, 'a>(first: &'m [Member<'a>], second: &'m [Member<'a>]) -> Pairs<'m, 'a> {
    let mut left: BTreeMap<&str, &Member> = second.iter().map(|member| (member.name.as_str(), member)).collect();
    let mut found: Vec<(&Member, Option<&Member>)> =
        first.iter().map(|member| (member, left.remove(member.name.as_str()))).collect();
    for (member, partner) in found.iter_mut().filter(|(_, partner)| partner.is_none()) {
        let pattern = cause::without_hashes(&member.name);
        let mut alike = left.keys().copied().filter(|name| cause::without_hashes(name) == pattern);
        if let (Some(name), None) = (alike.next(), alike.next()) {
            *partner = left.remove(name);
        }
    }
    let pairs = found.iter().filter_map(|(a, b)| Some((*a, (*b)?))).collect();
    let gone = found.iter().filter(|(_, partner)| partner.is_none()).map(|(member, _)| (*member, "first"));
    let new =
        second.iter().filter(|member| left.get(member.name.as_str()).is_some_and(|new| std::ptr::eq(*new, *member)));
    (pairs, gone.chain(new.map(|member| (member, "second"))).collect())
}

fn on_disk(dir: &Path) -> Result<Vec<Member<'static>>> {
    let mut members = Vec::new();
    for path in project::walk(dir)? {
        let full = dir.join(&path);
        let name = path.to_string_lossy().into_owned();
        if full.is_symlink() {
            let target = fs::read_link(&full)?.to_string_lossy().into_owned();
            members.push(Member { name, facts: BTreeMap::from([("link target", target)]), bytes: Cow::default() });
            continue;
        }
        let mode = fs::metadata(&full)?.permissions().mode() & 0o7777;
        let bytes = fs::read(&full).with_context(|| format!("read {}", full.display()))?;
        members.push(Member { name, facts: BTreeMap::from([("mode", format!("{mode:04o}"))]), bytes: bytes.into() });
    }
    Ok(members)
}

fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return None;
    }
    let mut content = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes).take(UNPACKED_LIMIT + 1);
    let count = decoder.read_to_end(&mut content).ok()?;
    (count as u64 <= UNPACKED_LIMIT).then_some(content)
}

fn tar_members(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    if bytes.get(257..262)? != b"ustar" {
        return None;
    }
    let mut archive = tar::Archive::new(bytes);
    let mut members = Vec::new();
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        let header = entry.header();
        // A field that is empty or no number differs from one that is a number: no reason to look no further.
        let number = |value: std::io::Result<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let start = usize::try_from(entry.raw_file_position()).ok()?;
        let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
        let facts = [
            ("kind", format!("{:?}", header.entry_type())),
            ("link target", entry.link_name_bytes().map(|name| lossy(&name)).unwrap_or_default()),
            ("mode", header.mode().map(|mode| format!("{mode:04o}")).unwrap_or_default()),
            ("owner", format!("{}:{}", number(header.uid()), number(header.gid()))),
            ("owner's name", lossy(header.username_bytes().unwrap_or_default())),
            ("time", number(header.mtime())),
        ];
        let bytes = if header.entry_type().is_file() { bytes.get(start..end)? } else { &[] };
        members.push(Member { name: lossy(&entry.path_bytes()), facts: facts.into(), bytes: bytes.into() });
    }
    Some(members)
}

/// The same without the folder that all of it is in, if there is one.
fn without_top(mut members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    let Some(top) = members.first().and_then(|member| Some(member.name.split_once('/')?.0.to_owned() + "/")) else {
        return members;
    };
    if members.iter().all(|member| member.name.starts_with(&top)) {
        members.retain(|member| member.name != top);
        members.iter_mut().for_each(|member| drop(member.name.drain(..top.len())));
    }
    members
}

fn ar_members(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    let archive = ArchiveFile::parse(bytes).ok()?;
    let mut members = Vec::new();
    for member in archive.members() {
        let member = member.ok()?;
        let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let facts = [
            ("mode", member.mode().map(|mode| format!("{mode:04o}")).unwrap_or_default()),
            ("owner", format!("{}:{}", number(member.uid()), number(member.gid()))),
            ("time", number(member.date())),
        ];
        let content = member.data(bytes).ok()?;
        members.push(Member { name: lossy(member.name()), facts: facts.into(), bytes: content.into() });
    }
    Some(members)
}

/// A unified diff, if both are text.
fn text(first: &[u8], second: &[u8], marks: &Marks, findings: &mut Findings) -> bool {
    let readable = |bytes| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let (Some(a), Some(b)) = (readable(first), readable(second)) else { return false };
    let mut options = DiffOptions::new();
    options.set_original_filename("first").set_modified_filename("second").set_context_len(1);
    let diff = options.create_patch(a, b).to_string();
    let mut lines: Vec<String> = diff.lines().take(DIFF_LINES).map(cut).collect();
    let left = diff.lines().count().saturating_sub(DIFF_LINES);
    if left > 0 {
        lines.push(format!("… {left} more lines"));
    }
    let changed =
        |sign: char| -> Vec<&str> { diff.lines().skip(2).filter_map(|line| line.strip_prefix(sign)).collect() };
    findings.add(Place::new("text", lines), cause::of_lines(&changed('-'), &changed('+'), marks));
    true
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A line that fits a screen.
fn cut(line: &str) -> String {
    const WIDTH: usize = 200;
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
