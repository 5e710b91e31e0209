//! Secrets on their way to a board: named in the bundle by a mark, given when it is pushed, never on a
//! command line, never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::PathBuf;

use fs_err as fs;

use crate::data::types::Name;
use crate::error::{Failure, Kind, Result};
use crate::ui::Ui;

/// What was given, by name.
#[derive(Default)]
pub struct Secrets {
    values: BTreeMap<String, String>,
}

/// `NAME=FILE` of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub name: Name,
    pub file: PathBuf,
}

impl std::str::FromStr for Given {
    type Err = crate::data::types::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |text: &str| crate::data::types::Invalid(format!("`{text}` is not NAME=FILE"));
        let (name, file) = text.split_once('=').ok_or_else(|| wrong(text))?;
        if file.is_empty() {
            return Err(wrong(text));
        }
        Ok(Self { name: name.parse()?, file: PathBuf::from(file) })
    }
}

impl Secrets {
    /// Those that the bundle needs: from the files that were named, else from the environment, else asked for
    /// at a terminal. What `kept` names is on the board from an earlier push, and may stay as it is.
    pub fn gather(needed: &BTreeSet<String>, kept: &BTreeSet<String>, given: &[Given], ui: &Ui) -> Result<Self> {
        let mut secrets = Self::default();
        for given in given {
            if !needed.contains(given.name.as_str()) {
                return Err(unused(&given.name, needed).into());
            }
            secrets.put(given.name.as_str(), &fs::read_to_string(&given.file)?, &given.file.display().to_string())?;
        }
        let mut missing = Vec::new();
        for name in needed.iter().filter(|name| !secrets.values.contains_key(*name)).cloned().collect::<Vec<_>>() {
            let variable = variable(&name);
            match std::env::var(&variable) {
                Ok(value) if !value.is_empty() => secrets.put(&name, &value, &variable)?,
                _ if kept.contains(&name) => ui.note("secret", &format!("{name}: the board keeps the one it has")),
                _ if std::io::stdin().is_terminal() => {
                    let value = ui.ask_secret(&format!("{name} (not shown): "))?;
                    secrets.put(&name, &value, "what was typed")?;
                }
                _ => missing.push(name),
            }
        }
        match missing.is_empty() {
            true => Ok(secrets),
            false => Err(lacking(&missing).into()),
        }
    }

    fn put(&mut self, name: &str, value: &str, from: &str) -> Result<()> {
        let value = value.strip_suffix('\n').unwrap_or(value);
        let value = value.strip_suffix('\r').unwrap_or(value);
        let good = |c: char| c.is_ascii_graphic() && !"\"'".contains(c);
        if value.is_empty() || value.len() > 4096 || !value.chars().all(good) {
            let what = format!(
                "the secret {name} in {from} is not one line of printable characters without spaces and quotes"
            );
            return Err(Failure::new(Kind::Data, what).into());
        }
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The environment's variable for a secret.
fn variable(name: &str) -> String {
    format!("SLIPWAY_SECRET_{}", name.to_ascii_uppercase().replace('-', "_"))
}

fn unused(name: &Name, needed: &BTreeSet<String>) -> Failure {
    let what = match needed.is_empty() {
        true => format!("the bundle uses no secret {name}: it uses none"),
        false => {
            let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
            format!("the bundle uses no secret {name}, only: {}", needed.join(", "))
        }
    };
    Failure::new(Kind::Data, what)
}

fn lacking(missing: &[String]) -> Failure {
    let first = &missing[0];
    let what = format!("the bundle needs a secret that was not given: {}", missing.join(", "));
    Failure::new(Kind::Data, what).next(format!("--secret {first}=FILE, a file that holds it and nothing else")).next(
        format!("{}=… in the environment, or the same command at a terminal, where it is asked for", variable(first)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_plain_line() {
        let mut secrets = Secrets::default();
        for (text, good) in [
            ("abc\n", true),
            ("a.b-c_d=e+f/g\r\n", true),
            ("", false),
            ("\n", false),
            ("a b", false),
            ("a\nb", false),
            ("a\"b", false),
            ("a'b", false),
            ("ä", false),
        ] {
            assert_eq!(secrets.put("x", text, "a test").is_ok(), good, "{text:?}");
        }
        let error = format!("{:#}", secrets.put("x", "geheim mit", "a test").unwrap_err());
        assert!(!error.contains("geheim"), "{error}");
    }
}
