//! `kernel`: whether a kernel's configuration is good for containers, the lines it lacks, and why one has no effect.

use std::io::Read as _;
use std::path::Path;

use fs_err as fs;
use serde_json::json;

use crate::cli;
use crate::data::kernel::{KernelVersion, Options};
use crate::data::project::Project;
use crate::data::target::Target;
use crate::data::text::nearest;
use crate::error::{Context, Failure, Kind, Result};
use crate::kernel::config::KernelConfig;
use crate::kernel::kconfig::eval::{Given, Tri};
use crate::kernel::kconfig::explain::shortened;
use crate::kernel::kconfig::{Explanation, Tree, explain};
use crate::kernel::{Board, Report, check, fragment};
use crate::ship::board::{device, facts};
use crate::ui::Ui;

/// `cargo xtask kernel`.
pub fn kernel(project: &Project, args: &cli::Kernel, ui: &Ui) -> Result<()> {
    match &args.command {
        cli::KernelCommand::Check(args) => check_one(project, args, ui),
        cli::KernelCommand::Fragment(args) => print_fragment(project, args, ui),
        cli::KernelCommand::Explain(args) => explain_option(project, args, ui),
    }
}

fn check_one(project: &Project, args: &cli::KernelCheck, ui: &Ui) -> Result<()> {
    let target = args.target.as_deref().map(|name| project.target(name)).transpose()?;
    let (config, of, told) = match (&args.file, target) {
        (None, Some(target)) => of_board(args, target)?,
        (file, _) => {
            let file = file.as_deref().context("a file or a board to check")?;
            (read(file)?, shown(file), None)
        }
    };
    let version = version(args.kernel_version.or(told), &config, target, project)?;
    let options = Options::load(&project.root)?;
    let report = check(&options, &config, version, Board::of(target));
    let head = format!("{of}: {} of Linux {version}\n", config.kind.as_str());
    show(&report, &head, ui);
    verdict(&report, &of, args.target.as_deref())
}

/// The configuration that a board's kernel tells, the board's name, and its version.
fn of_board(args: &cli::KernelCheck, target: &Target) -> Result<(KernelConfig, String, Option<KernelVersion>)> {
    let device = args.device.as_ref().and_then(Option::as_ref);
    let link = device::connect(&target.board.via, args.via, device)?;
    let Some(text) = facts::kernel_config(&*link)? else {
        let what = format!("{}: its kernel does not tell its configuration (no /proc/config.gz)", link.name());
        return Err(Failure::new(Kind::Board, what)
            .next("check the kernel's image instead: cargo xtask kernel check Image")
            .into());
    };
    let config = KernelConfig::parse(&text).with_context(|| format!("read /proc/config.gz of {}", link.name()))?;
    let release = link.shell("uname -r")?.output;
    Ok((config, link.name(), release.trim().parse().ok()))
}

/// Prints a report; `push` shows a board's the same way.
pub fn show(report: &Report, head: &str, ui: &Ui) {
    ui.result(&format!("{head}\n{}", report.text()), report.event());
}

/// A failure if something that is required is missing.
pub fn verdict(report: &Report, what: &str, target: Option<&str>) -> Result<()> {
    if report.missing().is_empty() {
        return Ok(());
    }
    let file = if what.contains(' ') { "FILE" } else { what };
    let fragment = format!("cargo xtask kernel fragment --target {} --for {file}", target.unwrap_or("TARGET"));
    let failure = Failure::new(Kind::Check, format!("{what} is not enough for containers: {}", report.summary()));
    Err(failure.next(fragment).next("cargo xtask kernel explain CONFIG_NAME --source THE-KERNEL'S-SOURCE").into())
}

fn print_fragment(project: &Project, args: &cli::KernelFragment, ui: &Ui) -> Result<()> {
    let target = project.target(&args.target)?;
    let config = args.file.as_deref().map(read).transpose()?;
    let nothing = KernelConfig::nothing();
    let version = version(args.kernel_version, config.as_ref().unwrap_or(&nothing), Some(target), project)?;
    let text = checked_fragment(&Options::load(&project.root)?, config.as_ref(), version, Board::of(Some(target)))?;
    let shown = match text.is_empty() {
        true => "# nothing is missing".to_owned(),
        false => text.trim_end().to_owned(),
    };
    ui.result(&shown, json!({"event": "result", "version": version.to_string(), "fragment": text}));
    Ok(())
}

/// The fragment, after a look at whether the configuration with it is good.
pub fn checked_fragment(
    options: &Options,
    config: Option<&KernelConfig>,
    version: KernelVersion,
    board: Board,
) -> Result<String> {
    let text = fragment::fragment(options, config, version, board);
    let base = config.cloned().unwrap_or_else(KernelConfig::nothing);
    let after = match text.is_empty() {
        true => base,
        false => {
            let lines = KernelConfig::parse(text.as_bytes())?;
            base.with(lines.values())
        }
    };
    let report = check(options, &after, version, board);
    match report.missing().is_empty() {
        true => Ok(text),
        false => Err(Failure::new(Kind::Data, format!("with the fragment, {}", report.summary())).into()),
    }
}

fn explain_option(project: &Project, args: &cli::KernelExplain, ui: &Ui) -> Result<()> {
    let options = Options::load(&project.root)?;
    let config = match &args.config {
        Some(file) => read(file)?,
        None => KernelConfig::nothing(),
    };
    let task = ui.task("read", format!("{} for {}", args.source.display(), args.arch));
    let tree = Tree::read(&args.source, &args.arch)?;
    task.done(&format!("{} options", tree.names().count()));
    let name = args.option.as_str();
    let Some(id) = tree.find(name) else {
        return Err(unknown_option(&tree, &options, args));
    };
    let explanation = explain(&tree, &Given { config: &config, compiler: &options.compiler }, id);
    ui.result(&text(&explanation), event(&explanation));
    Ok(())
}

fn unknown_option(tree: &Tree, options: &Options, args: &cli::KernelExplain) -> anyhow::Error {
    let name = args.option.as_str();
    let what = format!("this kernel has no option CONFIG_{name} for {}: a line that sets it does nothing", args.arch);
    let failure = Failure::new(Kind::Data, what);
    if let Some(gone) = options.gone.iter().find(|gone| gone.name == args.option) {
        return failure.next(gone.text.clone()).into();
    }
    match nearest(name, tree.names()) {
        Some(near) => failure.next(format!("CONFIG_{near} is there: did you mean that?")).into(),
        None => failure.into(),
    }
}

fn text(explanation: &Explanation) -> String {
    let Explanation { name, value, .. } = explanation;
    let mut lines = vec![match (&explanation.text, value) {
        (Some(text), _) => format!("CONFIG_{name} is a number or a text: `{text}`"),
        (None, Tri::Yes) => format!("CONFIG_{name} is on"),
        (None, Tri::Module) => format!("CONFIG_{name} is a module"),
        (None, Tri::No) => format!("CONFIG_{name} is off"),
    }];
    for (place, prompt) in &explanation.places {
        lines.push(match prompt {
            Some(prompt) => format!("  {place}  \"{prompt}\""),
            None => format!("  {place}  (no prompt: nobody can set it by hand)"),
        });
    }
    lines.push(String::new());
    lines.extend(explanation.chain.iter().map(|cause| format!("{}{}", "  ".repeat(cause.depth), cause.text)));
    if *value != Tri::Yes && !explanation.promptless && !explanation.selected_by.is_empty() {
        lines.push(format!("\nselected by: {}", shortened(explanation.selected_by.iter().map(String::as_str))));
    }
    if !explanation.assumed.is_empty() && *value != Tri::Yes {
        lines.push(format!("\nassumed of the compiler: {}", explanation.assumed.join(", ")));
    }
    match &explanation.change {
        Some(change) if change.is_empty() => {}
        Some(change) => {
            lines.push(format!("\nthe fewest lines found that turn it on ({}):", change.len()));
            lines.extend(change.iter().map(|(name, value)| line(name, *value)));
        }
        None if explanation.text.is_some() => {}
        None => lines.push("\nno lines were found that turn it on".to_owned()),
    }
    lines.join("\n")
}

fn line(name: &str, value: Tri) -> String {
    match value {
        Tri::No => format!("# CONFIG_{name} is not set"),
        on => format!("CONFIG_{name}={}", on.as_str()),
    }
}

fn event(explanation: &Explanation) -> serde_json::Value {
    let chain = explanation.chain.iter().map(|cause| json!({"depth": cause.depth, "text": cause.text}));
    let places = explanation.places.iter().map(|(place, prompt)| json!({"place": place, "prompt": prompt}));
    let change = explanation
        .change
        .as_ref()
        .map(|change| change.iter().map(|(name, value)| line(name, *value)).collect::<Vec<_>>());
    json!({"event": "result", "option": explanation.name,
           "value": explanation.text.as_deref().unwrap_or(explanation.value.as_str()),
           "places": places.collect::<Vec<_>>(), "promptless": explanation.promptless,
           "selected_by": explanation.selected_by, "chain": chain.collect::<Vec<_>>(), "lines": change,
           "assumed": explanation.assumed})
}

/// Reads a configuration; `-` is standard input.
fn read(file: &Path) -> Result<KernelConfig> {
    let bytes = match file == Path::new("-") {
        false => fs::read(file)?,
        true => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).context("read standard input")?;
            bytes
        }
    };
    KernelConfig::parse(&bytes).with_context(|| format!("read {}", shown(file)))
}

fn shown(file: &Path) -> String {
    match file == Path::new("-") {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

/// The kernel's version: as told, else from the file, else the target's.
fn version(
    told: Option<KernelVersion>,
    config: &KernelConfig,
    target: Option<&Target>,
    project: &Project,
) -> Result<KernelVersion> {
    let of_target = target.and_then(|target| target.kernel.as_ref()).map(|kernel| kernel.version);
    told.or(config.version).or(of_target).ok_or_else(|| {
        let with = project.targets.values().filter(|target| target.kernel.is_some());
        let mut failure = Failure::new(Kind::Data, "the file does not say which kernel it is for");
        for target in with {
            failure = failure.next(format!("--target {}", target.name));
        }
        failure.next("--kernel-version 5.10").into()
    })
}
