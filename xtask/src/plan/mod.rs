//! The second room: turns the data into ordered lists of steps, before anything is done.
//!
//! Pure: no file system, clock, environment or process. A plan's text does three jobs: `cargo xtask
//! plan` prints it, golden tests compare it, and its hash is the build's key.

pub mod build;
pub mod choice;
pub mod fill;
pub mod settings;
pub mod step;

pub use build::{of_tools, plan, tool};
pub use choice::{Choice, Override, choose, choose_for_checks, choose_one};
pub use fill::{Filled, fill};
pub use settings::{Changes, Settings};
pub use step::{Input, Plan, Stage, Step};

/// The one time that everything made here carries, in seconds since 1970: 2020-01-01 00:00:00 UTC.
/// Any fixed moment would do; this one is after every tool's idea of "too old" (zip begins in 1980).
pub const EPOCH: u64 = 1_577_836_800;

/// The version of this program, and so of what it packs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
