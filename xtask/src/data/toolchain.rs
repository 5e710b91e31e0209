//! Toolchains: pinned compilers and tools, or the ones a host already has.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::arg::{Arg, InToolchain};
use super::source::{Archive, Pinned, Wheel};
use super::text::Text;
use super::types::{Arch, Name, RelPath, Sha256, Version};
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

/// One way in which a tool's tree is packed.
#[derive(Debug, Clone)]
pub struct Packing {
    pub pinned: Pinned,
    /// The folder inside that is the tool; `None`: the archive's one top folder.
    pub root: Option<RelPath>,
}

/// What a toolchain is for: exactly one kind.
#[derive(Debug, Clone)]
pub enum ToolKind {
    C(CTools),
    Program(Program),
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
    #[serde(default)]
    programs: Vec<RelPath>,
    c: Option<Spanned<CTools>>,
    program: Option<Spanned<Program>>,
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
        let kind = match (&file.c, &file.program) {
            (Some(c), None) => {
                check_c(text, c, &file)?;
                ToolKind::C(c.get_ref().clone())
            }
            (None, Some(program)) if file.archive.is_some() || file.wheel.is_some() => {
                ToolKind::Program(program.get_ref().clone())
            }
            (None, Some(program)) => {
                return Err(text
                    .wrong(program.span(), "a program needs an [archive] or a [wheel] to come from")
                    .into());
            }
            _ => return Err(text.wrong(0..0, "a toolchain has exactly one of [c] and [program]").into()),
        };
        let archive = file.archive.map(|archive| Packing { pinned: archive.pinned(), root: None });
        let wheel = file.wheel.map(|wheel| {
            let root = Some(wheel.root);
            let wheel =
                Wheel { package: wheel.package, version: wheel.version, file: wheel.file, sha256: wheel.sha256 };
            Packing { pinned: wheel.pinned(), root }
        });
        let packings = archive.into_iter().chain(wheel).collect();
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
            ToolKind::Program(_) => None,
        }
    }
}

fn check_c(text: &Text, c: &Spanned<CTools>, file: &ToolchainFile) -> Result<()> {
    let tools = c.get_ref();
    let fetched = file.archive.is_some() || file.wheel.is_some();
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
