//! `update`.

use std::path::Path;

use fs_err as fs;
use serde_json::json;

use crate::cli;
use crate::data::lock::{Change, Lock};
use crate::data::project::Project;
use crate::data::recipe::{Release, Source};
use crate::data::source::DebianSource;
use crate::data::text::Text;
use crate::data::types::{Name, Package};
use crate::error::{Context, Failure, Kind, Result};
use crate::run::fetch::Fetcher;
use crate::run::store::{Store, write_atomic};
use crate::ui::{self, Ui};

/// `cargo xtask update`: the lock that a recipe names takes what the archive has now.
pub fn run(project: &Project, args: &cli::Update, ui: &Ui) -> Result<()> {
    let source = debian_source(project, args)?;
    let store = Store::open(&Store::default_root()?)?;
    let _use = store.in_use()?;
    let fetcher = Fetcher::new(store, Vec::new(), false, ui.clone())?;
    let fetcher = if args.unsigned { fetcher.trusting_unsigned_lists() } else { fetcher };
    update(&project.root, &source.suite, &source.package, args.check, &fetcher, ui)
}

/// The Debian source package that the recipe's release is built from: the newest of those that have one.
fn debian_source(project: &Project, args: &cli::Update) -> Result<DebianSource> {
    let recipe = project.recipe(&args.name)?;
    let source = |release: &Release| match &release.source {
        Source::Debian(tree) => Some(tree.source()),
        _ => None,
    };
    let found = match &args.version {
        Some(version) => source(project.release(recipe, version)?),
        None => recipe.releases.values().rev().find_map(source),
    };
    found.ok_or_else(|| {
        let which =
            args.version.as_ref().map_or(recipe.name.to_string(), |version| format!("{} {version}", recipe.name));
        let what = format!("{which} has no lock: it is not built from a Debian source package");
        Failure::new(Kind::Data, what).next("its source is pinned in the recipe itself").into()
    })
}

/// Makes the lock anew, shows what is different, and writes it; with `check` a difference is a failure, and
/// nothing is written.
pub fn update(root: &Path, suite: &Name, package: &Package, check: bool, fetcher: &Fetcher, ui: &Ui) -> Result<()> {
    let path = Lock::path(suite, package);
    let old = read(root, &path)?;
    let new = fetcher.resolve(suite, package)?;
    let text = new.render();
    let changes = old.as_ref().map(|(_, old)| old.changes(&new));
    let (current, state) = match &old {
        Some((old, _)) if *old == text => (true, "up to date"),
        _ if check => (false, "out of date"),
        Some(_) => (false, "updated"),
        None => (false, "new"),
    };
    if !current && !check {
        write_atomic(&root.join(&path), text.as_bytes())?;
    }
    let event = json!({"event": "result", "lock": path, "state": state, "version": new.version,
                       "libraries": new.library.len(), "changes": changes});
    ui.result(&report(&path, state, &new, &changes.unwrap_or_default()), event);
    match check && !current {
        true => Err(out_of_date(&path, suite).into()),
        false => Ok(()),
    }
}

/// The lock as it is now: its text and what it says.
fn read(root: &Path, path: &str) -> Result<Option<(String, Lock)>> {
    if !root.join(path).exists() {
        return Ok(None);
    }
    let text = Text::new(path, fs::read_to_string(root.join(path))?);
    let lock =
        Lock::parse(&text).with_context(|| format!("read the lock to be renewed ({path}; it may be removed)"))?;
    Ok(Some((text.text, lock)))
}

fn report(path: &str, state: &str, new: &Lock, changes: &[Change<'_>]) -> String {
    let mut text = format!("{path}: {state}");
    for change in changes {
        let line = match change {
            Change::Source { from, to } if from == to => format!("source   {} {to}: other files", new.package),
            Change::Source { from, to } => format!("source   {} {from} -> {to}", new.package),
            Change::Added { package, version } => format!("added    {package} {version}"),
            Change::Removed { package, version } => format!("removed  {package} {version}"),
            Change::Changed { package, from, to } if from == to => format!("changed  {package} {to}: another file"),
            Change::Changed { package, from, to } => format!("changed  {package} {from} -> {to}"),
        };
        text.push_str(&format!("\n  {line}"));
    }
    let size = |files: &mut dyn Iterator<Item = u64>| ui::size(files.sum());
    let source = size(&mut new.source.iter().map(|file| file.size));
    let libraries = size(&mut new.library.iter().map(|library| library.size));
    let (files, count) = (new.source.len(), new.library.len());
    text.push_str(&format!(
        "\n  {} {}: {files} files, {source}; {count} libraries, {libraries}",
        new.package, new.version
    ));
    text
}

fn out_of_date(path: &str, suite: &Name) -> Failure {
    Failure::new(Kind::Check, format!("{path} is not what {suite} has now"))
        .next("cargo xtask update RECIPE, without --check: it writes what is shown above")
}
