//! The kernel of an emulated board and its initramfs: from packages, the bundle and this repository.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use fs_err as fs;

use super::modules::Modules;
use crate::data::emulator::{Emulator, Extra, Kernel};
use crate::data::project::{Project, is_executable};
use crate::data::types::{RelPath, Sha256};
use crate::error::{Context, Failure, Kind, Result};
use crate::plan::EPOCH;
use crate::run::fetch::{Fetcher, Unavailable};
use crate::run::store::Store;
use crate::run::tools::verify;
use crate::run::unpack;
use crate::ship::cpio::Cpio;
use crate::ui::Ui;

/// A kernel that can be booted.
pub struct Ready<'a> {
    pub kernel: &'a Kernel,
    pub image: PathBuf,
    /// The folder with its modules and the list `order`.
    modules: PathBuf,
}

/// Where things come from.
pub struct Source<'a> {
    pub store: &'a Store,
    pub fetcher: &'a Fetcher,
    pub ui: &'a Ui,
}

impl Source<'_> {
    /// The first kernel of the emulator that can be had, or the one of this series.
    pub fn kernel<'a>(&self, emulator: &'a Emulator, series: Option<&str>) -> Result<Ready<'a>> {
        if let Some(series) = series {
            let known: Vec<&str> = emulator.kernels.iter().map(|kernel| kernel.series.as_str()).collect();
            let kernel = emulator.kernels.iter().find(|kernel| kernel.series == series).ok_or_else(|| {
                Failure::new(Kind::Data, crate::data::text::unknown("a kernel of this emulator", series, known))
            })?;
            return self.ready(emulator, kernel);
        }
        let mut missing = Vec::new();
        for kernel in &emulator.kernels {
            match self.ready(emulator, kernel).map_err(|error| error.downcast::<Unavailable>()) {
                Ok(ready) => {
                    if let Some(first) = emulator.kernels.first().filter(|_| !missing.is_empty()) {
                        let what = format!("Linux {} could not be had; this is {}", first.series, kernel.series);
                        self.ui.note("warning", &what);
                    }
                    return Ok(ready);
                }
                Err(Ok(unavailable)) => missing.push(unavailable.in_full()),
                Err(Err(error)) => return Err(error),
            }
        }
        let what = format!("no kernel for the emulated board could be had:\n\n{}", missing.join("\n\n"));
        let mut failure = Failure::new(Kind::Source, what);
        for kernel in &emulator.kernels {
            // Where the archive cannot be asked, the answers above say why.
            if let Ok(now) = self.fetcher.newest(&kernel.suite, emulator.arch, &kernel.newest) {
                failure.message.push_str(&format!("\n\n{} has {} {} now", kernel.suite, now.package, now.version));
            }
        }
        Err(failure
            .next("cargo xtask emulate --renew-kernel --target …   (pins what Debian's archive has now)")
            .next("--mirror DIR, a folder with one of these files")
            .into())
    }

    /// Fetches a kernel's package and takes what the board needs out of it, once.
    fn ready<'a>(&self, emulator: &'a Emulator, kernel: &'a Kernel) -> Result<Ready<'a>> {
        let wanted = Sha256::of(emulator.modules.join(" "));
        let name = format!("kernel-{}-{}", &kernel.sha256.as_str()[..12], &wanted.as_str()[..12]);
        let dir = self.store.path("tools").join(&name);
        let ready = Ready { kernel, image: dir.join("image"), modules: dir.join("modules") };
        if dir.is_dir() {
            return Ok(ready);
        }
        let waiting = || self.ui.note("waiting", &format!("another process unpacks {}", kernel.package));
        let _lock = self.store.lock(&format!("tool-{name}"), waiting)?;
        if dir.is_dir() {
            return Ok(ready);
        }
        let file = self.fetcher.file(&kernel.pinned(emulator.arch))?;
        let task = self.ui.task("unpack", format!("{} {}", kernel.package, kernel.version));
        let temp = self.store.temp_dir()?;
        let whole = temp.path().join("whole");
        verify(self.store, &file, &kernel.sha256)?;
        unpacked(&file, None, &whole)?;
        let modules = Modules::read(&whole.join(&kernel.modules))?;
        let order = modules.load_order(&emulator.modules).with_context(|| format!("look into {}", kernel.file))?;
        let kept = temp.path().join("kept");
        fs::create_dir_all(kept.join("modules"))?;
        let mut list = String::new();
        for module in &order {
            fs::write(kept.join("modules").join(format!("{}.ko", module.name)), &module.bytes)?;
            list.push_str(&format!("{}.ko\n", module.name));
        }
        fs::write(kept.join("modules/order"), list)?;
        fs::rename(whole.join(&kernel.image), kept.join("image"))?;
        self.store.publish(&kept, &dir)?;
        task.done(&format!("{} modules", order.len()));
        Ok(ready)
    }

    /// The initramfs: the same bytes from the same inputs.
    pub fn initramfs(
        &self,
        project: &Project,
        emulator: &Emulator,
        ready: &Ready<'_>,
        bundle: &Path,
    ) -> Result<Vec<u8>> {
        let wanted = &emulator.initramfs;
        let mut cpio = Cpio::default();
        for folder in &wanted.folders {
            cpio.folder(folder.as_str())?;
        }
        for (path, target) in &wanted.links {
            cpio.link(path.as_str(), target)?;
        }
        for (path, from) in &wanted.files {
            let from = project.root.join(from);
            cpio.file(path.as_str(), fs::read(&from)?, is_executable(&from)?)?;
        }
        let paths: Vec<&RelPath> = wanted.bundle.values().collect();
        let mut found = bundle_files(bundle, &paths)?;
        for (path, from) in &wanted.bundle {
            let what = || format!("the emulated board needs `{from}`, which is not in {}", bundle.display());
            let bytes = found.remove(from.as_str()).with_context(what)?;
            cpio.file(path.as_str(), bytes, true)?;
        }
        if let Some(applets) = &wanted.applets {
            for name in &applets.names {
                cpio.link(&format!("{}/{name}", applets.folder), &applets.program)?;
            }
        }
        for extra in &emulator.packages {
            self.take(emulator, extra, &mut cpio)?;
        }
        for entry in fs::read_dir(&ready.modules)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            cpio.file(&format!("emulator/modules/{name}"), fs::read(entry.path())?, false)?;
        }
        cpio.bytes()
    }

    fn take(&self, emulator: &Emulator, extra: &Extra, cpio: &mut Cpio) -> Result<()> {
        let file = self.fetcher.file(&extra.pinned(emulator.arch))?;
        verify(self.store, &file, &extra.sha256)?;
        for (path, from) in &extra.take {
            // Its folder alone: a package's links may lead all over the system that it is made for.
            let folder = from.parent().context("a package's files are in folders")?.parse();
            let temp = self.store.temp_dir()?;
            let tree = temp.path().join("tree");
            unpacked(&file, Some(folder.context("the folder of a file")?), &tree)?;
            let from = tree.join(from.file_name());
            cpio.file(path.as_str(), fs::read(&from)?, is_executable(&from)?)?;
        }
        Ok(())
    }
}

fn unpacked(file: &Path, only: Option<RelPath>, into: &Path) -> Result<()> {
    let (strip, limits) = (unpack::Strip::None, unpack::Limits::default());
    unpack::unpack(file, into, &unpack::Options { strip, only, mtime: EPOCH, limits })?;
    Ok(())
}

/// The one folder that all of a bundle is in.
pub fn top_folder(bundle: &Path) -> Result<String> {
    let reading = || format!("read {}", bundle.display());
    let mut tar = tar::Archive::new(MultiGzDecoder::new(std::io::BufReader::new(fs::File::open(bundle)?)));
    let first = tar.entries().with_context(reading)?.next().with_context(reading)?.with_context(reading)?;
    let path = first.path().with_context(reading)?.to_string_lossy().into_owned();
    Ok(path.split('/').next().unwrap_or_default().to_owned())
}

/// Which of the wanted files a bundle does not have.
pub fn missing(bundle: &Path, wanted: BTreeSet<RelPath>) -> Result<BTreeSet<RelPath>> {
    let mut missing = wanted;
    each_file(bundle, |path, _| {
        missing.retain(|wanted| wanted.as_str() != path);
        Ok(!missing.is_empty())
    })?;
    Ok(missing)
}

/// Files of a bundle, by their paths in its one top folder.
pub fn bundle_files(bundle: &Path, wanted: &[&RelPath]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    each_file(bundle, |path, contents| {
        if wanted.iter().any(|wanted| wanted.as_str() == path) {
            let mut bytes = Vec::new();
            contents.read_to_end(&mut bytes)?;
            found.insert(path.to_owned(), bytes);
        }
        Ok(found.len() < wanted.len())
    })?;
    Ok(found)
}

/// Shows each entry of a bundle, by its path in the one top folder, for as long as `go_on` says so: what comes after
/// is not unpacked.
fn each_file(bundle: &Path, mut go_on: impl FnMut(&str, &mut dyn Read) -> std::io::Result<bool>) -> Result<()> {
    let reading = || format!("read {}", bundle.display());
    let file = std::io::BufReader::new(fs::File::open(bundle)?);
    let mut tar = tar::Archive::new(MultiGzDecoder::new(file));
    for entry in tar.entries().with_context(reading)? {
        let mut entry = entry.with_context(reading)?;
        let path = entry.path().with_context(reading)?.to_string_lossy().into_owned();
        let Some((_, inside)) = path.split_once('/') else { continue };
        if !go_on(inside, &mut entry).with_context(reading)? {
            break;
        }
    }
    Ok(())
}
