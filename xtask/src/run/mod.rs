//! The third room: does the steps.

pub mod process;
pub mod store;
