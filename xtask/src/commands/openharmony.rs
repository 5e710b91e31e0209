//! `openharmony`: the changes that an OpenHarmony source tree needs, shown, made, or taken back.

use diffy::DiffOptions;
use fs_err as fs;
use serde_json::json;

use crate::cli;
use crate::commands::kernel::checked_fragment;
use crate::data::edit::{Edit, Edits};
use crate::data::kernel::Options;
use crate::data::project::Project;
use crate::data::target::Target;
use crate::error::{Context, Failure, Kind, Result};
use crate::kernel::{Board, KernelConfig};
use crate::run::edit::{self, Change, Outcome};
use crate::ui::Ui;

/// `cargo xtask openharmony`.
pub fn openharmony(project: &Project, args: &cli::Openharmony, ui: &Ui) -> Result<()> {
    let cli::OpenharmonyCommand::Apply(args) = &args.command;
    let target = target(project, args.target.as_deref())?;
    let kernel = target.kernel.as_ref().context("the target has a [kernel]")?;
    let tree = kernel.tree.as_ref().context("the target's [kernel] names a tree")?;
    let edits = Edits::load(&project.root, tree.get_ref())?;
    let dir = fs::canonicalize(&args.dir)?;
    let mut changes = Vec::new();
    let mut lines = vec![format!("{} ({}, target {})", dir.display(), edits.summary, target.name)];
    for edit in &edits.edits {
        let (file, before) = edit::find(&dir, edit)?;
        let outcome = match args.revert {
            true => edit::revert(&file, &before)?,
            false => edit::apply(edit, &file, &before, &block(project, target, edit, &file, &before)?)?,
        };
        lines.push(format!("  {}  {file}: {}", word(&outcome, args.write), edit.why));
        if let Outcome::Changed(after) = outcome {
            changes.push((file.clone(), Change { path: dir.join(&file), before, after }));
        }
    }
    let diff: String = changes.iter().map(|(file, change)| diff(file.as_str(), change)).collect();
    let files: Vec<_> = changes.iter().map(|(file, _)| file.clone()).collect();
    if args.write {
        edit::write(&changes.into_iter().map(|(_, change)| change).collect::<Vec<_>>())?;
    }
    let end = match (files.is_empty(), args.write) {
        (true, _) if args.revert => "nothing to take back".to_owned(),
        (true, _) => "already applied".to_owned(),
        (false, true) => format!("{} files written", files.len()),
        (false, false) => format!("{diff}\nnothing was written: add --write"),
    };
    let event = json!({"event": "result", "tree": dir, "target": target.name, "files": files, "written": args.write,
                       "diff": diff});
    ui.result(&format!("{}\n{end}", lines.join("\n")), event);
    Ok(())
}

/// The target that was named, else the first whose board's image is built from a known tree.
fn target<'a>(project: &'a Project, name: Option<&str>) -> Result<&'a Target> {
    let has_tree = |target: &&Target| target.kernel.as_ref().is_some_and(|kernel| kernel.tree.is_some());
    let found = match name {
        Some(name) => Some(project.target(name)?).filter(has_tree),
        None => project.targets.values().find(has_tree),
    };
    found.ok_or_else(|| {
        let what = format!("{} names no source tree in its [kernel]", name.unwrap_or("no target"));
        Failure::new(Kind::Data, what)
            .next("tree = \"NAME\" in the target's [kernel], for patches/NAME/edits.toml")
            .into()
    })
}

/// The lines of the edit's block for this file.
fn block(
    project: &Project,
    target: &Target,
    edit: &Edit,
    file: &crate::data::types::RelPath,
    text: &str,
) -> Result<Vec<String>> {
    if !edit.fragment {
        return Ok(edit.lines.clone());
    }
    let options = Options::load(&project.root)?;
    let config = KernelConfig::parse(edit::without(file, text)?.as_bytes()).with_context(|| format!("read {file}"))?;
    let kernel = target.kernel.as_ref().context("the target has a [kernel]")?;
    let version = config.version.unwrap_or(kernel.version);
    let fragment = checked_fragment(&options, Some(&config), version, Board::of(Some(target)))?;
    Ok(fragment.lines().map(str::to_owned).collect())
}

fn word(outcome: &Outcome, write: bool) -> &'static str {
    match outcome {
        Outcome::Changed(_) if write => "changed",
        Outcome::Changed(_) => "change ",
        Outcome::Already => "is so  ",
        Outcome::Elsewhere => "is so, without Slipway's marks",
        Outcome::Nothing => "no block",
    }
}

fn diff(file: &str, change: &Change) -> String {
    let mut options = DiffOptions::new();
    options.set_original_filename(format!("a/{file}")).set_modified_filename(format!("b/{file}"));
    format!("\n{}", options.create_patch(&change.before, &change.after))
}
