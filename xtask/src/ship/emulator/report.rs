//! What was checked, on which kernel, with which bundle: for programs and for release notes.
//!
//! Knows outcomes, not checks.

use serde_json::{Value, json};

use super::acceptance::{Outcome, Verdict};

/// The report for programs, in `dist/TARGET/`.
pub const REPORT: &str = "acceptance.json";
/// The same for people.
pub const TABLE: &str = "acceptance.md";

/// What the checks ran on.
#[derive(Debug, Clone)]
pub struct Scene {
    pub target: String,
    pub bundle: String,
    pub bundle_sha256: String,
    /// `Linux 5.10: linux-image-… 5.10.223-1`.
    pub kernel: String,
    pub kernel_sha256: String,
    pub emulator: String,
    pub qemu: String,
    /// Whether all checks that there are were asked for.
    pub complete: bool,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::NotRun => "not run",
        }
    }
}

/// How many passed, failed and were not run.
pub fn count(outcomes: &[Outcome]) -> (usize, usize, usize) {
    let of = |verdict| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
    (of(Verdict::Passed), of(Verdict::Failed), of(Verdict::NotRun))
}

/// `acceptance.json`. `broken` is what was broken on purpose; passed there means that a check found it.
pub fn json(scene: &Scene, outcomes: &[Outcome], broken: &[Outcome]) -> Value {
    let (passed, failed, not_run) = count(outcomes);
    let breaks = broken.iter().map(|outcome| {
        json!({"name": outcome.name, "proves": outcome.proves, "found": outcome.verdict == Verdict::Passed,
               "evidence": outcome.evidence})
    });
    let checks = outcomes.iter().map(|outcome| {
        json!({"name": outcome.name, "proves": outcome.proves, "verdict": outcome.verdict.as_str(),
               "seconds": (outcome.seconds * 10.0).round() / 10.0, "evidence": outcome.evidence,
               "output": outcome.output})
    });
    json!({
        "target": scene.target,
        "bundle": {"file": scene.bundle, "sha256": scene.bundle_sha256},
        "kernel": {"package": scene.kernel, "sha256": scene.kernel_sha256},
        "emulator": scene.emulator,
        "qemu": scene.qemu,
        "complete": scene.complete,
        "passed": passed,
        "failed": failed,
        "not_run": not_run,
        "checks": checks.collect::<Vec<_>>(),
        "breaks": breaks.collect::<Vec<_>>(),
    })
}

/// The same as a table in Markdown.
pub fn markdown(scene: &Scene, outcomes: &[Outcome], broken: &[Outcome]) -> String {
    let (passed, failed, not_run) = count(outcomes);
    let part = if scene.complete { "" } else { ", of a part of the list" };
    let mut text = format!(
        "# Acceptance of {} on an emulated board\n\n\
         {passed} passed, {failed} failed, {not_run} not run{part}. What an emulated board can show and what it cannot: \
         docs/emulation.md.\n\n\
         - bundle: `{}`, sha256 `{}`\n- kernel: {}, sha256 of the package `{}`\n- machine: {}, {}\n\n\
         | check | verdict | s | what it proves | evidence |\n|---|---|---|---|---|\n",
        scene.target, scene.bundle, scene.bundle_sha256, scene.kernel, scene.kernel_sha256, scene.emulator, scene.qemu
    );
    for outcome in outcomes {
        let evidence: Vec<String> = outcome.evidence.iter().map(|line| cell(line)).collect();
        text.push_str(&format!(
            "| {} | {} | {:.0} | {} | {} |\n",
            outcome.name,
            outcome.verdict.as_str(),
            outcome.seconds,
            cell(&outcome.proves),
            evidence.join("<br>")
        ));
    }
    if !broken.is_empty() {
        text.push_str("\nBroken on purpose, to see that the checks can fail:\n\n| break | found | what it proves |\n|---|---|---|\n");
        for outcome in broken {
            let found = if outcome.verdict == Verdict::Passed { "yes" } else { "NO" };
            text.push_str(&format!("| {} | {found} | {} |\n", outcome.name, cell(&outcome.proves)));
        }
    }
    text
}

/// Text that cannot end its cell of a table.
pub fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '|' => out.push_str("\\|"),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_well() {
        let scene = Scene {
            target: "board".to_owned(),
            bundle: "slipway-board-1.tar.gz".to_owned(),
            bundle_sha256: "00aa".to_owned(),
            kernel: "Linux 5.10: linux-image-5.10 5.10.1-1".to_owned(),
            kernel_sha256: "11bb".to_owned(),
            emulator: "virt".to_owned(),
            qemu: "QEMU emulator version 7.2".to_owned(),
            complete: false,
        };
        let outcome = |name: &str, verdict, evidence: &[&str]| Outcome {
            name: name.to_owned(),
            proves: format!("{name} works"),
            verdict,
            seconds: 1.26,
            evidence: evidence.iter().map(|line| (*line).to_owned()).collect(),
            output: String::new(),
        };
        let outcomes = [
            outcome("one", Verdict::Passed, &["seen <a>", "a | b"]),
            outcome("two", Verdict::Failed, &["status 1"]),
            outcome("three", Verdict::NotRun, &["needs two, which did not pass"]),
        ];
        let broken =
            [outcome("cut", Verdict::Passed, &["one failed"]), outcome("hole", Verdict::Failed, &["one passed"])];
        insta::assert_snapshot!("markdown", markdown(&scene, &outcomes, &broken));
        let json = serde_json::to_string_pretty(&json(&scene, &outcomes, &broken)).unwrap();
        insta::assert_snapshot!("json", json);
    }
}
