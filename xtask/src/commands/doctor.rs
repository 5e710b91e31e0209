//! `doctor`: what this machine has and lacks, each lack with the line that mends it.

use std::path::Path;

use serde_json::json;

use super::emulate;
use crate::data::emulator::Emulator;
use crate::data::project::Project;
use crate::data::recipe::{Recipe, Source};
use crate::data::source::Origin;
use crate::data::toolchain::Toolchain;
use crate::data::types::{Arch, Name};
use crate::error::{Failure, Kind, Result};
use crate::run::store::Store;
use crate::run::{check, fetch, process, sandbox, tools};
use crate::ui::{self, Ui};

/// The room that a full build of a target takes in the store: measured, with a third to spare.
const SPACE: u64 = 6_000_000_000;

/// One line of the answer.
struct Finding {
    name: &'static str,
    state: State,
    detail: String,
    mend: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Something works less well, or only some commands do.
    Weak,
    /// Nothing can be built.
    Bad,
}

/// `cargo xtask doctor`.
pub fn doctor(project: &Project, ui: &Ui) -> Result<()> {
    let mut findings = vec![machine(), store(), caged(), shell_tools(project)];
    findings.extend(host_cc(project));
    findings.extend(Arch::ALL.into_iter().filter(|arch| !arch.is_native()).map(qemu));
    findings.extend([apt(project), pip(project), git()]);
    findings.extend(emulators(project));
    findings.extend(cross_compilers(project));
    let mut text = String::new();
    for finding in &findings {
        let mark = match finding.state {
            State::Good => "ok  ",
            State::Weak => "weak",
            State::Bad => "BAD ",
        };
        text.push_str(&format!("{mark}  {:14} {}\n", finding.name, finding.detail));
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("      {:14} mend: {mend}\n", ""));
        }
    }
    let bad = findings.iter().filter(|finding| finding.state == State::Bad).count();
    let verdict = match bad {
        0 => "this machine can build",
        _ => "this machine cannot build yet: mend what is marked BAD",
    };
    let list = findings.iter().map(|finding| {
        let state = match finding.state {
            State::Good => "ok",
            State::Weak => "weak",
            State::Bad => "bad",
        };
        json!({"name": finding.name, "state": state, "detail": finding.detail, "mend": finding.mend})
    });
    ui.result(&format!("{text}\n{verdict}"), json!({"event": "result", "findings": list.collect::<Vec<_>>()}));
    match bad {
        0 => Ok(()),
        _ => Err(Failure::new(Kind::Host, verdict).into()),
    }
}

fn good(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding { name, state: State::Good, detail: detail.into(), mend: None }
}

fn lack(name: &'static str, state: State, detail: impl Into<String>, mend: &str) -> Finding {
    Finding { name, state, detail: detail.into(), mend: Some(mend.to_owned()) }
}

fn machine() -> Finding {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let detail = format!("{os} {arch}, {} processors", std::thread::available_parallelism().map_or(1, usize::from));
    match (os, arch) {
        ("linux", "x86_64") => good("machine", detail),
        _ => lack("machine", State::Bad, detail, "use an x86-64 Linux: the pinned tools are made for it"),
    }
}

fn store() -> Finding {
    let opened = Store::default_root().and_then(|root| {
        let store = Store::open(&root)?;
        let _writable = store.temp_dir()?;
        Ok((free_space(&root)?, root))
    });
    match opened {
        Err(error) => lack("store", State::Bad, format!("{error:#}"), "SLIPWAY_CACHE=/some/folder cargo xtask …"),
        Ok((free, root)) => {
            let detail = format!("{}, {} free", root.display(), ui::size(free));
            match free < SPACE {
                true => lack("store", State::Weak, detail, "make room, or set SLIPWAY_CACHE to a larger disk"),
                false => good("store", detail),
            }
        }
    }
}

fn free_space(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

fn caged() -> Finding {
    match sandbox::probe() {
        Ok(level) => good("sandbox", level.to_string()),
        Err(why) => lack(
            "sandbox",
            State::Weak,
            why.what,
            &format!("{}   (without it, only --sandbox=off can build here)", why.mend),
        ),
    }
}

/// The host's own are needed once in a store, to build those that all builds use.
fn shell_tools(project: &Project) -> Finding {
    let own = project.userland();
    if let Some(own) = own
        && let Some(built) = &own.built
        && let Ok(store) = Store::default_root().and_then(|root| Store::open(&root))
        && tools::built(&store, own, &built.get_ref().sha256).is_dir()
    {
        return good("shell tools", format!("{}, built and as recorded: the host's are not used", own.title()));
    }
    let needs: Vec<&str> = match own.and_then(Toolchain::userland) {
        Some(userland) => userland.needs.iter().map(Name::as_str).collect(),
        None => vec!["sh"],
    };
    let missing: Vec<&str> = needs.into_iter().filter(|tool| process::find(tool).is_none()).collect();
    match (missing.is_empty(), own) {
        (true, Some(own)) => good("shell tools", format!("all there that {} is built with, once", own.title())),
        (true, None) => good("shell tools", "all there"),
        (false, _) => {
            let detail = format!("missing: {}", missing.join(", "));
            let mend =
                "apt-get install coreutils sed grep mawk findutils diffutils bzip2   (or your distribution's busybox)";
            lack("shell tools", State::Bad, detail, mend)
        }
    }
}

/// Where the compiler of every build is the host's, so is the one for what builds run themselves.
fn host_cc(project: &Project) -> Option<Finding> {
    project.default_c_toolchain().ok()?.c()?.host.as_ref()?;
    Some(match tools::host_cc() {
        Ok(path) => good("C compiler", path.display().to_string()),
        Err(_) => lack("C compiler", State::Bad, "none", "apt-get install gcc libc6-dev"),
    })
}

fn qemu(arch: Arch) -> Finding {
    let name = match arch {
        Arch::Aarch64 => "qemu-aarch64",
        Arch::Armhf => "qemu-arm",
        Arch::X86_64 => "qemu-x86_64",
    };
    match check::qemu(arch) {
        Some(path) => good(name, path.display().to_string()),
        None => lack(name, State::Weak, "built programs are not run", "apt-get install qemu-user-static"),
    }
}

/// apt is a second place for most sources, and the only one for what is built from Debian's packages.
fn apt(project: &Project) -> Finding {
    if let Some(path) = process::find("apt-get") {
        return good("apt", format!("{} (a place for sources and tools)", path.display()));
    }
    let from_debian = |recipe: &&Recipe| {
        let newest = recipe.releases.values().next_back();
        newest.is_some_and(|release| matches!(release.source, Source::Debian(_)))
    };
    let names: Vec<&str> = project.recipes.values().filter(from_debian).map(|recipe| recipe.name.as_str()).collect();
    let what = match names.is_empty() {
        true => "no Debian or Ubuntu: sources come from upstream or a mirror only".to_owned(),
        false => {
            format!("no Debian or Ubuntu: {} can be had in older versions only, or from a mirror", names.join(", "))
        }
    };
    lack("apt", State::Weak, what, "--mirror DIR, with a folder that `cargo xtask mirror` wrote")
}

/// pip is a second place for most tools; without it, one that comes through pip alone cannot be had.
fn pip(project: &Project) -> Finding {
    if let Ok(Some(version)) = fetch::pip::version() {
        return good("pip", format!("{version} (a place for tools)"));
    }
    let by_pip_alone = |toolchain: &&Toolchain| {
        let files = toolchain.packings.iter().flat_map(|packing| &packing.files);
        let mut origins = files.flat_map(|pinned| &pinned.origins).peekable();
        origins.peek().is_some() && origins.all(|origin| matches!(origin, Origin::Pip { .. }))
    };
    let names: Vec<&str> = project.toolchains.values().filter(by_pip_alone).map(|tool| tool.name.as_str()).collect();
    let mend = "apt-get install python3-pip   (or --mirror with a folder that has the tools)";
    match names.is_empty() {
        true => lack("pip", State::Weak, "tools come from upstream or a mirror only", mend),
        false => lack("pip", State::Bad, format!("{} can be had through pip alone", names.join(", ")), mend),
    }
}

fn git() -> Finding {
    match process::find("git") {
        Some(path) => good("git", path.display().to_string()),
        None => lack("git", State::Weak, "sources that are pinned by commit cannot be fetched", "apt-get install git"),
    }
}

/// What `emulate` needs of this machine; nothing else does.
fn emulators(project: &Project) -> Vec<Finding> {
    let finding = |(name, emulator): (&Name, &Emulator)| match emulate::lacks(emulator).as_slice() {
        [] => good("emulator", format!("{name}: {}", emulator.qemu.program)),
        lacks => {
            let programs: Vec<&str> = lacks.iter().map(|(program, _)| program.as_str()).collect();
            let mut mends: Vec<&str> = lacks.iter().map(|(_, mend)| mend.as_str()).collect();
            mends.dedup();
            let detail = format!("{name}: no {}; bundles cannot be tried on an emulated board", programs.join(", no "));
            lack("emulator", State::Weak, detail, &mends.join("; "))
        }
    };
    project.emulators.iter().map(finding).collect()
}

/// Toolchains of the host are a choice, so their absence is no lack: it is told, with how to get them.
fn cross_compilers(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    for toolchain in project.toolchains.values() {
        let Some((c, host)) = toolchain.c().and_then(|c| Some((c, c.host.as_ref()?))) else { continue };
        for arch in c.arch.keys() {
            let title = format!("--toolchain {} for {arch}", toolchain.name);
            findings.push(match tools::cross_cc(toolchain, host, *arch) {
                Ok(path) => good("optional", format!("{title}: {}", path.display())),
                Err(_) => Finding {
                    name: "optional",
                    state: State::Good,
                    detail: format!("{title}: not installed"),
                    mend: Some(host.install.clone()),
                },
            });
        }
    }
    findings
}
