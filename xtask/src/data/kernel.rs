//! What is needed of a kernel's configuration: `kernel/options.toml`, and a target's `[kernel]`.
//!
//! Knows the file's form, and which kernel versions have an option. Knows no option's name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::text::Text;
use super::types::{Invalid, RelPath};
use crate::error::{Context, Result};

/// Where the list is, in a checkout.
pub const OPTIONS: &str = "kernel/options.toml";

/// The list of options.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
    #[serde(rename = "trap", default)]
    pub traps: Vec<Trap>,
    #[serde(rename = "gone", default)]
    pub gone: Vec<Gone>,
    /// What a compiler decides, where a configuration does not say it: the option's name → its value.
    #[serde(default)]
    pub compiler: BTreeMap<Symbol, String>,
}

/// Options that serve one purpose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub title: String,
    /// What holds for options that do not say it themselves.
    pub need: Need,
    /// Where it was read that they are needed.
    pub source: String,
    pub options: Vec<Wanted>,
}

/// One option that a container host wants.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub name: Symbol,
    pub need: Option<Need>,
    /// What happens without it.
    pub without: String,
    pub since: Option<KernelVersion>,
    pub before: Option<KernelVersion>,
    /// What must be on for this one to stay on.
    #[serde(default)]
    pub needs: Vec<Symbol>,
    /// On by default, or selected by others: a defconfig that leaves it out says nothing.
    #[serde(default)]
    pub implicit: bool,
    /// Reported only where it is on.
    #[serde(default)]
    pub quiet: bool,
    /// Not wanted where this other option is on.
    pub unless: Option<Symbol>,
    pub when: Option<When>,
}

/// How much an option is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Containers do not work without it.
    Required,
    /// Something that people expect does not work without it.
    Recommended,
    Optional,
}

/// On what kind of target an option is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum When {
    /// Some of its programs are 32-bit, its kernel is 64-bit.
    #[serde(rename = "32-bit")]
    Compat,
}

/// An option that is bad where it is on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trap {
    pub name: Symbol,
    pub text: String,
    /// A fragment switches it off.
    #[serde(default)]
    pub off: bool,
    pub since: Option<KernelVersion>,
    pub before: Option<KernelVersion>,
}

/// An option that kernels do not have, or no longer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    pub name: Symbol,
    /// What took its place.
    pub text: String,
    pub since: Option<KernelVersion>,
    pub before: Option<KernelVersion>,
}

/// Whether a kernel of this version lies in the range: from `since` on, older than `before`.
fn within(since: Option<KernelVersion>, before: Option<KernelVersion>, version: KernelVersion) -> bool {
    since.is_none_or(|since| version >= since) && before.is_none_or(|before| version < before)
}

impl Wanted {
    /// Whether kernels of this version have it.
    pub fn is_in(&self, version: KernelVersion) -> bool {
        within(self.since, self.before, version)
    }
}

impl Trap {
    pub fn is_in(&self, version: KernelVersion) -> bool {
        within(self.since, self.before, version)
    }
}

impl Gone {
    pub fn is_in(&self, version: KernelVersion) -> bool {
        within(self.since, self.before, version)
    }
}

impl Options {
    /// Reads the list of the checkout at `root`.
    pub fn load(root: &Path) -> Result<Self> {
        let path = root.join(OPTIONS);
        let text = fs::read_to_string(&path).context("read what is needed of a kernel")?;
        Self::parse(&Text::new(OPTIONS, text))
    }

    /// Reads the list; no option is in it twice.
    pub fn parse(text: &Text) -> Result<Self> {
        let options: Self = text.parse()?;
        let mut seen: Vec<&Symbol> = Vec::new();
        for wanted in options.all() {
            if seen.contains(&&wanted.name) {
                let at = text.text.rfind(&format!("\"{}\"", wanted.name)).unwrap_or(0);
                let what = format!("`{}` is in the list twice; keep one", wanted.name);
                return Err(text.wrong(at..at + wanted.name.as_str().len() + 2, what).into());
            }
            seen.push(&wanted.name);
        }
        Ok(options)
    }

    /// Every option that is wanted, in the order of the file.
    pub fn all(&self) -> impl Iterator<Item = &Wanted> {
        self.groups.iter().flat_map(|group| &group.options)
    }
}

/// A target's `[kernel]`: what its board's kernel is like.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetKernel {
    /// The version, where a configuration does not say it.
    pub version: KernelVersion,
    /// Whether something on the board loads modules.
    #[serde(default)]
    pub modules: bool,
    /// The source tree that its image is built from: a folder of patches/ with an edits.toml.
    pub tree: Option<toml::Spanned<RelPath>>,
}

/// The name of an option, as Kconfig files write it: without `CONFIG_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Symbol(String);

impl Symbol {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Symbol {
    type Err = Invalid;

    /// Takes the name with and without `CONFIG_`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = text.strip_prefix("CONFIG_").unwrap_or(text);
        match !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            true => Ok(Self(name.to_owned())),
            false => Err(Invalid(format!("`{}` is not the name of a kernel option", text.escape_debug()))),
        }
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for Symbol {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A kernel's version as far as options depend on it: `5.10`. What follows the second number is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    pub major: u16,
    pub minor: u16,
}

impl FromStr for KernelVersion {
    type Err = Invalid;

    /// Takes `5.10`, and what `uname -r` prints.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = text.splitn(3, '.');
        let major = parts.next().and_then(|part| part.parse().ok());
        // `6.1-rc3`
        let minor = parts.next().map(|part| part.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        match (major, minor.and_then(|minor| minor.parse().ok())) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(Invalid(format!("`{}` is not a kernel's version; write it like 5.10", text.escape_debug()))),
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl<'de> Deserialize<'de> for KernelVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text: &str| text.parse::<KernelVersion>().unwrap();
        assert!(version("5.2") < version("5.10"));
        assert_eq!(version("5.10.79"), version("5.10"));
        assert_eq!(version("6.1-rc3"), version("6.1.0-50-arm64"));
        for bad in ["", "5", "5.", "x.1", "5.x", "99999.1", "-5.1"] {
            assert!(bad.parse::<KernelVersion>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn names_lose_their_prefix() {
        assert_eq!("CONFIG_64BIT".parse::<Symbol>().unwrap().as_str(), "64BIT");
        for bad in ["", "CONFIG_", "A-B", "A B", "é"] {
            assert!(bad.parse::<Symbol>().is_err(), "{bad:?} was accepted");
        }
    }
}
