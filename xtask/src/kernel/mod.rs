//! What a kernel's configuration says, and what a container host needs it to say.
//!
//! Pure but for [`kconfig::Tree::read`], which reads the kernel's Kconfig files. Knows no option's name: they are in
//! `kernel/options.toml`.

pub mod check;
pub mod config;
pub mod fragment;
pub mod kconfig;

pub use check::{Board, Report, check};
pub use config::KernelConfig;
