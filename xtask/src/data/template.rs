//! Templates: files of this repository in which `{name}` stands for a variable's value.
//!
//! Knows the file's format and where its variables are, not their values. Anything else in braces is itself:
//! JSON's and YAML's braces need no escape.

use std::ops::Range;

use super::text::Text;
use super::types::{Name, RelPath};
use crate::error::Result;

/// A template, taken apart.
#[derive(Debug, Clone)]
pub struct Template {
    pub file: RelPath,
    pub format: Format,
    pub executable: bool,
    pub text: Text,
    pub pieces: Vec<Piece>,
}

/// What a file is written in, which decides how a value is written into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Plain,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Variable(Place),
}

/// Where a variable stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub name: Name,
    /// `{name*}`: the line is written once for each item.
    pub each: bool,
    /// Inside double quotes.
    pub quoted: bool,
    pub span: Range<usize>,
}

impl Template {
    pub fn parse(file: RelPath, text: Text, executable: bool) -> Result<Self> {
        let format = Format::of(&file);
        let mut pieces = Vec::new();
        let mut plain = 0;
        let mut quotes = Quotes::new(format);
        let mut at = 0;
        while let Some(c) = text.text[at..].chars().next() {
            let Some((name, each, end)) = variable(&text.text[at..]) else {
                quotes.step(c);
                at += c.len_utf8();
                continue;
            };
            let span = at..at + end;
            if each && format != Format::Plain {
                let what = format!("`{{{name}*}}` repeats a line, which only a plain file can; write `{{{name}}}`");
                return Err(text.wrong(span, what).into());
            }
            let name: Name = name.parse().map_err(|error| text.wrong(span.clone(), format!("{error}")))?;
            pieces.push(Piece::Text(text.text[plain..at].to_owned()));
            at += end;
            plain = at;
            // What stands in a comment is for people, and is left as it is.
            match quotes.comment {
                true => pieces.push(Piece::Text(text.text[span].to_owned())),
                false => pieces.push(Piece::Variable(Place { name, each, quoted: quotes.open, span })),
            }
        }
        pieces.push(Piece::Text(text.text[plain..].to_owned()));
        Ok(Self { file, format, executable, text, pieces })
    }

    /// Every place of a variable, in order.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Variable(place) => Some(place),
        })
    }
}

impl Format {
    fn of(file: &RelPath) -> Self {
        match file.file_name().rsplit_once('.').map(|(_, end)| end) {
            Some("json" | "cfg") => Self::Json,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Plain,
        }
    }
}

/// `{name}` or `{name*}` at the head of `text`: the name, whether it has the star, and how long it is.
fn variable(text: &str) -> Option<(&str, bool, usize)> {
    let inside = text.strip_prefix('{')?;
    let end = inside.find('}')?;
    let (name, each) = match inside[..end].strip_suffix('*') {
        Some(name) => (name, true),
        None => (&inside[..end], false),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_name.then_some((name, each, end + 2))
}

/// Follows double quotes and YAML's comments through a text.
struct Quotes {
    format: Format,
    open: bool,
    escaped: bool,
    comment: bool,
    /// What stood before, for the `#` that begins a comment.
    last: char,
}

impl Quotes {
    fn new(format: Format) -> Self {
        Self { format, open: false, escaped: false, comment: false, last: '\n' }
    }

    fn step(&mut self, c: char) {
        let before = std::mem::replace(&mut self.last, c);
        if c == '\n' {
            (self.open, self.escaped, self.comment) = (false, false, false);
        } else if self.format == Format::Plain || self.comment {
        } else if self.escaped {
            self.escaped = false;
        } else if self.open && c == '\\' {
            self.escaped = true;
        } else if c == '"' {
            self.open = !self.open;
        } else if c == '#' && self.format == Format::Yaml && !self.open && before.is_whitespace() {
            self.comment = true;
        }
    }
}
