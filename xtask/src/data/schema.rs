//! Schemas: what a file of the board may hold, in the words of JSON Schema.
//!
//! A part of JSON Schema 2020-12 is understood, and a keyword beyond it is an error, so that no rule is taken for
//! checked that is not. Two things are our own: `format` names the types of the board's variables and is enforced,
//! and a rule's `description` is what a person reads when it is broken.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value as Json;

use super::document::{Content, Node};
use super::text::{Text, nearest, unknown};
use super::variable::{Kind, SECRET_MARK};
use crate::error::{Failure, Kind as Failed, Result};

/// A schema, or one rule inside it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Schema {
    #[serde(rename = "$schema")]
    dialect: Option<String>,
    title: Option<String>,
    /// What would be right.
    description: Option<String>,
    #[serde(rename = "type")]
    kind: Option<Types>,
    #[serde(rename = "enum")]
    choices: Option<Vec<Json>>,
    #[serde(rename = "const")]
    constant: Option<Json>,
    format: Option<Kind>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    minimum: Option<i64>,
    maximum: Option<i64>,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    additional_properties: Option<Additional>,
    items: Option<Box<Schema>>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    unique_items: bool,
    contains: Option<Box<Schema>>,
    not: Option<Box<Schema>>,
    any_of: Vec<Schema>,
    all_of: Vec<Schema>,
    #[serde(rename = "if")]
    condition: Option<Box<Schema>>,
    then: Option<Box<Schema>>,
}

/// `type`: one name or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Types {
    One(Type),
    Several(Vec<Type>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// `additionalProperties`: whether there may be other keys, or what they must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Additional {
    Allowed(bool),
    Held(Box<Schema>),
}

/// What is wrong in a document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub span: Range<usize>,
    pub what: String,
    /// What stands there must not be shown: it may be a secret.
    pub hidden: bool,
}

impl Broken {
    /// The failure, which points into the document.
    pub fn failure(self, text: &Text) -> Failure {
        match self.hidden {
            true => Failure::new(Failed::Data, format!("{}: {}", text.place(self.span), self.what)),
            false => text.wrong(self.span, self.what),
        }
    }
}

impl Schema {
    pub fn parse(text: &Text) -> Result<Self> {
        let schema: Self = serde_json::from_str(&text.text).map_err(|error| {
            let line_start: usize =
                text.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            let at = (line_start + error.column().saturating_sub(1)).min(text.text.len());
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or(&what);
            text.wrong(at..at, format!("this is not a schema that is understood here: {what}"))
        })?;
        match (&schema.dialect, &schema.title) {
            (Some(_), Some(_)) => Ok(schema),
            _ => Err(text.wrong(0..0, "a schema says its `$schema` and `title`").into()),
        }
    }

    /// The first rule that the document breaks.
    pub fn check(&self, node: &Node) -> Result<(), Broken> {
        self.check_at(node, "")
    }

    fn check_at(&self, node: &Node, path: &str) -> Result<(), Broken> {
        self.check_value(node, path)?;
        match &node.content {
            Content::Map(entries) => {
                self.check_keys(node, entries.iter().map(|(key, _)| (key.name.as_str(), &key.span)), path)?;
                for (key, value) in entries {
                    let rule = self.properties.get(&key.name).or(match &self.additional_properties {
                        Some(Additional::Held(rule)) => Some(rule),
                        _ => None,
                    });
                    rule.map_or(Ok(()), |rule| rule.check_at(value, &join(path, &key.name)))?;
                }
            }
            Content::List(items) => self.check_items(node, items, path)?,
            _ => {}
        }
        self.check_combined(node, path)
    }

    fn check_value(&self, node: &Node, path: &str) -> Result<(), Broken> {
        let broken = |what: String| Err(self.broken(node.span.clone(), path, &what));
        if let Some(kinds) = &self.kind
            && !kinds.hold(&node.content)
        {
            return broken(format!("{} is wanted, not {}", kinds.name(), shown(&node.content)));
        }
        if let Some(constant) = &self.constant
            && !same(constant, &node.content)
        {
            if constant.as_str().is_some_and(|mark| mark.starts_with(SECRET_MARK)) {
                let broken = self.broken(node.span.clone(), path, &format!("only {constant} may stand here"));
                return Err(Broken { hidden: true, ..broken });
            }
            return broken(format!("{constant} is wanted, not {}", shown(&node.content)));
        }
        if let Some(choices) = &self.choices
            && !choices.iter().any(|choice| same(choice, &node.content))
        {
            let list: Vec<String> = choices.iter().map(Json::to_string).collect();
            return broken(format!("one of {} is wanted, not {}", list.join(", "), shown(&node.content)));
        }
        match &node.content {
            Content::Text(text) => self.check_text(node, text, path),
            Content::Whole(number) => {
                let low = self.minimum.is_some_and(|minimum| *number < minimum);
                let high = self.maximum.is_some_and(|maximum| *number > maximum);
                match (low, high, self.minimum, self.maximum) {
                    (true, ..) | (_, true, ..) => broken(format!(
                        "{number} is not from {} to {}",
                        self.minimum.map_or("any".to_owned(), |minimum| minimum.to_string()),
                        self.maximum.map_or("any".to_owned(), |maximum| maximum.to_string())
                    )),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn check_text(&self, node: &Node, text: &str, path: &str) -> Result<(), Broken> {
        let broken = |what: String| Err(self.broken(node.span.clone(), path, &what));
        let length = text.chars().count();
        if let Some(kind) = self.format
            && !kind.holds(text)
        {
            return broken(format!("{} is not {}", shown(&node.content), kind.example()));
        }
        if self.min_length.is_some_and(|least| length < least) {
            return broken(format!("{} is too short", shown(&node.content)));
        }
        if let Some(most) = self.max_length.filter(|most| length > *most) {
            return broken(format!("{} is longer than {most} characters", shown(&node.content)));
        }
        Ok(())
    }

    fn check_keys<'a>(
        &self,
        node: &Node,
        keys: impl Iterator<Item = (&'a str, &'a Range<usize>)>,
        path: &str,
    ) -> Result<(), Broken> {
        let mut found = Vec::new();
        for (key, span) in keys {
            found.push(key);
            let closed = matches!(self.additional_properties, Some(Additional::Allowed(false)));
            if closed && !self.properties.contains_key(key) {
                let known = self.properties.keys().map(String::as_str);
                let what = match nearest(key, known.clone()) {
                    Some(right) => format!("`{key}` is not a key here; did you mean `{right}`?"),
                    None => unknown("a key here", key, known),
                };
                return Err(self.broken(span.clone(), path, &what));
            }
        }
        match self.required.iter().find(|key| !found.contains(&key.as_str())) {
            None => Ok(()),
            Some(missing) => {
                let likely = nearest(missing, found).map(|key| format!("; is `{key}` meant for it?"));
                let what = format!("`{missing}` is missing{}", likely.unwrap_or_default());
                Err(self.broken(node.span.start..node.span.start, path, &what))
            }
        }
    }

    fn check_items(&self, node: &Node, items: &[Node], path: &str) -> Result<(), Broken> {
        if let Some(rule) = &self.items {
            for (index, item) in items.iter().enumerate() {
                rule.check_at(item, &join(path, &index.to_string()))?;
            }
        }
        if self.min_items.is_some_and(|least| items.len() < least) {
            return Err(self.broken(node.span.clone(), path, "the list is too short"));
        }
        if let Some(most) = self.max_items.filter(|most| items.len() > *most) {
            return Err(self.broken(node.span.clone(), path, &format!("the list has more than {most} items")));
        }
        if self.unique_items {
            for (index, item) in items.iter().enumerate() {
                if items[..index].iter().any(|other| equal(&other.content, &item.content)) {
                    let what = format!("{} is there twice", shown(&item.content));
                    return Err(self.broken(item.span.clone(), &join(path, &index.to_string()), &what));
                }
            }
        }
        match &self.contains {
            Some(rule) if !items.iter().any(|item| rule.check(item).is_ok()) => {
                Err(self.broken(node.span.clone(), path, "no item of the list is what one must be"))
            }
            _ => Ok(()),
        }
    }

    fn check_combined(&self, node: &Node, path: &str) -> Result<(), Broken> {
        for rule in &self.all_of {
            rule.check_at(node, path)?;
        }
        if let Some(rule) = &self.not
            && rule.check(node).is_ok()
        {
            return Err(rule.broken(node.span.clone(), path, &format!("{} is not allowed", shown(&node.content))));
        }
        if !self.any_of.is_empty() && !self.any_of.iter().any(|rule| rule.check(node).is_ok()) {
            return Err(self.broken(
                node.span.clone(),
                path,
                &format!("{} is none of what it may be", shown(&node.content)),
            ));
        }
        match (&self.condition, &self.then) {
            (Some(condition), Some(then)) if condition.check(node).is_ok() => {
                then.check_at(node, path).map_err(|broken| {
                    // The condition's key is why this rule is asked at all, so it is what to look at.
                    let cause = condition.properties.keys().find_map(|key| node.get(key));
                    Broken { span: cause.map_or(broken.span.clone(), |cause| cause.span.clone()), ..broken }
                })
            }
            _ => Ok(()),
        }
    }

    fn broken(&self, span: Range<usize>, path: &str, what: &str) -> Broken {
        let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let right = self.description.as_ref().map(|right| format!("\n{right}")).unwrap_or_default();
        Broken { span, what: format!("{place}{what}{right}"), hidden: false }
    }
}

impl Types {
    fn hold(&self, content: &Content) -> bool {
        self.all().iter().any(|kind| {
            matches!(
                (kind, content),
                (Type::Null, Content::Null)
                    | (Type::Boolean, Content::Flag(_))
                    | (Type::Integer | Type::Number, Content::Whole(_))
                    | (Type::Number, Content::Number(_))
                    | (Type::String, Content::Text(_))
                    | (Type::Array, Content::List(_))
                    | (Type::Object, Content::Map(_))
            )
        })
    }

    fn all(&self) -> &[Type] {
        match self {
            Self::One(kind) => std::slice::from_ref(kind),
            Self::Several(kinds) => kinds,
        }
    }

    fn name(&self) -> String {
        let name = |kind: &Type| match kind {
            Type::Null => "null",
            Type::Boolean => "true or false",
            Type::Integer => "a whole number",
            Type::Number => "a number",
            Type::String => "a text",
            Type::Array => "a list",
            Type::Object => "a map of keys",
        };
        self.all().iter().map(name).collect::<Vec<_>>().join(" or ")
    }
}

/// `modules.edgeHub.token`: where a value stands, for a person.
fn join(path: &str, key: &str) -> String {
    match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    }
}

/// The value as a person sees it; long ones are named only.
fn shown(content: &Content) -> String {
    match content {
        Content::Null => "null".to_owned(),
        Content::Flag(flag) => flag.to_string(),
        Content::Whole(number) => number.to_string(),
        Content::Number(number) => number.to_string(),
        Content::Text(text) => Json::from(text.as_str()).to_string(),
        Content::List(_) => "a list".to_owned(),
        Content::Map(_) => "a map of keys".to_owned(),
    }
}

/// True if a schema's value is the document's. Lists and maps are not compared: no schema here needs it.
fn same(json: &Json, content: &Content) -> bool {
    match (json, content) {
        (Json::Null, Content::Null) => true,
        (Json::Bool(one), Content::Flag(other)) => one == other,
        (Json::Number(one), Content::Whole(other)) => one.as_i64() == Some(*other),
        (Json::String(one), Content::Text(other)) => one == other,
        _ => false,
    }
}

/// True if two values are the same, wherever they stand.
fn equal(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (Content::List(one), Content::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(&one.content, &other.content))
        }
        (Content::Map(one), Content::Map(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    let found = other.iter().find(|(name, _)| name.name == key.name);
                    found.is_some_and(|(_, same)| equal(&value.content, &same.content))
                })
        }
        (one, other) => one == other,
    }
}
