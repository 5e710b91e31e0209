//! Container images that a target packs from its own programs: their names, what is in them, what they run.
//!
//! Knows nothing of how an image is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::recipe::{Recipe, beside, reserved};
use super::target::Target;
use super::text::{Text, unknown};
use super::types::{Arch, ImageName, Name, RelPath};
use crate::error::Result;

/// `[images."PATH"]` of a target: one image; its archive ships at PATH.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it is called once it was loaded.
    pub name: ImageName,
    /// Path in the image → path in the bundle of a file that one of the target's recipes ships.
    pub files: BTreeMap<RelPath, Spanned<RelPath>>,
    /// Path in the image → what the symbolic link says.
    pub links: BTreeMap<RelPath, RelPath>,
    /// What a container runs, whatever arguments it is given.
    pub entrypoint: Vec<String>,
    /// The arguments, or all of the command, if a container is given none.
    pub cmd: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Where its path is written in the file.
    pub span: Range<usize>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageFile {
    name: ImageName,
    files: BTreeMap<Spanned<RelPath>, Spanned<RelPath>>,
    #[serde(default)]
    links: BTreeMap<Spanned<RelPath>, Spanned<RelPath>>,
    entrypoint: Option<Spanned<Vec<String>>>,
    cmd: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// A bundle's files by their path: the recipe that ships each, and for which architecture.
pub type Shipped<'a> = BTreeMap<&'a str, (&'a Name, Arch)>;

impl Image {
    /// Checks every image by itself. Whether its files ship, [`check`] finds out.
    pub(super) fn parse_all(
        images: BTreeMap<Spanned<RelPath>, ImageFile>,
        text: &Text,
    ) -> Result<BTreeMap<RelPath, Image>> {
        images
            .into_iter()
            .map(|(path, file)| {
                let image = Image::parse(path.span(), file, text)?;
                Ok((path.into_inner(), image))
            })
            .collect()
    }

    fn parse(span: Range<usize>, file: ImageFile, text: &Text) -> Result<Self> {
        check_paths(&span, &file, text)?;
        check_links(&file, text)?;
        check_start(&span, &file, text)?;
        check_words(&file, text)?;
        let words = |words: Option<Spanned<Vec<String>>>| words.map(Spanned::into_inner).unwrap_or_default();
        let link = |(path, target): (Spanned<RelPath>, Spanned<RelPath>)| (path.into_inner(), target.into_inner());
        Ok(Self {
            name: file.name,
            files: file.files.into_iter().map(|(path, from)| (path.into_inner(), from)).collect(),
            links: file.links.into_iter().map(link).collect(),
            entrypoint: words(file.entrypoint),
            cmd: words(file.cmd),
            env: file.env.into_iter().map(|(name, value)| (name.into_inner(), value.into_inner())).collect(),
            span,
        })
    }

    /// All that the file says about it, one line each: part of the bundle's key.
    pub fn text(&self) -> String {
        let mut text = format!("name {}\n", self.name);
        for (path, from) in &self.files {
            let _ = writeln!(text, "file {path} = {}", from.get_ref());
        }
        for (path, target) in &self.links {
            let _ = writeln!(text, "link {path} -> {target}");
        }
        let _ = writeln!(text, "entrypoint {:?}\ncmd {:?}\nenv {:?}", self.entrypoint, self.cmd, self.env);
        text
    }

    /// The architecture of its files. Fails if one does not ship, or if they are of more than one
    /// architecture: a program of the wrong one starts nowhere.
    pub fn arch(&self, text: &Text, shipped: &Shipped<'_>) -> Result<Arch> {
        let mut first: Option<(&RelPath, &Name, Arch)> = None;
        for (path, from) in &self.files {
            let Some((recipe, arch)) = shipped.get(from.get_ref().as_str()) else {
                let what =
                    unknown("a file of this target's programs", from.get_ref().as_str(), shipped.keys().copied());
                return Err(text.wrong(from.span(), what).into());
            };
            match first {
                None => first = Some((path, recipe, *arch)),
                Some((other, its_recipe, its_arch)) if its_arch != *arch => {
                    let what = format!(
                        "an image is for one architecture, but `{path}` is of {recipe} for {arch}, and `{other}` of \
                         {its_recipe} for {its_arch}"
                    );
                    return Err(text.wrong(from.span(), what).into());
                }
                Some(_) => {}
            }
        }
        first.map(|(_, _, arch)| arch).ok_or_else(|| text.wrong(self.span.clone(), NO_FILES).into())
    }
}

const NO_FILES: &str = "`files` is empty: an image holds at least one program";

/// Checks a target's images against what else ships. `owners` has the path of everything that the
/// recipes ship, and the recipe.
pub(super) fn check(
    target: &Target,
    recipes: &BTreeMap<Name, Recipe>,
    owners: &BTreeMap<String, String>,
) -> Result<()> {
    let shipped = shipped(target, recipes, owners);
    let mut names: BTreeMap<String, &RelPath> = BTreeMap::new();
    for (path, image) in &target.images {
        let refused = |what: String| -> Result<()> { Err(target.text.wrong(image.span.clone(), what).into()) };
        if let Some(reserved) = reserved(path) {
            refused(reserved)?;
        }
        let board = target.files.keys().map(|other| (other.as_str(), "[files]"));
        let built = owners.iter().map(|(other, owner)| (other.as_str(), owner.as_str()));
        let images = target.images.keys().filter(|other| *other != path).map(|other| (other.as_str(), "[images]"));
        if let Some((other, owner)) = board.chain(built).chain(images).find(|(other, _)| clash(path.as_str(), other)) {
            refused(match other == path.as_str() {
                true => format!("`{path}` ships twice: {owner} has it too"),
                false => format!("`{path}` and `{other}` of {owner} cannot both ship: one lies below the other"),
            })?;
        }
        if let Some(other) = names.insert(image.name.full(), path) {
            refused(format!("`{other}` is called {} too: the one loaded last would take the name", image.name))?;
        }
        image.arch(&target.text, &shipped)?;
    }
    Ok(())
}

/// The recipes' files; their links are left out, an image has its own.
fn shipped<'a>(
    target: &'a Target,
    recipes: &BTreeMap<Name, Recipe>,
    owners: &'a BTreeMap<String, String>,
) -> Shipped<'a> {
    let files = owners.iter().filter_map(|(path, owner)| {
        let (recipe, selection) = target.recipes.get_key_value(owner.as_str())?;
        let is_link = recipes.get(recipe)?.links.contains_key(path.as_str());
        (!is_link).then_some((path.as_str(), (recipe, selection.arch)))
    });
    files.collect()
}

/// True if two paths are the same, or one needs the other to be a folder.
fn clash(one: &str, other: &str) -> bool {
    let below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    one == other || below(one, other) || below(other, one)
}

/// There is a file, and no path is there twice, nor a file and a folder at once.
fn check_paths(span: &Range<usize>, file: &ImageFile, text: &Text) -> Result<()> {
    if file.files.is_empty() {
        return Err(text.wrong(span.clone(), NO_FILES).into());
    }
    let mut seen: Vec<&RelPath> = Vec::new();
    for path in file.files.keys().chain(file.links.keys()) {
        if let Some(other) = seen.iter().find(|other| clash(path.get_ref().as_str(), other.as_str())) {
            let what = match *other == path.get_ref() {
                true => format!("`{other}` is in the image twice: in `files` and in `links`"),
                false => {
                    format!("`{}` and `{other}` cannot both be files: one lies below the other", path.get_ref())
                }
            };
            return Err(text.wrong(path.span(), what).into());
        }
        seen.push(path.get_ref());
    }
    Ok(())
}

/// A link ends at a file of the image, at once: links to links are not needed.
fn check_links(file: &ImageFile, text: &Text) -> Result<()> {
    let files: Vec<&str> = file.files.keys().map(|path| path.get_ref().as_str()).collect();
    for (path, target) in &file.links {
        let end = beside(path.get_ref(), target.get_ref());
        if !files.contains(&end.as_str()) {
            let what = unknown("a file of this image", &end, files);
            return Err(text.wrong(target.span(), format!("the link leads nowhere: {what}")).into());
        }
    }
    Ok(())
}

/// What a container starts is in the image.
fn check_start(span: &Range<usize>, file: &ImageFile, text: &Text) -> Result<()> {
    let given = |words: &&Spanned<Vec<String>>| !words.get_ref().is_empty();
    let started = file.entrypoint.iter().chain(&file.cmd).find(given);
    let Some((words, program)) = started.and_then(|words| Some((words, words.get_ref().first()?))) else {
        let what = "`entrypoint` and `cmd` are empty: give one of them, so that a container has something to run";
        return Err(text.wrong(span.clone(), what).into());
    };
    let paths: Vec<String> =
        file.files.keys().chain(file.links.keys()).map(|path| format!("/{}", path.get_ref())).collect();
    if paths.contains(program) {
        return Ok(());
    }
    Err(text.wrong(words.span(), unknown("a program of this image", program, paths.iter().map(String::as_str))).into())
}

/// Words and variables that a kernel can hand to a program.
fn check_words(file: &ImageFile, text: &Text) -> Result<()> {
    let lists = file.entrypoint.iter().chain(&file.cmd);
    let words = lists.flat_map(|list| list.get_ref().iter().map(|word| (word, list.span())));
    let values = file.env.values().map(|value| (value.get_ref(), value.span()));
    if let Some((_, span)) = words.chain(values).find(|(word, _)| word.contains('\0')) {
        return Err(text.wrong(span, "a word cannot hold a NUL character").into());
    }
    let is_name = |name: &str| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.starts_with(|c: char| word(c) && !c.is_ascii_digit()) && name.chars().all(word)
    };
    match file.env.keys().find(|name| !is_name(name.get_ref())) {
        None => Ok(()),
        Some(name) => {
            let shown = name.get_ref().escape_debug();
            let what = format!("`{shown}` is not the name of a variable: letters, digits and `_`, like PATH");
            Err(text.wrong(name.span(), what).into())
        }
    }
}
