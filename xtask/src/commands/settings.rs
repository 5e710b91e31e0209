//! `settings`: a board's variables as a file to edit, and the files that are made of them.

use std::path::Path;

use fs_err as fs;
use serde_json::json;

use crate::cli;
use crate::data::project::Project;
use crate::data::types::Name;
use crate::data::variable::{Kind, Setting, Variable, secret_variable};
use crate::error::{Context, Failure, Kind as Failed, Result};
use crate::plan::fill::Filled;
use crate::plan::settings::{Origin, Resolved};
use crate::plan::{self, Settings};
use crate::run::store::write_atomic;
use crate::ui::Ui;

/// `cargo xtask settings`.
pub fn settings(project: &Project, args: &cli::Settings, ui: &Ui) -> Result<()> {
    let target = project.target(&args.target.target)?;
    let settings = Settings::resolve(project, target, &args.target.changes(project)?)?;
    if let Some(dir) = &args.files {
        let filled = plan::fill(project, target, &settings)?;
        return write_files(dir, &filled, ui);
    }
    let text = as_toml(&target.name, &settings);
    let variables: Vec<_> = settings.iter().map(event).collect();
    ui.result(text.trim_end(), json!({"event": "result", "target": target.name, "variables": variables}));
    Ok(())
}

/// The files as the bundle has them, in a folder that is new or empty.
fn write_files(dir: &Path, filled: &Filled, ui: &Ui) -> Result<()> {
    if dir.exists() && fs::read_dir(dir)?.next().is_some() {
        let what = format!("{} is not empty; what is in it would be mixed up with the board's files", dir.display());
        return Err(Failure::new(Failed::Data, what).next("another folder, or remove this one").into());
    }
    for (path, file) in &filled.files {
        let to = dir.join(path);
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        write_atomic(&to, &file.bytes)?;
    }
    let paths: Vec<_> = filled.files.keys().collect();
    let mut text = format!("{}:", dir.display());
    for path in &paths {
        text.push_str(&format!("\n  {path}"));
    }
    ui.result(&text, json!({"event": "result", "folder": dir, "files": paths, "secrets": filled.secrets}));
    Ok(())
}

/// A file for `--settings`: what is not set for this run is there, commented out.
fn as_toml(target: &Name, settings: &Settings) -> String {
    let mut text = format!(
        "# The variables of {target}. Take the # away from what is to be different, and use the file with\n\
         # cargo xtask bundle --target {target} --settings FILE\n"
    );
    for one in settings.iter() {
        let Resolved { variable, value, origin } = one;
        text.push_str(&format!("\n# {}\n# {}; {origin}\n", variable.summary, type_of(variable)));
        let name = &variable.name;
        let mark = if matches!(origin, Origin::Set | Origin::File(_)) { "" } else { "# " };
        match value {
            _ if variable.secret => text.push_str(&format!(
                "# ({name} does not belong in this file: {}, --secret {name}=FILE, or wait to be asked)\n",
                secret_variable(name)
            )),
            Some(value) => text.push_str(&format!("{mark}{name} = {}\n", toml_value(variable, value))),
            None => text.push_str(&format!("# {name} = …\n")),
        }
    }
    text
}

/// "list of url", "choice of f2fs, ext4", "device, or empty".
pub fn type_of(variable: &Variable) -> String {
    let kind = match variable.kind {
        Kind::Choice => format!("choice of {}", variable.choices.join(", ")),
        kind => kind.name().to_owned(),
    };
    let list = if variable.list { "list of " } else { "" };
    let empty = if variable.optional { ", or empty" } else { "" };
    let secret = if variable.secret { ", secret" } else { "" };
    format!("{list}{kind}{empty}{secret}")
}

/// The value as TOML has it.
fn toml_value(variable: &Variable, value: &Setting) -> String {
    match value {
        Setting::One(text) if matches!(variable.kind, Kind::Boolean | Kind::Port) => text.clone(),
        Setting::One(text) => toml::Value::from(text.as_str()).to_string(),
        Setting::Many(items) => toml::Value::from(items.clone()).to_string(),
    }
}

fn event(one: &Resolved) -> serde_json::Value {
    let variable = &one.variable;
    json!({"name": variable.name, "type": type_of(variable), "summary": variable.summary, "value": one.value,
           "from": one.origin.to_string(), "secret": variable.secret})
}
