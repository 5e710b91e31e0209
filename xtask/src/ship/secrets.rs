//! Secrets: what a bundle leaves open, and a person gives when it is pushed.
//!
//! A bundle names the secrets that it needs in its manifest; their values are in none of its files. They come from
//! a file, the environment or a terminal, and are kept in memory: nothing here prints, logs or stores them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::read::GzDecoder;
use fs_err as fs;
use serde::Deserialize;

use crate::data::types::{Invalid, Name};
use crate::data::variable::{Kind as Type, secret_variable};
use crate::error::{Context, Failure, Kind, Result};
use crate::ui::ask_hidden;

/// The largest file that is taken for a secret.
const LARGEST: u64 = 64 * 1024;

/// `--secret NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    pub name: Name,
    pub file: PathBuf,
}

impl FromStr for SecretFile {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once('=') {
            Some((name, file)) if !file.is_empty() => Ok(Self { name: name.parse()?, file: file.into() }),
            // Not shown: who leaves out the file has perhaps typed the secret.
            _ => Err(Invalid("--secret is NAME=FILE: the file holds the secret, which has no place here".to_owned())),
        }
    }
}

/// A secret's value. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the one who hands it to the board.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value in a file that only its owner can read, gone when dropped.
    pub fn to_file(&self) -> Result<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new().context("make a file for a secret")?;
        file.write_all(self.0.as_bytes()).and_then(|()| file.flush()).context("write a secret into its file")?;
        Ok(file)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a secret)")
    }
}

/// Where secrets may come from, asked in this order.
pub struct Places<'a> {
    /// `--secret NAME=FILE`.
    pub files: &'a [SecretFile],
    /// `SLIPWAY_SECRET_NAME`.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// What the board has from an earlier push: asked of nobody, unless a file or variable gives it anew.
    pub kept: &'a BTreeSet<Name>,
    /// Where a person can be asked.
    pub terminal: Option<File>,
}

impl<'a> Places<'a> {
    /// Those of this process.
    pub fn of_process(files: &'a [SecretFile], kept: &'a BTreeSet<Name>) -> Self {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        Self { files, environment: &|name| std::env::var_os(name), kept, terminal }
    }
}

/// The secrets that a bundle needs, from its manifest.
pub fn needed_by(bundle: &Path) -> Result<BTreeSet<Name>> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        secrets: BTreeSet<Name>,
    }

    let reading = || format!("read the manifest of {}", bundle.display());
    let mut tar = tar::Archive::new(GzDecoder::new(fs::File::open(bundle)?));
    for entry in tar.entries().with_context(reading)? {
        let mut entry = entry.with_context(reading)?;
        let path = entry.path().with_context(reading)?.into_owned();
        if path.components().count() == 2 && path.ends_with("MANIFEST.json") {
            let mut text = String::new();
            entry.read_to_string(&mut text).with_context(reading)?;
            let manifest: Manifest = serde_json::from_str(&text).with_context(reading)?;
            return Ok(manifest.secrets);
        }
    }
    let what = format!("{} has no MANIFEST.json: it is not a bundle of Slipway", bundle.display());
    Err(Failure::new(Kind::Data, what).next("cargo xtask bundle --target T writes one").into())
}

/// Every secret that is needed and that the board does not keep. Asks a person only for what nothing else gives.
pub fn gather(needed: &BTreeSet<Name>, places: &Places<'_>) -> Result<BTreeMap<Name, Secret>> {
    if let Some(stray) = places.files.iter().find(|file| !needed.contains(&file.name)) {
        let what = format!("--secret: the bundle needs no secret `{}` ({})", stray.name, list(needed));
        return Err(Failure::new(Kind::Data, what).into());
    }
    let found = needed.iter().map(|name| Ok(places.find(name)?.map(|secret| (name.clone(), secret))));
    found.filter_map(Result::transpose).collect()
}

impl Places<'_> {
    fn find(&self, name: &Name) -> Result<Option<Secret>> {
        if let Some(from) = self.files.iter().rev().find(|file| file.name == *name) {
            return from_file(name, &from.file).map(Some);
        }
        let variable = secret_variable(name);
        if let Some(value) = (self.environment)(&variable) {
            let text = value.into_string().map_err(|_| refused(name, &variable, "is not text in UTF-8"))?;
            return checked(name, &variable, &text).map(Some);
        }
        if self.kept.contains(name) {
            return Ok(None);
        }
        let asked = match &self.terminal {
            Some(terminal) => ask_hidden(terminal, &format!("{name} (it is not shown)"))?,
            None => None,
        };
        match asked {
            Some(text) => checked(name, "the terminal", &text).map(Some),
            None => Err(missing(name).into()),
        }
    }
}

fn from_file(name: &Name, path: &Path) -> Result<Secret> {
    let place = path.display().to_string();
    let file = fs::File::open(path).map_err(|error| refused(name, "--secret", &format!("cannot be read: {error}")))?;
    if file.metadata()?.is_dir() {
        return Err(refused(name, &place, "is a folder").into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).with_context(|| format!("read {name} from {place}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(refused(name, &place, "is too large to be one line").into());
    }
    let text = String::from_utf8(bytes).map_err(|_| refused(name, &place, "is not text in UTF-8"))?;
    checked(name, &place, &text)
}

/// One line without quotes, as every file of the board can hold it. The line's end, which editors add, is left out.
fn checked(name: &Name, place: &str, text: &str) -> Result<Secret> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(refused(name, place, "is empty").into());
    }
    match Type::Text.holds(line) {
        true => Ok(Secret(line.to_owned())),
        false => Err(refused(name, place, &format!("is not {}", Type::Text.example())).into()),
    }
}

fn refused(name: &Name, place: &str, why: &str) -> Failure {
    Failure::new(Kind::Data, format!("the secret {name} from {place} {why}")).next(ways(name))
}

fn missing(name: &Name) -> Failure {
    let what = format!("the bundle needs the secret {name}, and there is no terminal to ask for it");
    Failure::new(Kind::Data, what).next(ways(name))
}

fn ways(name: &Name) -> String {
    format!("--secret {name}=FILE, or {} in the environment", secret_variable(name))
}

fn list(needed: &BTreeSet<Name>) -> String {
    match needed.is_empty() {
        true => "it needs none".to_owned(),
        false => format!("it needs: {}", needed.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")),
    }
}
