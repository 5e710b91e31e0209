//! JSON and YAML read into one kind of tree, every node with its place, for messages that point at it.
//!
//! Knows neither schemas nor what a document is for.

use std::ops::Range;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::template::Format;
use super::text::Text;
use crate::error::Result;

/// One value of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Range<usize>,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Null,
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; no key is there twice.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub span: Range<usize>,
    pub name: String,
}

/// Reads a document of this format; an error points into it.
pub fn parse(text: &Text, format: Format) -> Result<Node> {
    if format == Format::Json {
        // JSON is read as YAML below, which takes much that is not JSON.
        serde_json::from_str::<serde::de::IgnoredAny>(&text.text).map_err(|error| {
            let span = at(&text.text, error.line(), error.column().saturating_sub(1));
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or(&what);
            text.wrong(span, format!("this is not JSON: {what}"))
        })?;
    }
    let documents = MarkedYaml::load_from_str(&text.text).map_err(|error| {
        let mark = error.marker();
        let language = if format == Format::Json { "JSON" } else { "YAML" };
        text.wrong(at(&text.text, mark.line(), mark.col()), format!("this is not {language}: {}", error.info()))
    })?;
    match documents.as_slice() {
        [document] => node(text, document),
        several => Err(text.wrong(0..0, format!("one document is wanted, found {}", several.len())).into()),
    }
}

impl Node {
    /// The value of a key of a map.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }
}

fn node(text: &Text, marked: &MarkedYaml<'_>) -> Result<Node> {
    let start = at(&text.text, marked.span.start.line(), marked.span.start.col()).start;
    let end = at(&text.text, marked.span.end.line(), marked.span.end.col()).start;
    let span = start..end.max(start);
    let wrong = |what: &str| text.wrong(span.clone(), what.to_owned());
    let content = match &marked.data {
        YamlData::Value(Scalar::Null) => Content::Null,
        YamlData::Value(Scalar::Boolean(flag)) => Content::Flag(*flag),
        YamlData::Value(Scalar::Integer(number)) => Content::Whole(*number),
        YamlData::Value(Scalar::FloatingPoint(number)) => Content::Number(**number),
        YamlData::Value(Scalar::String(text)) => Content::Text(text.to_string()),
        YamlData::Sequence(items) => Content::List(items.iter().map(|item| node(text, item)).collect::<Result<_>>()?),
        YamlData::Mapping(entries) => {
            let entry = |(key, value)| Ok((key_of(text, key)?, node(text, value)?));
            Content::Map(entries.iter().map(entry).collect::<Result<_>>()?)
        }
        YamlData::Alias(_) => return Err(wrong("anchors and aliases are not used here; write the value itself").into()),
        YamlData::Tagged(..) => return Err(wrong("tags are not used here").into()),
        YamlData::Representation(..) | YamlData::BadValue => return Err(wrong("this is not a value").into()),
    };
    Ok(Node { span, content })
}

fn key_of(text: &Text, marked: &MarkedYaml<'_>) -> Result<Key> {
    match node(text, marked)? {
        Node { span, content: Content::Text(name) } => Ok(Key { span, name }),
        other => Err(text.wrong(other.span, "a key is a text").into()),
    }
}

/// The byte at a line (from 1) and a column in characters (from 0), as a span of nothing.
fn at(text: &str, line: usize, column: usize) -> Range<usize> {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text[start..].lines().next().unwrap_or("");
    let byte = start + rest.char_indices().nth(column).map_or(rest.len(), |(byte, _)| byte);
    byte..byte
}
