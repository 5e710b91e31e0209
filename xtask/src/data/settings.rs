//! A settings file: what a person wants of a board, `NAME = VALUE` in TOML, for `--settings FILE`.
//!
//! Knows how it is written; which variables there are, the plan checks.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use toml::Spanned;

use super::text::Text;
use super::types::Name;
use super::variable::Given;
use crate::error::{Failure, Kind, Result};

/// A settings file that was read.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    pub text: Text,
    pub values: BTreeMap<Spanned<Name>, Spanned<Given>>,
}

impl SettingsFile {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::new(Kind::Data, format!("--settings: {error}"))
                .next("cargo xtask settings --target T > FILE writes one to begin with")
        })?;
        let text = Text::new(path.display().to_string(), text);
        let values = text.parse()?;
        Ok(Self { text, values })
    }
}
