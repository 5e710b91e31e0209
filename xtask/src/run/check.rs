//! Runs finished programs under qemu-user and looks at what they say.
//!
//! A check's outcome is kept beside the result it belongs to, so that it runs once. Where qemu is
//! missing the check is skipped visibly; in CI (`CI` is set) that is a failure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;

use crate::data::types::{Arch, Sha256};
use crate::error::{Failure, Kind, Result};
use crate::plan::Plan;
use crate::plan::step::Check;
use crate::ui::Ui;

use super::build::Built;
use super::jobs::Jobs;
use super::process::{self, Finished, Spawn};
use super::store::{Store, write_atomic};

/// Emulated programs are slow to start, not this slow.
const LIMIT: Duration = Duration::from_secs(120);

/// What became of a result's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The recipe has none.
    None,
    /// qemu-user is not installed.
    Skipped,
}

/// Runs the plan's checks on its result, unless the same ones passed on the same result before.
pub fn check(store: &Store, ui: &Ui, jobs: &Jobs, plan: &Plan, built: &Built) -> Result<Outcome> {
    if plan.checks.is_empty() {
        return Ok(Outcome::None);
    }
    let stamp = stamp(store, plan, &built.key);
    if stamp.exists() {
        return Ok(Outcome::Passed);
    }
    let arch = plan.choice.arch;
    let emulator = qemu(arch);
    if emulator.is_none() && !arch.is_native() {
        return missing(ui, plan);
    }
    let _token = jobs.one()?;
    let task = ui.task("check", plan.choice.to_string());
    let failures = run_all(store, emulator.as_deref(), plan, built)?;
    let total = plan.checks.len();
    if failures.is_empty() {
        write_atomic(&stamp, b"")?;
        task.done(&match emulator {
            Some(_) => format!("{total} runs under qemu-{}", arch.qemu()),
            None => format!("{total} runs"),
        });
        return Ok(Outcome::Passed);
    }
    task.failed(&format!("{} of {total} runs", failures.len()));
    let what = format!("{} was built but does not work:\n{}", plan.choice, failures.join("\n"));
    Err(Failure::new(Kind::Check, what).next(format!("the programs are in {}", built.files.display())).into())
}

/// True if these checks passed on this result before.
pub fn passed(store: &Store, plan: &Plan, key: &Sha256) -> bool {
    plan.checks.is_empty() || stamp(store, plan, key).exists()
}

/// The qemu-user program for an architecture: Debian calls it `-static`, others do not. `None` where
/// there is none, or none is needed.
pub fn qemu(arch: Arch) -> Option<PathBuf> {
    if arch.is_native() {
        return None;
    }
    let name = format!("qemu-{}", arch.qemu());
    process::find(&format!("{name}-static")).or_else(|| process::find(&name))
}

fn stamp(store: &Store, plan: &Plan, key: &Sha256) -> PathBuf {
    let checks = Sha256::of(plan.checks_text());
    store.path("checked").join(format!("{}-{}", key.short(), checks.short()))
}

fn missing(ui: &Ui, plan: &Plan) -> Result<Outcome> {
    let arch = plan.choice.arch.qemu();
    let what = format!("qemu-{arch} is not installed, so {} cannot be run", plan.choice);
    let install = "apt-get install qemu-user-static   (or your distribution's qemu-user)";
    if std::env::var_os("CI").is_some_and(|ci| !ci.is_empty()) {
        return Err(Failure::new(Kind::Host, what).next(install).into());
    }
    ui.note("skipped", &format!("check {}: {what}; {install}", plan.choice));
    Ok(Outcome::Skipped)
}

fn run_all(store: &Store, qemu: Option<&Path>, plan: &Plan, built: &Built) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for check in &plan.checks {
        let folder = store.temp_dir()?;
        for (name, content) in &check.input {
            let path = folder.path().join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, content)?;
        }
        let spawn = spawn(qemu, check, &built.files, folder.path());
        let finished = spawn.output()?;
        if let Some(problem) = problem(check, &finished) {
            failures.push(format!("  {}\n{problem}", spawn.shell_line()));
        }
    }
    Ok(failures)
}

/// The program under its own name: multi-call programs look at argv[0].
fn spawn(qemu: Option<&Path>, check: &Check, files: &Path, folder: &Path) -> Spawn {
    let program = &check.argv[0];
    let name = program.rsplit('/').next().unwrap_or(program);
    let path = files.join(program).into_os_string();
    let start = match qemu {
        Some(qemu) => vec![qemu.as_os_str().to_owned(), "-0".into(), name.into(), path],
        None => vec![path],
    };
    let rest = check.argv[1..].iter().map(OsString::from);
    let env = BTreeMap::from([("LC_ALL".to_owned(), "C".into()), ("TZ".to_owned(), "UTC".into())]);
    Spawn::isolated(start.into_iter().chain(rest).collect(), folder, env).limit(LIMIT)
}

fn problem(check: &Check, finished: &Finished) -> Option<String> {
    let output = finished.text();
    let right_status = finished.status.code() == Some(check.status) && !finished.timed_out;
    if right_status && output.contains(&check.expect) {
        return None;
    }
    let indented = process::tail(&output, 12).replace('\n', "\n    | ");
    Some(format!(
        "    expected exit status {} and {:?}\n    found    {} and\n    | {indented}",
        check.status,
        check.expect,
        finished.how()
    ))
}
