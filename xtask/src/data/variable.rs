//! Variables: what a person can set about a board, each with its type: `board/variables.toml`.
//!
//! Knows what a value looks like, not who uses it or where it is set.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::text::{Text, unknown};
use super::types::{ImageName, Invalid, Name, Value};
use crate::error::{Failure, Kind as Failed, Result};

/// Where the variables are declared, in a checkout.
pub const FILE: &str = "board/variables.toml";

/// Names that every template may use and nobody can set.
pub const BUILT_IN: [&str; 2] = ["target", "version"];

/// What the mark of a secret begins with.
pub const SECRET_MARK: &str = "@SECRET:";

/// The longest value: a line of a file, not a book.
const LONGEST: usize = 4096;

/// One variable, as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: Name,
    pub summary: String,
    pub kind: Kind,
    /// Takes any number of values.
    pub list: bool,
    /// May be empty.
    pub optional: bool,
    /// Of [`Kind::Choice`].
    pub choices: Vec<String>,
    /// Never written into anything that leaves this machine or is shown.
    pub secret: bool,
    pub default: Option<Setting>,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A full path: `/data/slipway`.
    Path,
    /// A device file: `/dev/block/mmcblk0p1`.
    Device,
    /// The name of a machine: `board-7`.
    Hostname,
    /// A network interface: `eth0`.
    Interface,
    /// A machine's name or address: `cloud.example.org`, `192.0.2.7`, `[2001:db8::7]`.
    Host,
    /// A port of TCP: `10000`.
    Port,
    /// The address of a web server: `https://mirror.example.org`.
    Url,
    /// An IP address: `192.0.2.7`.
    Ip,
    /// A socket of the board: `unix:///var/run/x.sock`.
    Socket,
    /// A machine with a port: `192.0.2.7:10000`.
    Endpoint,
    /// A TCP port to listen on: `tcp://127.0.0.1:2376`.
    Listener,
    /// A container image: `example/pause:3.1`.
    Image,
    /// A short name: `memory`.
    Name,
    /// A preference and a routing table: `1:main`.
    Rule,
    /// `true` or `false`.
    Boolean,
    /// One of the variable's `choices`.
    Choice,
    /// Any words.
    Text,
    /// What can stand in a command line: the variables that recipes declare by themselves.
    Word,
}

/// A checked value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Setting {
    One(String),
    Many(Vec<String>),
}

/// A value as somebody wrote it, in TOML or behind `--set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// Behind `--set`: a list is written with commas there.
    Argument(String),
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<String>),
}

/// A variable as it is written in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VariableFile {
    summary: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    list: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    secret: bool,
    default: Option<Spanned<Given>>,
}

/// What stands in a file where a secret belongs; the board's own script puts the secret there.
pub fn secret_mark(name: &Name) -> String {
    format!("{SECRET_MARK}{name}@")
}

/// The environment variable that a secret is read from.
pub fn secret_variable(name: &Name) -> String {
    format!("SLIPWAY_SECRET_{}", name.as_str().to_ascii_uppercase().replace('-', "_"))
}

/// Reads `board/variables.toml`.
pub fn parse_all(text: &Text) -> Result<BTreeMap<Name, Variable>> {
    let file: BTreeMap<Spanned<Name>, VariableFile> = text.parse()?;
    let mut all = BTreeMap::new();
    for (name, written) in file {
        let span = name.span();
        let wrong = |what: &str| text.wrong(span.clone(), format!("the variable `{}` {what}", name.get_ref()));
        if BUILT_IN.contains(&name.get_ref().as_str()) {
            return Err(wrong("is always there and cannot be declared").into());
        }
        if (written.kind == Kind::Choice) == written.choices.is_empty() {
            return Err(wrong("needs `choices` if its type is `choice`, and only then").into());
        }
        if written.secret && (written.list || written.default.is_some()) {
            return Err(wrong("is secret, so it is one value and has no default").into());
        }
        let mut variable = Variable {
            name: name.get_ref().clone(),
            summary: written.summary,
            kind: written.kind,
            list: written.list,
            optional: written.optional,
            choices: written.choices,
            secret: written.secret,
            default: None,
        };
        if let Some(default) = written.default {
            let checked = variable.check(default.get_ref());
            variable.default = Some(checked.map_err(|invalid| text.wrong(default.span(), invalid.0))?);
        }
        all.insert(name.into_inner(), variable);
    }
    Ok(all)
}

impl Variable {
    /// A variable that only a recipe declares: one plain word.
    pub fn of_recipe(name: &Name, recipe: &Name, default: &Value) -> Self {
        Self {
            name: name.clone(),
            summary: format!("A variable of the recipe {recipe}."),
            kind: Kind::Word,
            list: false,
            optional: false,
            choices: Vec::new(),
            secret: false,
            default: Some(Setting::One(default.to_string())),
        }
    }

    /// What `--set` and settings files say about a secret: everything they hold is written down somewhere. `place` is
    /// where it was found.
    pub fn refuse_secret(&self, place: &str) -> Failure {
        let name = &self.name;
        let what = format!(
            "{place}: {name} is a secret: a bundle, a log and the shell's history would keep it, so it is given only \
             when the bundle is pushed to a board"
        );
        let next = format!("{} in the environment, --secret {name}=FILE, or wait to be asked", secret_variable(name));
        Failure::new(Failed::Data, what).next(next)
    }

    /// The value, if it is one of this variable; else why not, and what would be.
    pub fn check(&self, given: &Given) -> Result<Setting, Invalid> {
        if !self.list {
            return self.check_one(&self.single(given)?).map(Setting::One);
        }
        let items: Vec<String> = match given {
            Given::Argument(text) if text.is_empty() => Vec::new(),
            Given::Argument(text) => text.split(',').map(str::to_owned).collect(),
            Given::List(items) => items.clone(),
            Given::Text(_) | Given::Number(_) | Given::Flag(_) => {
                return Err(Invalid(format!("{} is a list, written [\"…\", \"…\"]", self.name)));
            }
        };
        let mut checked: Vec<String> = Vec::new();
        for item in &items {
            let item = self.check_one(item)?;
            if item.contains([' ', ',']) {
                return Err(Invalid(format!("{}: `{item}` holds a space or a comma, which part a list", self.name)));
            }
            if checked.contains(&item) {
                return Err(Invalid(format!("{}: `{item}` is there twice", self.name)));
            }
            checked.push(item);
        }
        Ok(Setting::Many(checked))
    }

    /// The one text that was given, if it was of the right sort.
    fn single(&self, given: &Given) -> Result<String, Invalid> {
        let found = match (given, self.kind) {
            (Given::Argument(text), _) => return Ok(text.clone()),
            (Given::Flag(flag), Kind::Boolean) => return Ok(flag.to_string()),
            (Given::Number(number), Kind::Port) => return Ok(number.to_string()),
            (Given::Text(text), Kind::Boolean | Kind::Port) => format!("the text \"{}\"", text.escape_debug()),
            (Given::Text(text), _) => return Ok(text.clone()),
            (Given::Flag(flag), _) => format!("{flag}"),
            (Given::Number(number), _) => format!("the number {number}"),
            (Given::List(_), _) => "a list".to_owned(),
        };
        Err(Invalid(format!("{} is {}, not {found}", self.name, self.kind.example())))
    }

    fn check_one(&self, text: &str) -> Result<String, Invalid> {
        if text.is_empty() && self.optional {
            return Ok(String::new());
        }
        let right = match self.kind {
            Kind::Choice => self.choices.iter().any(|choice| choice == text),
            kind => text.len() <= LONGEST && kind.holds(text),
        };
        if right {
            return Ok(text.to_owned());
        }
        if self.secret {
            return Err(Invalid(format!(
                "{} is {}; what was given is not (it is not shown)",
                self.name,
                self.kind.example()
            )));
        }
        if self.kind == Kind::Choice {
            let choices = self.choices.iter().map(String::as_str);
            return Err(Invalid(unknown(&format!("a value of {}", self.name), text, choices)));
        }
        let problem = match text.is_empty() {
            true => "it is empty".to_owned(),
            false => format!("not `{}`", text.escape_debug()),
        };
        let hint = self.kind.hint(text).map(|hint| format!("; {hint}")).unwrap_or_default();
        let each = if self.list { "each of " } else { "" };
        Err(Invalid(format!("{each}{} is {}: {problem}{hint}", self.name, self.kind.example())))
    }
}

impl Kind {
    pub const ALL: [Self; 18] = [
        Self::Path,
        Self::Device,
        Self::Hostname,
        Self::Interface,
        Self::Host,
        Self::Port,
        Self::Url,
        Self::Ip,
        Self::Socket,
        Self::Endpoint,
        Self::Listener,
        Self::Image,
        Self::Name,
        Self::Rule,
        Self::Boolean,
        Self::Choice,
        Self::Text,
        Self::Word,
    ];

    /// As it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Path => "path",
            Kind::Device => "device",
            Kind::Hostname => "hostname",
            Kind::Interface => "interface",
            Kind::Host => "host",
            Kind::Port => "port",
            Kind::Url => "url",
            Kind::Ip => "ip",
            Kind::Socket => "socket",
            Kind::Endpoint => "endpoint",
            Kind::Listener => "listener",
            Kind::Image => "image",
            Kind::Name => "name",
            Kind::Rule => "rule",
            Kind::Boolean => "boolean",
            Kind::Choice => "choice",
            Kind::Text => "text",
            Kind::Word => "word",
        }
    }

    /// What a value is, with an example, to stand behind "NAME is".
    pub fn example(self) -> &'static str {
        match self {
            Kind::Path => "a full path like /data/slipway, of letters, digits and . _ -",
            Kind::Device => "a device file like /dev/block/mmcblk0p1",
            Kind::Hostname => "a machine's name like board-7, of small letters, digits, `-` and `.`",
            Kind::Interface => "a network interface like eth0",
            Kind::Host => "a name or address like cloud.example.org, 192.0.2.7 or [2001:db8::7], without a port",
            Kind::Port => "a port, a number from 1 to 65535",
            Kind::Url => "an address like https://mirror.example.org",
            Kind::Ip => "an IP address like 192.0.2.7 or 2001:db8::7",
            Kind::Socket => "a socket like unix:///var/run/x.sock",
            Kind::Endpoint => "a machine and its port like 192.0.2.7:10000",
            Kind::Listener => "a port to listen on like tcp://127.0.0.1:2376",
            Kind::Image => "the name of an image like example/pause:3.1",
            Kind::Name => "a short name of small letters, digits, `-` and `_`",
            Kind::Rule => "PREFERENCE:TABLE like 1:main or 100:254, numbers or a name of small letters and digits",
            Kind::Boolean => "true or false",
            Kind::Choice => "one of the choices",
            Kind::Text => "one line of text without quotes, backslash, `$` and backquote",
            Kind::Word => "one word of letters, digits and any of . _ - + ~ : @ / , = %",
        }
    }

    /// True if `text` is such a value.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Kind::Path => is_path(text),
            Kind::Device => text.starts_with("/dev/") && is_path(text),
            Kind::Hostname => is_hostname(text),
            Kind::Interface => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                // The kernel's IFNAMSIZ, less the final zero.
                (1..=15).contains(&text.len()) && text.chars().all(allowed) && !matches!(text, "." | "..")
            }
            Kind::Host => is_host(text),
            Kind::Port => is_port(text),
            Kind::Url => is_url(text),
            Kind::Ip => text.parse::<IpAddr>().is_ok(),
            Kind::Socket => text.strip_prefix("unix://").is_some_and(is_path),
            Kind::Endpoint => is_endpoint(text),
            Kind::Listener => text.strip_prefix("tcp://").is_some_and(is_endpoint),
            Kind::Image => text.parse::<ImageName>().is_ok(),
            Kind::Name => text.parse::<Name>().is_ok(),
            Kind::Rule => is_rule(text),
            Kind::Boolean => matches!(text, "true" | "false"),
            Kind::Choice => false,
            Kind::Text => {
                let forbidden = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\' | '$' | '`');
                let marked = text.contains(SECRET_MARK); // it would be filled in with the secret
                !text.is_empty() && text.trim() == text && !text.contains(forbidden) && !marked
            }
            Kind::Word => text.parse::<Value>().is_ok(),
        }
    }

    /// The likely mistake, where there is one.
    fn hint(self, text: &str) -> Option<&'static str> {
        let (_, behind) = text.rsplit_once(':').unwrap_or_default();
        match self {
            Kind::Host if text.contains("://") => Some("leave out what stands before the name"),
            Kind::Host if text.parse::<IpAddr>().is_ok() => Some("an IPv6 address stands in brackets"),
            Kind::Host if is_port(behind) => Some("the port is a variable of its own"),
            Kind::Socket if text.starts_with("tcp://") => {
                Some("a TCP port gives the board to everyone who can reach it, so it is not offered here")
            }
            Kind::Socket if text.starts_with('/') => Some("write unix:// before it"),
            Kind::Url if text.contains('@') => Some("a name and password in it would be in the bundle for all to read"),
            Kind::Url if !text.contains("://") => Some("write https:// before it"),
            Kind::Hostname if text.contains(|c: char| c.is_ascii_uppercase()) => Some("capitals are not allowed"),
            _ => None,
        }
    }
}

impl Setting {
    /// True for an empty text and an empty list.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::One(text) => text.is_empty(),
            Self::Many(items) => items.is_empty(),
        }
    }
}

/// As it stands in a plain file: a list's items with single spaces between them.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(text) => f.write_str(text),
            Self::Many(items) => f.write_str(&items.join(" ")),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let not_one = || serde::de::Error::custom("a value is a text, a whole number, true, false, or a list of texts");
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self::Text(text)),
            toml::Value::Integer(number) => Ok(Self::Number(number)),
            toml::Value::Boolean(flag) => Ok(Self::Flag(flag)),
            toml::Value::Array(items) => {
                let texts = items.into_iter().map(|item| match item {
                    toml::Value::String(text) => Some(text),
                    _ => None,
                });
                texts.collect::<Option<Vec<_>>>().map(Self::List).ok_or_else(not_one)
            }
            toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => Err(not_one()),
        }
    }
}

fn is_path(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(allowed);
    text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part))
}

/// A name as RFC 1123 has it, in small letters, as clusters want their nodes.
fn is_hostname(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_host(text: &str) -> bool {
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<std::net::Ipv6Addr>().is_ok();
    }
    // What is written in digits and dots alone is meant as an address.
    match text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        true => text.parse::<std::net::Ipv4Addr>().is_ok(),
        false => is_hostname(&text.to_ascii_lowercase()),
    }
}

fn is_endpoint(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0 && port.to_string() == text)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-~:/[]%+=".contains(c);
    rest.is_some_and(|rest| {
        let authority = rest.split('/').next().unwrap_or(rest);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if is_port(port) => host,
            _ => authority,
        };
        is_host(host) && rest.chars().all(allowed)
    })
}

fn is_rule(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0 && number.to_string() == text);
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    text.split_once(':').is_some_and(|(preference, table)| number(preference) && (number(table) || word(table)))
}
