//! Tools that are built here from recipes, for the builds of everything else.
//!
//! What pins such a tool is the hash of all its files, which the repository records: whatever this machine
//! builds it with, it must come out as recorded, or something of the machine is in it. The shell and the
//! small tools need a shell and small tools to be built, so the first time they are built with the host's.
//! If what comes out is what is recorded, nothing of the host is in it. Else they are built once more, with
//! what came out, and that must be what is recorded.

use super::build::Builder;
use super::{check, tree};
use crate::data::project;
use crate::data::toolchain::{BuiltTool, ToolKind, Toolchain};
use crate::data::types::Sha256;
use crate::error::{Context, Failure, Kind, Result};
use crate::plan::{self, Plan, Stage};

impl Builder<'_> {
    /// Makes the tools of a plan ready that are built here, each once in a store.
    pub fn own_tools(&self, plan: &Plan) -> Result<()> {
        for tool in &plan.tools {
            let toolchain = &self.project.toolchains[&tool.name];
            // A first stage's tools are there, or there would be no second.
            let recorded = toolchain.built.as_ref().map(|built| built.get_ref());
            if let Some(built) = recorded.filter(|built| tool.files.as_ref() == Some(&built.sha256)) {
                self.own_tool(toolchain, built).with_context(|| format!("prepare {}", toolchain.title()))?;
            }
        }
        Ok(())
    }

    fn own_tool(&self, toolchain: &Toolchain, built: &BuiltTool) -> Result<()> {
        let dir = self.tools.built(toolchain, &built.sha256);
        if dir.is_dir() {
            return Ok(());
        }
        let waiting = || self.ui.note("waiting", &format!("another build makes {}", toolchain.title()));
        let _lock = self.store.lock(&format!("tool-{}", toolchain.name), waiting)?;
        self.jobs.check()?;
        if dir.is_dir() {
            return Ok(());
        }
        let mut found = self.stage(toolchain, &Stage::First)?;
        if found != built.sha256 && matches!(toolchain.kind, ToolKind::Userland(_)) {
            let what =
                format!("{} holds something of this machine's tools: it is built again by itself", toolchain.title());
            self.ui.note("again", &what);
            found = self.stage(toolchain, &Stage::Second(found))?;
        }
        match found == built.sha256 {
            true => Ok(()),
            false => Err(self.not_as_recorded(toolchain, built, &found).into()),
        }
    }

    /// Builds the tool and puts it where builds find it; gives the hash of its files.
    fn stage(&self, toolchain: &Toolchain, stage: &Stage) -> Result<Sha256> {
        let plan = plan::tool(self.project, toolchain, stage)?;
        let made = self.build(&plan)?;
        check::check(self.store, self.ui, self.jobs, &plan, &made)?;
        let files = project::hash_tree(&made.files)?;
        let temp = self.store.temp_dir()?;
        let copy = temp.path().join("tool");
        tree::copy(&made.files, &copy)?;
        self.store.publish(&copy, &self.tools.built(toolchain, &files))?;
        Ok(files)
    }

    fn not_as_recorded(&self, toolchain: &Toolchain, built: &BuiltTool, found: &Sha256) -> Failure {
        let place = &toolchain.text.path;
        let what = format!(
            "{} is not what {place} records: its recipe changed, or this machine leaked into it\n  \
             expected {}\n  found    {found}\n  found is {}",
            toolchain.title(),
            built.sha256,
            self.tools.built(toolchain, found).display()
        );
        Failure::new(Kind::Check, what)
            .next(format!("if the recipe {} was changed: write what was found into {place}", built.recipe))
            .next("else compare its files with those of a machine where it is as recorded")
    }
}
