//! `emulate`: the bundle on an emulated board.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::json;

use super::build::{Workshop, build_one};
use crate::cli;
use crate::data::emulator::{Emulator, Kernel, Refill};
use crate::data::project::Project;
use crate::data::target::Target;
use crate::data::text::{Text, unknown};
use crate::data::types::RelPath;
use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;
use crate::plan::{self, Changes, Choice, Override, Settings};
use crate::run::fetch::Fetcher;
use crate::run::store::{self, Store};
use crate::ship::board::agent::Agent;
use crate::ship::board::emulator::{AGENT, connect, console};
use crate::ship::emulator::acceptance::{Bench, Board, Check, Checks, Outcome, Verdict};
use crate::ship::emulator::kernel::{self, Ready, Source};
use crate::ship::emulator::machine::{self, Machine};
use crate::ship::emulator::report::{self, REPORT, Scene, TABLE};
use crate::ship::notes::{self, NOTES};
use crate::ui::Ui;

/// What shuts the emulated board down in order.
const HALT: &str = "exec /emulator/busybox sh /emulator/halt";
/// For an agent that is somebody else's to answer.
const ATTACH: std::time::Duration = std::time::Duration::from_secs(60);

/// `cargo xtask emulate`.
pub fn emulate(project: &Project, args: &cli::Emulate, ui: &Ui) -> Result<()> {
    let target = project.target(&args.target)?;
    let emulator = project.emulator(target)?;
    let checks = Checks::read(&project.root, &emulator.acceptance.folder)?;
    if args.list {
        list(emulator, &checks, ui);
        return Ok(());
    }
    if args.renew_kernel {
        return renew(project, target, emulator, args, ui);
    }
    let chosen = choose(emulator, &checks, args)?;
    let store = Store::open(&Store::default_root()?)?;
    let _use = store.in_use()?;
    let bundle = find_bundle(project, target, args.bundle.as_deref())?;
    let missing = kernel::missing(&bundle, chosen.iter().flat_map(|check| check.asks.iter().cloned()).collect())?;
    let trial = Trial { project, target, emulator, checks: &checks, chosen, store, bundle, missing, args, ui };
    match args.attach {
        true => trial.on_a_board_that_runs(),
        false => trial.on_a_new_board(),
    }
}

/// What is tried, and with what.
struct Trial<'a> {
    project: &'a Project,
    target: &'a Target,
    emulator: &'a Emulator,
    checks: &'a Checks,
    chosen: Vec<&'a Check>,
    store: Store,
    bundle: PathBuf,
    /// What the chosen checks ask for and the bundle does not have.
    missing: BTreeSet<RelPath>,
    args: &'a cli::Emulate,
    ui: &'a Ui,
}

impl Trial<'_> {
    /// Where the board has its files.
    fn dir(&self) -> PathBuf {
        machine::folder(&self.store, self.target.name.as_str())
    }

    fn on_a_board_that_runs(&self) -> Result<()> {
        let socket = connect(&self.dir(), AGENT).map_err(|_| not_running(self.target))?;
        let mut agent = Agent::hello(socket, ATTACH)?;
        let mut bench = self.bench(self.files()?)?;
        let mut board = Board::Attached(&mut agent);
        match &self.args.breaks {
            Some(names) => found(&break_all(&mut bench, &breaks(self.checks, names)?, &mut board, &[], self.ui)?),
            None => verdict(&run(&mut bench, &self.chosen, &mut board, self.ui)?),
        }
    }

    fn on_a_new_board(&self) -> Result<()> {
        let places = &self.args.places;
        let fetcher = Fetcher::new(self.store.clone(), places.mirror.clone(), places.offline, self.ui.clone())?;
        let source = Source { store: &self.store, fetcher: &fetcher, ui: self.ui };
        let ready = source.kernel(self.emulator, self.args.kernel.as_deref())?;
        let _lock = only_one(&self.store, self.target, &self.dir())?;
        let files = self.files()?;
        let initramfs = source.initramfs(self.project, self.emulator, &ready, &self.bundle)?;
        let mut machine = Machine::new(self.emulator, self.dir(), &ready.image, &initramfs, self.args.memory)?;
        start(&mut machine, &ready, self.ui)?;
        if self.args.shell {
            return shell(machine, self.target, self.ui);
        }
        let mut bench = self.bench(files)?;
        let mut board = Board::Ours(&mut machine);
        if let Some(names) = &self.args.breaks {
            let before = run(&mut bench, &self.chosen, &mut board, self.ui)?;
            verdict(&before)?;
            return found(&break_all(&mut bench, &breaks(self.checks, names)?, &mut board, &before, self.ui)?);
        }
        let outcomes = self.outcomes(&mut bench, &mut board);
        keep_console(self.project, self.target, &machine)?;
        let (outcomes, broken) = outcomes?;
        self.report(&ready, machine.version(), &outcomes, &broken)?;
        if self.args.keep && machine.is_running() {
            keep(machine, self.target, self.ui)?;
        }
        verdict(&outcomes)?;
        found(&broken)
    }

    /// Of the chosen checks, and of what is broken on purpose: a list that cannot fail proves nothing, so where all of
    /// it passed, that is tried.
    fn outcomes(&self, bench: &mut Bench<'_>, board: &mut Board<'_>) -> Result<(Vec<Outcome>, Vec<Outcome>)> {
        let outcomes = run(bench, &self.chosen, board, self.ui)?;
        let broken = match self.is_whole() && failed(&outcomes).is_empty() {
            true => break_all(bench, &breaks(self.checks, &[])?, board, &outcomes, self.ui)?,
            false => Vec::new(),
        };
        Ok((outcomes, broken))
    }

    /// Whether all checks that there are were asked for.
    fn is_whole(&self) -> bool {
        self.chosen.len() == self.checks.all.len()
    }

    fn bench(&self, files: BTreeMap<String, PathBuf>) -> Result<Bench<'_>> {
        Ok(Bench::new(self.checks, files, self.missing.clone(), &facts(&self.bundle)?, HALT))
    }

    /// What the chosen checks are sent, by the names on the board: the bundle, and what is built or filled in for them.
    fn files(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut files: BTreeMap<_, _> = [("bundle.tar.gz".to_owned(), self.bundle.clone())].into();
        // A board for a person is sent nothing.
        let can_run = |check: &&&Check| !self.args.shell && check.asks.iter().all(|path| !self.missing.contains(path));
        let wanted: BTreeSet<&str> =
            self.chosen.iter().filter(can_run).flat_map(|check| check.sends.iter().map(String::as_str)).collect();
        for (name, choice) in plan::choose_for_checks(self.project, self.target, self.emulator)? {
            if wanted.contains(name.as_str()) {
                let path = self.build(&choice)?.join(&self.emulator.acceptance.programs[&name].file);
                files.insert(name.to_string(), path);
            }
        }
        for (name, refill) in &self.emulator.acceptance.templates {
            if wanted.contains(name.as_str())
                && let Some(path) = self.fill_in(name, refill)?
            {
                files.insert(name.to_string(), path);
            }
        }
        Ok(files)
    }

    /// The folder with a program's files.
    fn build(&self, choice: &Choice) -> Result<PathBuf> {
        let plan = plan::plan(self.project, choice)?;
        let workshop = Workshop::open(self.project, &self.args.places, None, self.args.cage.is_on(), self.ui)?;
        Ok(workshop.with_builder(|builder| build_one(builder, &plan))?.files)
    }

    /// A file of the target with other values; none if the target has no such file.
    fn fill_in(&self, name: &RelPath, refill: &Refill) -> Result<Option<PathBuf>> {
        let set =
            refill.set.iter().map(|(name, value)| Override::Variable { name: name.clone(), value: value.clone() });
        let changes = Changes { set: set.collect(), settings: None };
        let settings = Settings::resolve(self.project, self.target, &changes)?;
        let Some(file) = plan::fill(self.project, self.target, &settings)?.files.remove(&refill.file) else {
            return Ok(None);
        };
        let path = self.store.path("emulator").join(format!("{}.sent", self.target.name)).join(name);
        store::write_atomic(&path, &file.bytes)?;
        Ok(Some(path))
    }

    /// Writes the report and the bundle's release notes, and tells where they are.
    fn report(&self, ready: &Ready<'_>, qemu: &str, outcomes: &[Outcome], broken: &[Outcome]) -> Result<()> {
        let scene = self.scene(ready, qemu)?;
        let dir = self.project.root.join("dist").join(&scene.target);
        let report = report::json(&scene, outcomes, broken);
        // What a part of the list says is less than what is there already.
        let places =
            if !scene.complete && failed(outcomes).is_empty() && notes::has_whole_report(&dir, &scene.bundle_sha256) {
                format!("dist/{}/{TABLE} stays that of the whole list", scene.target)
            } else {
                let text = serde_json::to_string_pretty(&report).context("write the report")? + "\n";
                store::write_atomic(&dir.join(REPORT), text.as_bytes())?;
                store::write_atomic(&dir.join(TABLE), report::markdown(&scene, outcomes, broken).as_bytes())?;
                let mut places = format!("dist/{}/{TABLE}, {REPORT}, console.log", scene.target);
                if self.bundle.parent() == Some(&dir) {
                    notes::write(&self.bundle, &self.target.summary)?;
                    places.push_str(&format!(", {NOTES}"));
                }
                places
            };
        let shown = format!("{}: {} on {}\n  {places}", counted(outcomes, broken), scene.bundle, scene.kernel);
        self.ui.result(&shown, json!({"event": "result", "acceptance": report}));
        Ok(())
    }

    /// What was checked, and on what.
    fn scene(&self, ready: &Ready<'_>, qemu: &str) -> Result<Scene> {
        let kernel = ready.kernel;
        Ok(Scene {
            target: self.target.name.to_string(),
            bundle: self.bundle.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bundle_sha256: store::hash_file(&self.bundle)?.to_string(),
            kernel: format!("Linux {}: {} {}", kernel.series, kernel.package, kernel.version),
            kernel_sha256: kernel.sha256.to_string(),
            emulator: self.emulator.summary.clone(),
            qemu: qemu.to_owned(),
            complete: self.is_whole(),
        })
    }
}

/// `23 passed, 0 failed, 1 not run; of 6 breaks 6 found`.
fn counted(outcomes: &[Outcome], broken: &[Outcome]) -> String {
    let (passed, failed, not_run) = report::count(outcomes);
    let breaks = match broken.len() {
        0 => String::new(),
        all => format!("; of {all} breaks {} found", report::count(broken).0),
    };
    format!("{passed} passed, {failed} failed, {not_run} not run{breaks}")
}

/// Moves the pins of the emulator's kernels to what the archive has now.
fn renew(project: &Project, target: &Target, emulator: &Emulator, args: &cli::Emulate, ui: &Ui) -> Result<()> {
    let store = Store::open(&Store::default_root()?)?;
    let _use = store.in_use()?;
    let fetcher = Fetcher::new(store, args.places.mirror.clone(), args.places.offline, ui.clone())?;
    let name = target.emulator.as_ref().map(|name| name.get_ref().as_str()).context("an emulator has a name")?;
    let shown = format!("emulators/{name}.toml");
    let path = project.root.join(&shown);
    let before = fs::read_to_string(&path)?;
    let mut text = before.clone();
    let wanted = |kernel: &&Kernel| args.kernel.as_deref().is_none_or(|series| series == kernel.series);
    for kernel in emulator.kernels.iter().filter(wanted) {
        let now = fetcher.newest(&kernel.suite, emulator.arch, &kernel.newest)?;
        let pin = [now.package.as_str(), now.version.as_str(), now.file.as_str(), now.sha256.as_str()];
        text = kernel.renewed(&text, pin).with_context(|| {
            format!("{} stands for {} now, which is not called like {}", kernel.newest, now.package, kernel.package)
        })?;
    }
    // What is written must be read again.
    Emulator::parse(name.parse().context("an emulator's name")?, &Text::new(shown.clone(), text.clone()))?;
    let state = if text == before { "as it was" } else { "renewed" };
    if text != before {
        store::write_atomic(&path, text.as_bytes())?;
    }
    ui.result(&format!("{shown}: {state}"), json!({"event": "result", "file": path, "state": state}));
    Ok(())
}

fn list(emulator: &Emulator, checks: &Checks, ui: &Ui) {
    let mut text = String::new();
    for check in &checks.all {
        let short = if emulator.acceptance.short.contains(&check.name) { "short" } else { "" };
        text.push_str(&format!("{:18} {short:7} {}\n", check.name.as_str(), check.proves));
    }
    for broken in &checks.breaks {
        text.push_str(&format!("--break {:18} {}\n", broken.name.as_str(), broken.proves));
    }
    let names: Vec<_> = checks.all.iter().map(|check| json!({"name": check.name, "proves": check.proves})).collect();
    ui.result(text.trim_end(), json!({"event": "result", "checks": names}));
}

fn choose<'a>(emulator: &Emulator, checks: &'a Checks, args: &cli::Emulate) -> Result<Vec<&'a Check>> {
    if !args.only.is_empty() {
        // On a board that runs already, what is needed has been done.
        let chosen = checks.choose(&args.only)?;
        let named = |check: &&Check| args.only.iter().any(|name| name == check.name.as_str());
        return Ok(chosen.into_iter().filter(|check| !args.attach || named(check)).collect());
    }
    if let Some(names) = &args.breaks {
        // What the checks need that must find the breaks; on a board that runs already it has been done.
        let broken = breaks(checks, names)?;
        let finders: Vec<String> = broken.iter().filter_map(|broken| broken.caught_by.clone()).collect();
        let chosen = checks.choose(&finders)?;
        return Ok(chosen.into_iter().filter(|_| !args.attach).collect());
    }
    if args.short {
        let names: Vec<String> = emulator.acceptance.short.iter().map(ToString::to_string).collect();
        return checks.choose(&names);
    }
    Ok(checks.all.iter().collect())
}

/// The bundle that was named, else the one that was built last for this target.
fn find_bundle(project: &Project, target: &Target, named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        let path = std::path::absolute(named)?;
        if path.is_file() {
            return Ok(path);
        }
        return Err(Failure::new(Kind::Host, format!("there is no bundle {}", path.display())).into());
    }
    let dir = project.root.join("dist").join(target.name.as_str());
    let prefix = format!("slipway-{}-", target.name);
    let mut found = Vec::new();
    if dir.is_dir() {
        for entry in fs::read_dir(&dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && name.ends_with(".tar.gz") {
                found.push(dir.join(name));
            }
        }
    }
    let build = format!("cargo xtask bundle --target {}", target.name);
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new(Kind::Host, format!("there is no bundle of {} yet", target.name)).next(build).into()),
        several => {
            let what = format!("{} has {} bundles", dir.display(), several.len());
            Err(Failure::new(Kind::Host, what).next("--bundle FILE says which").into())
        }
    }
}

/// What every check knows of the bundle: its hash, and its one top folder.
fn facts(bundle: &Path) -> Result<BTreeMap<&'static str, String>> {
    let top = kernel::top_folder(bundle)?;
    Ok([("BUNDLE_SHA256", store::hash_file(bundle)?.to_string()), ("BUNDLE_TOP", top)].into())
}

fn not_running(target: &Target) -> anyhow::Error {
    Failure::new(Kind::Host, format!("no emulated board of {} runs", target.name))
        .next(format!("cargo xtask emulate --target {} --shell   (in another terminal)", target.name))
        .into()
}

/// One board of a target at a time: a second would take its disks away.
fn only_one(store: &Store, target: &Target, dir: &Path) -> Result<store::Lock> {
    if dir.is_dir() && connect(dir, AGENT).is_ok() {
        let what = format!("an emulated board of {} runs already", target.name);
        return Err(Failure::new(Kind::Host, what)
            .next("end it, or --attach to run checks on it")
            .next("SLIPWAY_CACHE=/another/folder for a second one")
            .into());
    }
    store.lock(&format!("emulator-{}", target.name), || ())
}

fn start(machine: &mut Machine, kernel: &Ready<'_>, ui: &Ui) -> Result<()> {
    let task = ui.task(
        "boot",
        format!("Linux {} ({} {})", kernel.kernel.release(), kernel.kernel.package, kernel.kernel.version),
    );
    machine.start()?;
    task.done("the board answers");
    Ok(())
}

fn run(bench: &mut Bench<'_>, chosen: &[&Check], board: &mut Board<'_>, ui: &Ui) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for check in chosen {
        let task = ui.task("check", check.name.as_str());
        let outcome = bench.run(check, board, &outcomes)?;
        let last = outcome.evidence.last().cloned().unwrap_or_default();
        match outcome.verdict {
            Verdict::Passed => task.done(&last),
            Verdict::Failed => task.failed(&last),
            Verdict::NotRun => task.done(&format!("not run: {last}")),
        }
        for line in &outcome.evidence {
            ui.log(check.name.as_str(), line);
        }
        if outcome.verdict == Verdict::Failed {
            ui.note("output", &outcome.output);
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// The breaks with these names; all if none is named.
fn breaks<'a>(checks: &'a Checks, names: &[String]) -> Result<Vec<&'a Check>> {
    let known: Vec<&str> = checks.breaks.iter().map(|broken| broken.name.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::new(Kind::Data, unknown("a break", name, known)).into());
    }
    let wanted = |broken: &&Check| names.is_empty() || names.iter().any(|name| name == broken.name.as_str());
    Ok(checks.breaks.iter().filter(wanted).collect())
}

fn break_all(
    bench: &mut Bench<'_>,
    broken: &[&Check],
    board: &mut Board<'_>,
    before: &[Outcome],
    ui: &Ui,
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for broken in broken {
        let task = ui.task("break", broken.name.as_str());
        let outcome = bench.run_break(broken, board, before)?;
        let last = outcome.evidence.last().cloned().unwrap_or_default();
        match outcome.verdict {
            Verdict::Passed => task.done(&format!("found: {last}")),
            Verdict::Failed | Verdict::NotRun => {
                task.failed(&last);
                ui.note("output", &outcome.output);
            }
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn keep_console(project: &Project, target: &Target, machine: &Machine) -> Result<()> {
    let to = project.root.join("dist").join(target.name.as_str()).join("console.log");
    store::write_atomic(&to, &fs::read(machine.console_log()).unwrap_or_default())
}

fn verdict(outcomes: &[Outcome]) -> Result<()> {
    none_failed(outcomes, "checks failed on the emulated board", |first| {
        format!("the same command with --only {first} --keep, then --attach to try again")
    })
}

/// Whether the checks found what was broken on purpose.
fn found(broken: &[Outcome]) -> Result<()> {
    none_failed(broken, "broken on purpose, and not found by the checks", |first| {
        format!("the same command with --break {first}")
    })
}

fn none_failed(outcomes: &[Outcome], what: &str, again: impl Fn(&str) -> String) -> Result<()> {
    let failed = failed(outcomes);
    match failed.first() {
        None => Ok(()),
        Some(first) => {
            let what = format!("{what}: {}", failed.join(", "));
            Err(Failure::new(Kind::Check, what).next(again(first)).into())
        }
    }
}

fn failed(outcomes: &[Outcome]) -> Vec<&str> {
    let failed = outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Failed);
    failed.map(|outcome| outcome.name.as_str()).collect()
}

/// The console to this terminal; the board ends with it.
fn shell(mut machine: Machine, target: &Target, ui: &Ui) -> Result<()> {
    ui.note("board", &format!("from another terminal: cargo xtask push --via emulator --target {}", target.name));
    ui.note("board", "Ctrl-] switches it off");
    let _running = machine.release_agent();
    console(machine.dir(), None)
}

/// Leaves the board running until somebody ends us.
fn keep(mut machine: Machine, target: &Target, ui: &Ui) -> Result<()> {
    ui.note("board", &format!("stays on; Ctrl-C ends it; --target {} --attach runs checks on it", target.name));
    let Some(mut running) = machine.release_agent() else { return Ok(()) };
    while running.ended()?.is_none() && !interrupt::requested() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}

/// What `doctor` says of an emulator.
pub fn lacks(emulator: &Emulator) -> Vec<(String, String)> {
    let disks = emulator.disks.values().map(|disk| (disk.make[0].clone(), disk.install.clone()));
    let mut programs: Vec<(String, String)> =
        [(emulator.qemu.program.clone(), emulator.qemu.install.clone())].into_iter().chain(disks).collect();
    programs.sort();
    programs.dedup();
    programs.retain(|(program, install)| machine::program(program, install).is_err());
    programs
}
