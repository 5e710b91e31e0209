//! A settings file: what a person wants of a board, `NAME = VALUE` in TOML, for `--settings FILE`.
//!
//! Knows how it is written; which variables there are, the plan checks.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use toml::Spanned;

use super::text::Text;
use super::types::Name;
use super::variable::{Given, Variable};
use crate::error::{Failure, Kind, Result};

/// A settings file that was read.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    pub text: Text,
    pub values: BTreeMap<Spanned<Name>, Spanned<Given>>,
}

impl SettingsFile {
    /// Reads the file. `secrets` are the variables that it must not hold.
    pub fn read<'a>(path: &Path, secrets: impl IntoIterator<Item = &'a Variable>) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::new(Kind::Data, format!("--settings: {error}"))
                .next("cargo xtask settings --target T > FILE writes one to begin with")
        })?;
        let text = Text::new(path.display().to_string(), text);
        for secret in secrets {
            // Before the file is understood: an error in it would show the line.
            let mut lines = text.text.lines().enumerate();
            if let Some((index, _)) = lines.find(|(_, line)| begins_with(line, secret.name.as_str())) {
                return Err(secret.refuse_secret(&format!("{}:{}:1", text.path, index + 1)).into());
            }
        }
        let values = text.parse()?;
        Ok(Self { text, values })
    }
}

/// True if the line's first word is `name`, quoted or not.
fn begins_with(line: &str, name: &str) -> bool {
    let rest = line.trim_start().trim_start_matches(['"', '\'']).strip_prefix(name);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
}
