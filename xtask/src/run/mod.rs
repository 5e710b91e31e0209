//! The third room: does the steps.

pub mod fetch;
pub mod process;
pub mod store;
