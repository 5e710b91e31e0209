//! How a target's board is reached, and what it must be: `[board]` of `targets/NAME.toml`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::types::{Invalid, Version};

/// A target's board.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The ways to it; without `--via`, the board is looked for on all of them.
    #[serde(default = "Via::all")]
    pub via: Vec<Via>,
    /// The oldest kernel on which the bundle works.
    pub kernel: Option<Version>,
}

impl Default for Board {
    fn default() -> Self {
        Self { via: Via::all(), kernel: None }
    }
}

/// A way to a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// OpenHarmony's device connector.
    Hdc,
    /// Android's debug bridge.
    Adb,
    /// A secure shell server on the board.
    Ssh,
    /// The target's emulated board, which somebody started on this machine. Only who asks for it gets it.
    #[serde(skip)]
    Emulator,
}

impl Via {
    const ALL: [Self; 3] = [Self::Hdc, Self::Adb, Self::Ssh];

    fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hdc => "hdc",
            Self::Adb => "adb",
            Self::Ssh => "ssh",
            Self::Emulator => "emulator",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Via {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().chain([Self::Emulator]).find(|via| via.as_str() == text);
        found.ok_or_else(|| Invalid(format!("{text:?} is no way to a board; there are hdc, adb, ssh and emulator")))
    }
}
