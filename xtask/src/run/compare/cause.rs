//! What most likely made two builds differ, read from the differing bytes themselves.
//!
//! Guesses, each by a rule that a person would use; a cause that is not recognised is none.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::run::elf::find;

/// How far from now a number may be, in seconds, to be taken for a time of one of the builds.
const NEAR: u64 = 3 * 24 * 60 * 60;
/// A text this short may be anywhere by chance.
const SHORT: usize = 3;

/// Why two builds differ, the surest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Something of the builder's surroundings: `the store's path`.
    Surroundings(&'static str),
    /// A time; says what shows it.
    Clock(String),
    /// The same things in another order.
    Order,
    /// A build id that is not made from the content.
    BuildId,
    /// Modes or owners.
    Owner,
    Mode,
    /// Only hashes and sizes of other files.
    Follows,
}

impl Cause {
    /// What an archive's header field hints at when it differs.
    pub fn of_fact(name: &str) -> Option<Self> {
        match name {
            "time" => Some(Self::Clock("the archive records when its members were changed".into())),
            "owner" | "owner's name" => Some(Self::Owner),
            "mode" => Some(Self::Mode),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Surroundings(what) => write!(f, "{what} is in the output"),
            Self::Clock(what) => write!(f, "the clock: {what}"),
            Self::Order => {
                f.write_str("order: the same things, sorted differently (find, readdir or a hash map without sort)")
            }
            Self::BuildId => {
                f.write_str("a build id that each build makes anew: all else is the same (--build-id=sha1 or none)")
            }
            Self::Owner => f.write_str("the user: an archive records who made it"),
            Self::Mode => f.write_str("the umask, or how the file was made: only its mode differs"),
            Self::Follows => f.write_str("it follows from the others: only hashes and sizes in it differ"),
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is known to be different around the two builds.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    marks: Vec<(&'static str, String, String)>,
}

impl Marks {
    /// Adds what a thing is called in the first and in the second build. The most particular come first.
    pub fn add(&mut self, what: &'static str, first: impl Into<String>, second: impl Into<String>) {
        let (first, second) = (first.into(), second.into());
        if first != second && first.len() > SHORT && second.len() > SHORT {
            self.marks.push((what, first, second));
        }
    }

    /// The cause that two differing texts show.
    pub(super) fn of(&self, first: &[u8], second: &[u8]) -> Option<Cause> {
        let shows = |(_, a, b): &&(&str, String, String)| {
            find(first, a.as_bytes()).is_some() && find(second, b.as_bytes()).is_some()
        };
        if let Some((what, ..)) = self.marks.iter().find(shows) {
            return Some(Cause::Surroundings(what));
        }
        if is_reordered(first, second) {
            return Some(Cause::Order);
        }
        let (a, b) = (times(first), times(second));
        let changed = a.iter().zip(&b).find(|(a, b)| a != b);
        changed.map(|(a, b)| Cause::Clock(format!("`{a}` and `{b}` (as of `date`, __DATE__ or __TIME__)")))
    }
}

/// The causes that changed lines show.
pub fn of_lines(first: &[&str], second: &[&str], marks: &Marks) -> Vec<Cause> {
    if !first.is_empty() && sorted(first) == sorted(second) {
        return vec![Cause::Order];
    }
    let plain = |lines: &[&str]| lines.iter().map(|line| without_sizes(&without_hashes(line))).collect::<Vec<_>>();
    if !first.is_empty() && first != second && plain(first) == plain(second) {
        return vec![Cause::Follows];
    }
    let causes: BTreeSet<Cause> =
        first.iter().zip(second).filter_map(|(a, b)| marks.of(a.as_bytes(), b.as_bytes())).collect();
    causes.into_iter().collect()
}

fn sorted<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut lines = lines.to_vec();
    lines.sort_unstable();
    lines
}

/// The cause that binary numbers around a differing byte show: times in seconds, of 32 bits.
pub fn of_numbers((first, second): (&[u8], &[u8]), a: usize, b: usize) -> Option<Cause> {
    let near = |bytes: &[u8], at: usize| {
        (at.saturating_sub(3)..=at).find_map(|at| {
            let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            [u32::from_le_bytes(word), u32::from_be_bytes(word)].into_iter().find(|seconds| is_now((*seconds).into()))
        })
    };
    let (a, b) = (near(first, a)?, near(second, b)?);
    (a != b).then(|| Cause::Clock(format!("the numbers {a} and {b} are times of these builds, in seconds since 1970")))
}

fn is_now(seconds: u64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now: Duration| now.as_secs());
    now.abs_diff(seconds) < NEAR
}

/// The same words in another order.
fn is_reordered(first: &[u8], second: &[u8]) -> bool {
    let words = |text: &[u8]| -> Vec<Vec<u8>> {
        let pieces = text.split(|byte| !byte.is_ascii_graphic() || b",;".contains(byte));
        pieces.filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (mut a, mut b) = (words(first), words(second));
    if a.len() < 2 || a == b {
        return false;
    }
    a.sort();
    b.sort();
    a == b
}

/// Everything in a text that reads as a date or a time, in order.
fn times(text: &[u8]) -> Vec<String> {
    let shapes: [&[u8]; 4] = [b"Aaa d9 9999", b"99:99:99", b"9999-99-99", b"9999999999"];
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let fits = |shape: &&&[u8]| text.get(at..at + shape.len()).is_some_and(|part| is_time(part, shape));
        match shapes.iter().find(fits) {
            Some(shape) => {
                let end = at + shape.len() + fraction(&text[at + shape.len()..]);
                found.push(String::from_utf8_lossy(&text[at..end]).into_owned());
                at = end;
            }
            None => at += 1,
        }
    }
    found
}

/// The length of a second's fraction: two builds may meet in one second.
fn fraction(text: &[u8]) -> usize {
    let digits = text.get(1..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
    if text.first() == Some(&b'.') && digits > 0 { 1 + digits } else { 0 }
}

/// Whether a text has a shape: `9` a digit, `d` a digit or a space, `Aaa` a month.
fn is_time(text: &[u8], shape: &[u8]) -> bool {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let fits = text.iter().zip(shape).all(|(byte, shape)| match shape {
        b'9' => byte.is_ascii_digit(),
        b'd' => byte.is_ascii_digit() || *byte == b' ',
        b'A' | b'a' => byte.is_ascii_alphabetic(),
        other => byte == other,
    });
    let month = shape[0] != b'A' || MONTHS.contains(&&text[..3]);
    // Ten digits are any number, unless they are a time of today.
    let epoch = shape.len() != 10 || shape.contains(&b'-');
    let number = || std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    fits && month && (epoch || number().is_some_and(is_now))
}

/// A text with each run of 64 hexadecimal digits (or 40, a commit's) replaced.
pub fn without_hashes(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() {
            run.push(c);
            continue;
        }
        out.push_str(if matches!(run.len(), 40 | 64) { "HASH" } else { &run });
        run.clear();
        out.push(c);
    }
    out.pop();
    out
}

/// The same with the number of `"size": 123`, as manifests have it.
fn without_sizes(line: &str) -> String {
    match line.split_once("\"size\":") {
        Some((before, after)) => {
            format!("{before}\"size\":{}", after.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()))
        }
        None => line.to_owned(),
    }
}
