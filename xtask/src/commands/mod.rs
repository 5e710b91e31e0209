//! The commands of `cargo xtask`, each a few lines that join the rooms.

pub mod board;
pub mod build;
pub mod clean;
pub mod doctor;
pub mod emulate;
pub mod fetch;
pub mod kernel;
pub mod openharmony;
pub mod patch;
pub mod push;
pub mod repro;
pub mod settings;
pub mod show;
pub mod update;
pub mod why;

use std::path::Path;

use crate::data::project::{self, Project};
use crate::data::settings::SettingsFile;
use crate::error::{Context, Result};
use crate::plan::{Changes, Override};

/// Reads the checkout that was named, or the one around the current folder.
pub fn project(named: Option<&Path>) -> Result<Project> {
    let here = std::env::current_dir().context("find the current folder")?;
    let root = match named {
        Some(root) => std::path::absolute(root)?,
        None => project::find_root(&here)?,
    };
    Project::load(&root)
}

/// What `--set` and `--settings` say.
pub fn changes(project: &Project, set: &[Override], settings: Option<&Path>) -> Result<Changes> {
    let secrets = || project.variables.values().filter(|variable| variable.secret);
    let settings = settings.map(|path| SettingsFile::read(path, secrets())).transpose()?;
    Ok(Changes { set: set.to_vec(), settings })
}
