//! Recipes: what a program is, where its source comes from, how it is built, what of it ships.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::arg::{Arg, InRecipe};
use super::source::{Archive, DebianTree, Git, Tree};
use super::text::{Text, unknown};
use super::types::{ImportPath, Name, RelPath, Value, Version};
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
    pub releases: BTreeMap<Version, Release>,
    /// What a target may set, and what it is otherwise.
    pub vars: BTreeMap<Name, Value>,
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
    /// Which state of the source that is: a commit, a Debian revision. Programs tell it with their version.
    pub revision: Option<String>,
    /// The Go toolchain that a Go program is built with.
    pub go: Option<Spanned<Name>>,
    /// C compiler flags: the recipe's, then the release's own.
    pub cflags: Vec<String>,
    /// Licence texts in the source tree; they ship under `share/licenses/NAME/`.
    pub license_files: Vec<RelPath>,
    /// Path on the board → path in the build tree: the recipe's, and the release's own.
    pub files: BTreeMap<RelPath, RelPath>,
    pub build: Build,
}

/// Where a release's source comes from: exactly one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Archive(Archive),
    Git(Git),
    Debian(DebianTree),
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
    Go(Go),
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
    /// Symbols to switch on.
    #[serde(default)]
    pub on: Vec<Symbol>,
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

/// `go build`, once for each program.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Go {
    pub mode: GoMode,
    /// In GOPATH mode: folder of the source (`.` for all of it) → the path that it is imported by.
    #[serde(default)]
    pub import: BTreeMap<SourceFolder, ImportPath>,
    /// Build tags of every program.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Words for the linker, besides those that every program gets.
    #[serde(default)]
    pub ldflags: Vec<Arg<InRecipe>>,
    /// String variables that the linker sets (`-X`): the full path of the variable → its value.
    #[serde(default)]
    pub set: BTreeMap<String, Arg<InRecipe>>,
    /// File in the build tree → what it is built from.
    pub programs: BTreeMap<RelPath, GoProgram>,
    /// Tests of patched packages, run on the build machine before anything is built.
    #[serde(default)]
    pub tests: Vec<GoTest>,
}

/// How Go finds packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GoMode {
    /// `GO111MODULE=off`: by their place below GOPATH; a `vendor/` folder comes first. The mode for
    /// everything older than modules: a vendored copy of a standard package counts only here.
    Gopath,
    /// Modules, `-mod=vendor`.
    Vendor,
}

/// A folder of the source tree, `.` for the tree itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct SourceFolder(Option<RelPath>);

impl SourceFolder {
    /// `None` for the tree itself.
    pub fn path(&self) -> Option<&RelPath> {
        self.0.as_ref()
    }
}

impl TryFrom<String> for SourceFolder {
    type Error = super::types::Invalid;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "." => Ok(Self(None)),
            text => text.parse().map(|path| Self(Some(path))),
        }
    }
}

/// One program of a Go build.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoProgram {
    /// In GOPATH mode an import path, else a folder such as `./cmd/tool`.
    pub package: String,
    /// Whether it has parts in C; they are compiled by the C toolchain and linked with its libc.
    #[serde(default)]
    pub cgo: bool,
    /// Words for the compiler of the C parts.
    #[serde(default)]
    pub cflags: Vec<String>,
    /// Further build tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// `go test` of one package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoTest {
    pub package: String,
    /// The tests to run, a regular expression.
    pub run: String,
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
    #[serde(default)]
    vars: BTreeMap<Name, Value>,
    release: BTreeMap<Spanned<Version>, ReleaseFile>,
    build: Option<Spanned<Build>>,
    #[serde(default)]
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
    debian: Option<DebianTree>,
    tree: Option<Tree>,
    reported: Option<String>,
    revision: Option<String>,
    go: Option<Spanned<Name>>,
    #[serde(default)]
    cflags: Vec<String>,
    license_files: Option<Vec<RelPath>>,
    #[serde(default)]
    files: BTreeMap<Spanned<RelPath>, RelPath>,
    build: Option<Build>,
}

impl Recipe {
    /// Reads and checks a recipe; `name` is the file's stem.
    pub fn parse(name: Name, text: &Text) -> Result<Self> {
        let file: RecipeFile = text.parse()?;
        check_releases(text, &file)?;
        for (version, release) in &file.release {
            let outputs = Outputs { version, files: merged(&file.files, &release.files), links: &file.links };
            check_outputs(text, &outputs)?;
            check_links(text, &outputs)?;
            check_checks(text, &outputs, &file.check)?;
        }
        let releases: BTreeMap<Version, Release> =
            file.release.iter().map(|(version, release)| finish_release(version.get_ref(), release, &file)).collect();
        let links = file.links.into_iter().map(|(path, target)| (path.into_inner(), target.into_inner())).collect();
        let recipe = Self {
            name,
            summary: file.summary,
            license: file.license,
            homepage: file.homepage,
            releases,
            vars: file.vars,
            links,
            checks: file.check.into_iter().map(Spanned::into_inner).collect(),
            text: text.clone(),
        };
        recipe.check_variables()?;
        Ok(recipe)
    }

    /// The version that is built when nobody says which: the newest.
    pub fn newest(&self) -> &Version {
        self.releases.keys().next_back().expect("a recipe has a release: checked when it was read")
    }

    /// The paths of everything that ships of a release, licences included.
    pub fn outputs(&self, release: &Release) -> BTreeSet<String> {
        let licenses = release.license_files.iter().map(|file| license_path(&self.name, file));
        let paths = release.files.keys().chain(self.links.keys());
        paths.map(|path| path.as_str().to_owned()).chain(licenses).collect()
    }

    /// Every variable that is used is declared, and every one that is declared is used.
    fn check_variables(&self) -> Result<()> {
        let mut used = BTreeSet::new();
        for release in self.releases.values() {
            for arg in release.build.args().into_iter().chain(self.checks.iter().flat_map(Check::args)) {
                if arg.uses("revision") && release.revision.is_none() && !release.source.has_revision() {
                    let what = "this source does not tell its revision: say `revision` in the release";
                    return Err(self.wrong_variable("{revision}", what).into());
                }
                for name in arg.own_variables() {
                    if !self.vars.contains_key(name) {
                        let what = unknown("a variable of [vars]", name, self.vars.keys().map(Name::as_str));
                        return Err(self.wrong_variable(&format!("{{var.{name}}}"), &what).into());
                    }
                    used.insert(name.to_owned());
                }
            }
        }
        match self.vars.keys().find(|name| !used.contains(name.as_str())) {
            Some(name) => Err(self.wrong_variable(name.as_str(), "nothing in this recipe uses this variable").into()),
            None => Ok(()),
        }
    }

    /// An error that points at the first place where the variable is written.
    fn wrong_variable(&self, written: &str, what: &str) -> crate::error::Failure {
        let start = self.text.text.find(written).unwrap_or(0);
        self.text.wrong(start..start + written.len(), what)
    }
}

impl Source {
    /// Whether the source itself says which state of the program it is.
    fn has_revision(&self) -> bool {
        matches!(self, Source::Git(_) | Source::Debian(_))
    }
}

impl Build {
    /// Whether the C toolchain has a part in it.
    pub fn uses_c(&self) -> bool {
        match self {
            Build::Go(go) => go.programs.values().any(|program| program.cgo),
            _ => true,
        }
    }

    /// Whether it starts scripts or small tools, as everything does that is driven by `make`, and Go where it
    /// starts a compiler's wrapper.
    pub fn needs_userland(&self) -> bool {
        match self {
            Build::Autotools(_) | Build::Make(_) | Build::Kconfig(_) | Build::Go(_) => true,
            Build::Cc(_) | Build::Prebuilt(_) => false,
        }
    }

    /// Whether it starts `make`.
    pub fn needs_make(&self) -> bool {
        matches!(self, Build::Autotools(_) | Build::Make(_) | Build::Kconfig(_))
    }

    /// Whether it compiles programs that it runs itself.
    pub fn uses_host_cc(&self) -> bool {
        self.args().iter().any(|arg| arg.uses("host_cc"))
    }

    /// Every argument in which variables are replaced.
    fn args(&self) -> Vec<&Arg<InRecipe>> {
        match self {
            Build::Autotools(build) => build.configure.iter().chain(&build.make).collect(),
            Build::Make(build) => build.make.iter().collect(),
            Build::Kconfig(build) => [&build.base].into_iter().chain(&build.common).chain(&build.make).collect(),
            Build::Cc(build) => build.flags.iter().collect(),
            Build::Go(build) => build.ldflags.iter().chain(build.set.values()).collect(),
            Build::Prebuilt(_) => Vec::new(),
        }
    }
}

impl Check {
    fn args(&self) -> impl Iterator<Item = &Arg<InRecipe>> {
        self.run.iter().chain([&self.expect])
    }
}

/// Where a licence text of `recipe` ships.
pub fn license_path(recipe: &Name, file: &RelPath) -> String {
    format!("share/licenses/{recipe}/{}", file.as_str().replace('/', "-"))
}

fn finish_release(version: &Version, release: &ReleaseFile, file: &RecipeFile) -> (Version, Release) {
    let source = (release.archive.clone().map(Source::Archive))
        .or(release.git.clone().map(Source::Git))
        .or(release.debian.clone().map(Source::Debian))
        .or(release.tree.clone().map(Source::Tree))
        .expect("one source: checked");
    let build = release.build.clone().or_else(|| file.build.as_ref().map(|build| build.get_ref().clone()));
    let files = merged(&file.files, &release.files);
    let release = Release {
        source,
        reported: release.reported.clone().unwrap_or_else(|| version.as_str().to_owned()),
        revision: release.revision.clone(),
        go: release.go.clone(),
        cflags: file.cflags.iter().chain(&release.cflags).cloned().collect(),
        license_files: release.license_files.clone().unwrap_or_else(|| file.license_files.clone()),
        files: files.into_iter().map(|(path, from)| (path.get_ref().clone(), from.clone())).collect(),
        build: build.expect("a build: checked"),
    };
    (version.clone(), release)
}

type Files = BTreeMap<Spanned<RelPath>, RelPath>;

/// The recipe's files; where the release has the same path, its own.
fn merged<'a>(recipe: &'a Files, release: &'a Files) -> BTreeMap<&'a Spanned<RelPath>, &'a RelPath> {
    recipe.iter().chain(release).collect()
}

fn check_releases(text: &Text, file: &RecipeFile) -> Result<()> {
    if file.release.is_empty() {
        return Err(text.wrong(0..0, "a recipe needs at least one [release.\"VERSION\"]").into());
    }
    for (version, release) in &file.release {
        let kinds = [
            ("archive", release.archive.is_some()),
            ("git", release.git.is_some()),
            ("debian", release.debian.is_some()),
            ("tree", release.tree.is_some()),
        ];
        let given: Vec<&str> = kinds.iter().filter(|(_, given)| *given).map(|(kind, _)| *kind).collect();
        let problem = match given.as_slice() {
            [_] if release.archive.as_ref().is_some_and(|archive| archive.urls.is_empty()) => {
                Some("has an archive without urls: give at least upstream's address".to_owned())
            }
            [_] => wrong_build(release, file.build.as_ref().map(Spanned::get_ref)),
            [] => Some("has no source: give it exactly one of archive, git, debian, tree".to_owned()),
            several => Some(format!("has {} sources ({}): keep exactly one", several.len(), several.join(", "))),
        };
        if let Some(problem) = problem {
            return Err(text.wrong(version.span(), format!("release {} {problem}", version.get_ref())).into());
        }
    }
    Ok(())
}

/// What is wrong with a release's build, if anything is.
fn wrong_build(release: &ReleaseFile, recipe: Option<&Build>) -> Option<String> {
    let problem = match release.build.as_ref().or(recipe) {
        None => {
            "has no build: give the recipe a [build.autotools], [build.make], [build.kconfig], [build.cc], [build.go] \
             or [build.prebuilt]"
        }
        Some(Build::Go(_)) if release.go.is_none() => {
            "does not say which Go it is built with: give it `go`, the name of a toolchain"
        }
        Some(Build::Go(go)) if go.programs.is_empty() => "builds nothing: [build.go.programs] is empty",
        Some(Build::Go(go)) if (go.mode == GoMode::Gopath) == go.import.is_empty() => {
            "needs `import` in GOPATH mode, and only there: the path that each folder of the source is imported by"
        }
        Some(Build::Go(go)) if go.mode == GoMode::Vendor && release.debian.is_some() => {
            "has the mode `vendor`, but Debian's Go libraries are found in the mode `gopath` only"
        }
        Some(Build::Go(_)) => return None,
        Some(_) if release.go.is_some() => "says `go`, but its build is not [build.go]",
        Some(_) => return None,
    };
    Some(problem.to_owned())
}

/// What ships of one release.
struct Outputs<'a> {
    version: &'a Spanned<Version>,
    files: BTreeMap<&'a Spanned<RelPath>, &'a RelPath>,
    links: &'a BTreeMap<Spanned<RelPath>, Spanned<RelPath>>,
}

impl Outputs<'_> {
    fn paths(&self) -> impl Iterator<Item = &Spanned<RelPath>> {
        self.files.keys().copied().chain(self.links.keys())
    }

    fn has_file(&self, path: &str) -> bool {
        self.files.keys().any(|file| file.get_ref().as_str() == path)
    }
}

/// No path may ship twice, nor be a file and a folder at once.
fn check_outputs(text: &Text, outputs: &Outputs) -> Result<()> {
    if outputs.files.is_empty() {
        let what = format!("[files] is empty: release {} ships at least one file", outputs.version.get_ref());
        return Err(text.wrong(outputs.version.span(), what).into());
    }
    for path in outputs.paths() {
        if let Some(reserved) = reserved(path.get_ref()) {
            return Err(text.wrong(path.span(), reserved).into());
        }
    }
    for link in outputs.links.keys() {
        if outputs.has_file(link.get_ref().as_str()) {
            let what = format!("`{}` ships twice: in [files] and in [links]", link.get_ref());
            return Err(text.wrong(link.span(), what).into());
        }
    }
    for path in outputs.paths() {
        let below = format!("{}/", path.get_ref());
        let clash = outputs.paths().find(|other| other.get_ref().as_str().starts_with(&below));
        if let Some(clash) = clash {
            let what = format!("`{}` is a file, and `{}` needs it to be a folder", path.get_ref(), clash.get_ref());
            return Err(text.wrong(clash.span(), what).into());
        }
    }
    Ok(())
}

/// Names that the bundle itself writes.
pub(super) fn reserved(path: &RelPath) -> Option<String> {
    let taken = matches!(path.as_str(), "MANIFEST.json" | "SHA256SUMS") || path.as_str().starts_with("share/licenses/");
    taken.then(|| format!("`{path}` is written by the bundle itself; ship this under another path"))
}

/// A link ends at a file of the same release, after any number of links but no circle.
fn check_links(text: &Text, outputs: &Outputs) -> Result<()> {
    let links: BTreeMap<&str, String> = outputs
        .links
        .iter()
        .map(|(path, target)| (path.get_ref().as_str(), beside(path.get_ref(), target.get_ref())))
        .collect();
    for (path, target) in outputs.links {
        let mut at = path.get_ref().as_str();
        let mut seen = BTreeSet::new();
        while let Some(next) = links.get(at) {
            if !seen.insert(at) {
                let what = format!("`{}` runs in a circle of links; let one of them name a file", path.get_ref());
                return Err(text.wrong(target.span(), what).into());
            }
            at = next;
        }
        if !outputs.has_file(at) {
            let files: Vec<&str> = outputs.files.keys().map(|path| path.get_ref().as_str()).collect();
            let what = unknown("a path of [files]", at, files);
            return Err(text.wrong(target.span(), format!("the link leads nowhere: {what}")).into());
        }
    }
    Ok(())
}

/// What a link at `path` that says `target` points at.
pub(super) fn beside(path: &RelPath, target: &RelPath) -> String {
    match path.parent() {
        Some(parent) => format!("{parent}/{target}"),
        None => target.as_str().to_owned(),
    }
}

fn check_checks(text: &Text, outputs: &Outputs, checks: &[Spanned<Check>]) -> Result<()> {
    let programs: BTreeSet<&str> = outputs.paths().map(|path| path.get_ref().as_str()).collect();
    for check in checks {
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
