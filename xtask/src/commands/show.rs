//! `plan` and `list`.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli;
use crate::data::project::Project;
use crate::data::toolchain::ToolKind;
use crate::error::{Context, Result};
use crate::plan::{self, Changes, Settings};
use crate::ui::Ui;

/// `cargo xtask plan`: what would be done.
pub fn plan(project: &Project, args: &cli::Plan, ui: &Ui) -> Result<()> {
    let toolchain = args.toolchain.as_deref();
    let choices = match &args.target {
        Some(target) => plan::choose(project, target, &args.changes(project)?, toolchain)?,
        None => {
            let name = args.name.as_deref().context("clap asks for a name or a target")?;
            vec![plan::choose_one(project, name, args.which.version.as_ref(), args.which.arch, toolchain)?]
        }
    };
    let mut texts = Vec::new();
    for choice in &choices {
        let plan = plan::plan(project, choice)?;
        texts.push(plan.text() + &plan.checks_text());
    }
    let event = json!({"event": "result", "plans": texts});
    ui.result(texts.join("\n").trim_end(), event);
    Ok(())
}

/// `cargo xtask list`: what there is.
pub fn list(project: &Project, ui: &Ui) -> Result<()> {
    let mut text = String::from("recipes\n");
    for recipe in project.recipes.values() {
        let versions: Vec<&str> = recipe.releases.keys().map(|version| version.as_str()).collect();
        text.push_str(&format!("  {:16} {}\n{:19}{}\n", recipe.name, recipe.summary, "", versions.join(", ")));
    }
    text.push_str("\ntargets\n");
    for target in project.targets.values() {
        text.push_str(&format!("  {:16} {}\n", target.name, target.summary));
        for (recipe, selection) in &target.recipes {
            text.push_str(&format!("{:19}{recipe} {} {}\n", "", selection.version.get_ref(), selection.arch));
        }
        for (image, definition) in &target.images {
            text.push_str(&format!("{:19}image {} ({image})\n", "", definition.name));
        }
        for (group, versions) in &target.groups {
            let versions: Vec<&str> = versions.keys().map(|version| version.as_str()).collect();
            text.push_str(&format!("{:19}--set {group}.version={}\n", "", versions.join("|")));
        }
        if !project.variables_of(target).is_empty() {
            text.push_str(&format!("{:19}cargo xtask settings --target {}\n", "", target.name));
        }
    }
    text.push_str("\ntoolchains\n");
    for toolchain in project.toolchains.values() {
        text.push_str(&format!(
            "  {:16} {}\n{:19}{}\n",
            toolchain.name,
            toolchain.summary,
            "",
            abilities(&toolchain.kind)
        ));
    }
    ui.result(text.trim_end(), list_event(project));
    Ok(())
}

fn abilities(kind: &ToolKind) -> String {
    match kind {
        ToolKind::Program(program) => format!("provides {}", program.provides),
        ToolKind::Go(_) => format!("Go for {}", arches(kind).join(", ")),
        ToolKind::C(c) => {
            let default = if c.default { ", the default" } else { "" };
            format!("C for {} with {}{default}", arches(kind).join(", "), c.libc)
        }
    }
}

fn arches(kind: &ToolKind) -> Vec<&'static str> {
    match kind {
        ToolKind::C(c) => c.arch.keys().map(|arch| arch.as_str()).collect(),
        ToolKind::Go(go) => go.arch.keys().map(|arch| arch.as_str()).collect(),
        ToolKind::Program(_) => Vec::new(),
    }
}

fn list_event(project: &Project) -> serde_json::Value {
    let recipes = project.recipes.values().map(|recipe| {
        json!({"name": recipe.name, "summary": recipe.summary, "license": recipe.license, "homepage": recipe.homepage,
               "versions": recipe.releases.keys().collect::<Vec<_>>()})
    });
    let targets = project.targets.values().map(|target| {
        let programs = target.recipes.iter().map(|(recipe, selection)| {
            json!({"recipe": recipe, "version": selection.version.get_ref(), "arch": selection.arch})
        });
        let vars = Settings::resolve(project, target, &Changes::default()).ok();
        let vars: BTreeMap<_, _> =
            vars.iter().flat_map(Settings::iter).map(|one| (one.variable.name.clone(), one.value.clone())).collect();
        let groups: BTreeMap<_, Vec<_>> =
            target.groups.iter().map(|(group, versions)| (group, versions.keys().collect())).collect();
        json!({"name": target.name, "summary": target.summary, "arch": target.arch,
               "programs": programs.collect::<Vec<_>>(), "groups": groups, "vars": vars})
    });
    let toolchains = project.toolchains.values().map(|toolchain| {
        json!({"name": toolchain.name, "summary": toolchain.summary, "version": toolchain.version,
               "arches": arches(&toolchain.kind)})
    });
    json!({"event": "result", "recipes": recipes.collect::<Vec<_>>(), "targets": targets.collect::<Vec<_>>(),
           "toolchains": toolchains.collect::<Vec<_>>()})
}
