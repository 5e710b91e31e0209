//! Fills the templates of a target in: each variable's value, written as the file's format has it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::data::document;
use crate::data::project::{BoardFile, Project};
use crate::data::schema::Schema;
use crate::data::target::{Target, TemplateUse};
use crate::data::template::{Format, Piece, Place, Template};
use crate::data::text::Text;
use crate::data::types::{Name, RelPath};
use crate::data::variable::{Kind, Setting, Variable, secret_mark};
use crate::error::Result;

use super::VERSION;
use super::settings::{Resolved, Settings, not_set};

/// The files that are filled in, and the secrets that are still marked in them.
#[derive(Debug, Default)]
pub struct Filled {
    pub files: BTreeMap<RelPath, BoardFile>,
    pub secrets: BTreeSet<Name>,
}

/// Fills in every template of `target` that ships with these settings.
pub fn fill(project: &Project, target: &Target, settings: &Settings) -> Result<Filled> {
    let mut filled = Filled::default();
    for (path, using) in &target.templates {
        if !ships(using, settings) {
            continue;
        }
        let template = project.template(using.file.get_ref());
        let values = Values { target, settings };
        let text = fill_one(template, &values)?;
        if let Some(schema) = &using.schema {
            values.check(template, &text, project.schema(schema.get_ref()))?;
        }
        let secrets = template.places().filter(|place| values.is_secret(&place.name));
        filled.secrets.extend(secrets.map(|place| place.name.clone()));
        let file = BoardFile { from: template.file.clone(), bytes: text.into_bytes(), executable: template.executable };
        filled.files.insert(path.clone(), file);
    }
    Ok(filled)
}

/// Whether the variable that a template asks for is not empty.
fn ships(using: &TemplateUse, settings: &Settings) -> bool {
    let Some(when) = &using.when else { return true };
    let value = settings.get(when.get_ref().as_str()).and_then(|resolved| resolved.value.as_ref());
    value.is_some_and(|value| !value.is_empty())
}

fn fill_one(template: &Template, values: &Values<'_>) -> Result<String> {
    let mut text = String::new();
    for piece in &template.pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            // Kept for the second pass, when the line is whole.
            Piece::Variable(place) if place.each => text.push_str(&list_mark(&place.name)),
            Piece::Variable(place) => text.push_str(&values.written(template.format, place)?),
        }
    }
    let mut repeated: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
    for place in template.places().filter(|place| place.each) {
        repeated.insert(&place.name, values.items(&place.name)?);
    }
    match repeated.is_empty() {
        true => Ok(text),
        false => Ok(text.split_inclusive('\n').map(|line| repeat(line, &repeated)).collect()),
    }
}

/// Stands for a list until its line is whole. No value has such a character in it.
fn list_mark(name: &Name) -> String {
    format!("\0{name}\0")
}

/// A line, once for each item of the list in it.
fn repeat(line: &str, lists: &BTreeMap<&Name, Vec<String>>) -> String {
    match lists.iter().find(|(name, _)| line.contains(&list_mark(name))) {
        None => line.to_owned(),
        Some((name, items)) => items.iter().map(|item| line.replace(&list_mark(name), item)).collect(),
    }
}

/// The values that templates can ask for.
struct Values<'a> {
    target: &'a Target,
    settings: &'a Settings,
}

impl Values<'_> {
    /// Holds a filled-in file to its schema. Its lines are the template's: no value has a line's end in it.
    fn check(&self, template: &Template, text: &str, schema: &Schema) -> Result<()> {
        let filled = Text::new(template.file.as_str(), text);
        let Err(broken) = schema.check(&document::parse(&filled, template.format)?) else { return Ok(()) };
        let line = text[..broken.span.start].matches('\n').count();
        let mut failure = broken.failure(&filled);
        let line_of = |place: &Place| template.text.text[..place.span.start].matches('\n').count();
        let names: BTreeSet<&Name> =
            template.places().filter(|place| line_of(place) == line).map(|place| &place.name).collect();
        for name in names {
            failure = failure.next(self.where_from(name));
        }
        Err(failure.into())
    }

    /// "data_root is /tmp by --set".
    fn where_from(&self, name: &Name) -> String {
        match self.settings.get(name.as_str()) {
            Some(Resolved { value: Some(value), origin, .. }) => {
                format!("set {name} to something else: it is `{value}`, from {origin}")
            }
            _ => format!("look at {name}"),
        }
    }

    fn is_secret(&self, name: &Name) -> bool {
        self.settings.get(name.as_str()).is_some_and(|resolved| resolved.variable.secret)
    }

    /// A variable's value, as it stands at this place.
    fn written(&self, format: Format, place: &Place) -> Result<String> {
        let (value, kind) = self.value(&place.name)?;
        Ok(match (format, &value) {
            (Format::Plain, value) => value.to_string(),
            (_, value) if place.quoted => {
                let quoted = Json::from(value.to_string()).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            // JSON's scalars and lists are YAML's too.
            (_, Setting::One(text)) if matches!(kind, Kind::Boolean | Kind::Port) && !text.is_empty() => text.clone(),
            (_, Setting::One(text)) => Json::from(text.as_str()).to_string(),
            (_, Setting::Many(items)) => Json::from(items.as_slice()).to_string(),
        })
    }

    fn items(&self, name: &Name) -> Result<Vec<String>> {
        match self.value(name)?.0 {
            Setting::Many(items) => Ok(items),
            Setting::One(text) => Ok(vec![text]),
        }
    }

    fn value(&self, name: &Name) -> Result<(Setting, Kind)> {
        let built_in = match name.as_str() {
            "target" => Some(self.target.name.to_string()),
            "version" => Some(VERSION.to_owned()),
            _ => None,
        };
        if let Some(text) = built_in {
            return Ok((Setting::One(text), Kind::Word));
        }
        let Some(resolved) = self.settings.get(name.as_str()) else {
            anyhow::bail!("no value for {name}, which the project's check lets no template name");
        };
        let Variable { secret, kind, .. } = &resolved.variable;
        match &resolved.value {
            _ if *secret => Ok((Setting::One(secret_mark(name)), *kind)),
            Some(value) => Ok((value.clone(), *kind)),
            None => Err(not_set(self.target, &resolved.variable).into()),
        }
    }
}
