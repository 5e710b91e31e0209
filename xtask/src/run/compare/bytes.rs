//! Two runs of bytes: which ranges differ, how they read, what they hint at.

use std::ops::Range;

use super::cause::{self, Cause, Marks};
use super::{Findings, Place, cut};

/// Nobody reads more ranges than this of one place.
const RANGES: usize = 5;
/// Two ranges closer than this are one.
const GAP: usize = 8;
/// For the cause more is looked at than shown, but not without end.
const LOOKED_AT: usize = 200;
/// As `strings` has it.
const STRING: usize = 4;
/// More than this is not searched for strings that moved.
const STRINGS_LIMIT: usize = 64 << 20;

/// Adds what differs between two pieces that begin at `offset` of their files.
pub fn compare(name: &str, offset: usize, pair: (&[u8], &[u8]), marks: &Marks, findings: &mut Findings) {
    let (first, second) = pair;
    let ranges = ranges(first, second);
    let mut causes: Vec<Cause> = windows(pair, &ranges, marks);
    let mut detail = Vec::new();
    if first.len() == second.len() {
        let bytes: usize = ranges.iter().map(|(range, _)| range.len()).sum();
        detail.push(format!(
            "{}, {bytes} of {} bytes",
            count(ranges.len(), "range differs", "ranges differ"),
            first.len()
        ));
    } else {
        detail.push(format!("{} bytes in the first, {} in the second", first.len(), second.len()));
    }
    let (gone, new) = moved_strings(first, second);
    if !gone.is_empty() || !new.is_empty() {
        let texts = |strings: &[&[u8]]| strings.iter().map(|text| printable(text)).collect::<Vec<_>>();
        causes.extend(cause::of_lines(&as_strs(&texts(&gone)), &as_strs(&texts(&new)), marks));
    }
    if first.len() != second.len() && (!gone.is_empty() || !new.is_empty()) {
        detail.extend(gone.iter().take(RANGES).map(|text| cut(&format!("first   {}", printable(text)))));
        detail.extend(new.iter().take(RANGES).map(|text| cut(&format!("second  {}", printable(text)))));
    } else {
        for (a, b) in ranges.iter().take(RANGES) {
            detail.extend(dump("first ", first, a, offset));
            detail.extend(dump("second", second, b, offset));
        }
        if ranges.len() > RANGES {
            detail.push(format!("… {}", count(ranges.len() - RANGES, "more range", "more ranges")));
        }
    }
    causes.sort();
    causes.dedup();
    findings.add(Place::new(name, detail), causes);
}

fn count(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn as_strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Where two pieces differ: position by position if they are of one size, else all between what they begin and
/// what they end with alike.
fn ranges(first: &[u8], second: &[u8]) -> Vec<(Range<usize>, Range<usize>)> {
    if first.len() != second.len() {
        let start = first.iter().zip(second).take_while(|(a, b)| a == b).count();
        let ends = first[start..].iter().rev().zip(second[start..].iter().rev());
        let end = ends.take_while(|(a, b)| a == b).count();
        return vec![(start..first.len() - end, start..second.len() - end)];
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in first.iter().zip(second).enumerate().filter(|(_, (a, b))| a != b) {
        match found.last_mut() {
            Some(last) if at < last.end + GAP => last.end = at + 1,
            _ => found.push(at..at + 1),
        }
    }
    found.into_iter().map(|range| (range.clone(), range)).collect()
}

/// The causes that the ranges hint at, each read with the text around it.
fn windows(pair: (&[u8], &[u8]), ranges: &[(Range<usize>, Range<usize>)], marks: &Marks) -> Vec<Cause> {
    let looked_at = ranges.iter().take(LOOKED_AT);
    looked_at
        .filter_map(|(a, b)| {
            let (first, second) = (around(pair.0, a), around(pair.1, b));
            marks.of(first, second).or_else(|| cause::of_numbers(pair, a.start, b.start))
        })
        .collect()
}

/// A range with the text that it is part of.
fn around<'a>(bytes: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    const REACH: usize = 256;
    let readable = |byte: &&u8| matches!(byte, b' '..=b'~' | b'\t');
    let before = bytes[..range.start].iter().rev().take(REACH).take_while(readable).count();
    let after = bytes[range.end..].iter().take(REACH).take_while(readable).count();
    &bytes[range.start - before..(range.end + after).min(range.start + 4 * REACH).max(range.end.min(bytes.len()))]
}

/// The strings that only one side has, or that stand elsewhere in it.
fn moved_strings<'a>(first: &'a [u8], second: &'a [u8]) -> (Vec<&'a [u8]>, Vec<&'a [u8]>) {
    if first.len().max(second.len()) > STRINGS_LIMIT {
        return Default::default();
    }
    let (a, b) = (strings(first), strings(second));
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    (a.iter().take(LOOKED_AT).copied().collect(), b.iter().take(LOOKED_AT).copied().collect())
}

fn strings(bytes: &[u8]) -> Vec<&[u8]> {
    let pieces = bytes.split(|byte| !matches!(byte, b' '..=b'~' | b'\t'));
    pieces.filter(|piece| piece.len() >= STRING).collect()
}

/// Lines of sixteen bytes, as `hexdump -C` has them.
fn dump(side: &str, bytes: &[u8], range: &Range<usize>, offset: usize) -> Vec<String> {
    const WIDTH: usize = 16;
    const LINES: usize = 3;
    let start = range.start / WIDTH * WIDTH;
    let end = range.end.max(start + 1).next_multiple_of(WIDTH).min(bytes.len()).max(start);
    let lines = bytes[start..end].chunks(WIDTH).take(LINES).enumerate();
    lines
        .map(|(index, line)| {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{side}  0x{:06x}  {:47}  |{}|", offset + start + index * WIDTH, hex.join(" "), printable(line))
        })
        .collect()
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' }).collect()
}
