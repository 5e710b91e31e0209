//! Toolchains: pinned compilers and tools, or the ones a host already has.

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
    /// Where it comes from, best first: each packing holds the same tree. Empty for the host's own.
    pub packings: Vec<Packing>,
    /// Programs of the tree that must be executable, whatever their packing says.
    pub programs: Vec<RelPath>,
    pub kind: ToolKind,
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
}

/// `[go]`: a Go toolchain, which compiles for every architecture.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoTools {
    /// The folder of the tool that is GOROOT; all of it if not given.
    pub root: Option<RelPath>,
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
    #[serde(default)]
    programs: Vec<RelPath>,
    c: Option<Spanned<CTools>>,
    go: Option<Spanned<GoTools>>,
    program: Option<Spanned<Program>>,
}

/// Debian's binary packages, unpacked over each other into one tree.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DebianFile {
    suite: Name,
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
            programs: file.programs,
            kind,
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
            ToolKind::Go(_) | ToolKind::Program(_) => None,
        }
    }

    pub fn go(&self) -> Option<&GoTools> {
        match &self.kind {
            ToolKind::Go(go) => Some(go),
            ToolKind::C(_) | ToolKind::Program(_) => None,
        }
    }
}

fn kind(text: &Text, file: &ToolchainFile) -> Result<ToolKind> {
    let fetched = file.archive.is_some() || file.wheel.is_some() || file.debian.is_some();
    if file.debian.is_some() && (file.archive.is_some() || file.wheel.is_some()) {
        let what = "[debian] packs another tree than [archive] and [wheel] do: keep one of them";
        return Err(text.wrong(0..0, what).into());
    }
    match (&file.c, &file.go, &file.program) {
        (Some(c), None, None) => {
            check_c(text, c, file)?;
            Ok(ToolKind::C(c.get_ref().clone()))
        }
        (None, Some(go), None) => {
            let problem = if !fetched {
                "a Go toolchain needs an [archive], a [wheel] or [debian] packages to come from"
            } else if file.version.is_none() {
                "a fetched toolchain says its `version`"
            } else if go.get_ref().arch.is_empty() {
                "[go.arch.NAME] is missing: say at least one architecture"
            } else {
                return Ok(ToolKind::Go(go.get_ref().clone()));
            };
            Err(text.wrong(go.span(), problem).into())
        }
        (None, None, Some(program)) if fetched => Ok(ToolKind::Program(program.get_ref().clone())),
        (None, None, Some(program)) => {
            Err(text.wrong(program.span(), "a program needs an [archive] or a [wheel] to come from").into())
        }
        _ => Err(text.wrong(0..0, "a toolchain has exactly one of [c], [go] and [program]").into()),
    }
}

/// Every way in which the tool is packed, best first.
fn packings(file: &ToolchainFile) -> Vec<Packing> {
    let archive =
        file.archive.iter().map(|archive| Packing { files: vec![archive.pinned()], layout: Layout::TopFolder });
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
        Packing { files: files.collect(), layout: Layout::Whole }
    });
    archive.chain(wheel).chain(debian).collect()
}

fn check_c(text: &Text, c: &Spanned<CTools>, file: &ToolchainFile) -> Result<()> {
    let tools = c.get_ref();
    let fetched = file.archive.is_some() || file.wheel.is_some() || file.debian.is_some();
    let problem = if fetched == tools.host.is_some() {
        "a C toolchain comes from an [archive] or [wheel], or from the host with [c.host]: exactly one"
    } else if fetched && file.version.is_none() {
        "a fetched toolchain says its `version`"
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
        return Ok(());
    };
    Err(text.wrong(c.span(), problem).into())
}
