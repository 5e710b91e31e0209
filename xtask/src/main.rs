//! `cargo xtask`: all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::cli::main()
}
