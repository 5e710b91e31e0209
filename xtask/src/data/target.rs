//! Targets: which programs make up a board's bundle, in which version, for which architecture.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::board::Board;
use super::image::{Image, ImageFile};
use super::kernel::TargetKernel;
use super::text::Text;
use super::types::{Arch, Name, RelPath, Version};
use super::variable::Given;
use crate::error::Result;

/// One board's bundle: `targets/NAME.toml`.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: Name,
    pub summary: String,
    /// The architecture of programs that do not say their own.
    pub arch: Arch,
    /// What stands in for the board where there is none.
    pub emulator: Option<Spanned<Name>>,
    pub recipes: BTreeMap<Name, Selection>,
    /// Programs that move together: the group's name → its version → the version of each member.
    pub groups: BTreeMap<Name, Group>,
    /// What this board is like, for the recipes and templates that use these variables.
    pub vars: BTreeMap<Spanned<Name>, Spanned<Given>>,
    /// Path on the board → path in this repository: files that ship as they are.
    pub files: BTreeMap<RelPath, Spanned<RelPath>>,
    /// Path on the board → the template that is filled in with the variables.
    pub templates: BTreeMap<RelPath, TemplateUse>,
    /// Path on the board → the container image whose archive ships there.
    pub images: BTreeMap<RelPath, Image>,
    /// What the board's kernel is like.
    pub kernel: Option<TargetKernel>,
    /// How the board is reached, and what it must be.
    pub board: Board,
    /// The file itself, for errors that point into it.
    pub text: Text,
}

/// Versions that belong together: the group's version → the version of each program.
pub type Group = BTreeMap<Version, BTreeMap<Spanned<Name>, Spanned<Version>>>;

/// One program of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub version: Spanned<Version>,
    pub arch: Arch,
    /// Where the recipe is named in the file.
    pub span: std::ops::Range<usize>,
}

/// A template of a target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateUse {
    /// The template in this repository.
    pub file: Spanned<RelPath>,
    /// The JSON Schema, in this repository, that the filled-in file is held to.
    pub schema: Option<Spanned<RelPath>>,
    /// The file ships only if this variable is not empty.
    #[serde(rename = "if")]
    pub when: Option<Spanned<Name>>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetFile {
    summary: String,
    arch: Arch,
    emulator: Option<Spanned<Name>>,
    recipes: BTreeMap<Spanned<Name>, SelectionFile>,
    #[serde(default)]
    groups: BTreeMap<Name, Group>,
    #[serde(default)]
    vars: BTreeMap<Spanned<Name>, Spanned<Given>>,
    #[serde(default)]
    files: BTreeMap<RelPath, Spanned<RelPath>>,
    #[serde(default)]
    templates: BTreeMap<RelPath, TemplateUse>,
    #[serde(default)]
    images: BTreeMap<Spanned<RelPath>, ImageFile>,
    kernel: Option<TargetKernel>,
    #[serde(default)]
    board: Board,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectionFile {
    version: Spanned<Version>,
    arch: Option<Arch>,
}

impl Target {
    /// Reads a target; `name` is the file's stem. Whether its recipes exist, the project checks.
    pub fn parse(name: Name, text: &Text) -> Result<Self> {
        let file: TargetFile = text.parse()?;
        if file.recipes.is_empty() {
            return Err(text.wrong(0..0, "[recipes] is empty: a target names at least one program").into());
        }
        let recipes = file
            .recipes
            .into_iter()
            .map(|(recipe, selection)| {
                let span = recipe.span();
                let arch = selection.arch.unwrap_or(file.arch);
                (recipe.into_inner(), Selection { version: selection.version, arch, span })
            })
            .collect();
        let images = Image::parse_all(file.images, text)?;
        Ok(Self {
            name,
            summary: file.summary,
            arch: file.arch,
            emulator: file.emulator,
            recipes,
            groups: file.groups,
            vars: file.vars,
            files: file.files,
            templates: file.templates,
            images,
            kernel: file.kernel,
            board: file.board,
            text: text.clone(),
        })
    }
}
