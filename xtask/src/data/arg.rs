//! Arguments with `{variables}`: a fixed list of names, no logic, checked where they are read.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::Deserialize;

use super::types::Invalid;

/// Which variables an argument may use.
pub trait Scope {
    const VARIABLES: &'static [&'static str];
    /// Whether `{var.NAME}` stands for a variable that the file itself declares.
    const OWN: bool;
}

/// What stands before the name of a recipe's own variable.
pub const OWN_PREFIX: &str = "var.";

/// Arguments in recipes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRecipe;

impl Scope for InRecipe {
    const VARIABLES: &'static [&'static str] = &[
        "name", "version", "reported", "revision", "arch", "triple", "cc", "ar", "ranlib", "ld", "host_cc", "cflags",
        "src",
    ];
    const OWN: bool = true;
}

/// Arguments in toolchain files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InToolchain;

impl Scope for InToolchain {
    const VARIABLES: &'static [&'static str] = &["tool", "cache", "triple", "cpu", "found", "userland", "loader"];
    const OWN: bool = false;
}

/// Text in which `{name}` stands for a variable; any other brace is a brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg<S> {
    text: String,
    scope: PhantomData<S>,
}

impl<S: Scope> Arg<S> {
    /// The text with every variable replaced. `values` must hold the scope's variables that are used;
    /// one that is missing stays as it is written, for a later stage to fill in.
    pub fn expand<K: Borrow<str> + Ord>(&self, values: &BTreeMap<K, String>) -> String {
        pieces(&self.text)
            .map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Variable(name) => values.get(name).cloned().unwrap_or_else(|| format!("{{{name}}}")),
            })
            .collect()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of the recipe's own variables that are used.
    pub fn own_variables(&self) -> impl Iterator<Item = &str> {
        self.variables().filter_map(|name| name.strip_prefix(OWN_PREFIX))
    }

    /// True if the variable `name` is used.
    pub fn uses(&self, name: &str) -> bool {
        self.variables().any(|used| used == name)
    }

    fn variables(&self) -> impl Iterator<Item = &str> {
        pieces(&self.text).filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name),
            Piece::Text(_) => None,
        })
    }
}

impl<S: Scope> std::str::FromStr for Arg<S> {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        for piece in pieces(text) {
            if let Piece::Variable(name) = piece
                && !S::VARIABLES.contains(&name)
                && !(S::OWN && name.starts_with(OWN_PREFIX))
            {
                return Err(Invalid(format!(
                    "`{{{name}}}` is not a variable; there are: {{{}}}",
                    S::VARIABLES.join("}, {")
                )));
            }
        }
        if text.contains('\0') {
            return Err(Invalid("an argument cannot hold a NUL character".to_owned()));
        }
        Ok(Self { text: text.to_owned(), scope: PhantomData })
    }
}

impl<'de, S: Scope> Deserialize<'de> for Arg<S> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Cuts `a{b}c` into text and variables. `{ print }` and `{}` hold no name, so they are text.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((name, tail)) = variable(rest) {
            rest = tail;
            return Some(Piece::Variable(name));
        }
        let end = rest.char_indices().skip(1).find(|(at, _)| variable(&rest[*at..]).is_some());
        let (head, tail) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = tail;
        Some(Piece::Text(head))
    })
}

fn variable(text: &str) -> Option<(&str, &str)> {
    let (name, tail) = text.strip_prefix('{')?.split_once('}')?;
    let own = name.strip_prefix(OWN_PREFIX).unwrap_or(name);
    let is_name = !own.is_empty() && own.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    is_name.then_some((name, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_and_braces_stay() {
        let arg: Arg<InRecipe> = "{cc} -DX={version}; awk '{ print $1 }' {}".parse().unwrap();
        let values = BTreeMap::from([("cc", "gcc".to_owned()), ("version", "1.2".to_owned())]);
        assert_eq!(arg.expand(&values), "gcc -DX=1.2; awk '{ print $1 }' {}");
    }

    #[test]
    fn unknown_variables_are_refused() {
        let error = "--prefix={prefix}".parse::<Arg<InRecipe>>().unwrap_err();
        assert!(error.0.starts_with("`{prefix}` is not a variable; there are: {name}, {version}"), "{error}");
    }
}
