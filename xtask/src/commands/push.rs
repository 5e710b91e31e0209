//! `push`: a target's bundle onto a board.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use serde_json::json;

use super::board;
use crate::cli;
use crate::data::kernel::Options;
use crate::data::project::{Project, walk};
use crate::data::target::Target;
use crate::data::variable;
use crate::error::{Context, Failure, Kind, Result};
use crate::kernel::{self, config::KernelConfig};
use crate::ship::board::Link;
use crate::ship::board::facts::{self, Facts, Obstacle};
use crate::ship::board::package::Package;
use crate::ship::board::script::{Push, Pushed};
use crate::ship::{bundle, secrets};
use crate::ui::{self, Ui};

/// What a bundle's programs are made of, and the target itself.
const MADE_OF: [&str; 6] = ["recipes", "targets", "toolchains", "patches", "programs", "locks"];

/// `cargo xtask push`.
pub fn push(project: &Project, args: &cli::Push, ui: &Ui) -> Result<()> {
    let target = project.target(&args.reach.target)?;
    let package = Package::read(&bundle_file(project, target, args.bundle.as_deref(), ui)?)?;
    if package.target != target.name.as_str() {
        return Err(another_target(&package, target).into());
    }
    let link = board::connect(target, &args.reach)?;
    let task = ui.task("check", link.name());
    let (facts, config) = ask(&*link, &package)?;
    let mut obstacles = facts::obstacles(&facts, &package, target.board.kernel.as_ref(), config.as_deref());
    if !args.any_kernel {
        obstacles.extend(kernel_obstacle(project, target, &facts, config.as_deref())?);
    }
    if !obstacles.is_empty() {
        task.failed("");
        return Err(refuse(&*link, &package, &obstacles).into());
    }
    task.done(&format!("Linux {} {}", facts.kernel, facts.machine));
    let places = secrets::Places::of_process(&args.secrets, &facts.secrets);
    let secrets = secrets::gather(&package.secrets, &places)?;
    let push = Push {
        link: &*link,
        ui,
        package: &package,
        facts: &facts,
        narrow: facts::narrow(&facts, &package, config.as_deref()),
        secrets: &secrets,
        boot: args.boot,
        piece: args.piece,
    };
    report(ui, &*link, &package, push.run()?, args);
    Ok(())
}

/// Everything that is asked before anything is written.
fn ask(link: &dyn Link, package: &Package) -> Result<(Facts, Option<Vec<u8>>)> {
    let facts = facts::ask(link, &package.board_dir, &package.file_name())?;
    let config = facts::kernel_config(link)?;
    Ok((facts, config))
}

/// What the board's kernel lacks, if it tells what it has and the target says that it matters.
fn kernel_obstacle(
    project: &Project,
    target: &Target,
    facts: &Facts,
    config: Option<&[u8]>,
) -> Result<Option<Obstacle>> {
    let (Some(kernel), Some(config)) = (&target.kernel, config) else { return Ok(None) };
    let options = Options::load(&project.root)?;
    let config = KernelConfig::parse(config).context("read the board's /proc/config.gz")?;
    let version = facts.kernel.parse().unwrap_or(kernel.version);
    let report = kernel::check(&options, &config, version, kernel::Board::of(Some(target)));
    let lacks = |missing: usize| {
        (missing > 0).then(|| format!("its kernel is not enough for containers: {}", report.summary()))
    };
    Ok(lacks(report.missing().len()).map(|what| Obstacle {
        what,
        next: format!(
            "cargo xtask kernel check --device --target {}   (each option, and what fails without it; docs/kernel.md), \
             or --any-kernel to install all the same",
            target.name
        ),
    }))
}

/// The file that was named, or the one that `bundle` writes.
pub fn bundle_file(project: &Project, target: &Target, named: Option<&Path>, ui: &Ui) -> Result<PathBuf> {
    if let Some(file) = named {
        return match file.is_file() {
            true => Ok(std::path::absolute(file)?),
            false => Err(Failure::new(Kind::Data, format!("there is no file {}", file.display())).into()),
        };
    }
    let file = bundle::path(&project.root.join("dist"), &target.name);
    let make = format!("cargo xtask bundle --target {}", target.name);
    if !file.is_file() {
        let what = format!("there is no bundle of {} to push: {}", target.name, file.display());
        return Err(Failure::new(Kind::Data, what).next(make).next("--bundle FILE for one from elsewhere").into());
    }
    if let Some(newer) = newer(project, target, &file)? {
        let newer = newer.strip_prefix(&project.root).unwrap_or(&newer).display().to_string();
        ui.note("note", &format!("{newer} is newer than the bundle, which is pushed as it is; to renew it: {make}"));
    }
    Ok(file)
}

/// A file of those that a bundle is made of that was changed after the bundle was written.
fn newer(project: &Project, target: &Target, bundle: &Path) -> Result<Option<PathBuf>> {
    let changed = |path: &Path| -> Result<SystemTime> { Ok(fs::metadata(path)?.modified()?) };
    let written = changed(bundle)?;
    for file in made_of(project, target)? {
        if file.is_file() && changed(&file)? > written {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn made_of(project: &Project, target: &Target) -> Result<Vec<PathBuf>> {
    let shipped = target.files.values().map(|file| file.get_ref());
    let filled_in = target.templates.values().map(|template| template.file.get_ref());
    let mut files: Vec<PathBuf> = shipped.chain(filled_in).map(|file| project.root.join(file)).collect();
    files.push(project.root.join(variable::FILE));
    for folder in MADE_OF.iter().map(|folder| project.root.join(folder)).filter(|folder| folder.is_dir()) {
        files.extend(walk(&folder)?.into_iter().map(|file| folder.join(file)));
    }
    Ok(files)
}

fn another_target(package: &Package, target: &Target) -> Failure {
    let what = format!("{} is a bundle of {}, not of {}", package.file.display(), package.target, target.name);
    Failure::new(Kind::Data, what).next(format!("--target {}", package.target))
}

fn refuse(link: &dyn Link, package: &Package, obstacles: &[Obstacle]) -> Failure {
    let mut what = format!("{} cannot take {}; nothing was changed on it", link.name(), package.name);
    for obstacle in obstacles {
        what.push_str(&format!("\n  {}", obstacle.what));
    }
    let mut failure = Failure::new(Kind::Board, what);
    for obstacle in obstacles {
        if !failure.next.contains(&obstacle.next) {
            failure = failure.next(&obstacle.next);
        }
    }
    failure
}

/// What was done, and the next command.
fn report(ui: &Ui, link: &dyn Link, package: &Package, pushed: Pushed, args: &cli::Push) {
    let (state, word) = match pushed {
        Pushed::Installed => ("installed", ""),
        Pushed::AsBefore => ("up to date", "   up to date"),
    };
    let mut next = format!("cargo xtask board up --target {}", args.reach.target);
    if let Some(via) = args.reach.via {
        next.push_str(&format!(" --via {via}"));
    }
    if let Some(device) = &args.reach.device {
        next.push_str(&format!(" --device {device}"));
    }
    let text = format!(
        "{} on {}{word}\n  sha256       {}   ({})\n  next         {next}",
        package.slot(),
        link.name(),
        package.sha256,
        ui::size(package.size)
    );
    ui.result(
        &text,
        json!({"event": "result", "slot": package.slot(), "board": link.name(), "sha256": package.sha256,
               "size": package.size, "state": state, "next": next}),
    );
}
