//! Patches: `patches/RECIPE/VERSION/0001-what.patch`, applied in the order of their names.

use super::text::Text;
use super::types::Sha256;
use crate::error::{Failure, Kind, Result};

/// One patch file.
#[derive(Debug, Clone)]
pub struct Patch {
    /// Its path in this repository.
    pub path: String,
    pub bytes: Vec<u8>,
    pub sha256: Sha256,
}

impl Patch {
    /// Checks the name and that a header says why the patch is there.
    pub fn new(path: String, bytes: Vec<u8>) -> Result<Self> {
        let name = path.rsplit('/').next().unwrap_or(&path);
        if !well_named(name) {
            return Err(Failure::new(
                Kind::Data,
                format!("{path}: a patch is named by its place in the order and what it does: `0001-what.patch`"),
            )
            .into());
        }
        let header = header(&bytes);
        if !header.iter().any(|line| !line.trim().is_empty()) {
            let text = Text::new(path, String::from_utf8_lossy(&bytes));
            return Err(text.wrong(0..0, "a patch begins with a header: why it is needed, where it comes from").into());
        }
        let sha256 = Sha256::of(&bytes);
        Ok(Self { path, bytes, sha256 })
    }
}

fn well_named(name: &str) -> bool {
    let Some((number, what)) = name.strip_suffix(".patch").and_then(|stem| stem.split_once('-')) else {
        return false;
    };
    number.len() == 4 && number.chars().all(|c| c.is_ascii_digit()) && !what.is_empty()
}

/// The lines before the first `--- ` or `diff `.
fn header(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .take_while(|line| !line.starts_with("--- ") && !line.starts_with("diff "))
        .map(str::to_owned)
        .collect()
}
