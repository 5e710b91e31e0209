//! `dist/TARGET/release-notes.md`: what a bundle is, what is in it, and what was checked of it, for the page that
//! it is published on.
//!
//! Knows the manifest and the acceptance report, not how either is made.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Deserialize;

use super::bundle::sums_path;
use super::emulator::kernel::bundle_files;
use super::emulator::report::{REPORT, TABLE, cell};
use crate::data::types::RelPath;
use crate::error::{Context, Result};
use crate::run::store::write_atomic;
use crate::ui;

/// The file's name, beside the bundle.
pub const NOTES: &str = "release-notes.md";

/// What of `MANIFEST.json` is told.
#[derive(Debug, Deserialize)]
struct Manifest {
    name: String,
    target: String,
    partial: bool,
    sandbox: String,
    programs: Vec<Program>,
    images: Vec<Image>,
}

#[derive(Debug, Deserialize)]
struct Program {
    recipe: String,
    version: String,
    arch: String,
    license: String,
    toolchain: String,
}

#[derive(Debug, Deserialize)]
struct Image {
    path: String,
    name: String,
}

/// What of `acceptance.json` tells whether it is about this bundle.
#[derive(Debug, Deserialize)]
struct Acceptance {
    bundle: Checked,
    complete: bool,
}

#[derive(Debug, Deserialize)]
struct Checked {
    sha256: String,
}

/// Where the notes of a bundle are.
pub fn path(bundle: &Path) -> PathBuf {
    bundle.with_file_name(NOTES)
}

/// Writes the notes of a bundle, beside it. `summary` is the target's.
pub fn write(bundle: &Path, summary: &str) -> Result<PathBuf> {
    let sums = fs::read_to_string(sums_path(bundle))?;
    let sha256 = sums.split_whitespace().next().with_context(|| format!("{} is empty", sums_path(bundle).display()))?;
    let wanted: RelPath = "MANIFEST.json".parse().context("a path")?;
    let mut files = bundle_files(bundle, &[&wanted])?;
    let bytes = files.remove(wanted.as_str()).with_context(|| format!("{} has no {wanted}", bundle.display()))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).with_context(|| format!("read {wanted}"))?;
    let file = bundle.file_name().unwrap_or_default().to_string_lossy();
    let size = fs::metadata(bundle)?.len();
    let checked = table_of(bundle.parent().unwrap_or(Path::new(".")), sha256);
    let path = path(bundle);
    write_atomic(&path, text(&manifest, summary, &file, size, sha256, checked.as_deref()).as_bytes())?;
    Ok(path)
}

/// Whether the folder has a report of the whole list for the bundle with this hash.
pub fn has_whole_report(dir: &Path, sha256: &str) -> bool {
    acceptance(dir, sha256).is_some_and(|acceptance| acceptance.complete)
}

fn acceptance(dir: &Path, sha256: &str) -> Option<Acceptance> {
    let bytes = fs::read(dir.join(REPORT)).ok()?;
    let acceptance: Acceptance = serde_json::from_slice(&bytes).ok()?;
    (acceptance.bundle.sha256 == sha256).then_some(acceptance)
}

/// The table of checks, without its heading, if it is about the bundle with this hash.
fn table_of(dir: &Path, sha256: &str) -> Option<String> {
    acceptance(dir, sha256)?;
    let table = fs::read_to_string(dir.join(TABLE)).ok()?;
    let (_, rest) = table.split_once('\n')?;
    Some(rest.trim().to_owned())
}

fn text(manifest: &Manifest, summary: &str, file: &str, size: u64, sha256: &str, checked: Option<&str>) -> String {
    let mut text = format!("# {}\n\n{summary}.\n\n", manifest.name);
    if manifest.partial {
        text.push_str("**Partial**: programs of the target are missing; `MANIFEST.json` in it names them.\n\n");
    }
    text.push_str(&format!("- file: `{file}`, {}\n- sha256: `{sha256}`\n", ui::size(size)));
    text.push_str(match manifest.sandbox.as_str() {
        "off" => "- built without a sandbox\n",
        _ => "- built in a sandbox; `cargo xtask repro` builds it a second time and compares every file\n",
    });
    text.push_str(&format!(
        "\nOnto a board, from a checkout: `cargo xtask push --target {}`. By hand: docs/push.md. What it does there, \
         and how to undo it: docs/board.md.\n\n## What is in it\n\n\
         | program | version | architecture | license | built with |\n|---|---|---|---|---|\n",
        manifest.target
    ));
    for program in &manifest.programs {
        let cells = [&program.recipe, &program.version, &program.arch, &program.license, &program.toolchain];
        let row: Vec<String> = cells.iter().map(|text| cell(text)).collect();
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    if !manifest.images.is_empty() {
        text.push_str("\nContainer images, for `docker load`:");
        let images = manifest.images.iter().map(|image| format!(" {} (`{}`)", cell(&image.name), image.path));
        text.push_str(&images.collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    text.push_str("\n## What was checked\n\n");
    match checked {
        Some(table) => text.push_str(table),
        None => text.push_str(&format!(
            "On an emulated board, nothing yet: `cargo xtask emulate --target {}`.",
            manifest.target
        )),
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE_TEXT: &str = "# Acceptance of board on an emulated board\n\n1 passed\n";

    fn manifest() -> Manifest {
        let program = |recipe: &str, license: &str| Program {
            recipe: recipe.to_owned(),
            version: "1.0".to_owned(),
            arch: "aarch64".to_owned(),
            license: license.to_owned(),
            toolchain: "zig 0.15.2".to_owned(),
        };
        Manifest {
            name: "slipway-board-1".to_owned(),
            target: "board".to_owned(),
            partial: false,
            sandbox: "namespaces".to_owned(),
            programs: vec![program("one", "MIT"), program("two", "A|B")],
            images: vec![Image { path: "share/images/hello.tar".to_owned(), name: "slipway/hello:latest".to_owned() }],
        }
    }

    #[test]
    fn notes_read_well() {
        let notes = text(&manifest(), "A board", "slipway-board-1.tar.gz", 54_000_000, "00aa", Some("1 passed"));
        insta::assert_snapshot!("notes", notes);
        let partial = Manifest { partial: true, sandbox: "off".to_owned(), images: vec![], ..manifest() };
        let notes = text(&partial, "A board", "slipway-board-1-partial.tar.gz", 1_000, "00aa", None);
        insta::assert_snapshot!("notes_of_little", notes);
    }

    #[test]
    fn a_report_counts_for_its_bundle_alone() {
        let dir = tempfile::tempdir().unwrap();
        let report = |text: &str| fs::write(dir.path().join(REPORT), text).unwrap();
        fs::write(dir.path().join(TABLE), TABLE_TEXT).unwrap();
        assert_eq!(table_of(dir.path(), "00aa"), None);
        report("{\"bundle\": {\"sha256\": \"00aa\"}, \"complete\": true}");
        assert_eq!(table_of(dir.path(), "00aa").as_deref(), Some("1 passed"));
        assert_eq!(table_of(dir.path(), "11bb"), None);
        assert!(has_whole_report(dir.path(), "00aa") && !has_whole_report(dir.path(), "11bb"));
        report("{\"bundle\": {\"sha256\": \"00aa\"}, \"complete\": false}");
        assert!(!has_whole_report(dir.path(), "00aa"));
        report("half of a repo");
        assert_eq!(table_of(dir.path(), "00aa"), None);
    }
}
