//! Toolchains: pinned compilers and tools, those that are built here, and the ones a host already has.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::arg::{Arg, InToolchain};
use super::source::{Archive, DebianBinary, Origin, Pinned, Wheel};
use super::text::Text;
use super::types::{Arch, DebianVersion, Name, Package, RelPath, Sha256, Version};
use crate::error::Result;

/// One tool: `toolchains/NAME.toml`.
#[derive(Debug, Clone)]
pub struct Toolchain {
    pub name: Name,
    pub summary: String,
    /// An SPDX expression, of the tool itself.
    pub license: String,
    pub homepage: String,
    /// `None` for a toolchain that is found on the host.
    pub version: Option<Version>,
    /// Where it comes from, best first: each packing holds the same tree. Empty for the host's own and for
    /// what is built.
    pub packings: Vec<Packing>,
    /// Given where it is built here.
    pub built: Option<Spanned<BuiltTool>>,
    /// Programs of the tree that must be executable, whatever their packing says.
    pub programs: Vec<RelPath>,
    pub kind: ToolKind,
    /// The file itself, for errors that point into it.
    pub text: Text,
}

/// One way in which a tool's tree is packed: in one file, or in several that are unpacked over each other.
#[derive(Debug, Clone)]
pub struct Packing {
    pub files: Vec<Pinned>,
    pub layout: Layout,
}

/// Which part of what is packed is the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// The one top folder.
    TopFolder,
    /// This folder.
    Folder(RelPath),
    /// All of it.
    Whole,
}

/// What a toolchain is for: exactly one kind.
#[derive(Debug, Clone)]
pub enum ToolKind {
    C(CTools),
    Go(GoTools),
    Program(Program),
    Userland(Userland),
    Loader(Loader),
}

/// `[built]`: the tool is the result of a recipe, in the toolchain's version, for the build machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltTool {
    pub recipe: Name,
    /// The hash of all its files, as every machine must get them: what pins the tool.
    pub sha256: Sha256,
}

/// `[go]`: a Go toolchain, which compiles for every architecture.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoTools {
    /// The folder of the tool that is GOROOT; all of it if not given.
    pub root: Option<RelPath>,
    /// The toolchain that starts `go` where it is linked with a C library.
    pub loader: Option<Spanned<Name>>,
    /// Words of every `go build`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// What Go's environment calls an architecture.
    pub arch: BTreeMap<Arch, GoArch>,
}

/// An architecture in Go's words.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoArch {
    /// `GOARCH`.
    pub goarch: String,
    /// `GOARM`: the oldest 32-bit Arm that the programs run on.
    pub goarm: Option<String>,
}

/// `[c]`: a C cross-compiler.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CTools {
    /// The one that is used when nobody says which.
    #[serde(default)]
    pub default: bool,
    /// The C library that programs are linked with: `musl`, `glibc`.
    pub libc: String,
    /// Set in every step of a build.
    #[serde(default)]
    pub env: BTreeMap<String, Arg<InToolchain>>,
    /// `gcc`, `ar`, …: the argv that a wrapper named `TRIPLE-gcc` runs, the caller's arguments behind it.
    pub tools: BTreeMap<Name, Vec<Arg<InToolchain>>>,
    pub arch: BTreeMap<Arch, ArchSettings>,
    /// Given where the compiler is the host's own.
    pub host: Option<HostTools>,
}

/// What an architecture is to a C toolchain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchSettings {
    /// The GNU triple: `--host` of configure, and the prefix of the wrappers' names.
    pub triple: Name,
    /// The oldest processor that the programs run on, in the compiler's own words.
    pub cpu: String,
    /// More words for `gcc` on this architecture.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Rust's name of the target, by which the `cc` crate finds a host's compiler.
    pub rust_target: Option<String>,
}

/// A compiler of the host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTools {
    /// The command that installs it.
    pub install: String,
    /// What decides its output, by the names that `-print-prog-name` and `-print-file-name` know: hashed
    /// into the build's key, since nothing else pins it.
    pub identity: Vec<String>,
}

/// `[program]`: a tool that builds call by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The command it is: `make`.
    pub provides: Name,
}

/// `[userland]`: the shell and the small tools of every step. It is built twice where need be: by the host's
/// tools, then by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Userland {
    /// The folder of its programs, for `PATH`.
    pub path: RelPath,
    /// Links in the root of a sandbox that scripts count on: `bin/sh` → the program.
    #[serde(default)]
    pub links: BTreeMap<RelPath, RelPath>,
    /// Set in every step that has it.
    #[serde(default)]
    pub env: BTreeMap<String, Arg<InToolchain>>,
    /// Programs of the host by which it is built the first time.
    pub needs: Vec<Name>,
}

/// `[loader]`: what starts a program that is linked with a C library of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// The words before the program.
    pub start: Vec<Arg<InToolchain>>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolchainFile {
    summary: String,
    license: String,
    homepage: String,
    version: Option<Version>,
    archive: Option<Archive>,
    wheel: Option<WheelFile>,
    debian: Option<DebianFile>,
    built: Option<Spanned<BuiltTool>>,
    #[serde(default)]
    programs: Vec<RelPath>,
    c: Option<Spanned<CTools>>,
    go: Option<Spanned<GoTools>>,
    program: Option<Spanned<Program>>,
    userland: Option<Spanned<Userland>>,
    loader: Option<Spanned<Loader>>,
}

impl ToolchainFile {
    /// Whether it is pinned by the hashes of what is fetched.
    fn is_fetched(&self) -> bool {
        self.archive.is_some() || self.wheel.is_some() || self.debian.is_some()
    }
}

/// Debian's binary packages, unpacked over each other into one tree.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DebianFile {
    suite: Name,
    /// The folder that is the tool; all of it if not given.
    root: Option<RelPath>,
    packages: Vec<DebianPackage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DebianPackage {
    package: Package,
    version: DebianVersion,
    file: RelPath,
    sha256: Sha256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WheelFile {
    package: Name,
    version: Version,
    file: RelPath,
    sha256: Sha256,
    root: RelPath,
}

impl Toolchain {
    /// Reads and checks a toolchain; `name` is the file's stem.
    pub fn parse(name: Name, text: &Text) -> Result<Self> {
        let file: ToolchainFile = text.parse()?;
        let kind = kind(text, &file)?;
        let packings = packings(&file);
        Ok(Self {
            name,
            summary: file.summary,
            license: file.license,
            homepage: file.homepage,
            version: file.version,
            packings,
            built: file.built,
            programs: file.programs,
            kind,
            text: text.clone(),
        })
    }

    /// `zig 0.15.2`, or the name alone for the host's own.
    pub fn title(&self) -> String {
        match &self.version {
            Some(version) => format!("{} {version}", self.name),
            None => self.name.to_string(),
        }
    }

    pub fn c(&self) -> Option<&CTools> {
        match &self.kind {
            ToolKind::C(c) => Some(c),
            _ => None,
        }
    }

    pub fn go(&self) -> Option<&GoTools> {
        match &self.kind {
            ToolKind::Go(go) => Some(go),
            _ => None,
        }
    }

    pub fn userland(&self) -> Option<&Userland> {
        match &self.kind {
            ToolKind::Userland(userland) => Some(userland),
            _ => None,
        }
    }

    pub fn loader(&self) -> Option<&Loader> {
        match &self.kind {
            ToolKind::Loader(loader) => Some(loader),
            _ => None,
        }
    }
}

fn kind(text: &Text, file: &ToolchainFile) -> Result<ToolKind> {
    if file.debian.is_some() && (file.archive.is_some() || file.wheel.is_some()) {
        let what = "[debian] packs another tree than [archive] and [wheel] do: keep one of them";
        return Err(text.wrong(0..0, what).into());
    }
    let kinds = (&file.c, &file.go, &file.program, &file.userland, &file.loader);
    let (span, problem, kind) = match kinds {
        (Some(c), None, None, None, None) => (c.span(), wrong_c(c.get_ref(), file), ToolKind::C(c.get_ref().clone())),
        (None, Some(go), None, None, None) => {
            (go.span(), wrong_go(go.get_ref(), file), ToolKind::Go(go.get_ref().clone()))
        }
        (None, None, Some(program), None, None) => {
            (program.span(), wrong_program(file), ToolKind::Program(program.get_ref().clone()))
        }
        (None, None, None, Some(userland), None) => {
            (userland.span(), wrong_userland(file), ToolKind::Userland(userland.get_ref().clone()))
        }
        (None, None, None, None, Some(loader)) => {
            (loader.span(), wrong_loader(loader.get_ref(), file), ToolKind::Loader(loader.get_ref().clone()))
        }
        _ => {
            let what = "a toolchain has exactly one of [c], [go], [program], [userland] and [loader]";
            return Err(text.wrong(0..0, what).into());
        }
    };
    match problem.or(wrong_version(file)) {
        Some(problem) => Err(text.wrong(span, problem).into()),
        None => Ok(kind),
    }
}

fn wrong_go(go: &GoTools, file: &ToolchainFile) -> Option<&'static str> {
    if !file.is_fetched() || file.built.is_some() {
        return Some("a Go toolchain needs an [archive], a [wheel] or [debian] packages to come from");
    }
    go.arch.is_empty().then_some("[go.arch.NAME] is missing: say at least one architecture")
}

fn wrong_program(file: &ToolchainFile) -> Option<&'static str> {
    (file.is_fetched() == file.built.is_some())
        .then_some("a program needs an [archive] or a [wheel] to come from, or a recipe that it is [built] by")
}

fn wrong_userland(file: &ToolchainFile) -> Option<&'static str> {
    (file.is_fetched() || file.built.is_none()).then_some("a userland is [built] by a recipe")
}

fn wrong_loader(loader: &Loader, file: &ToolchainFile) -> Option<&'static str> {
    if !file.is_fetched() || file.built.is_some() {
        return Some("a loader needs an [archive], a [wheel] or [debian] packages to come from");
    }
    loader.start.is_empty().then_some("`start` is empty: give the program that starts others")
}

fn wrong_version(file: &ToolchainFile) -> Option<&'static str> {
    match (file.is_fetched(), file.built.is_some(), file.version.is_some()) {
        (true, _, false) => Some("a fetched toolchain says its `version`"),
        (_, true, false) => Some("a toolchain that is built says its `version`: which release of the recipe it is"),
        _ => None,
    }
}

/// Every way in which the tool is packed, best first.
fn packings(file: &ToolchainFile) -> Vec<Packing> {
    let archives = file.archive.iter().flat_map(Archive::packings);
    let archive = archives.map(|pinned| Packing { files: vec![pinned], layout: Layout::TopFolder });
    let wheel = file.wheel.iter().map(|wheel| {
        let pinned = Wheel {
            package: wheel.package.clone(),
            version: wheel.version.clone(),
            file: wheel.file.clone(),
            sha256: wheel.sha256.clone(),
        };
        Packing { files: vec![pinned.pinned()], layout: Layout::Folder(wheel.root.clone()) }
    });
    let debian = file.debian.iter().map(|debian| {
        let files = debian.packages.iter().map(|package| Pinned {
            file: package.file.as_str().to_owned(),
            sha256: package.sha256.clone(),
            origins: vec![Origin::Deb(DebianBinary {
                suite: debian.suite.clone(),
                arch: Arch::X86_64,
                package: package.package.clone(),
                version: package.version.clone(),
            })],
        });
        let layout = debian.root.clone().map_or(Layout::Whole, Layout::Folder);
        Packing { files: files.collect(), layout }
    });
    archive.chain(wheel).chain(debian).collect()
}

fn wrong_c(tools: &CTools, file: &ToolchainFile) -> Option<&'static str> {
    let fetched = file.is_fetched();
    let problem = if fetched == tools.host.is_some() || file.built.is_some() {
        "a C toolchain comes from an [archive] or [wheel], or from the host with [c.host]: exactly one"
    } else if file.archive.as_ref().is_some_and(|archive| archive.urls.is_empty()) {
        "[archive] needs at least one of `urls`"
    } else if !tools.tools.contains_key("gcc") {
        "[c.tools] needs `gcc`: builds call the compiler TRIPLE-gcc"
    } else if tools.tools.values().any(Vec::is_empty) {
        "each of [c.tools] is an argv with at least the program"
    } else if tools.arch.is_empty() {
        "[c.arch.NAME] is missing: say at least one architecture"
    } else if tools.host.is_some() && tools.arch.values().any(|arch| arch.rust_target.is_none()) {
        "a host's compiler is found by `rust_target`: give it for each [c.arch.NAME]"
    } else {
        return None;
    };
    Some(problem)
}
