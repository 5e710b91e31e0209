//! The kernel's Kconfig language: which options there are, what each depends on, and why one is off.
//!
//! [`tree`] reads the files into one list of options, [`eval`] computes values by the rules of the kernel's
//! scripts/kconfig, [`explain`] says what keeps an option off, and finds lines that turn it on. What only a compiler
//! can tell is taken from the configuration, else assumed (`[compiler]` of the list, and that the compiler is able).

pub mod eval;
pub mod explain;
pub mod tree;

pub use explain::{Explanation, explain};
pub use tree::Tree;
