//! `clean`.

use std::path::Path;

use fs_err as fs;
use serde_json::json;

use crate::cli;
use crate::data::project::Project;
use crate::error::Result;
use crate::run::store::{Store, remove_tree};
use crate::ui::Ui;

/// `cargo xtask clean`: what was built goes; with `--all`, what was fetched goes too.
pub fn clean(project: &Project, args: &cli::Clean, ui: &Ui) -> Result<()> {
    let store = Store::open(&Store::default_root()?)?;
    let removed = store.clean(args.all, || ui.note("waiting", "another process uses the store"))?;
    let dist = project.root.join("dist");
    clear_dist(&dist)?;
    let what =
        if args.all { "everything" } else { "build results (sources and tools are kept; --all removes them too)" };
    let text = format!("removed what was built from {} and {what} in {}", dist.display(), store.root().display());
    ui.result(&text, json!({"event": "result", "dist": dist, "store": store.root(), "removed": removed}));
    Ok(())
}

/// Removes what is in `dist/` but the records, which belong to the project.
fn clear_dist(dist: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(dist) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sha256") || path.is_dir() {
            remove_tree(&path)?;
        }
    }
    // Only if nothing is left in it.
    let _ = std::fs::remove_dir(dist);
    Ok(())
}
