//! A bundle's file, read back: what a board must be and have to take it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Deserialize;

use crate::data::types::{Arch, Name, Sha256};
use crate::error::{Context, Failure, Kind, Result};
use crate::run::store::hash_file;
use crate::ship::bundle::sums_path;

/// Where a bundle lives if it does not say so.
pub const BOARD_DIR: &str = "/data/slipway";

/// The program that does everything on the board, and the shell and tools that it needs.
const SCRIPT: &str = "bin/slipway";
const BUSYBOX: &str = "bin/busybox";

/// What the bundle was made for, in lines of `name=value`.
const SETTINGS: &str = "etc/slipway/settings";

/// No bundle holds a file that is read whole here and larger than this.
const LARGE: u64 = 64 << 20;

/// A bundle that can be sent.
#[derive(Debug)]
pub struct Package {
    pub file: PathBuf,
    pub sha256: Sha256,
    pub size: u64,
    pub target: String,
    /// The tarball's top folder.
    pub name: String,
    /// The bytes of all files in it.
    pub unpacked: u64,
    /// The architectures of its programs.
    pub archs: BTreeSet<Arch>,
    /// Where it must be unpacked.
    pub board_dir: String,
    pub script: Vec<u8>,
    pub busybox: Vec<u8>,
    /// The secrets that it leaves open.
    pub secrets: BTreeSet<Name>,
    /// A 32-bit program, to try whether a board runs such.
    pub narrow: Option<Narrow>,
}

/// A 32-bit program of the bundle.
#[derive(Debug)]
pub struct Narrow {
    pub path: String,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    name: String,
    #[serde(default)]
    secrets: BTreeSet<Name>,
    target: String,
    programs: Vec<Program>,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct Program {
    recipe: String,
    arch: Arch,
}

#[derive(Debug, Deserialize)]
struct File {
    path: String,
    size: u64,
    mode: String,
    recipe: Option<String>,
}

impl Package {
    /// Reads the bundle, and its `.sha256` if that is beside it.
    pub fn read(file: &Path) -> Result<Self> {
        let sha256 = hash_file(file)?;
        check_sums(file, &sha256)?;
        let contents = Contents::read(file).with_context(|| format!("read the bundle {}", file.display()))?;
        contents.package(file, sha256)
    }

    /// The folder of `slots/` that it is unpacked to.
    pub fn slot(&self) -> String {
        format!("{}-{}", self.name, &self.sha256.as_str()[..12])
    }

    /// Its file's name on the board.
    pub fn file_name(&self) -> String {
        format!("{}.tar.gz", self.slot())
    }
}

/// The board's folder that a bundle was made for; the usual one if there is no bundle here.
pub fn board_dir_of(file: &Path) -> Result<String> {
    let Ok(opened) = fs::File::open(file) else { return Ok(BOARD_DIR.to_owned()) };
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(opened));
    for entry in tar.entries()? {
        let mut entry = entry.with_context(|| format!("read the bundle {}", file.display()))?;
        let is_settings = entry.path()?.to_string_lossy().split_once('/').is_some_and(|(_, path)| path == SETTINGS);
        if is_settings && entry.size() <= LARGE {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return board_dir(&bytes);
        }
    }
    Ok(BOARD_DIR.to_owned())
}

fn check_sums(file: &Path, sha256: &Sha256) -> Result<()> {
    let sums = sums_path(file);
    let Ok(text) = fs::read_to_string(&sums) else { return Ok(()) };
    match text.split_whitespace().next() {
        Some(expected) if expected != sha256.as_str() => Err(Failure::new(
            Kind::Data,
            format!("{} is not what its .sha256 says\n  expected {expected}\n  found    {sha256}", file.display()),
        )
        .next("make or copy the bundle again")
        .into()),
        _ => Ok(()),
    }
}

/// The parts of the archive that matter here.
#[derive(Default)]
struct Contents {
    files: BTreeMap<String, Vec<u8>>,
}

impl Contents {
    fn read(file: &Path) -> Result<Self> {
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(file)?));
        let mut contents = Self::default();
        for entry in tar.entries()? {
            crate::interrupt::check()?;
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let Some((_, path)) = path.split_once('/') else { continue };
            let kept = ["MANIFEST.json", SETTINGS].contains(&path) || path.starts_with("bin/");
            if entry.header().entry_type().is_file() && entry.size() <= LARGE && kept {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                contents.files.insert(path.to_owned(), bytes);
            }
        }
        Ok(contents)
    }

    fn package(mut self, file: &Path, sha256: Sha256) -> Result<Package> {
        let manifest = self.files.remove("MANIFEST.json").ok_or_else(|| no_bundle(file))?;
        let manifest: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| no_bundle(file).next(format!("its MANIFEST.json cannot be read: {error}")))?;
        let archs: BTreeMap<&str, Arch> =
            manifest.programs.iter().map(|program| (program.recipe.as_str(), program.arch)).collect();
        let narrow = manifest.files.iter().find(|file| {
            let arch = file.recipe.as_deref().and_then(|recipe| archs.get(recipe));
            arch == Some(&Arch::Armhf) && file.mode == "0755" && self.files.contains_key(&file.path)
        });
        let narrow = narrow
            .and_then(|file| Some(Narrow { path: file.path.clone(), bytes: self.files.get(&file.path)?.clone() }));
        let board_dir = board_dir(self.files.get(SETTINGS).map_or(&[], Vec::as_slice))?;
        let mut own =
            |path: &str| self.files.remove(path).ok_or_else(|| anyhow::Error::from(cannot_install(file, path)));
        Ok(Package {
            script: own(SCRIPT)?,
            busybox: own(BUSYBOX)?,
            file: file.to_owned(),
            sha256,
            size: fs::metadata(file)?.len(),
            unpacked: manifest.files.iter().map(|file| file.size).sum(),
            archs: archs.values().copied().collect(),
            target: manifest.target,
            name: plain_name(manifest.name, file)?,
            board_dir,
            secrets: manifest.secrets,
            narrow,
        })
    }
}

fn no_bundle(file: &Path) -> Failure {
    Failure::new(Kind::Data, format!("{} is no bundle of Slipway's: it has no manifest", file.display()))
        .next("--bundle FILE takes what `cargo xtask bundle` wrote")
}

fn cannot_install(file: &Path, path: &str) -> Failure {
    let what = format!("{} holds no {path}, so it cannot install itself on a board", file.display());
    Failure::new(Kind::Data, what)
        .next("`cargo xtask bundle --target T` with a target that ships the script and busybox")
        .next("by hand: send it, unpack it, and use the programs in its bin/")
}

/// The name becomes a file's name on the board and part of commands there.
fn plain_name(name: String, file: &Path) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._+".contains(c);
    match name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 120 && name.chars().all(plain) {
        true => Ok(name),
        false => {
            Err(Failure::new(Kind::Data, format!("{} calls itself {name:?}, which is no name", file.display())).into())
        }
    }
}

/// `board_dir` of the settings: an absolute path of plain names, below a folder.
fn board_dir(settings: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(settings);
    let given = text.lines().find_map(|line| line.strip_prefix("board_dir="));
    checked_dir(given.unwrap_or(BOARD_DIR))
}

/// The folder, if it can be one that a board gives to Slipway alone.
pub fn checked_dir(dir: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let good = |name: &str| !name.is_empty() && name != "." && name != ".." && name.chars().all(plain);
    match dir.strip_prefix('/').filter(|rest| rest.contains('/') && rest.split('/').all(good)) {
        Some(_) => Ok(dir.to_owned()),
        None => Err(Failure::new(
            Kind::Data,
            format!(
                "{dir:?} cannot be the board's folder: an absolute path, two names deep, of letters, digits, - . and _"
            ),
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_its_own() {
        assert_eq!(board_dir(b"# x\nboard_dir=/mnt/card/slipway\n").unwrap(), "/mnt/card/slipway");
        assert_eq!(board_dir(b"").unwrap(), "/data/slipway");
        for wrong in
            ["/", "/data", "data/x", "/data/../x", "/data//x", "/data/x y", "/data/$(x)", "/data/x/", "/data/'x"]
        {
            assert!(checked_dir(wrong).is_err(), "{wrong}");
        }
    }
}
