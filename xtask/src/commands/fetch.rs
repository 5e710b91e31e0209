//! `fetch` and `mirror`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::json;

use crate::cli;
use crate::data::project::Project;
use crate::data::source::{Git, Pinned};
use crate::data::types::Name;
use crate::error::{Failure, Kind, Result};
use crate::plan::step::Package;
use crate::plan::{self, Input, Plan};
use crate::run::fetch::{Fetcher, Unavailable, mirror as layout};
use crate::run::store::Store;
use crate::ui::Ui;

/// Downloads run side by side: most of the time is waiting for servers.
const THREADS: usize = 4;

/// `cargo xtask fetch`: after it, `--offline` builds.
pub fn fetch(project: &Project, args: &cli::Fetch, ui: &Ui) -> Result<()> {
    let got = fetch_all(project, args, ui)?;
    let text = format!("everything for {} is in the store; --offline builds work now", args.target.target);
    ui.result(
        &text,
        json!({"event": "result", "target": args.target.target, "files": got.files.len(), "commits": got.packs.len()}),
    );
    Ok(())
}

/// `cargo xtask mirror`: the same, copied into a folder for `--mirror`.
pub fn mirror(project: &Project, args: &cli::Mirror, ui: &Ui) -> Result<()> {
    let got = fetch_all(project, &args.fetch, ui)?;
    layout::write(&args.dir, &got.files, &got.packs)?;
    let target = &args.fetch.target.target;
    let text = format!(
        "{}: {} files, {} commits; on the closed machine:\n  cargo xtask bundle --target {target} --offline --mirror {}",
        args.dir.display(),
        got.files.len(),
        got.packs.len(),
        args.dir.display()
    );
    ui.result(
        &text,
        json!({"event": "result", "mirror": args.dir, "files": got.files.len(), "commits": got.packs.len()}),
    );
    Ok(())
}

/// What a target's sources and tools are in the store.
struct Got {
    files: Vec<(Pinned, PathBuf)>,
    packs: Vec<(crate::data::types::Commit, PathBuf)>,
}

/// Everything that a target needs, each once.
#[derive(Default)]
struct Wanted {
    /// Equivalent files, any of which will do.
    files: Vec<Vec<Pinned>>,
    commits: Vec<Git>,
    /// Files that belong together, each set with its name.
    sets: Vec<(String, Vec<Pinned>)>,
}

impl Wanted {
    fn count(&self) -> usize {
        self.files.len() + self.commits.len() + self.sets.iter().map(|(_, files)| files.len()).sum::<usize>()
    }
}

fn wanted(project: &Project, args: &cli::Fetch) -> Result<Wanted> {
    let choices =
        plan::choose(project, &args.target.target, &args.target.changes(project)?, args.toolchain.as_deref())?;
    let mut wanted = Wanted::default();
    let mut tools: BTreeSet<Name> = BTreeSet::new();
    let mut commits: BTreeMap<_, Git> = BTreeMap::new();
    let mut packages: BTreeMap<_, Package> = BTreeMap::new();
    let mut plans: Vec<Plan> = choices.iter().map(|choice| plan::plan(project, choice)).collect::<Result<_>>()?;
    if args.emulator {
        let target = project.target(&args.target.target)?;
        let emulator = project.emulator(target)?;
        wanted.files.push(emulator.kernels.iter().map(|kernel| kernel.pinned(emulator.arch)).collect());
        wanted.files.extend(emulator.packages.iter().map(|extra| vec![extra.pinned(emulator.arch)]));
        for (_, choice) in plan::choose_for_checks(project, target, emulator)? {
            plans.push(plan::plan(project, &choice)?);
        }
    }
    let of_tools = plan::of_tools(project, &plans)?;
    for plan in plans.into_iter().chain(of_tools) {
        tools.extend(plan.tools.iter().map(|tool| tool.name.clone()));
        match plan.source {
            Input::Archive(packings) if wanted.files.contains(&packings) => {} // another width's
            Input::Archive(packings) => wanted.files.push(packings),
            Input::Git(git) => drop(commits.insert(git.commit.clone(), git)),
            Input::Debian(package) => drop(packages.insert(package.source.clone(), package)),
            Input::Tree(..) => {}
        }
    }
    for tool in tools.iter().map(|tool| &project.toolchains[tool]) {
        match tool.packings.iter().find(|packing| packing.files.len() > 1) {
            Some(packing) => wanted.sets.push((tool.title(), packing.files.clone())),
            None if tool.packings.is_empty() => {}
            None => wanted.files.push(tool.packings.iter().flat_map(|packing| packing.files.clone()).collect()),
        }
    }
    for package in packages.into_values() {
        wanted.sets.push((format!("{} {}", package.source.package, package.version), package.files));
        wanted.sets.push((format!("the Go libraries of {}", package.source.package), package.libraries));
    }
    wanted.commits = commits.into_values().collect();
    Ok(wanted)
}

fn fetch_all(project: &Project, args: &cli::Fetch, ui: &Ui) -> Result<Got> {
    let wanted = wanted(project, args)?;
    let store = Store::open(&Store::default_root()?)?;
    let _use = store.in_use()?;
    let fetcher = Fetcher::new(store, args.places.mirror.clone(), args.places.offline, ui.clone())?;
    let fetched = fetcher.fetch_all(&wanted.files, &wanted.commits, THREADS);
    let mut got = Got { files: Vec::new(), packs: Vec::new() };
    let mut missing = Vec::new();
    for (alternatives, result) in wanted.files.iter().zip(fetched.files) {
        if let Some((index, path)) = keep(result, &mut missing)? {
            got.files.push((alternatives[index].clone(), path));
        }
    }
    for (git, result) in wanted.commits.iter().zip(fetched.packs) {
        if let Some(path) = keep(result, &mut missing)? {
            got.packs.push((git.commit.clone(), path));
        }
    }
    for (title, files) in &wanted.sets {
        let paths = keep(fetcher.all_of(title, files), &mut missing)?;
        got.files.extend(paths.into_iter().flat_map(|paths| files.iter().cloned().zip(paths)));
    }
    match missing.is_empty() {
        true => Ok(got),
        false => Err(could_not_be_had(&missing, wanted.count()).into()),
    }
}

/// Sets a missing file aside for the table; any other error ends the command.
fn keep<T>(result: Result<T>, missing: &mut Vec<Unavailable>) -> Result<Option<T>> {
    match result {
        Ok(got) => Ok(Some(got)),
        Err(error) => {
            missing.push(error.downcast::<Unavailable>()?);
            Ok(None)
        }
    }
}

fn could_not_be_had(missing: &[Unavailable], total: usize) -> Failure {
    let mut text = format!("{} of {total} files could not be had:", missing.len());
    for missing in missing {
        text.push_str(&format!("\n\n  {}", missing.in_full().replace('\n', "\n  ")));
    }
    Failure::new(Kind::Source, text)
        .next("--mirror DIR: put the missing files into a folder, under the names above")
        .next("the same command again: what was fetched is kept")
}
