//! `bundle` and `recipe`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::json;

use crate::cli;
use crate::data::project::Project;
use crate::error::{self, Failure, Kind, Result};
use crate::plan::{self, Choice, Filled, Plan, Settings};
use crate::run::build::{Builder, Built};
use crate::run::check;
use crate::run::fetch::{Fetcher, Unavailable};
use crate::run::jobs::Jobs;
use crate::run::store::Store;
use crate::run::tools::Tools;
use crate::ship::bundle::{self, Bundle, Contents, Part};
use crate::ship::notes;
use crate::ship::record::Record;
use crate::ship::{image, program};
use crate::ui::{self, Ui};

/// `cargo xtask bundle`: everything for a board, as one tarball.
pub fn bundle(project: &Project, args: &cli::Bundle, ui: &Ui) -> Result<()> {
    let (bundle, state) = make_bundle(project, args, ui)?;
    report(ui, project, &bundle, state)?;
    if state.is_empty() || !notes::path(&bundle.file).exists() {
        notes::write(&bundle.file, &project.target(&args.target.target)?.summary)?;
    }
    if args.record {
        let path = Record::path(&project.root, &args.target.target);
        let verb = if Record::of(&bundle.file)?.write(&path)? { "recorded" } else { "recorded already" };
        ui.note(verb, &relative(project, &path).display().to_string());
    }
    Ok(())
}

/// The bundle, written now or `up to date`.
pub fn make_bundle(project: &Project, args: &cli::Bundle, ui: &Ui) -> Result<(Bundle, &'static str)> {
    let changes = args.target.changes(project)?;
    let choices = plan::choose(project, &args.target.target, &changes, args.build.toolchain.as_deref())?;
    let plans: Vec<Plan> = choices.iter().map(|choice| plan::plan(project, choice)).collect::<Result<_>>()?;
    let target = project.target(&args.target.target)?;
    let settings = Settings::resolve(project, target, &changes)?;
    let Filled { files, secrets } = plan::fill(project, target, &settings)?;
    let mut board_files = project.board_files(target)?;
    board_files.extend(files);
    let images = image::plan(target, &plans)?;
    let workshop = Workshop::open(project, &args.build.places, args.build.jobs, args.build.cage.is_on(), ui)?
        .for_builds(&args.build);
    let _use = workshop.store.in_use()?;

    let mut contents = Contents {
        target: target.name.clone(),
        parts: plans.into_iter().map(|plan| part(project, plan)).collect::<Result<_>>()?,
        board_files,
        settings,
        secrets,
        images,
    };
    let dist = project.root.join("dist");
    workshop.with_builder(|builder| {
        if let Some(bundle) = up_to_date(builder, &contents, &dist)? {
            return Ok((bundle, "up to date"));
        }
        let unavailable = build_all(builder, &mut contents.parts, args.build.keep_going)?;
        if unavailable.is_empty() {
            return Ok((write(builder, &contents, &dist)?, ""));
        }
        let mut failure = missing_sources(&contents, &unavailable);
        if args.build.places.offline {
            failure.next.insert(0, "the same command without --offline".to_owned());
        }
        if args.partial {
            let bundle = write(builder, &contents, &dist)?;
            report(ui, project, &bundle, "PARTIAL")?;
        } else {
            failure = failure.next("--partial writes a bundle of the rest, named and marked so");
        }
        Err(failure.into())
    })
}

/// `cargo xtask recipe`: one program as a folder.
pub fn recipe(project: &Project, args: &cli::Recipe, ui: &Ui) -> Result<()> {
    let (version, arch) = (args.which.version.as_ref(), args.which.arch);
    let choice = plan::choose_one(project, &args.name, version, arch, args.build.toolchain.as_deref())?;
    let plan = plan::plan(project, &choice)?;
    let workshop = Workshop::open(project, &args.build.places, args.build.jobs, args.build.cage.is_on(), ui)?
        .for_builds(&args.build);
    let _use = workshop.store.in_use()?;
    let built = workshop.with_builder(|builder| build_one(builder, &plan))?;
    let folder = program::write(&choice, &built, &project.root.join("dist"))?;
    let shown = relative(project, &folder);
    let mut text = format!("{choice}: {}", shown.display());
    for entry in &built.record.entries {
        text.push_str(&format!("\n  {}", entry.path()));
    }
    ui.result(
        &text,
        json!({"event": "result", "recipe": choice.recipe, "version": choice.version, "arch": choice.arch,
                            "folder": folder, "entries": built.record.entries}),
    );
    Ok(())
}

/// The store, the fetcher and the job tokens of one command.
pub struct Workshop<'a> {
    project: &'a Project,
    pub store: Store,
    fetcher: Fetcher,
    jobs: Jobs,
    ui: &'a Ui,
    sandbox: bool,
    reversed: bool,
}

impl<'a> Workshop<'a> {
    /// `jobs` is how many processes compute at once; as many as there are processors if not given.
    pub fn open(
        project: &'a Project,
        places: &cli::Places,
        jobs: Option<u16>,
        sandbox: bool,
        ui: &'a Ui,
    ) -> Result<Self> {
        let store = Store::open(&Store::default_root()?)?;
        let fetcher = Fetcher::new(store.clone(), places.mirror.clone(), places.offline, ui.clone())?;
        let jobs = Jobs::new(jobs.map_or_else(Jobs::default_count, usize::from))?;
        Ok(Self { project, store, fetcher, jobs, ui, sandbox, reversed: false })
    }

    /// For a command that builds, not one that only looks: says so if it builds without a sandbox.
    pub fn for_builds(self, args: &cli::BuildArgs) -> Self {
        if !self.sandbox {
            let what = "--sandbox=off: the steps see this machine's files and network; the manifest will say so";
            self.ui.note("warning", what);
        }
        Self { reversed: args.reverse_folders, ..self }
    }

    pub fn with_builder<T>(&self, work: impl FnOnce(&Builder<'_>) -> Result<T>) -> Result<T> {
        work(&Builder {
            project: self.project,
            store: &self.store,
            fetcher: &self.fetcher,
            tools: Tools::new(&self.store, &self.fetcher, self.ui),
            jobs: &self.jobs,
            ui: self.ui,
            sandbox: self.sandbox,
            reversed: self.reversed,
        })
    }
}

fn part(project: &Project, plan: Plan) -> Result<Part> {
    let license = project.recipe(plan.choice.recipe.as_str())?.license.clone();
    Ok(Part { plan, license, built: None })
}

/// The bundle of an earlier run, if nothing that decides its bytes has changed and every program's
/// checks passed.
fn up_to_date(builder: &Builder<'_>, contents: &Contents, dist: &Path) -> Result<Option<Bundle>> {
    let mut keys = Vec::new();
    for part in &contents.parts {
        let key = builder.key(&part.plan)?;
        if !check::passed(builder.store, &part.plan, &key) {
            return Ok(None);
        }
        keys.push(key);
    }
    let key = contents.key_of(keys.iter().map(Some));
    Ok(bundle::remembered(builder.store, &key, &contents.complete_path(dist)))
}

/// Builds every part, side by side. A missing source stops nothing else; any other failure stops the
/// rest, unless `keep_going`.
fn build_all(builder: &Builder<'_>, parts: &mut [Part], keep_going: bool) -> Result<Vec<(Choice, Unavailable)>> {
    let failures: Mutex<Vec<(Choice, anyhow::Error)>> = Mutex::default();
    std::thread::scope(|scope| {
        for part in parts.iter_mut() {
            scope.spawn(|| match build_one(builder, &part.plan) {
                Ok(built) => part.built = Some(built),
                Err(error) => {
                    if !keep_going && error.downcast_ref::<Unavailable>().is_none() {
                        builder.jobs.cancel();
                    }
                    let mut failures = failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    failures.push((part.plan.choice.clone(), error));
                }
            });
        }
    });
    sort_out(builder, failures.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// Missing sources go into the table; of the failures the first is the command's, the others are told.
fn sort_out(builder: &Builder<'_>, failures: Vec<(Choice, anyhow::Error)>) -> Result<Vec<(Choice, Unavailable)>> {
    crate::interrupt::check()?;
    let mut unavailable = Vec::new();
    let mut failed = Vec::new();
    for (choice, error) in failures {
        match error.downcast::<Unavailable>() {
            Ok(missing) => unavailable.push((choice, missing)),
            Err(error) if error::is_interrupt(&error) => {}
            Err(error) => failed.push(error),
        }
    }
    unavailable.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut failed = failed.into_iter();
    match failed.next() {
        None => Ok(unavailable),
        Some(first) => {
            for other in failed {
                builder.ui.error(&error::render(&other), error::exit_code(&other));
            }
            Err(first)
        }
    }
}

/// One program, built and checked.
pub fn build_one(builder: &Builder<'_>, plan: &Plan) -> Result<Built> {
    let built = builder.build(plan)?;
    check::check(builder.store, builder.ui, builder.jobs, plan, &built)?;
    Ok(built)
}

fn write(builder: &Builder<'_>, contents: &Contents, dist: &Path) -> Result<Bundle> {
    let task = builder.ui.task("pack", contents.path(dist).file_name().unwrap_or_default().to_string_lossy());
    let bundle = contents.write(dist)?;
    task.done(&ui::size(bundle.size));
    if contents.missing().next().is_none() {
        bundle::remember(builder.store, &contents.key(), &bundle)?;
    }
    Ok(bundle)
}

/// Three lines that a person or a script takes away.
fn report(ui: &Ui, project: &Project, bundle: &Bundle, state: &str) -> Result<()> {
    let shown = relative(project, &bundle.file);
    let gap = if state.is_empty() { "" } else { "   " };
    let text = format!(
        "{}{gap}{state}\n  sha256       {}\n  tar sha256   {}   (of the uncompressed tar)",
        shown.display(),
        bundle.sha256,
        bundle.tar_sha256
    );
    ui.result(
        &text,
        json!({"event": "result", "bundle": bundle.file, "sha256": bundle.sha256,
                            "tar_sha256": bundle.tar_sha256, "size": bundle.size, "state": state}),
    );
    Ok(())
}

fn relative(project: &Project, path: &Path) -> PathBuf {
    path.strip_prefix(&project.root).map_or_else(|_| path.to_owned(), Path::to_owned)
}

/// The table at the end: what is missing, every place that was tried with its answer, what to do.
fn missing_sources(contents: &Contents, unavailable: &[(Choice, Unavailable)]) -> Failure {
    let total = contents.parts.len();
    let mut text = format!("{} of {total} programs of {} have no source:", unavailable.len(), contents.target);
    for (choice, missing) in unavailable {
        let table = missing.in_full().replace('\n', "\n  ");
        text.push_str(&format!("\n\n  {choice}: {table}"));
    }
    for (path, image) in contents.missing_images() {
        text.push_str(&format!("\n\nso the image {} ({path}) is missing too", image.image.name));
    }
    let built: Vec<String> =
        contents.parts.iter().filter(|part| part.built.is_some()).map(|part| part.plan.choice.to_string()).collect();
    if !built.is_empty() {
        text.push_str(&format!("\n\nbuilt, and kept for the next run: {}", built.join(", ")));
    }
    Failure::new(Kind::Source, text)
        .next("--mirror DIR: put the missing files into a folder, under the names above")
        .next("`cargo xtask mirror DIR` on a machine that can reach the places above, then --mirror DIR here")
        .next("another target: `cargo xtask list` tells which there are, and what each is for")
}
