//! The third room: does the steps.

pub mod elf;
pub mod patch;
pub mod process;
pub mod store;
pub mod unpack;
