//! The first room: TOML files into types that cannot be wrong.
//!
//! Each file is read as it is written (serde, unknown keys refused), then checked as a whole; every
//! error points at file, line and column. Knows nothing of steps, processes or the network.

pub mod arg;
pub mod board;
pub mod document;
pub mod edit;
pub mod emulator;
pub mod image;
pub mod kernel;
pub mod lock;
pub mod patch;
pub mod project;
pub mod recipe;
pub mod schema;
pub mod settings;
pub mod source;
pub mod target;
pub mod template;
pub mod text;
pub mod toolchain;
pub mod types;
pub mod variable;
