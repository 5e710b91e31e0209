//! The fourth room: packs results into what a person takes away.

pub mod board;
pub mod bundle;
pub mod cpio;
pub mod emulator;
pub mod image;
pub mod notes;
pub mod program;
pub mod record;
pub mod secrets;
mod tarball;
