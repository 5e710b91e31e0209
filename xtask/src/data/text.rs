//! A data file's text, and errors that point into it.

use std::ops::Range;

use serde::de::DeserializeOwned;

use crate::error::{Failure, Kind, Result};

/// A data file: its path as a person would type it, and what it holds.
#[derive(Debug, Clone)]
pub struct Text {
    pub path: String,
    pub text: String,
}

impl Text {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Reads the TOML into `T`; an error names file, line and column and shows the line.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            self.wrong(span, with_suggestion(error.message())).into()
        })
    }

    /// "`path:line:column`" of a place, and nothing that stands there.
    pub fn place(&self, span: Range<usize>) -> String {
        let before = &self.text[..span.start.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let (number, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        format!("{}:{number}:{column}", self.path)
    }

    /// The failure "`path:line:column: what`", with the line itself and a mark below it.
    pub fn wrong(&self, span: Range<usize>, what: impl Into<String>) -> Failure {
        let start = span.start.min(self.text.len());
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let number = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        let width = line.len().min(span.end.saturating_sub(line_start)).saturating_sub(start - line_start).max(1);
        let mut message = format!("{}:{number}:{column}: {}", self.path, what.into());
        // What is missing has no line to show.
        if !line.trim().is_empty() {
            // What a terminal would obey is not handed to it.
            let line: String = line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
            let gap = " ".repeat(number.to_string().len());
            let mark = " ".repeat(column - 1) + &"^".repeat(width);
            message.push_str(&format!("\n{gap} |\n{number} | {line}\n{gap} | {mark}"));
        }
        Failure::new(Kind::Data, message)
    }
}

/// The name among `known` that `wrong` was most likely meant to be.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// "`wrong` is not a recipe; did you mean `right`? There are: …"
pub fn unknown<'a>(what: &str, wrong: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let list: Vec<&str> = known.clone().into_iter().collect();
    let suggestion = nearest(wrong, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    match list.is_empty() {
        true => format!("`{wrong}` is not {what}; there is none yet"),
        false => format!("`{wrong}` is not {what}{suggestion} (there are: {})", list.join(", ")),
    }
}

/// serde's "unknown field `x`, expected one of `a`, `b`" with the likely one named.
fn with_suggestion(message: &str) -> String {
    // What serde says of a table that stands for one of several variants.
    if message.starts_with("wanted exactly 1 element") {
        return "exactly one kind is allowed here; remove the other tables".to_owned();
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(wrong) if message.starts_with("unknown ") => match nearest(wrong, quoted) {
            Some(right) => format!("{message}; did you mean `{right}`?"),
            None => message.to_owned(),
        },
        _ => message.to_owned(),
    }
}
