//! The third room: does the steps.
//!
//! One place starts processes ([`process`]), one opens sockets ([`fetch`]), one names the store's
//! folders ([`store`]). Knows plans, never recipes.

pub mod build;
pub mod check;
pub mod compare;
pub mod debian_source;
pub mod diff;
pub mod edit;
pub mod elf;
pub mod fetch;
pub mod jobs;
pub mod own_tools;
pub mod patch;
pub mod places;
pub mod process;
pub mod sandbox;
pub mod store;
pub mod tools;
pub mod tree;
pub mod unpack;
pub mod vary;
