//! Recipes: what a program is, where its source comes from, how it is built, what of it ships.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::arg::{Arg, InRecipe};
use super::source::{Archive, Git, Tree};
use super::text::{Text, unknown};
use super::types::{Name, RelPath, Version};
use crate::error::Result;

/// One program: `recipes/NAME.toml`.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The stem of the file's name.
    pub name: Name,
    pub summary: String,
    /// An SPDX expression.
    pub license: String,
    pub homepage: String,
    /// Licence texts in the source tree; they ship under `share/licenses/NAME/`.
    pub license_files: Vec<RelPath>,
    pub releases: BTreeMap<Version, Release>,
    /// Path on the board → path in the build tree.
    pub files: BTreeMap<RelPath, RelPath>,
    /// Path on the board → what the symbolic link says.
    pub links: BTreeMap<RelPath, RelPath>,
    pub checks: Vec<Check>,
    /// The file itself, for errors that point into it.
    pub text: Text,
}

/// One version of a program.
#[derive(Debug, Clone)]
pub struct Release {
    pub source: Source,
    /// What the program itself calls this version.
    pub reported: String,
    /// C compiler flags: the recipe's, then the release's own.
    pub cflags: Vec<String>,
    pub build: Build,
}

/// Where a release's source comes from: exactly one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Archive(Archive),
    Git(Git),
    Tree(Tree),
}

/// How a program is built: `[build.KIND]`, the kind is the table's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Build {
    Autotools(Autotools),
    Make(Make),
    Kconfig(Kconfig),
    Cc(Cc),
    Prebuilt(Prebuilt),
}

/// `sh ./configure`, then `make`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autotools {
    #[serde(default)]
    pub configure: Vec<Arg<InRecipe>>,
    #[serde(default)]
    pub make: Vec<Arg<InRecipe>>,
}

/// `make` alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Make {
    pub make: Vec<Arg<InRecipe>>,
}

/// A Linux-style `.config`: `make BASE`, the asked values, `make oldconfig`, `make`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kconfig {
    /// The make target that writes the first `.config`.
    pub base: Arg<InRecipe>,
    /// Symbols (without `CONFIG_`) and their values.
    #[serde(default)]
    pub set: BTreeMap<Symbol, ConfigValue>,
    /// Symbols to switch off; one that this version does not have is off already.
    #[serde(default)]
    pub off: Vec<Symbol>,
    /// Arguments of every make call.
    #[serde(default)]
    pub common: Vec<Arg<InRecipe>>,
    /// Further arguments of the last one.
    #[serde(default)]
    pub make: Vec<Arg<InRecipe>>,
}

/// One call of the C compiler.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cc {
    pub sources: Vec<RelPath>,
    #[serde(default)]
    pub flags: Vec<Arg<InRecipe>>,
    /// The program, in the build tree.
    pub output: RelPath,
}

/// Nothing to build: `[files]` takes from the source tree.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prebuilt {}

/// A Kconfig symbol without its `CONFIG_` prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Symbol(String);

impl Symbol {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Symbol {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        match !text.is_empty() && text.chars().all(allowed) && !text.starts_with("CONFIG_") {
            true => Ok(Self(text)),
            false => Err(format!("`{text}` is not a Kconfig symbol; write it in capitals, without CONFIG_")),
        }
    }
}

/// A Kconfig value as TOML has it: `true`, `42`, `"text"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue {
    Bool(bool),
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for ConfigValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Boolean(value) => Ok(ConfigValue::Bool(value)),
            toml::Value::Integer(value) => Ok(ConfigValue::Number(value)),
            toml::Value::String(text) if !text.contains(['"', '\\', '\n']) => Ok(ConfigValue::Text(text)),
            other => Err(serde::de::Error::custom(format!(
                "expected true, false, a whole number, or a text without quotes; found {}",
                other.type_str()
            ))),
        }
    }
}

/// `[[check]]`: the finished program run under qemu-user in an empty folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The argv; the first word is a path of `[files]` or `[links]`.
    pub run: Vec<Arg<InRecipe>>,
    /// What standard output and error together must contain.
    pub expect: Arg<InRecipe>,
    /// The exit status.
    #[serde(default)]
    pub status: i32,
    /// Files put into the folder first: name → content.
    #[serde(default)]
    pub input: BTreeMap<RelPath, String>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    summary: String,
    license: String,
    homepage: String,
    #[serde(default)]
    license_files: Vec<RelPath>,
    #[serde(default)]
    cflags: Vec<String>,
    release: BTreeMap<Spanned<Version>, ReleaseFile>,
    build: Option<Spanned<Build>>,
    files: BTreeMap<Spanned<RelPath>, RelPath>,
    #[serde(default)]
    links: BTreeMap<Spanned<RelPath>, Spanned<RelPath>>,
    #[serde(default)]
    check: Vec<Spanned<Check>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseFile {
    archive: Option<Archive>,
    git: Option<Git>,
    tree: Option<Tree>,
    reported: Option<String>,
    #[serde(default)]
    cflags: Vec<String>,
    build: Option<Build>,
}

impl Recipe {
    /// Reads and checks a recipe; `name` is the file's stem.
    pub fn parse(name: Name, text: &Text) -> Result<Self> {
        let file: RecipeFile = text.parse()?;
        check_releases(text, &file)?;
        check_outputs(text, &file)?;
        check_links(text, &file)?;
        check_checks(text, &file)?;
        let plain = |files: BTreeMap<Spanned<RelPath>, RelPath>| {
            files.into_iter().map(|(path, from)| (path.into_inner(), from)).collect()
        };
        let links = file.links.into_iter().map(|(path, target)| (path.into_inner(), target.into_inner())).collect();
        let build = file.build.map(Spanned::into_inner);
        let releases = file
            .release
            .into_iter()
            .map(|(version, release)| {
                let version = version.into_inner();
                let release = finish_release(&version, release, build.as_ref(), &file.cflags);
                (version, release)
            })
            .collect();
        Ok(Self {
            name,
            summary: file.summary,
            license: file.license,
            homepage: file.homepage,
            license_files: file.license_files,
            releases,
            files: plain(file.files),
            links,
            checks: file.check.into_iter().map(Spanned::into_inner).collect(),
            text: text.clone(),
        })
    }

    /// The version that is built when nobody says which: the newest.
    pub fn newest(&self) -> &Version {
        self.releases.keys().next_back().expect("a recipe has a release: checked when it was read")
    }

    /// The paths of everything that ships, licences included.
    pub fn outputs(&self) -> BTreeSet<String> {
        let licenses = self.license_files.iter().map(|file| license_path(&self.name, file));
        self.files.keys().chain(self.links.keys()).map(|path| path.as_str().to_owned()).chain(licenses).collect()
    }
}

/// Where a licence text of `recipe` ships.
pub fn license_path(recipe: &Name, file: &RelPath) -> String {
    format!("share/licenses/{recipe}/{}", file.as_str().replace('/', "-"))
}

fn finish_release(version: &Version, file: ReleaseFile, build: Option<&Build>, cflags: &[String]) -> Release {
    let source = file
        .archive
        .map(Source::Archive)
        .or(file.git.map(Source::Git))
        .or(file.tree.map(Source::Tree))
        .expect("one source: checked");
    Release {
        source,
        reported: file.reported.unwrap_or_else(|| version.as_str().to_owned()),
        cflags: cflags.iter().cloned().chain(file.cflags).collect(),
        build: file.build.or_else(|| build.cloned()).expect("a build: checked"),
    }
}

fn check_releases(text: &Text, file: &RecipeFile) -> Result<()> {
    if file.release.is_empty() {
        return Err(text.wrong(0..0, "a recipe needs at least one [release.\"VERSION\"]").into());
    }
    for (version, release) in &file.release {
        let kinds =
            [("archive", release.archive.is_some()), ("git", release.git.is_some()), ("tree", release.tree.is_some())];
        let given: Vec<&str> = kinds.iter().filter(|(_, given)| *given).map(|(kind, _)| *kind).collect();
        let problem = match given.as_slice() {
            [_] if release.build.is_none() && file.build.is_none() => {
                "has no build: give the recipe a [build.autotools], [build.make], [build.kconfig], [build.cc] or \
                 [build.prebuilt]"
                    .to_owned()
            }
            [_] if release.archive.as_ref().is_some_and(|archive| archive.urls.is_empty()) => {
                "has an archive without urls: give at least upstream's address".to_owned()
            }
            [_] => continue,
            [] => "has no source: give it exactly one of archive, git, tree".to_owned(),
            several => format!("has {} sources ({}): keep exactly one", several.len(), several.join(", ")),
        };
        return Err(text.wrong(version.span(), format!("release {} {problem}", version.get_ref())).into());
    }
    Ok(())
}

/// No path may ship twice, nor be a file and a folder at once.
fn check_outputs(text: &Text, file: &RecipeFile) -> Result<()> {
    if file.files.is_empty() {
        return Err(text.wrong(0..0, "[files] is empty: a recipe ships at least one file").into());
    }
    for path in file.files.keys().chain(file.links.keys()) {
        if let Some(reserved) = reserved(path.get_ref()) {
            return Err(text.wrong(path.span(), reserved).into());
        }
    }
    let files: BTreeSet<&str> = file.files.keys().map(|path| path.get_ref().as_str()).collect();
    for link in file.links.keys() {
        if files.contains(link.get_ref().as_str()) {
            let what = format!("`{}` ships twice: in [files] and in [links]", link.get_ref());
            return Err(text.wrong(link.span(), what).into());
        }
    }
    for path in file.files.keys().chain(file.links.keys()) {
        let below = format!("{}/", path.get_ref());
        let clash =
            file.files.keys().chain(file.links.keys()).find(|other| other.get_ref().as_str().starts_with(&below));
        if let Some(clash) = clash {
            let what = format!("`{}` is a file, and `{}` needs it to be a folder", path.get_ref(), clash.get_ref());
            return Err(text.wrong(clash.span(), what).into());
        }
    }
    Ok(())
}

/// Names that the bundle itself writes.
fn reserved(path: &RelPath) -> Option<String> {
    let taken = matches!(path.as_str(), "MANIFEST.json" | "SHA256SUMS") || path.as_str().starts_with("share/licenses/");
    taken.then(|| format!("`{path}` is written by the bundle itself; ship this under another path"))
}

/// A link ends at a file of the same recipe, after any number of links but no circle.
fn check_links(text: &Text, file: &RecipeFile) -> Result<()> {
    let files: BTreeSet<&str> = file.files.keys().map(|path| path.get_ref().as_str()).collect();
    let links: BTreeMap<&str, String> = file
        .links
        .iter()
        .map(|(path, target)| (path.get_ref().as_str(), beside(path.get_ref(), target.get_ref())))
        .collect();
    for (path, target) in &file.links {
        let mut at = path.get_ref().as_str();
        let mut seen = BTreeSet::new();
        while let Some(next) = links.get(at) {
            if !seen.insert(at) {
                let what = format!("`{}` runs in a circle of links; let one of them name a file", path.get_ref());
                return Err(text.wrong(target.span(), what).into());
            }
            at = next;
        }
        if !files.contains(at) {
            let what = unknown("a path of [files]", at, files.iter().copied());
            return Err(text.wrong(target.span(), format!("the link leads nowhere: {what}")).into());
        }
    }
    Ok(())
}

/// What a link at `path` that says `target` points at.
fn beside(path: &RelPath, target: &RelPath) -> String {
    match path.parent() {
        Some(parent) => format!("{parent}/{target}"),
        None => target.as_str().to_owned(),
    }
}

fn check_checks(text: &Text, file: &RecipeFile) -> Result<()> {
    let programs: BTreeSet<&str> =
        file.files.keys().chain(file.links.keys()).map(|path| path.get_ref().as_str()).collect();
    for check in &file.check {
        let refused = |what: String| -> Result<()> { Err(text.wrong(check.span(), what).into()) };
        match check.get_ref().run.first() {
            None => refused("`run` is empty: give a program of [files] or [links], then its arguments".to_owned())?,
            Some(program) if !programs.contains(program.as_str()) => {
                refused(unknown("a program of [files] or [links]", program.as_str(), programs.iter().copied()))?;
            }
            Some(_) if check.get_ref().expect.as_str().is_empty() => {
                refused("`expect` is empty: a check that cannot fail is none".to_owned())?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}
