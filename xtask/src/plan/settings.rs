//! What a board's variables are for one run: `--set`, else the settings file, else the target, else the default.

use std::collections::BTreeMap;

use crate::data::project::Project;
use crate::data::settings::SettingsFile;
use crate::data::target::Target;
use crate::data::text::unknown;
use crate::data::types::{Name, Value};
use crate::data::variable::{Given, Setting, Variable};
use crate::error::{Failure, Kind, Result};

use super::choice::Override;

/// What is changed about a target for one run.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// `--set`, in their order: the last one counts.
    pub set: Vec<Override>,
    /// `--settings`.
    pub settings: Option<SettingsFile>,
}

/// Every variable of a target with its value.
#[derive(Debug, Clone)]
pub struct Settings {
    all: BTreeMap<Name, Resolved>,
}

/// A variable and its value for this run.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub variable: Variable,
    /// `None` for a secret, and for what nobody has set.
    pub value: Option<Setting>,
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Set,
    /// The settings file, by its path.
    File(String),
    Target,
    Default,
    /// Nobody has set it.
    Nowhere,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set => f.write_str("--set"),
            Self::File(path) => f.write_str(path),
            Self::Target => f.write_str("the target"),
            Self::Default => f.write_str("the default"),
            Self::Nowhere => f.write_str("not set"),
        }
    }
}

impl Settings {
    /// The variables of `target`, with the changes applied.
    pub fn resolve(project: &Project, target: &Target, changes: &Changes) -> Result<Self> {
        let mut settings = Self::of_target(project, target)?;
        if let Some(file) = &changes.settings {
            settings.apply_file(target, file)?;
        }
        for change in &changes.set {
            if let Override::Variable { name, value } = change {
                settings.apply_set(target, name, value)?;
            }
        }
        Ok(settings)
    }

    fn of_target(project: &Project, target: &Target) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (name, variable) in project.variables_of(target) {
            let (value, origin) = match target.vars.iter().find(|(set, _)| *set.get_ref() == name) {
                Some((_, given)) => {
                    let checked = variable.check(given.get_ref());
                    let value = checked.map_err(|invalid| target.text.wrong(given.span(), invalid.0))?;
                    (Some(value), Origin::Target)
                }
                None if variable.default.is_some() => (variable.default.clone(), Origin::Default),
                None => (None, Origin::Nowhere),
            };
            all.insert(name, Resolved { variable, value, origin });
        }
        Ok(Self { all })
    }

    fn apply_file(&mut self, target: &Target, file: &SettingsFile) -> Result<()> {
        for (name, given) in &file.values {
            let Some(resolved) = self.all.get_mut(name.get_ref()) else {
                let known = self.all.keys().map(Name::as_str);
                let what =
                    unknown(&format!("a variable of the target {}", target.name), name.get_ref().as_str(), known);
                return Err(file.text.wrong(name.span(), what).into());
            };
            if resolved.variable.secret {
                // Without the line itself: it may hold the secret.
                let place = file.text.place(name.span());
                return Err(resolved.variable.refuse_secret(&place).into());
            }
            let checked = resolved.variable.check(given.get_ref());
            resolved.value = Some(checked.map_err(|invalid| file.text.wrong(given.span(), invalid.0))?);
            resolved.origin = Origin::File(file.text.path.clone());
        }
        Ok(())
    }

    fn apply_set(&mut self, target: &Target, name: &Name, value: &str) -> Result<()> {
        if target.recipes.contains_key(name) || target.groups.contains_key(name) {
            let what = format!("--set: `{name}` is a program; say what of it is {value}");
            return Err(Failure::new(Kind::Data, what).next(format!("--set {name}.version={value}")).into());
        }
        let Some(resolved) = self.all.get_mut(name) else {
            let known = self.all.keys().map(Name::as_str);
            let what = unknown(&format!("a variable of the target {}", target.name), name.as_str(), known);
            return Err(Failure::new(Kind::Data, format!("--set: {what}")).next(listing(target)).into());
        };
        if resolved.variable.secret {
            return Err(resolved.variable.refuse_secret("--set").into());
        }
        let checked = resolved.variable.check(&Given::Argument(value.to_owned()));
        resolved.value = Some(checked.map_err(|invalid| Failure::new(Kind::Data, format!("--set: {}", invalid.0)))?);
        resolved.origin = Origin::Set;
        Ok(())
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Resolved> {
        self.all.values()
    }

    pub fn get(&self, name: &str) -> Option<&Resolved> {
        self.all.get(name)
    }

    /// The value for a recipe: `None` leaves it the recipe's own default.
    pub fn word(&self, name: &Name) -> Result<Option<Value>> {
        let Some(Resolved { variable, value: Some(value), origin }) = self.all.get(name) else { return Ok(None) };
        if (variable.kind, origin) == (crate::data::variable::Kind::Word, &Origin::Default) {
            return Ok(None);
        }
        let word: Result<Value, _> = value.to_string().parse();
        word.map(Some).map_err(|invalid| {
            let what = format!("{name} ({origin}) goes into a command line of a build: {invalid}");
            Failure::new(Kind::Data, what).into()
        })
    }
}

fn listing(target: &Target) -> String {
    format!("cargo xtask settings --target {}", target.name)
}

/// The failure that a variable without a value is.
pub fn not_set(target: &Target, variable: &Variable) -> Failure {
    let what = format!("{} is not set: {}", variable.name, variable.summary);
    Failure::new(Kind::Data, what)
        .next(format!("--set {}=…, where … is {}", variable.name, variable.kind.example()))
        .next(listing(target))
}
