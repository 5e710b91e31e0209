//! Puts marked blocks of lines into the files of a source tree that is not ours, and takes them out again.
//!
//! All is worked out before the first file is written; then each file is replaced whole. What stands between the marks
//! is ours, everything else is not touched. Knows no tree.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use fs_err as fs;
use tempfile::NamedTempFile;

use crate::data::edit::Edit;
use crate::data::types::{RelPath, Sha256};
use crate::error::{Context, Failure, Kind, Result};

const BEGIN: &str = "# Slipway: begin ";
const END: &str = "# Slipway: end";
/// Behind the begin mark: the line before it had no end, and gets that back.
const NO_NEWLINE: &str = " no-newline";

/// What an edit means for a file as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The file as it will be.
    Changed(String),
    /// The block is there.
    Already,
    /// Somebody has made the same change, without marks.
    Elsewhere,
    /// There is no block to take out.
    Nothing,
}

/// A change of one file.
#[derive(Debug)]
pub struct Change {
    pub path: PathBuf,
    pub before: String,
    pub after: String,
}

/// The first of the edit's files that is in the tree, and its text.
pub fn find(dir: &Path, edit: &Edit) -> Result<(RelPath, String)> {
    for file in &edit.file {
        let path = dir.join(file);
        if !path.exists() {
            continue;
        }
        let real = fs::canonicalize(&path)?;
        if !real.starts_with(fs::canonicalize(dir)?) {
            let what = format!("{file} is a link that leads out of the tree, to {}", real.display());
            return Err(Failure::new(Kind::Data, what).into());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
        return Ok((file.clone(), text));
    }
    let names: Vec<&str> = edit.file.iter().map(RelPath::as_str).collect();
    let what = format!("{} has no {}", dir.display(), names.join(" and no "));
    Err(Failure::new(Kind::Data, what)
        .next("give the folder of the whole checkout, the one that has build/ and kernel/")
        .into())
}

/// The file without the edit's block; as it is if it has none.
pub fn without(file: &RelPath, text: &str) -> Result<String> {
    let Some(block) = block(file, text)? else { return Ok(text.to_owned()) };
    let mut before = text[..block.range.start].to_owned();
    if block.no_newline {
        let end = if before.ends_with("\r\n") { 2 } else { 1 };
        before.truncate(before.len() - end);
    }
    before.push_str(&text[block.range.end..]);
    Ok(before)
}

/// Puts the block in; `lines` are what it holds.
pub fn apply(edit: &Edit, file: &RelPath, text: &str, lines: &[String]) -> Result<Outcome> {
    let bare = without(file, text)?;
    let place = place(edit, file, &bare)?;
    if !edit.unless.is_empty()
        && edit.unless.iter().all(|wanted| squeeze(&bare[place.look.clone()]).contains(wanted.as_str()))
    {
        return Ok(if bare == text { Outcome::Elsewhere } else { Outcome::Changed(bare) });
    }
    if lines.is_empty() {
        return Ok(if bare == text { Outcome::Already } else { Outcome::Changed(bare) });
    }
    let newline = if bare[..place.at].ends_with("\r\n") { "\r\n" } else { "\n" };
    let body: String = lines.iter().map(|line| format!("{}{line}{newline}", place.indent)).collect();
    let unended = place.at > 0 && !bare[..place.at].ends_with('\n');
    let (gap, note) = if unended { (newline, NO_NEWLINE) } else { ("", "") };
    let (indent, hash) = (&place.indent, Sha256::of(body.as_bytes()));
    let after = format!(
        "{}{gap}{indent}{BEGIN}{}{note}{newline}{body}{indent}{END}{newline}{}",
        &bare[..place.at],
        hash.short(),
        &bare[place.at..]
    );
    Ok(if after == text { Outcome::Already } else { Outcome::Changed(after) })
}

/// Takes the block out.
pub fn revert(file: &RelPath, text: &str) -> Result<Outcome> {
    let bare = without(file, text)?;
    Ok(if bare == text { Outcome::Nothing } else { Outcome::Changed(bare) })
}

/// Writes all changes, or none.
pub fn write(changes: &[Change]) -> Result<()> {
    let mut ready = Vec::new();
    for change in changes {
        ready.push((change, prepare(&change.path, &change.after)?));
    }
    for (count, (change, new)) in ready.into_iter().enumerate() {
        let done = new.persist(&change.path);
        if let Err(error) = done {
            for earlier in &changes[..count] {
                let old = prepare(&earlier.path, &earlier.before)?;
                old.persist(&earlier.path).with_context(|| format!("put {} back", earlier.path.display()))?;
            }
            return Err(error).with_context(|| format!("replace {} (the others were put back)", change.path.display()));
        }
    }
    Ok(())
}

/// The new file beside the old one, with its mode, safe on the disk.
fn prepare(path: &Path, text: &str) -> Result<NamedTempFile> {
    let parent = path.parent().context("a file has a folder")?;
    let mut new = tempfile::Builder::new().prefix(".slipway-").tempfile_in(parent)?;
    new.write_all(text.as_bytes())?;
    fs::set_permissions(new.path(), fs::metadata(path)?.permissions())?;
    new.as_file().sync_all()?;
    Ok(new)
}

struct Place {
    /// Where the block goes.
    at: usize,
    indent: String,
    /// What is looked through for a change that somebody else has made.
    look: Range<usize>,
}

fn place(edit: &Edit, file: &RelPath, text: &str) -> Result<Place> {
    if edit.after.is_empty() {
        return Ok(Place { at: text.len(), indent: String::new(), look: 0..text.len() });
    }
    let mut problems = Vec::new();
    for anchor in &edit.after {
        match after(anchor, text) {
            Ok(at) => {
                let next = text[at..].lines().next().unwrap_or_default();
                let indent = next[..next.len() - next.trim_start().len()].to_owned();
                let end = match &edit.until {
                    Some(until) => at + end_of_look(&text[at..], until),
                    None => text.len(),
                };
                let start = if edit.until.is_some() { at } else { 0 };
                return Ok(Place { at, indent, look: start..end });
            }
            Err(problem) => problems.push(problem),
        }
    }
    let what = format!("{file} is not as expected: {}", problems.join("; "));
    Err(Failure::new(Kind::Data, what)
        .next(format!("make the change by hand: {}\n  {}", edit.why, edit.lines.join("\n  ")))
        .into())
}

/// Where the last line of the anchor ends.
fn after(anchor: &[String], text: &str) -> Result<usize, String> {
    let mut at = 0;
    let (first, rest) = anchor.split_first().expect("an anchor has lines: checked where it is read");
    let begins = |line: &str, wanted: &str| squeeze(line).trim_start().starts_with(wanted);
    match text.lines().filter(|line| begins(line, first)).count() {
        0 => return Err(format!("no line begins with `{first}`")),
        1 => {}
        count => return Err(format!("{count} lines begin with `{first}`")),
    }
    for wanted in std::iter::once(first).chain(rest) {
        let mut found = None;
        for line in text[at..].split_inclusive('\n') {
            at += line.len();
            if begins(line, wanted) {
                found = Some(at);
                break;
            }
        }
        at = found.ok_or_else(|| format!("no line after `{first}` begins with `{wanted}`"))?;
    }
    Ok(at)
}

fn end_of_look(text: &str, until: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with(until) {
            return at;
        }
        at += line.len();
    }
    text.len()
}

/// The text with each run of blanks as one.
fn squeeze(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c == '\t' { ' ' } else { c };
        if c != ' ' || !squeezed.ends_with(' ') {
            squeezed.push(c);
        }
    }
    squeezed
}

struct Block {
    /// From the begin of the first mark's line to the end of the last one's.
    range: Range<usize>,
    no_newline: bool,
}

/// Our block, if there is one. One that was changed by hand is not ours any more.
fn block(file: &RelPath, text: &str) -> Result<Option<Block>> {
    let wrong = |what: String| -> anyhow::Error {
        Failure::new(Kind::Data, format!("{file}: {what}"))
            .next("move your own lines out of the block, or take the whole block out by hand, marks included")
            .into()
    };
    let mut at = 0;
    let mut begin: Option<(usize, usize, usize, String)> = None;
    let mut found = None;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (start, trimmed) = (at, line.trim());
        at += line.len();
        if let Some(rest) = trimmed.strip_prefix(BEGIN) {
            if begin.is_some() || found.is_some() {
                return Err(wrong(format!("line {}: a second `{}`", index + 1, BEGIN.trim_end())));
            }
            begin = Some((index + 1, start, at, rest.to_owned()));
        } else if trimmed == END {
            let Some((number, from, body, mark)) = begin.take() else {
                return Err(wrong(format!("line {}: `{END}` without a begin", index + 1)));
            };
            let no_newline = mark.ends_with(NO_NEWLINE);
            if Sha256::of(&text[body..start]).short() != mark.trim_end_matches(NO_NEWLINE) {
                return Err(wrong(format!("the block in lines {number} to {} was changed by hand", index + 1)));
            }
            found = Some(Block { range: from..at, no_newline });
        }
    }
    match begin {
        Some((number, ..)) => Err(wrong(format!("line {number}: a begin mark without an end"))),
        None => Ok(found),
    }
}
