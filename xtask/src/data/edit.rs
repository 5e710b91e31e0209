//! Edits of a source tree that is not ours: `patches/NAME/edits.toml`.
//!
//! Unlike a patch, an edit names the line it belongs after, not all the lines around it: it fits every version of a tree
//! that has that line.

use std::path::Path;

use fs_err as fs;
use serde::Deserialize;

use super::text::Text;
use super::types::RelPath;
use crate::error::{Context, Result};

/// The file in a folder of patches/ that makes it a set of edits instead of a recipe's patches.
pub const EDITS: &str = "edits.toml";

/// The edits of one tree.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    pub summary: String,
    #[serde(rename = "edit")]
    pub edits: Vec<Edit>,
}

/// A block of lines for one file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    pub why: String,
    /// The first of these that is there.
    pub file: Vec<RelPath>,
    /// The lines, one after the other, that the block comes after; several ways to find the place. The file's end if
    /// there are none.
    #[serde(default)]
    pub after: Vec<Vec<String>>,
    /// Where the look for `unless` ends: a line that begins so. The file's end if it is not said.
    pub until: Option<String>,
    /// Texts which, all there already, say that somebody has made the change.
    #[serde(default)]
    pub unless: Vec<String>,
    #[serde(default)]
    pub lines: Vec<String>,
    /// The lines are the options of a kernel that the file lacks.
    #[serde(default)]
    pub fragment: bool,
}

impl Edits {
    /// Reads `patches/NAME/edits.toml` of the checkout at `root`.
    pub fn load(root: &Path, name: &RelPath) -> Result<Self> {
        let path = format!("patches/{name}/{EDITS}");
        let text = fs::read_to_string(root.join(&path)).context("read the edits of a source tree")?;
        Self::parse(&Text::new(path, text))
    }

    pub fn parse(text: &Text) -> Result<Self> {
        let edits: Self = text.parse()?;
        for edit in &edits.edits {
            let what = if edit.file.is_empty() {
                "an edit names no file"
            } else if edit.fragment != edit.lines.is_empty() {
                "an edit has either `lines` or `fragment = true`"
            } else if edit.after.iter().any(Vec::is_empty) {
                "an anchor in `after` has no lines"
            } else {
                continue;
            };
            let at = text.text.find(&edit.why).unwrap_or(0);
            return Err(text.wrong(at..at + edit.why.len(), what).into());
        }
        Ok(edits)
    }
}
