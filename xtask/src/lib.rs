//! Slipway: a reproducible cross-build system, driven by `cargo xtask`.
//!
//! Four rooms, one direction: [`data`] reads TOML into types that cannot be wrong, [`plan`] turns
//! them into an ordered list of steps, [`run`] executes steps, [`ship`] packs and hands over.
//! Arrows never run back up. `docs/architecture.md` is the map.

pub mod cli;
pub mod commands;
pub mod data;
pub mod error;
pub mod interrupt;
pub mod kernel;
pub mod plan;
pub mod run;
pub mod ship;
pub mod ui;
