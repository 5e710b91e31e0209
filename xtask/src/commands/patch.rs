//! `patch`: a program's patched source tree to edit, and the edits as a patch file.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::json;

use super::build::Workshop;
use crate::cli;
use crate::data::project::Project;
use crate::error::{Failure, Kind, Result};
use crate::plan::{self, Choice, EPOCH, Plan};
use crate::run::diff::{self, Difference};
use crate::run::store::{remove_tree, write_atomic};
use crate::run::{patch, tree};
use crate::ui::Ui;

/// `cargo xtask patch`: opens the tree, or saves what was edited in it.
pub fn patch(project: &Project, args: &cli::Patch, ui: &Ui) -> Result<()> {
    let (version, arch) = (args.which.version.as_ref(), args.which.arch);
    let choice = plan::choose_one(project, &args.name, version, arch, None)?;
    let plan = plan::plan(project, &choice)?;
    let desk = Desk::of(project, &choice);
    match (&args.save, &args.why) {
        (Some(what), Some(why)) => save(project, &plan, &desk, what, why, ui),
        _ => open(project, &plan, &desk, args, ui),
    }
}

/// The folder in which a program's source is edited: `edit/NAME-VERSION`.
struct Desk {
    dir: PathBuf,
    /// The tree as the patches leave it.
    before: PathBuf,
    /// The same, for a person to edit.
    after: PathBuf,
}

impl Desk {
    fn of(project: &Project, choice: &Choice) -> Self {
        let dir = project.root.join("edit").join(format!("{}-{}", choice.recipe, choice.version));
        Self { before: dir.join("a"), after: dir.join("b"), dir }
    }

    /// What was edited so far; nothing if the tree is not open.
    fn difference(&self) -> Result<Difference> {
        if !self.before.is_dir() || !self.after.is_dir() {
            return Ok(Difference::default());
        }
        diff::trees(&self.before, &self.after)
    }
}

fn open(project: &Project, plan: &Plan, desk: &Desk, args: &cli::Patch, ui: &Ui) -> Result<()> {
    let edited = desk.difference()?.files;
    if !edited.is_empty() && !args.discard {
        let what = format!("{} has edits: {}", desk.after.display(), edited.join(", "));
        return Err(Failure::new(Kind::Data, what)
            .next(save_line(plan))
            .next(format!("{} --discard", line(plan)))
            .into());
    }
    let workshop = Workshop::open(project, &args.places, None, true, ui)?;
    let _use = workshop.store.in_use()?;
    remove_tree(&desk.dir)?;
    fs::create_dir_all(&desk.dir)?;
    // Under other names until both are whole: a cut must not look like an open tree.
    let (before, after) = (desk.dir.join("a.new"), desk.dir.join("b.new"));
    workshop.with_builder(|builder| builder.patched_tree(plan, &before))?;
    tree::copy(&before, &after)?;
    fs::rename(&before, &desk.before)?;
    fs::rename(&after, &desk.after)?;
    let shown = relative(project, &desk.after);
    let patches = plan.patches.len();
    let text = format!(
        "{} {}, {patches} of our patches applied: edit it in\n  {}\nthen\n  {}",
        plan.choice.recipe,
        plan.choice.version,
        shown.display(),
        save_line(plan)
    );
    ui.result(&text, json!({"event": "result", "folder": desk.after, "patches": patches}));
    Ok(())
}

fn save(project: &Project, plan: &Plan, desk: &Desk, what: &str, why: &str, ui: &Ui) -> Result<()> {
    if !desk.before.is_dir() {
        let what = format!("there is no open tree of {} {}", plan.choice.recipe, plan.choice.version);
        return Err(Failure::new(Kind::Data, what).next(line(plan)).into());
    }
    if !named_well(what) {
        let message = format!("`{what}` does not name a patch: say what it does in words-joined-by-hyphens");
        return Err(Failure::new(Kind::Data, message).next(save_line(plan)).into());
    }
    let difference = desk.difference()?;
    for leftover in &difference.leftovers {
        ui.note("left out", leftover);
    }
    if difference.files.is_empty() {
        let message = format!("nothing was edited in {}", desk.after.display());
        return Err(Failure::new(Kind::Data, message).next("edit it first, then run the same command again").into());
    }
    let dir = project.root.join("patches").join(plan.choice.recipe.as_str()).join(plan.choice.version.as_str());
    let path = dir.join(format!("{:04}-{what}.patch", next_number(plan)));
    let mut text = format!("{}\n\n", why.trim()).into_bytes();
    text.extend(&difference.text);
    fs::create_dir_all(&dir)?;
    write_atomic(&path, &text)?;
    // The next patch is made against what this one leaves. A patch that does not apply is none; the edits stay.
    if let Err(error) = patch::apply(&path.to_string_lossy(), &text, &desk.before, EPOCH) {
        fs::remove_file(&path)?;
        return Err(error);
    }
    let shown = relative(project, &path);
    let lines: Vec<String> = difference.files.iter().map(|file| format!("\n  {file}")).collect();
    let text = format!("{}{}\nbuild it: cargo xtask recipe {}", shown.display(), lines.join(""), selection(plan));
    ui.result(&text, json!({"event": "result", "patch": path, "files": difference.files}));
    Ok(())
}

/// One more than the last patch's.
fn next_number(plan: &Plan) -> u32 {
    let number = |path: &str| path.rsplit('/').next()?.split('-').next()?.parse::<u32>().ok();
    plan.patches.iter().filter_map(|(path, _)| number(path)).max().unwrap_or(0) + 1
}

fn named_well(what: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !what.is_empty() && what.chars().all(allowed) && !what.starts_with(['-', '.']) && !what.ends_with(".patch")
}

fn selection(plan: &Plan) -> String {
    format!("{} --version {}", plan.choice.recipe, plan.choice.version)
}

fn line(plan: &Plan) -> String {
    format!("cargo xtask patch {}", selection(plan))
}

fn save_line(plan: &Plan) -> String {
    format!("{} --save WHAT-IT-DOES --why \"why it is needed, where it comes from\"", line(plan))
}

fn relative<'a>(project: &Project, path: &'a Path) -> &'a Path {
    path.strip_prefix(&project.root).unwrap_or(path)
}
