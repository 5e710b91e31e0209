//! Emulated boards: made ready, started, checked, and reported on.
//!
//! Knows what an emulator's file says, not which board it stands for or what the checks prove.

pub mod acceptance;
pub mod kernel;
pub mod machine;
pub mod modules;
pub mod report;
