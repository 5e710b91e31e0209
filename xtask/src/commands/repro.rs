//! `repro`: builds a second time under other circumstances and compares, or compares with what was published.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::{Value, json};

use super::build::{self, Workshop};
use crate::cli;
use crate::data::project::Project;
use crate::error::{Context, Failure, Kind, Result};
use crate::plan::{self, Choice, EPOCH, Plan};
use crate::run::build::Built;
use crate::run::compare::{self, Comparison, Marks};
use crate::run::jobs::Jobs;
use crate::run::process;
use crate::run::store::{Store, hash_file, remove_tree};
use crate::run::unpack::{self, Strip};
use crate::run::vary::{self, Surroundings, Variation};
use crate::ui::Ui;

/// `cargo xtask repro`.
pub fn repro(project: &Project, args: &cli::Repro, ui: &Ui) -> Result<()> {
    if args.build_only {
        return build_programs(project, args, ui).map(drop);
    }
    match (&args.against, args.recipes.is_empty()) {
        (Some(published), _) => against(project, args, published, ui),
        (None, true) => whole(project, args, ui),
        (None, false) => programs(project, args, ui),
    }
}

/// The whole bundle.
fn whole(project: &Project, args: &cli::Repro, ui: &Ui) -> Result<()> {
    let first = bundle(project, args, ui)?;
    let room = Room::prepare(project, args, ui)?;
    room.build_again(args, &["bundle"], ui)?;
    let second = room.checkout.join(first.strip_prefix(&project.root).context("the bundle is in dist/")?);
    let task = ui.task("compare", args.target.as_str());
    let same = same_file(&first, &second)?;
    let comparison = match same {
        true => count(&first)?,
        false => compare::archives(&first, &second, &room.marks)?,
    };
    task.done("");
    if same {
        let text = format!(" and the whole tarball\n  sha256  {}", hash_file(&first)?);
        return room.identical(args, &comparison, &text, ui);
    }
    // For a person's own tools: both as folders.
    let kept = (room.dir.join("first"), room.dir.join("second"));
    unpack_bundle(&first, &kept.0)?;
    unpack_bundle(&second, &kept.1)?;
    room.different(args, &comparison, &kept, ui)
}

/// Some programs, each file by file.
fn programs(project: &Project, args: &cli::Repro, ui: &Ui) -> Result<()> {
    let first = build_programs(project, args, ui)?;
    let room = Room::prepare(project, args, ui)?;
    room.build_again(args, &["repro", "--build-only"], ui)?;
    let task = ui.task("compare", args.recipes.join(", "));
    let kept = (room.dir.join("first"), room.dir.join("second"));
    for (choice, built) in &first {
        let (one, other) = (kept.0.join(choice.slug()), kept.1.join(choice.slug()));
        let second = room.store.join("out").join(built.key.as_str()).join("files");
        if !second.is_dir() {
            let what =
                format!("the second build of {choice} has another key: not the same compiler, or another checkout");
            return Err(Failure::new(Kind::Check, what).next(format!("look into {}", room.dir.display())).into());
        }
        crate::run::tree::copy(&built.files, &one)?;
        crate::run::tree::copy(&second, &other)?;
    }
    let comparison = compare::trees(&kept.0, &kept.1, &room.marks)?;
    task.done("");
    match comparison.differences.is_empty() {
        true => room.identical(args, &comparison, &digests(&first), ui),
        false => room.different(args, &comparison, &kept, ui),
    }
}

fn digests(built: &[(Choice, Built)]) -> String {
    use crate::run::build::Entry;
    let files = built.iter().flat_map(|(_, built)| &built.record.entries);
    let lines = files.filter_map(|entry| match entry {
        Entry::File { path, sha256, .. } => Some(format!("\n  {sha256}  {path}")),
        Entry::Link { .. } => None,
    });
    lines.collect()
}

/// A published bundle, held against what this checkout builds.
fn against(project: &Project, args: &cli::Repro, published: &Path, ui: &Ui) -> Result<()> {
    let sha256 = hash_file(published).with_context(|| format!("read the published bundle {}", published.display()))?;
    let ours = bundle(project, args, ui)?;
    let target = &args.target;
    let shown = published.display();
    if hash_file(&ours)? == sha256 {
        let text = format!("{shown} is what this checkout builds\n  sha256  {sha256}");
        ui.result(&text, json!({"event": "result", "target": target, "identical": true, "sha256": sha256}));
        return Ok(());
    }
    let store = Store::open(&Store::default_root()?)?;
    let dir = store.path("repro").join(format!("{target}-against"));
    remove_tree(&dir)?;
    let kept = (dir.join("published"), dir.join("built"));
    unpack_bundle(published, &kept.0).map_err(|error| {
        let what = format!("{shown} is not a bundle, or damaged: {error:#}");
        Failure::new(Kind::Check, what).next("compare its sha256 with the one that was published; fetch it again")
    })?;
    unpack_bundle(&ours, &kept.1)?;
    let mut remarks = foreign(&kept.0, &kept.1)?;
    let comparison = compare::archives(published, &ours, &Marks::default())?;
    remarks.push(format!("first is {shown}, second is {}", ours.display()));
    let head = format!("{shown} is not what this checkout builds");
    report(&head, &comparison, &remarks, &kept, ui, json!({"event": "result", "target": target, "identical": false}));
    let what = format!("{head}: {}", score(&comparison));
    Err(Failure::new(Kind::Check, what).next("check out the commit that it was published from").into())
}

/// What makes a comparison idle: another target, another version, a part only.
fn foreign(published: &Path, built: &Path) -> Result<Vec<String>> {
    let read =
        |dir: &Path| -> Option<Value> { serde_json::from_slice(&fs::read(dir.join("MANIFEST.json")).ok()?).ok() };
    let Some(theirs) = read(published) else {
        return Ok(vec!["it has no MANIFEST.json: it is no bundle of Slipway".to_owned()]);
    };
    let ours = read(built).context("our own bundle has a manifest")?;
    let differs = |key: &&str| theirs[*key] != ours[*key];
    let remark = |key: &str| format!("its {key} is {}, this checkout's is {}", theirs[key], ours[key]);
    Ok(["target", "version", "partial"].into_iter().filter(|key| differs(key)).map(remark).collect())
}

/// The folders of a second build.
struct Room {
    dir: PathBuf,
    checkout: PathBuf,
    store: PathBuf,
    surroundings: Surroundings,
    marks: Marks,
    _lock: crate::run::store::Lock,
}

impl Room {
    /// A copy of the checkout, an empty store, and the first store's sources as its mirror.
    fn prepare(project: &Project, args: &cli::Repro, ui: &Ui) -> Result<Self> {
        let first = Store::open(&Store::default_root()?)?;
        let target = &args.target;
        let waiting = || ui.note("waiting", "another process compares the same target");
        let lock = first.lock(&format!("repro-{target}"), waiting)?;
        let dir = first.path("repro").join(target).join("a-second-build-under-a-path-that-is-longer");
        remove_tree(&dir)?;
        let (checkout, store, home) = (dir.join("checkout"), dir.join("store"), dir.join("another-home"));
        vary::copy_checkout(&project.root, &checkout, first.root())?;
        for dir in [&store, &home] {
            fs::create_dir_all(dir)?;
        }
        let mirror = dir.join("mirror");
        fs::create_dir_all(&mirror)?;
        // The store keeps sources in the layout of a mirror, under another name.
        fs::os::unix::fs::symlink(first.path("sources"), mirror.join("sha256"))?;
        fs::os::unix::fs::symlink(first.path("git"), mirror.join("git"))?;
        let jobs = args.build.jobs.map_or_else(Jobs::default_count, usize::from);
        let reads = [first.path("sources"), std::env::current_exe().context("find this program")?];
        let surroundings = Surroundings::new(&dir, &home, &store, jobs, &reads)?;
        let marks = marks(project, &first, &checkout, &store, &home);
        Ok(Self { dir, checkout, store, surroundings, marks, _lock: lock })
    }

    /// Runs this very program there.
    fn build_again(&self, args: &cli::Repro, command: &[&str], ui: &Ui) -> Result<()> {
        let program = std::env::current_exe().context("find this program")?;
        let mut argv: Vec<OsString> = vec![program.into(), "--project".into(), self.checkout.clone().into()];
        argv.extend(command.iter().map(OsString::from));
        argv.extend(["--target".into(), args.target.clone().into()]);
        argv.extend(args.set.iter().flat_map(|set| ["--set".into(), set.into()]));
        // The second build works in another folder.
        if let Some(settings) = &args.settings {
            argv.extend(["--settings".into(), std::path::absolute(settings)?.into()]);
        }
        argv.extend(args.build.toolchain.iter().flat_map(|name| ["--toolchain".into(), name.into()]));
        argv.extend(["--offline".into(), "--mirror".into(), self.dir.join("mirror").into()]);
        argv.extend([format!("--sandbox={}", if args.build.cage.is_on() { "on" } else { "off" }).into()]);
        argv.extend(["-j".into(), self.surroundings.jobs.to_string().into()]);
        argv.extend(args.recipes.iter().map(OsString::from));
        let spawn = self.surroundings.spawn(argv);
        let log_path = self.dir.join("build.log");
        let mut log = fs::File::create(&log_path)?;
        process::log_header(&mut log, &spawn)?;
        let task = ui.task("build twice", args.target.as_str());
        let finished = spawn.stream(None, &mut |line| {
            std::io::Write::write_all(&mut log, line)?;
            let line = String::from_utf8_lossy(line);
            ui.note("second", line.trim_end());
            Ok(())
        })?;
        if finished.success() {
            task.done("");
            return Ok(());
        }
        task.failed(&finished.how());
        let kind = match finished.status.code() {
            Some(5) => Kind::Source,
            Some(7) => Kind::Host,
            _ => Kind::Check,
        };
        let what = format!("the second build failed ({}), the first did not", finished.how());
        let mut failure = Failure::new(kind, what);
        if kind == Kind::Source {
            failure = failure
                .next(format!("cargo xtask fetch --target {}   (it builds from what the store has)", args.target));
        }
        failure = failure.next(format!("look into the second build: {}", self.dir.display()));
        failure.log = Some((process::tail(&fs::read_to_string(&log_path)?, 20), log_path));
        Err(failure.into())
    }

    fn identical(&self, args: &cli::Repro, comparison: &Comparison, digest: &str, ui: &Ui) -> Result<()> {
        let all = comparison.total();
        let what = if args.recipes.is_empty() { args.target.clone() } else { args.recipes.join(", ") };
        let text = format!("{what}: identical, {all} of {all} files{digest}\n{}", varied(self.variations()));
        let event = json!({"event": "result", "target": args.target, "recipes": args.recipes, "identical": true,
                           "files": all, "variations": self.variations()});
        ui.result(text.trim_end(), event);
        remove_tree(&self.dir)
    }

    fn different(&self, args: &cli::Repro, found: &Comparison, kept: &(PathBuf, PathBuf), ui: &Ui) -> Result<()> {
        let head = format!("{} is not reproducible", args.target);
        let remarks = [varied(self.variations())];
        let event = json!({"event": "result", "target": args.target, "recipes": args.recipes, "identical": false,
                           "variations": self.variations()});
        report(&head, found, &remarks, kept, ui, event);
        Err(Failure::new(Kind::Check, format!("{head}: {}", score(found)))
            .next(format!("look into the second build: {}", self.dir.display()))
            .into())
    }

    fn variations(&self) -> &[Variation] {
        &self.surroundings.variations
    }
}

/// What is called otherwise in the second build: the most particular first.
fn marks(project: &Project, first: &Store, checkout: &Path, store: &Path, home: &Path) -> Marks {
    let mut marks = Marks::default();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let var = |name| std::env::var(name).unwrap_or_default();
    marks.add("the build path (it is in the store)", text(&first.path("work")), text(&store.join("work")));
    marks.add("the store's path", text(first.root()), text(store));
    marks.add("the checkout's path", text(&project.root), text(checkout));
    marks.add("the home folder", var("HOME"), text(home));
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    marks.add("the host name", name.trim(), vary::HOST);
    marks
}

fn varied(variations: &[Variation]) -> String {
    let lines = |varied: bool| -> String {
        let which = variations.iter().filter(move |variation| variation.varied == varied);
        which.map(|variation| format!("\n    {:26} {}", variation.what, variation.how)).collect()
    };
    format!("  varied:{}\n  not varied:{}", lines(true), lines(false))
}

fn score(found: &Comparison) -> String {
    let (differing, total) = (found.differing(), found.total());
    let follow = match found.following() {
        0 => String::new(),
        following => format!(", {following} of them only in the hashes of others"),
    };
    format!("{differing} of {total} files {}{follow}", if differing == 1 { "differs" } else { "differ" })
}

fn report(head: &str, found: &Comparison, remarks: &[String], kept: &(PathBuf, PathBuf), ui: &Ui, mut event: Value) {
    event["comparison"] = json!(found);
    event["kept"] = json!([kept.0, kept.1]);
    event["remarks"] = json!(remarks);
    let remarks = remarks.join("\n");
    let (first, second) = (kept.0.display(), kept.1.display());
    let text = format!("{head}: {}\n\n{}\n{remarks}\n  kept:\n    {first}\n    {second}", score(found), found.text());
    ui.result(&text, event);
}

/// The ordinary bundle, built if it is not; gives its path.
fn bundle(project: &Project, args: &cli::Repro, ui: &Ui) -> Result<PathBuf> {
    let bundle = cli::Bundle { target: args.target(), build: args.build.clone(), partial: false };
    Ok(build::make_bundle(project, &bundle, ui)?.0.file)
}

/// The programs that were asked for, as the target has them.
fn build_programs(project: &Project, args: &cli::Repro, ui: &Ui) -> Result<Vec<(Choice, Built)>> {
    let chosen =
        plan::choose(project, &args.target, &args.target().changes(project)?, args.build.toolchain.as_deref())?;
    let mut plans: Vec<Plan> = Vec::new();
    for name in &args.recipes {
        project.recipe(name)?;
        let choice = chosen.iter().find(|choice| choice.recipe.as_str() == name);
        let missing = || Failure::new(Kind::Data, format!("the target {} has no {name}", args.target));
        plans.push(plan::plan(project, choice.ok_or_else(missing)?)?);
    }
    let workshop = Workshop::open(project, &args.build.places, args.build.jobs, args.build.cage.is_on(), ui)?;
    let _use = workshop.store.in_use()?;
    let built =
        |plan: &Plan| workshop.with_builder(|builder| Ok((plan.choice.clone(), build::build_one(builder, plan)?)));
    plans.iter().map(built).collect()
}

fn same_file(first: &Path, second: &Path) -> Result<bool> {
    Ok(hash_file(first)? == hash_file(second)?)
}

/// How many files a bundle has: a comparison with itself, without the work.
fn count(bundle: &Path) -> Result<Comparison> {
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(bundle)?));
    let mut same = 0;
    for entry in tar.entries()? {
        same += usize::from(!entry?.header().entry_type().is_dir());
    }
    Ok(Comparison { same, ..Comparison::default() })
}

fn unpack_bundle(bundle: &Path, into: &Path) -> Result<()> {
    let options =
        unpack::Options { strip: Strip::TopFolder, only: None, mtime: EPOCH, limits: unpack::Limits::default() };
    unpack::unpack(bundle, into, &options)?;
    Ok(())
}
