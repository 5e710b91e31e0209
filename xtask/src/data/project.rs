//! The whole of the data: every recipe, target, toolchain and patch, checked against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::edit::EDITS;
use super::emulator::Emulator;
use super::image;
use super::lock::Lock;
use super::patch::Patch;
use super::recipe::{Recipe, Release, Source};
use super::schema::Schema;
use super::source::DebianSource;
use super::target::Target;
use super::template::{Format, Template};
use super::text::{Text, unknown};
use super::toolchain::{BuiltTool, ToolKind, Toolchain};
use super::types::{Arch, Name, RelPath, Sha256, Version};
use super::variable::{self, BUILT_IN, Variable};
use crate::error::{Context, Failure, Kind, Result};

/// All data of a checkout.
#[derive(Debug)]
pub struct Project {
    pub root: PathBuf,
    pub recipes: BTreeMap<Name, Recipe>,
    pub targets: BTreeMap<Name, Target>,
    pub toolchains: BTreeMap<Name, Toolchain>,
    pub emulators: BTreeMap<Name, Emulator>,
    /// What can be set about a board.
    pub variables: BTreeMap<Name, Variable>,
    /// The templates that targets ship, by their path in this repository.
    templates: BTreeMap<RelPath, Template>,
    /// The schemas of those.
    schemas: BTreeMap<RelPath, Schema>,
    /// (recipe, version) → its patches in order.
    patches: BTreeMap<(Name, Version), Vec<Patch>>,
    /// Folders of this repository that are sources → the hash of all that is in them.
    trees: BTreeMap<RelPath, Sha256>,
    /// The Debian source packages that are pinned.
    locks: BTreeMap<DebianSource, Lock>,
}

/// A file of the repository that ships as it is.
#[derive(Debug, Clone)]
pub struct BoardFile {
    pub from: RelPath,
    pub bytes: Vec<u8>,
    pub executable: bool,
}

impl Project {
    /// Reads and checks the checkout at `root`.
    pub fn load(root: &Path) -> Result<Self> {
        let recipes = read_all(root, "recipes", Recipe::parse)?;
        let targets = read_all(root, "targets", Target::parse)?;
        let project = Self {
            variables: read_variables(root)?,
            templates: read_templates(root, &targets)?,
            schemas: read_schemas(root, &targets)?,
            targets,
            toolchains: read_all(root, "toolchains", Toolchain::parse)?,
            emulators: read_all(root, "emulators", Emulator::parse)?,
            patches: read_patches(root, &recipes)?,
            trees: read_trees(root, &recipes)?,
            locks: read_locks(root, &recipes)?,
            recipes,
            root: root.to_owned(),
        };
        project.check_toolchains()?;
        project.recipes.values().try_for_each(|recipe| project.check_recipe(recipe))?;
        for target in project.targets.values() {
            project.check_target(target)?;
        }
        Ok(project)
    }

    /// The recipe with this name, or a failure that lists the names there are.
    pub fn recipe(&self, name: &str) -> Result<&Recipe> {
        self.recipes.get(name).ok_or_else(|| not_there("a recipe", name, &self.recipes))
    }

    /// The target with this name, or a failure that lists the names there are.
    pub fn target(&self, name: &str) -> Result<&Target> {
        self.targets.get(name).ok_or_else(|| not_there("a target", name, &self.targets))
    }

    /// What stands in for a target's board.
    pub fn emulator(&self, target: &Target) -> Result<&Emulator> {
        let emulator = target.emulator.as_ref().and_then(|name| self.emulators.get(name.get_ref()));
        emulator.ok_or_else(|| {
            let what = format!("targets/{}.toml names no emulator: `emulator = \"NAME\"`", target.name);
            Failure::new(Kind::Data, what).into()
        })
    }

    /// The C toolchain with this name, or a failure that lists the names there are.
    pub fn c_toolchain(&self, name: &str) -> Result<&Toolchain> {
        let found = self.toolchains.get(name).filter(|toolchain| toolchain.c().is_some());
        found.ok_or_else(|| {
            let known: Vec<&str> = self.c_toolchains().map(|toolchain| toolchain.name.as_str()).collect();
            Failure::new(Kind::Data, unknown("a C toolchain", name, known)).into()
        })
    }

    /// The C toolchain that is used when nobody says which.
    pub fn default_c_toolchain(&self) -> Result<&Toolchain> {
        let mut defaults = self.c_toolchains().filter(|toolchain| toolchain.c().is_some_and(|c| c.default));
        defaults.next().context("no toolchain says `default = true` in its [c]")
    }

    /// The Go toolchain with this name, or a failure that lists the names there are.
    pub fn go_toolchain(&self, name: &str) -> Result<&Toolchain> {
        let found = self.toolchains.get(name).filter(|toolchain| toolchain.go().is_some());
        found.ok_or_else(|| Failure::new(Kind::Data, self.unknown_go(name)).into())
    }

    fn unknown_go(&self, name: &str) -> String {
        let known = self.toolchains.values().filter(|toolchain| toolchain.go().is_some());
        unknown("a Go toolchain", name, known.map(|toolchain| toolchain.name.as_str()).collect::<Vec<_>>())
    }

    /// The shell and the small tools of every step; `None` where they are the host's.
    pub fn userland(&self) -> Option<&Toolchain> {
        self.toolchains.values().find(|toolchain| toolchain.userland().is_some())
    }

    /// The toolchain that starts a Go toolchain's `go`, if that needs one.
    pub fn loader(&self, go: &Toolchain) -> Option<&Toolchain> {
        let name = go.go()?.loader.as_ref()?.get_ref();
        self.toolchains.get(name)
    }

    /// The tool that provides the command `name`.
    pub fn program(&self, name: &str) -> Result<&Toolchain> {
        let provides = |toolchain: &&Toolchain| match &toolchain.kind {
            ToolKind::Program(program) => program.provides.as_str() == name,
            _ => false,
        };
        self.toolchains.values().find(provides).with_context(|| format!("no toolchain provides `{name}`"))
    }

    /// The patches of a release, in order.
    pub fn patches(&self, recipe: &Name, version: &Version) -> &[Patch] {
        self.patches.get(&(recipe.clone(), version.clone())).map_or(&[], Vec::as_slice)
    }

    /// The lock of a release that is built from a Debian source package, which must be of that version.
    pub fn lock(&self, recipe: &Recipe, version: &Version, source: &DebianSource) -> Result<&Lock> {
        let path = Lock::path(&source.suite, &source.package);
        let update = format!("cargo xtask update {} --version {version}", recipe.name);
        let Some(lock) = self.locks.get(source) else {
            let what = format!("there is no {path}, which pins the source of {} {version}", recipe.name);
            return Err(Failure::new(Kind::Data, what).next(update).into());
        };
        let rest = lock.version.as_str().strip_prefix(version.as_str());
        if rest.is_some_and(|rest| rest.starts_with(['-', '+', '~'])) {
            return Ok(lock);
        }
        let what =
            format!("{path} pins {} {}, but the release of {} is {version}", lock.package, lock.version, recipe.name);
        Err(Failure::new(Kind::Data, what).next("rename the release in the recipe, or restore the lock").into())
    }

    /// The hash of a source folder of this repository.
    pub fn tree(&self, path: &RelPath) -> &Sha256 {
        &self.trees[path]
    }

    /// The release of `recipe` that is `version`, or a failure that lists the versions there are.
    pub fn release<'a>(&self, recipe: &'a Recipe, version: &Version) -> Result<&'a Release> {
        recipe.releases.get(version).ok_or_else(|| {
            let known = recipe.releases.keys().map(Version::as_str);
            let what = format!("a version of {}", recipe.name);
            Failure::new(Kind::Data, unknown(&what, version.as_str(), known)).into()
        })
    }

    /// The files of this repository that a target ships, by their path on the board.
    pub fn board_files(&self, target: &Target) -> Result<BTreeMap<RelPath, BoardFile>> {
        let read = |(to, from): (&RelPath, &toml::Spanned<RelPath>)| {
            let path = self.root.join(from.get_ref());
            let bytes = fs::read(&path).map_err(|error| target.text.wrong(from.span(), error.to_string()))?;
            let executable = is_executable(&path)?;
            Ok((to.clone(), BoardFile { from: from.get_ref().clone(), bytes, executable }))
        };
        target.files.iter().map(read).collect()
    }

    fn c_toolchains(&self) -> impl Iterator<Item = &Toolchain> {
        self.toolchains.values().filter(|toolchain| toolchain.c().is_some())
    }

    fn check_toolchains(&self) -> Result<()> {
        let defaults: Vec<&str> = self
            .c_toolchains()
            .filter(|toolchain| toolchain.c().is_some_and(|c| c.default))
            .map(|toolchain| toolchain.name.as_str())
            .collect();
        match defaults.as_slice() {
            [_] => {}
            [] if self.recipes.is_empty() => {}
            [] => return Err(Failure::new(Kind::Data, "toolchains/: none says `default = true` in its [c]").into()),
            several => {
                let what = format!("toolchains/: {} all say `default = true`; keep one", several.join(", "));
                return Err(Failure::new(Kind::Data, what).into());
            }
        }
        let userlands = self.toolchains.values().filter(|toolchain| toolchain.userland().is_some());
        let userlands: Vec<&str> = userlands.map(|toolchain| toolchain.name.as_str()).collect();
        if userlands.len() > 1 {
            let what = format!("toolchains/: {} are all a [userland]; keep one", userlands.join(", "));
            return Err(Failure::new(Kind::Data, what).into());
        }
        self.toolchains.values().try_for_each(|toolchain| self.check_toolchain(toolchain))
    }

    /// What a toolchain names is there: its recipe, its loader.
    fn check_toolchain(&self, toolchain: &Toolchain) -> Result<()> {
        if let Some(loader) = toolchain.go().and_then(|go| go.loader.as_ref())
            && self.loader(toolchain).and_then(Toolchain::loader).is_none()
        {
            let known = self.toolchains.values().filter(|known| known.loader().is_some());
            let known: Vec<&str> = known.map(|known| known.name.as_str()).collect();
            return Err(toolchain
                .text
                .wrong(loader.span(), unknown("a loader", loader.get_ref().as_str(), known))
                .into());
        }
        let (Some(built), Some(version)) = (&toolchain.built, &toolchain.version) else { return Ok(()) };
        match self.wrong_recipe(toolchain, built.get_ref(), version) {
            Some(problem) => Err(toolchain.text.wrong(built.span(), problem).into()),
            None => Ok(()),
        }
    }

    /// Why a tool cannot be built by the recipe that it names, if it cannot.
    fn wrong_recipe(&self, toolchain: &Toolchain, built: &BuiltTool, version: &Version) -> Option<String> {
        let Some(recipe) = self.recipes.get(&built.recipe) else {
            return Some(unknown("a recipe", built.recipe.as_str(), self.recipes.keys().map(Name::as_str)));
        };
        let Some(release) = recipe.releases.get(version) else {
            let what = format!("a version of {}, and this toolchain's `version` says so", recipe.name);
            return Some(unknown(&what, version.as_str(), recipe.releases.keys().map(Version::as_str)));
        };
        let is_program = matches!(toolchain.kind, ToolKind::Program(_));
        if release.go.is_some() || is_program && release.build.needs_userland() {
            let kinds = if is_program { "[build.cc]" } else { "in C" };
            return Some(format!(
                "{} {version} needs tools that need this one: a recipe for it is {kinds}",
                recipe.name
            ));
        }
        None
    }

    /// Every Go toolchain that a recipe names exists.
    fn check_recipe(&self, recipe: &Recipe) -> Result<()> {
        for release in recipe.releases.values() {
            if let Some(go) = &release.go
                && self.go_toolchain(go.get_ref().as_str()).is_err()
            {
                return Err(recipe.text.wrong(go.span(), self.unknown_go(go.get_ref().as_str())).into());
            }
        }
        Ok(())
    }

    /// Every recipe and version that a target names exists, and no path ships twice.
    fn check_target(&self, target: &Target) -> Result<()> {
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for (name, selection) in &target.recipes {
            let Some(recipe) = self.recipes.get(name) else {
                let what = unknown("a recipe", name.as_str(), self.recipes.keys().map(Name::as_str));
                return Err(target.text.wrong(selection.span.clone(), what).into());
            };
            if !recipe.releases.contains_key(selection.version.get_ref()) {
                let what = format!("a version of {name}");
                let known = recipe.releases.keys().map(Version::as_str);
                let what = unknown(&what, selection.version.get_ref().as_str(), known);
                return Err(target.text.wrong(selection.version.span(), what).into());
            }
            for path in recipe.outputs(&recipe.releases[selection.version.get_ref()]) {
                if let Some(other) = owners.insert(path.clone(), name.to_string()) {
                    let what = format!("`{path}` ships twice: {other} and {name} both have it");
                    return Err(target.text.wrong(selection.span.clone(), what).into());
                }
            }
        }
        self.check_groups(target)?;
        self.check_templates(target)?;
        self.check_vars(target)?;
        self.check_emulator(target)?;
        for (path, template) in &target.templates {
            let other = owners.get(path.as_str()).map(String::as_str);
            let own = target.files.contains_key(path).then_some("[files]");
            if let Some(owner) = other.or(own) {
                let what = format!("`{path}` ships twice: {owner} has it too");
                return Err(target.text.wrong(template.file.span(), what).into());
            }
        }
        if let Some(tree) = target.kernel.as_ref().and_then(|kernel| kernel.tree.as_ref())
            && !self.root.join("patches").join(tree.get_ref()).join(EDITS).is_file()
        {
            let what = format!("there is no patches/{}/{EDITS} in this repository", tree.get_ref());
            return Err(target.text.wrong(tree.span(), what).into());
        }
        for (path, from) in &target.files {
            if let Some(owner) = owners.get(path.as_str()) {
                let what = format!("`{path}` ships twice: {owner} has it too");
                return Err(target.text.wrong(from.span(), what).into());
            }
            if !self.root.join(from.get_ref()).is_file() {
                let what = format!("there is no file `{}` in this repository", from.get_ref());
                return Err(target.text.wrong(from.span(), what).into());
            }
        }
        image::check(target, &self.recipes, &owners)
    }
}

impl Project {
    /// Every member of a group is a recipe of the target, in a version that there is.
    fn check_groups(&self, target: &Target) -> Result<()> {
        for (group, versions) in &target.groups {
            if target.recipes.contains_key(group) {
                let what = format!("the group `{group}` has the name of a recipe; --set could not tell them apart");
                return Err(target.text.wrong(0..0, what).into());
            }
            for (recipe, version) in versions.values().flatten() {
                let name = recipe.get_ref();
                if !target.recipes.contains_key(name) {
                    let known = target.recipes.keys().map(Name::as_str);
                    let what = unknown("a recipe of this target", name.as_str(), known);
                    return Err(target.text.wrong(recipe.span(), what).into());
                }
                let releases = &self.recipes[name].releases;
                if !releases.contains_key(version.get_ref()) {
                    let known = releases.keys().map(Version::as_str);
                    let what = unknown(&format!("a version of {name}"), version.get_ref().as_str(), known);
                    return Err(target.text.wrong(version.span(), what).into());
                }
            }
        }
        Ok(())
    }

    /// The emulator that a target names exists, and is of the board's architecture.
    fn check_emulator(&self, target: &Target) -> Result<()> {
        let Some(name) = &target.emulator else { return Ok(()) };
        let what = match self.emulators.get(name.get_ref()) {
            Some(emulator) if emulator.arch == target.arch => return Ok(()),
            Some(emulator) => {
                format!("the emulator {} is {}, the target {}", name.get_ref(), emulator.arch, target.arch)
            }
            None => unknown("an emulator", name.get_ref().as_str(), self.emulators.keys().map(Name::as_str)),
        };
        Err(target.text.wrong(name.span(), what).into())
    }

    /// Every variable that a template names exists and fits its place, and what has a schema has a format.
    fn check_templates(&self, target: &Target) -> Result<()> {
        for using in target.templates.values() {
            let template = &self.templates[using.file.get_ref()];
            if let Some(schema) = &using.schema
                && template.format == Format::Plain
            {
                let what = format!("`{}` is neither JSON nor YAML, so no schema fits it", template.file);
                return Err(target.text.wrong(schema.span(), what).into());
            }
            for place in template.places().filter(|place| !BUILT_IN.contains(&place.name.as_str())) {
                let Some(variable) = self.variables.get(&place.name) else {
                    let known: Vec<&str> = self.variables.keys().map(Name::as_str).chain(BUILT_IN).collect();
                    let what = unknown(&format!("a variable of {}", variable::FILE), place.name.as_str(), known);
                    return Err(template.text.wrong(place.span.clone(), what).into());
                };
                if place.each && !variable.list {
                    let what = format!("{} is not a list: write `{{{}}}`", place.name, place.name);
                    return Err(template.text.wrong(place.span.clone(), what).into());
                }
                if place.quoted && variable.list {
                    let what = format!("{} is a list, which cannot stand inside quotes", place.name);
                    return Err(template.text.wrong(place.span.clone(), what).into());
                }
            }
            if let Some(when) = &using.when
                && !self.variables.contains_key(when.get_ref())
            {
                let known = self.variables.keys().map(Name::as_str);
                let what = unknown(&format!("a variable of {}", variable::FILE), when.get_ref().as_str(), known);
                return Err(target.text.wrong(when.span(), what).into());
            }
        }
        Ok(())
    }

    /// Every variable that a target sets is one of its own, is no secret, and has a value of its type.
    fn check_vars(&self, target: &Target) -> Result<()> {
        let known = self.variables_of(target);
        for (name, given) in &target.vars {
            let Some(variable) = known.get(name.get_ref()) else {
                let names = known.keys().map(Name::as_str);
                let what = unknown("a variable of this target's recipes and templates", name.get_ref().as_str(), names);
                return Err(target.text.wrong(name.span(), what).into());
            };
            if variable.secret {
                let what = format!("{} is a secret, which no file of this repository holds", variable.name);
                return Err(target.text.wrong(name.span(), what).into());
            }
            variable.check(given.get_ref()).map_err(|invalid| target.text.wrong(given.span(), invalid.0))?;
        }
        Ok(())
    }

    /// The variables that a target's recipes and templates use.
    pub fn variables_of(&self, target: &Target) -> BTreeMap<Name, Variable> {
        let mut all = BTreeMap::new();
        for recipe in target.recipes.keys().map(|recipe| &self.recipes[recipe]) {
            for (name, default) in &recipe.vars {
                let declared = self.variables.get(name).cloned();
                all.insert(name.clone(), declared.unwrap_or_else(|| Variable::of_recipe(name, &recipe.name, default)));
            }
        }
        for using in target.templates.values() {
            let places = self.templates[using.file.get_ref()].places().map(|place| &place.name);
            for name in places.chain(using.when.as_ref().map(|when| when.get_ref())) {
                all.extend(self.variables.get(name).map(|variable| (name.clone(), variable.clone())));
            }
        }
        all
    }

    /// A schema that a target names.
    pub fn schema(&self, file: &RelPath) -> &Schema {
        &self.schemas[file]
    }

    /// A template that a target names.
    pub fn template(&self, file: &RelPath) -> &Template {
        &self.templates[file]
    }
}

/// Finds the checkout: the folder above `start` that has recipes/ and targets/, else where this program
/// was compiled.
pub fn find_root(start: &Path) -> Result<PathBuf> {
    let is_project = |dir: &&Path| dir.join("recipes").is_dir() && dir.join("targets").is_dir();
    if let Some(root) = start.ancestors().find(is_project) {
        return Ok(root.to_owned());
    }
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR")).parent().filter(is_project);
    compiled.map(Path::to_owned).ok_or_else(|| {
        let what = format!("no recipes/ and targets/ in {} or above it", start.display());
        Failure::new(Kind::Data, what).next("run it inside a checkout of Slipway").into()
    })
}

/// The hash of a folder: every file's path, executable bit and content, in the order of the paths.
pub fn hash_tree(dir: &Path) -> Result<Sha256> {
    let mut listing = String::new();
    for path in walk(dir)? {
        let full = dir.join(&path);
        let kind = if full.is_symlink() {
            format!("link {}", fs::read_link(&full)?.display())
        } else {
            let mode = if is_executable(&full)? { "755" } else { "644" };
            format!("file {mode} {}", Sha256::of(fs::read(&full)?))
        };
        listing.push_str(&format!("{path:?} {kind}\n"));
    }
    Ok(Sha256::of(listing))
}

/// All files and links below `dir`, as sorted relative paths.
pub fn walk(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    Ok(found)
}

pub fn is_executable(path: &Path) -> Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o111 != 0)
}

/// Reads every `DIR/*.toml`; the stem is the name.
fn read_all<T>(root: &Path, dir: &str, parse: fn(Name, &Text) -> Result<T>) -> Result<BTreeMap<Name, T>> {
    let mut all = BTreeMap::new();
    for file in names_in(&root.join(dir))? {
        let path = format!("{dir}/{file}");
        let Some(stem) = file.strip_suffix(".toml") else {
            let what = format!("{path}: only .toml files belong in {dir}/");
            return Err(Failure::new(Kind::Data, what).into());
        };
        let name: Name = stem.parse().map_err(|error| Failure::new(Kind::Data, format!("{path}: {error}")))?;
        let text = Text::new(path, fs::read_to_string(root.join(dir).join(&file))?);
        all.insert(name.clone(), parse(name, &text)?);
    }
    Ok(all)
}

/// Reads `patches/RECIPE/VERSION/*.patch`; a folder that belongs to no release is an error, so that a
/// renamed version cannot lose its patches silently.
fn read_patches(root: &Path, recipes: &BTreeMap<Name, Recipe>) -> Result<BTreeMap<(Name, Version), Vec<Patch>>> {
    let mut all = BTreeMap::new();
    for recipe in names_in(&root.join("patches"))? {
        if root.join("patches").join(&recipe).join(EDITS).is_file() {
            continue; // of a tree that is not a recipe's
        }
        for version in names_in(&root.join("patches").join(&recipe))? {
            let dir = format!("patches/{recipe}/{version}");
            let known = recipes.get(recipe.as_str());
            let release = known.and_then(|known| known.releases.keys().find(|release| release.as_str() == version));
            let (Some(known), Some(release)) = (known, release) else {
                let what = format!("{dir}: there is no release {version} of a recipe {recipe}");
                return Err(Failure::new(Kind::Data, what).next("rename the folder, or remove it").into());
            };
            let mut patches = Vec::new();
            for file in names_in(&root.join(&dir))? {
                let path = format!("{dir}/{file}");
                let bytes = fs::read(root.join(&path))?;
                patches.push(Patch::new(path, bytes)?);
            }
            all.insert((known.name.clone(), release.clone()), patches);
        }
    }
    Ok(all)
}

/// Reads `locks/SUITE/PACKAGE.toml`; one that no recipe builds from is an error, as for patches.
fn read_locks(root: &Path, recipes: &BTreeMap<Name, Recipe>) -> Result<BTreeMap<DebianSource, Lock>> {
    let mut wanted = BTreeSet::new();
    for release in recipes.values().flat_map(|recipe| recipe.releases.values()) {
        if let Source::Debian(tree) = &release.source {
            wanted.insert(tree.source());
        }
    }
    let known: BTreeMap<String, &DebianSource> =
        wanted.iter().map(|source| (Lock::path(&source.suite, &source.package), source)).collect();
    let mut all = BTreeMap::new();
    for suite in names_in(&root.join("locks"))? {
        for file in names_in(&root.join("locks").join(&suite))? {
            let path = format!("locks/{suite}/{file}");
            let Some(source) = known.get(&path) else {
                let what = format!("{path}: no recipe has a release of this Debian source package");
                return Err(Failure::new(Kind::Data, what).next("rename the file, or remove it").into());
            };
            let text = Text::new(path.clone(), fs::read_to_string(root.join(&path))?);
            let again = || format!("read {path} (it may be removed: `cargo xtask update` makes it anew)");
            let lock = Lock::parse(&text).with_context(again)?;
            if (&lock.suite, &lock.package) != (&source.suite, &source.package) {
                let what =
                    format!("this is the lock of {} in {}, which its path does not say", lock.package, lock.suite);
                return Err(text.wrong(0..0, what).into());
            }
            all.insert((*source).clone(), lock);
        }
    }
    Ok(all)
}

/// Reads `board/variables.toml`; a project without templates has none.
fn read_variables(root: &Path) -> Result<BTreeMap<Name, Variable>> {
    match root.join(variable::FILE).exists() {
        true => variable::parse_all(&Text::new(variable::FILE, fs::read_to_string(root.join(variable::FILE))?)),
        false => Ok(BTreeMap::new()),
    }
}

/// Reads every template that a target names.
fn read_templates(root: &Path, targets: &BTreeMap<Name, Target>) -> Result<BTreeMap<RelPath, Template>> {
    let mut all = BTreeMap::new();
    for (target, using) in
        targets.values().flat_map(|target| target.templates.values().map(move |using| (target, using)))
    {
        let file = using.file.get_ref();
        if all.contains_key(file) {
            continue;
        }
        let path = root.join(file);
        let wrong = |what: String| target.text.wrong(using.file.span(), what);
        let bytes = fs::read(&path).map_err(|_| wrong(format!("there is no file `{file}` in this repository")))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong(format!("`{file}` is not text in UTF-8")))?;
        let template = Template::parse(file.clone(), Text::new(file.as_str(), text), is_executable(&path)?)?;
        all.insert(file.clone(), template);
    }
    Ok(all)
}

/// Reads every schema that a target names.
fn read_schemas(root: &Path, targets: &BTreeMap<Name, Target>) -> Result<BTreeMap<RelPath, Schema>> {
    let mut all = BTreeMap::new();
    for target in targets.values() {
        for schema in target.templates.values().filter_map(|using| using.schema.as_ref()) {
            let file = schema.get_ref();
            if all.contains_key(file) {
                continue;
            }
            let missing = |_| target.text.wrong(schema.span(), format!("there is no file `{file}` in this repository"));
            let text = fs::read_to_string(root.join(file)).map_err(missing)?;
            all.insert(file.clone(), Schema::parse(&Text::new(file.as_str(), text))?);
        }
    }
    Ok(all)
}

fn read_trees(root: &Path, recipes: &BTreeMap<Name, Recipe>) -> Result<BTreeMap<RelPath, Sha256>> {
    let mut all = BTreeMap::new();
    for recipe in recipes.values() {
        for release in recipe.releases.values() {
            let Source::Tree(tree) = &release.source else { continue };
            let dir = root.join(tree.path.get_ref());
            if !dir.is_dir() {
                let what = format!("there is no folder `{}` in this repository", tree.path.get_ref());
                return Err(recipe.text.wrong(tree.path.span(), what).into());
            }
            all.insert(tree.path.get_ref().clone(), hash_tree(&dir)?);
        }
    }
    Ok(all)
}

/// The sorted names in a folder, hidden ones left out; none if the folder is missing.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn not_there<T>(what: &str, name: &str, known: &BTreeMap<Name, T>) -> anyhow::Error {
    Failure::new(Kind::Data, unknown(what, name, known.keys().map(Name::as_str))).next("cargo xtask list").into()
}

/// Fails if a toolchain does not compile for an architecture; tells which it knows.
pub fn check_arch(toolchain: &Toolchain, arch: Arch) -> Result<()> {
    let known: Vec<Arch> = match &toolchain.kind {
        ToolKind::C(c) => c.arch.keys().copied().collect(),
        ToolKind::Go(go) => go.arch.keys().copied().collect(),
        ToolKind::Program(_) | ToolKind::Userland(_) | ToolKind::Loader(_) => Vec::new(),
    };
    if known.contains(&arch) {
        return Ok(());
    }
    let list: Vec<&str> = known.iter().map(|arch| arch.as_str()).collect();
    let what = unknown(&format!("an architecture of the toolchain {}", toolchain.name), arch.as_str(), list);
    Err(Failure::new(Kind::Data, what).into())
}
