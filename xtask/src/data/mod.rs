//! The first room: TOML files into types that cannot be wrong.

pub mod source;
pub mod types;
