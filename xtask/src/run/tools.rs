//! Compilers and tools made ready: fetched and unpacked, or found on the host; then tried once.
//!
//! Knows toolchain files, not recipes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use fs_err as fs;

use crate::data::project;
use crate::data::toolchain::{HostTools, Layout, Packing, Toolchain};
use crate::data::types::{Arch, Sha256};
use crate::error::{Context, Failure, Kind, Result};
use crate::plan::step::Package;
use crate::plan::{EPOCH, Plan};
use crate::ui::Ui;

use super::fetch::Fetcher;
use super::jobs::Jobs;
use super::places::Places;
use super::process::{self, Spawn};
use super::store::{Store, hash_file, set_mode};
use super::unpack;

/// A tool's folder in the store, and the folder that it may use as its cache.
#[derive(Debug, Clone)]
pub struct Ready {
    pub dir: PathBuf,
    pub cache: PathBuf,
}

/// Makes tools ready, each once.
pub struct Tools<'a> {
    store: &'a Store,
    fetcher: &'a Fetcher,
    ui: &'a Ui,
    /// One thread at a time makes a tool ready; the others find it done.
    turn: Mutex<()>,
}

impl<'a> Tools<'a> {
    pub fn new(store: &'a Store, fetcher: &'a Fetcher, ui: &'a Ui) -> Self {
        Self { store, fetcher, ui, turn: Mutex::new(()) }
    }

    /// Fetches and unpacks a pinned tool, unless one of its packings is unpacked already.
    pub fn ready(&self, toolchain: &Toolchain) -> Result<Ready> {
        let _turn = self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(ready) = self.unpacked(toolchain) {
            return Ok(ready);
        }
        let lock = format!("tool-{}", toolchain.name);
        let waiting = || self.ui.note("waiting", &format!("another process unpacks {}", toolchain.title()));
        let _lock = self.store.lock(&lock, waiting)?;
        if let Some(ready) = self.unpacked(toolchain) {
            return Ok(ready);
        }
        let (packing, files) = self.fetch(toolchain)?;
        self.unpack(toolchain, packing, &files)
    }

    /// The files of one packing. Those of one file each are equivalent: whichever can be had will do.
    fn fetch<'t>(&self, toolchain: &'t Toolchain) -> Result<(&'t Packing, Vec<PathBuf>)> {
        let packings = &toolchain.packings;
        if let Some(packing) = packings.iter().find(|packing| packing.files.len() > 1) {
            return Ok((packing, self.fetcher.all_of(&toolchain.title(), &packing.files)?));
        }
        let pinned: Vec<_> = packings.iter().flat_map(|packing| packing.files.clone()).collect();
        let (index, file) = self.fetcher.any_of(&pinned)?;
        Ok((&packings[index], vec![file]))
    }

    fn unpacked(&self, toolchain: &Toolchain) -> Option<Ready> {
        let places = toolchain.packings.iter().map(|packing| self.place(toolchain, packing));
        places.into_iter().find(|ready| ready.dir.is_dir())
    }

    /// Where a tool is that was built here: known by all its files.
    pub fn built(&self, toolchain: &Toolchain, files: &Sha256) -> PathBuf {
        built(self.store, toolchain, files)
    }

    fn place(&self, toolchain: &Toolchain, packing: &Packing) -> Ready {
        let hashes: Vec<&str> = packing.files.iter().map(|pinned| pinned.sha256.as_str()).collect();
        let hash =
            if let [one] = hashes.as_slice() { (*one).to_owned() } else { Sha256::of(hashes.join(" ")).to_string() };
        let name = format!("{}-{}", toolchain.name, &hash[..12]);
        Ready { dir: self.store.path("tools").join(&name), cache: self.store.path("tool-cache").join(&name) }
    }

    fn unpack(&self, toolchain: &Toolchain, packing: &Packing, files: &[PathBuf]) -> Result<Ready> {
        let task = self.ui.task("unpack", toolchain.title());
        let ready = self.place(toolchain, packing);
        let temp = self.store.temp_dir()?;
        let tree = temp.path().join("tree");
        let (strip, only) = match &packing.layout {
            Layout::TopFolder => (unpack::Strip::TopFolder, None),
            Layout::Folder(folder) => (unpack::Strip::None, Some(folder.clone())),
            Layout::Whole => (unpack::Strip::None, None),
        };
        let options = unpack::Options { strip, only, mtime: EPOCH, limits: unpack::Limits::default() };
        let mut count = 0;
        for (pinned, file) in packing.files.iter().zip(files) {
            verify(self.store, file, &pinned.sha256)?;
            count += unpack_over(file, &tree, &options)?;
        }
        for program in &toolchain.programs {
            let path = tree.join(program);
            if !path.is_file() {
                let packed: Vec<&str> = packing.files.iter().map(|pinned| pinned.file.as_str()).collect();
                let what = format!("{} has no `{program}` in {}", toolchain.title(), packed.join(", "));
                return Err(Failure::new(Kind::Data, what).into());
            }
            set_mode(&path, 0o755)?;
        }
        self.store.publish(&tree, &ready.dir)?;
        task.done(&format!("{count} files"));
        Ok(ready)
    }

    /// The GOPATH that holds these libraries, each unpacked once for all that build with them.
    pub fn libraries(&self, package: &Package) -> Result<PathBuf> {
        let dir = self.store.path("tools").join(format!("libraries-{}", package.libraries_key().short()));
        let _turn = self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if dir.is_dir() {
            return Ok(dir);
        }
        let what = format!("the Go libraries of {}", package.source.package);
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let _lock = self.store.lock(&name, || self.ui.note("waiting", &format!("another process unpacks {what}")))?;
        if dir.is_dir() {
            return Ok(dir);
        }
        let files = self.fetcher.all_of(&what, &package.libraries)?;
        let task = self.ui.task("unpack", what);
        let temp = self.store.temp_dir()?;
        let tree = temp.path().join("tree");
        let options = unpack::Options {
            strip: unpack::Strip::None,
            only: Some("usr/share/gocode".parse().context("where Debian's Go libraries lie")?),
            mtime: EPOCH,
            limits: unpack::Limits::default(),
        };
        let mut count = 0;
        for (pinned, file) in package.libraries.iter().zip(&files) {
            verify(self.store, file, &pinned.sha256)?;
            count += unpack_over(file, &tree, &options)?;
        }
        self.store.publish(&tree, &dir)?;
        task.done(&format!("{} packages, {count} files", files.len()));
        Ok(dir)
    }

    /// Compiles and links an empty program, once per tool and architecture: a compiler that does not
    /// work says so here and not in the middle of a configure script, and one that builds its C library
    /// on first use (zig) does it here, once, with all processors.
    pub fn try_compiler(&self, scene: &Scene<'_>, jobs: &Jobs) -> Result<()> {
        let stamp = scene.stamp();
        if stamp.exists() {
            return Ok(());
        }
        let _turn = self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let lock = format!("try-{}", stamp.file_name().unwrap_or_default().to_string_lossy());
        let waiting = || self.ui.note("waiting", &format!("another process prepares {}", scene.title));
        let _lock = self.store.lock(&lock, waiting)?;
        if stamp.exists() {
            return Ok(());
        }
        let task = self.ui.task("prepare", format!("{} for {}", scene.title, scene.arch));
        let temp = self.store.temp_dir()?;
        fs::write(temp.path().join("try.c"), "int main(void) { return 0; }\n")?;
        let words = ["-static", "try.c", "-o", "try"].map(OsString::from);
        let argv = scene.compiler.iter().map(OsString::from).chain(words).collect();
        let spawn = scene.places.spawn(argv, temp.path(), scene.env.clone()).limit(Duration::from_secs(1800));
        let finished = {
            let _all = jobs.all()?;
            spawn.output()?
        };
        if !finished.success() {
            let what =
                format!("{} cannot compile an empty program for {}: {}", scene.title, scene.arch, finished.how());
            let mut failure = Failure::new(Kind::Host, format!("{what}\n{}", process::tail(&finished.text(), 20)));
            failure.command = Some(spawn.shell_line());
            return Err(failure.into());
        }
        super::store::write_atomic(&stamp, b"")?;
        task.done(scene.libc);
        Ok(())
    }
}

/// Where a tool is that was built here: known by all its files.
pub fn built(store: &Store, toolchain: &Toolchain, files: &Sha256) -> PathBuf {
    store.path("tools").join(format!("{}-{}", toolchain.name, files.short()))
}

/// Unpacks an archive over what is in `tree` already; gives the number of its files.
fn unpack_over(archive: &Path, tree: &Path, options: &unpack::Options) -> Result<u64> {
    if !tree.exists() {
        return Ok(unpack::unpack(archive, tree, options)?.files);
    }
    let beside = tempfile::tempdir_in(tree.parent().context("a folder to unpack beside")?)?;
    let part = beside.path().join("part");
    let unpacked = unpack::unpack(archive, &part, options)?;
    for path in project::walk(&part)? {
        let to = tree.join(&path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(part.join(&path), to)?;
    }
    Ok(unpacked.files)
}

/// What [`Tools::try_compiler`] needs of a build.
pub struct Scene<'a> {
    pub title: String,
    pub libc: &'a str,
    pub arch: Arch,
    /// Its argv.
    pub compiler: Vec<String>,
    pub env: BTreeMap<String, OsString>,
    pub cache: PathBuf,
    /// The plan's words for it: another flag is another compiler.
    pub words: &'a [String],
    pub places: &'a Places,
}

impl Scene<'_> {
    fn stamp(&self) -> PathBuf {
        // zig's cache knows its library by its path.
        let caged = if self.places.sandboxed() { "-caged" } else { "" };
        self.cache.join(format!("tried-{}-{}{caged}", self.arch, Sha256::of(self.words.join("\n")).short()))
    }
}

/// Checks a stored file's bytes once more before they are used: disks forget, people edit.
pub fn verify(store: &Store, file: &Path, sha256: &Sha256) -> Result<()> {
    let actual = hash_file(file)?;
    if actual == *sha256 {
        return Ok(());
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = store.quarantine(file, &actual, &name)?;
    let what = format!(
        "{name} changed in the store\n  expected {sha256}\n  actual   {actual}\n  set aside as {}",
        aside.display()
    );
    Err(Failure::new(Kind::Source, what).next("run the same command again: it is fetched anew").into())
}

/// The host's own C compiler, for the small programs that a build runs while it builds.
pub fn host_cc() -> Result<PathBuf> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    find_compiler(&host, &host).ok_or_else(|| {
        Failure::new(Kind::Host, "there is no C compiler on this machine (builds compile small helpers for themselves)")
            .next("apt-get install gcc libc6-dev   (or your distribution's like)")
            .into()
    })
}

/// The host's cross-compiler for a Rust target name, as the `cc` crate finds it: it also honours
/// `CC_aarch64_unknown_linux_gnu` and its like.
pub fn cross_cc(toolchain: &Toolchain, host: &HostTools, arch: Arch) -> Result<PathBuf> {
    let rust_target = toolchain.c().and_then(|c| c.arch.get(&arch)).and_then(|arch| arch.rust_target.as_deref());
    let build = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    rust_target.and_then(|target| find_compiler(&build, target)).ok_or_else(|| {
        let what = format!("the toolchain {} needs a C compiler for {arch}, which is not installed", toolchain.name);
        Failure::new(Kind::Host, what).next(host.install.clone()).next("or build without --toolchain").into()
    })
}

fn find_compiler(host: &str, target: &str) -> Option<PathBuf> {
    let mut build = cc::Build::new();
    build.cargo_metadata(false).cargo_warnings(false).cargo_debug(false).opt_level(0).host(host).target(target);
    let compiler = build.try_get_compiler().ok()?;
    let path = compiler.path();
    match path.is_absolute() {
        true => path.is_file().then(|| path.to_owned()),
        false => process::find(&path.to_string_lossy()),
    }
}

/// What pins a host's compiler: the hashes of the programs and libraries that decide its output.
pub fn identity(compiler: &Path, host: &HostTools) -> Result<String> {
    let mut text = String::new();
    for name in &host.identity {
        let option = if name.contains('.') { "-print-file-name" } else { "-print-prog-name" };
        let argv = vec![compiler.as_os_str().to_owned(), format!("{option}={name}").into()];
        let finished = Spawn { inherit: true, ..Spawn::isolated(argv, Path::new("/"), BTreeMap::new()) }.output()?;
        let answer = finished.text().trim().to_owned();
        let path = match answer.contains('/') {
            true => PathBuf::from(&answer),
            false => process::find(&answer).with_context(|| format!("find `{name}` of {}", compiler.display()))?,
        };
        let hash = hash_file(&path).with_context(|| format!("hash `{name}` of {}", compiler.display()))?;
        text.push_str(&format!("host {name}\n  sha256 {hash}\n"));
    }
    text.push_str(&format!("host compiler\n  sha256 {}\n", hash_file(compiler)?));
    Ok(text)
}

/// The argv that a wrapper of a plan stands for.
pub fn wrapped(argv: &[String], places: &Places) -> Result<Vec<String>> {
    let mut words: Vec<String> = argv.iter().map(|word| places.fill(word)).collect();
    if !words[0].contains('/') {
        // By its absolute path: the wrapper itself comes first in PATH and would call itself.
        words[0] = process::find(&words[0])
            .ok_or_else(|| Failure::new(Kind::Host, format!("`{}` is not installed", words[0])))?
            .to_string_lossy()
            .into_owned();
    }
    Ok(words)
}

/// Writes the wrappers of a plan as shell scripts into `bin`, for commands that call them by name.
pub fn write_wrappers(plan: &Plan, bin: &Path, places: &Places) -> Result<()> {
    fs::create_dir_all(bin)?;
    for (name, argv) in &plan.wrappers {
        let words = wrapped(argv, places)?;
        let quoted: Vec<String> = words.iter().map(|word| process::quote(word)).collect();
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", quoted.join(" ")))?;
        set_mode(&path, 0o755)?;
    }
    Ok(())
}
