//! The lines that a configuration lacks, to be put at its end.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::check::{Board, check, is_wanted};
use super::config::{KernelConfig, State};
use crate::data::kernel::{KernelVersion, Need, Options, Wanted};

/// The lines for a kernel of this version on this board: what is required or recommended, and what that needs.
///
/// With a configuration, only the lines that it lacks; an empty text if it lacks none.
pub fn fragment(options: &Options, config: Option<&KernelConfig>, version: KernelVersion, board: Board) -> String {
    let empty = KernelConfig::nothing();
    let given = config.unwrap_or(&empty);
    let mut written: BTreeSet<&str> = BTreeSet::new();
    let mut text = String::new();
    for group in &options.groups {
        let mut lines = String::new();
        for wanted in &group.options {
            let need = wanted.need.unwrap_or(group.need);
            if need == Need::Optional || wanted.quiet || !is_wanted(wanted, given, version, board) {
                continue;
            }
            for name in with_needs(options, wanted, version) {
                if is_set(given, name, board) || !written.insert(name) {
                    continue;
                }
                let why = if name == wanted.name.as_str() {
                    format!(
                        "{}: without it, {}",
                        if need == Need::Required { "required" } else { "recommended" },
                        wanted.without
                    )
                } else {
                    format!("for CONFIG_{}", wanted.name)
                };
                let _ = writeln!(lines, "# {why}\nCONFIG_{name}=y");
            }
        }
        if !lines.is_empty() {
            let _ = write!(text, "\n# {}\n{lines}", group.title);
        }
    }
    let report = check(options, given, version, board);
    for trap in options.traps.iter().filter(|trap| trap.off && trap.is_in(version)) {
        if config.is_none() || report.warnings.iter().any(|warning| warning.name == trap.name.as_str()) {
            let _ = write!(text, "\n# {}\n# CONFIG_{} is not set\n", trap.text.replace('\n', " "), trap.name);
        }
    }
    text.trim_start().to_owned()
}

/// The option's needs, theirs first, and the option itself.
fn with_needs<'a>(options: &'a Options, wanted: &'a Wanted, version: KernelVersion) -> Vec<&'a str> {
    let mut names = Vec::new();
    add_needs(options, wanted, version, &mut names);
    names
}

fn add_needs<'a>(options: &'a Options, wanted: &'a Wanted, version: KernelVersion, names: &mut Vec<&'a str>) {
    for need in &wanted.needs {
        match options.all().find(|other| other.name == *need) {
            Some(other) if other.is_in(version) && !names.contains(&other.name.as_str()) => {
                add_needs(options, other, version, names);
            }
            _ => {}
        }
        if !names.contains(&need.as_str()) {
            names.push(need.as_str());
        }
    }
    if !names.contains(&wanted.name.as_str()) {
        names.push(wanted.name.as_str());
    }
}

/// Whether the configuration has the option the way this board needs it.
fn is_set(config: &KernelConfig, name: &str, board: Board) -> bool {
    match config.state(name) {
        State::On => true,
        State::Module => board.modules,
        State::Off | State::Unsaid => false,
    }
}
