//! `why`: which input of a program changed since it was last built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use diffy::DiffOptions;
use fs_err as fs;
use serde_json::json;

use super::build::Workshop;
use crate::cli;
use crate::data::project::Project;
use crate::error::{Failure, Kind, Result};
use crate::plan::{self, Choice, Plan};
use crate::run::store::Store;
use crate::ui::Ui;

/// `cargo xtask why`.
pub fn why(project: &Project, args: &cli::Why, ui: &Ui) -> Result<()> {
    let choice = choice(project, args)?;
    let plan = plan::plan(project, &choice)?;
    let places = cli::Places { mirror: Vec::new(), offline: true };
    let workshop = Workshop::open(project, &places, None, args.cage.is_on(), ui)?;
    let (key, now) = workshop.with_builder(|builder| Ok((builder.key(&plan)?, builder.text(&plan))))?;
    let event = |state: &str, changed: &[String], diff: &str| {
        json!({"event": "result", "recipe": choice.recipe, "version": choice.version, "arch": choice.arch, "key": key,
               "state": state, "changed": changed, "diff": diff})
    };
    if workshop.store.path("out").join(key.as_str()).join("record.json").is_file() {
        let text = format!("{choice}: nothing changed, its result is in the store\n  key  {key}");
        ui.result(&text, event("unchanged", &[], ""));
        return Ok(());
    }
    let Some(stored) = newest(&workshop.store, &choice)? else {
        let text = format!("{choice}: never built, nothing to compare with (or `cargo xtask clean` removed it)");
        ui.result(&text, event("never built", &[], ""));
        return Ok(());
    };
    let changed = changed(&plan, &stored.plan, &now);
    let diff = diff(&stored.plan, &now);
    let text = format!("{choice} is built anew: {}\n{diff}", changed.join(", "));
    ui.result(text.trim_end(), event("changed", &changed, &diff));
    Ok(())
}

fn choice(project: &Project, args: &cli::Why) -> Result<Choice> {
    let toolchain = args.toolchain.as_deref();
    let Some(target) = &args.target else {
        return plan::choose_one(project, &args.name, args.which.version.as_ref(), args.which.arch, toolchain);
    };
    project.recipe(&args.name)?;
    let mut choices = plan::choose(project, target, &args.changes(project)?, toolchain)?.into_iter();
    choices.find(|choice| choice.recipe.as_str() == args.name).ok_or_else(|| {
        let what = format!("the target {target} has no {}", args.name);
        Failure::new(Kind::Data, what).next("cargo xtask list").into()
    })
}

/// A result in the store, by the plan that it was made by.
struct Stored {
    plan: String,
    same_version: bool,
    time: SystemTime,
}

/// The latest result of the program for the same architecture; one of the same version before all others.
fn newest(store: &Store, choice: &Choice) -> Result<Option<Stored>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(store.path("out"))? {
        let dir = entry?.path();
        found.extend(stored(&dir, choice));
    }
    Ok(found.into_iter().max_by_key(|stored| (stored.same_version, stored.time)))
}

fn stored(dir: &Path, choice: &Choice) -> Option<Stored> {
    let plan = fs::read_to_string(dir.join("plan.txt")).ok()?;
    // `plan 1: hello 1.0 x86_64 with gcc`
    let title = plan.lines().next()?.split_once(": ")?.1.to_owned();
    let mut words = title.split(' ');
    let (name, version, arch) = (words.next()?, words.next()?, words.next()?);
    let time = fs::metadata(dir).and_then(|meta| meta.modified()).ok()?;
    let ours = name == choice.recipe.as_str() && arch == choice.arch.as_str();
    ours.then(|| Stored { plan, same_version: version == choice.version.as_str(), time })
}

/// The inputs that are not the same, in words.
fn changed(plan: &Plan, before: &str, now: &str) -> Vec<String> {
    let (old, new) = (inputs(before), inputs(now));
    let mut changed = Vec::new();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(_), Some(_)) => changed.push(format!("{name} changed")),
            (Some(_), None) => changed.push(format!("{name} is gone")),
            (None, _) => changed.push(format!("{name} is new")),
        }
    }
    if changed.is_empty() && before == now {
        // The key holds one thing that the plan's text does not: what the host's own compiler is.
        changed.push(format!("the compiler of this machine ({}) is another", plan.choice.toolchain));
    } else if changed.is_empty() {
        changed.push("the order of its steps changed".to_owned());
    }
    changed
}

/// A plan's text, cut into its inputs: what each is called, and all that is said of it.
fn inputs(text: &str) -> BTreeMap<String, String> {
    let mut inputs: BTreeMap<String, String> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        // What is indented belongs to what stands before it.
        let step = step(line);
        if step.is_some() || !line.starts_with(' ') {
            name = title(step.unwrap_or(line), step.is_some());
        }
        let value = inputs.entry(name.clone()).or_default();
        value.push_str(step.unwrap_or(line));
        value.push('\n');
    }
    inputs
}

/// A numbered line without its number.
fn step(line: &str) -> Option<&str> {
    let (number, step) = line.split_once(". ")?;
    number.trim_start().parse::<u16>().ok().map(|_| step)
}

/// What an input is called.
fn title(line: &str, step: bool) -> String {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let word = rest.split([' ', '=']).next().unwrap_or_default();
    match (step, first) {
        (false, "plan") => "the version or the toolchain".to_owned(),
        (false, "source") => "the source".to_owned(),
        (false, "libraries:") => "the libraries".to_owned(),
        (false, "tool") => format!("the tool {word}"),
        (false, "env") => format!("the environment variable {word}"),
        (false, "wrapper") => format!("the wrapper {word}"),
        (true, "patch") => format!("the patch {rest}"),
        (true, "run") => format!("the step `{}`", rest.split_once(':').map_or(rest, |(label, _)| label)),
        (true, "set" | "check") => "the configuration".to_owned(),
        (true, "install" | "link") => format!("the shipped file {}", rest.rsplit(" as ").next().unwrap_or(rest)),
        _ => format!("the step `{line}`"),
    }
}

/// The lines that differ, with one line around them. Steps are shown without numbers: one more step would change
/// every line after it.
fn diff(before: &str, now: &str) -> String {
    if before == now {
        return String::new();
    }
    let mut options = DiffOptions::new();
    options.set_original_filename("built").set_modified_filename("now").set_context_len(1);
    let plain = |text: &str| -> String {
        text.lines().map(|line| step(line).map_or(line.to_owned(), |step| format!("step {step}")) + "\n").collect()
    };
    options.create_patch(&plain(before), &plain(now)).to_string()
}
