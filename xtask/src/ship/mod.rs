//! The fourth room: packs results into what a person takes away.

pub mod bundle;
pub mod image;
pub mod program;
pub mod record;
mod tarball;
