//! The script on the board: started there over a link, from the bundle that is installed.

use std::collections::BTreeMap;

use super::facts::{Facts, Narrow};
use super::package::Package;
use super::upload::{Upload, run};
use super::{Link, failure};
use crate::data::types::Name;
use crate::error::Result;
use crate::run::process::quote;
use crate::ship::secrets::Secret;
use crate::ui::Ui;

/// What a push came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    Installed,
    /// It was there already, every file with its hash.
    AsBefore,
}

/// Sends a bundle and installs it. `facts` were asked and found good; `narrow` says whether 32-bit programs
/// must be tried. A cut at any point leaves the installed slot as it was: only the script's `install`
/// switches, and it does so last.
pub struct Push<'a> {
    pub link: &'a dyn Link,
    pub ui: &'a Ui,
    pub package: &'a Package,
    pub facts: &'a Facts,
    pub narrow: Narrow,
    pub secrets: &'a BTreeMap<Name, Secret>,
    pub boot: bool,
    /// How many bytes go in one piece.
    pub piece: u64,
}

impl Push<'_> {
    pub fn run(&self) -> Result<Pushed> {
        let package = self.package;
        let tarball = package.file_name();
        let upload = Upload::open(self.link, self.ui, &package.board_dir, &["busybox", "slipway"], &tarball)?;
        let upload = upload.piece(self.piece);
        upload.busybox(&package.busybox)?;
        upload.small("slipway", &package.script)?;
        if self.narrow == Narrow::Unknown {
            self.try_narrow(&upload)?;
        }
        let there = !self.boot && self.is_installed()?;
        if !there {
            upload.large(&tarball, &package.file, &package.sha256, package.size)?;
        }
        self.send_secrets(&upload)?;
        if !there {
            self.install(&upload, &tarball)?;
        }
        // A slot holds it now, and /data of a board is small. If this fails, it is the next push's work.
        let file = quote(&upload.path(&tarball));
        if let Err(error) = run(self.link, &format!("rm -f {file}"), || format!("remove {file}")) {
            self.ui.note("note", &format!("the tarball is left on the board, {error:#}"));
        }
        Ok(if there { Pushed::AsBefore } else { Pushed::Installed })
    }

    /// Runs a 32-bit program of the bundle. That it ran is known from its exit status: a shell that cannot
    /// start a program says 126 or 127.
    fn try_narrow(&self, upload: &Upload<'_>) -> Result<()> {
        let Some(program) = &self.package.narrow else { return Ok(()) };
        upload.small("narrow", &program.bytes)?;
        let path = quote(&upload.path("narrow"));
        let answer = self.link.shell(&format!("{path} --version; s=$?; rm -f {path}; exit $s"))?;
        if !matches!(answer.status, 126 | 127) {
            return Ok(());
        }
        let what = format!(
            "the board runs no 32-bit programs, and the bundle holds some ({}):\n{}",
            program.path,
            answer.output.trim()
        );
        Err(failure(
            what,
            vec!["a kernel with CONFIG_COMPAT=y, or --set RECIPE.arch=aarch64 for the programs of armhf".into()],
        )
        .into())
    }

    /// True if this very bundle is what `current` points to, and every file of it has its hash.
    fn is_installed(&self) -> Result<bool> {
        if self.facts.current.as_deref() != Some(&self.package.slot()) {
            return Ok(false);
        }
        let task = self.ui.task("verify", self.package.slot());
        let dir = quote(&self.package.board_dir);
        let answer = self
            .link
            .shell(&format!("cd {dir}/current && {dir}/incoming/busybox sha256sum -c SHA256SUMS >/dev/null"))?;
        task.done(if answer.success() { "installed already" } else { "files have changed: it is sent again" });
        Ok(answer.success())
    }

    fn send_secrets(&self, upload: &Upload<'_>) -> Result<()> {
        for (name, value) in self.secrets.iter() {
            let file = format!("secret.{name}");
            upload.small(&file, format!("{}\n", value.reveal()).as_bytes())?;
            let script = Script::sent(&self.package.board_dir);
            let command = script.command(&["secret", name.as_str(), &upload.path(&file)]);
            run(self.link, &command, || format!("keep the secret {name}"))?;
        }
        Ok(())
    }

    fn install(&self, upload: &Upload<'_>, tarball: &str) -> Result<()> {
        let file = upload.path(tarball);
        let mut args = vec!["install", &file, "--sha256", self.package.sha256.as_str()];
        args.extend(self.boot.then_some("--boot"));
        let task = self.ui.task("install", self.package.slot());
        let status = Script::sent(&self.package.board_dir).run(self.link, &args, &mut |line| {
            self.ui.log("install", String::from_utf8_lossy(line).trim_end());
            Ok(())
        });
        match status {
            Ok((0, _)) => {
                task.done("");
                Ok(())
            }
            Ok((status, said)) => {
                task.failed("");
                let what = format!("the board did not install {} (exit status {status}):\n{said}", self.package.slot());
                Err(failure(what, vec![]).into())
            }
            Err(error) => {
                task.failed("");
                Err(error)
            }
        }
    }
}

/// A copy of the script on the board.
pub struct Script {
    /// The folder that holds it, and a busybox beside it.
    bin: String,
}

impl Script {
    /// The one that was sent before anything is installed.
    pub fn sent(board_dir: &str) -> Self {
        Self { bin: format!("{board_dir}/incoming") }
    }

    /// The one of the bundle that is installed.
    pub fn installed(board_dir: &str) -> Self {
        Self { bin: format!("{board_dir}/current/bin") }
    }

    /// The shell command that runs it with these words.
    pub fn command(&self, args: &[&str]) -> String {
        let bin = quote(&self.bin);
        let args: String = args.iter().map(|arg| format!(" {}", quote(arg))).collect();
        format!("{bin}/busybox sh {bin}/slipway{args}")
    }

    /// Runs it; gives its exit status and the end of what it said.
    pub fn run(
        &self,
        link: &dyn Link,
        args: &[&str],
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<(i32, String)> {
        let mut said = Vec::new();
        let status = link.stream(&self.command(args), &mut |line| {
            said.extend_from_slice(line);
            let spare = said.len().saturating_sub(4096);
            said.drain(..spare);
            sink(line)
        })?;
        Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
    }

    /// Whether it can be run at all.
    pub fn is_there(&self, link: &dyn Link) -> Result<bool> {
        let bin = quote(&self.bin);
        Ok(link.shell(&format!("[ -f {bin}/slipway ] && [ -x {bin}/busybox ]"))?.success())
    }
}
