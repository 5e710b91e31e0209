//! A kernel's configuration, from whatever a person has of it: a `.config`, a defconfig, `/proc/config.gz`, a kernel image.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::{GzDecoder, MultiGzDecoder};

use crate::data::kernel::KernelVersion;
use crate::error::{Failure, Kind, Result};

/// No kernel and no configuration is larger, unpacked.
const LARGEST: u64 = 512 << 20;

const GZIP: &[u8] = &[0x1f, 0x8b, 8];

/// What stands before the configuration in an image of a kernel with IKCONFIG, and how that begins.
const EMBEDDED: &[u8] = b"IKCFG_ST\x1f\x8b\x08";

/// A kernel's configuration.
#[derive(Debug, Clone)]
pub struct KernelConfig {
    /// The option's name without `CONFIG_` → its value as written, quotes included. An option that the file says is
    /// not set has the value `n`.
    values: BTreeMap<String, String>,
    pub kind: ConfigKind,
    /// From the file's header.
    pub version: Option<KernelVersion>,
    /// From the file's header: `arm64`.
    pub arch: Option<String>,
}

/// How much a configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// Everything: what it does not mention is off.
    Full,
    /// Only what differs from the defaults: what it does not mention may be on.
    Defconfig,
}

impl ConfigKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ConfigKind::Full => "a full configuration",
            ConfigKind::Defconfig => "a defconfig",
        }
    }
}

/// What a configuration says of one option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    On,
    Module,
    /// Said to be off, or not mentioned where everything is.
    Off,
    /// Not mentioned by a defconfig.
    Unsaid,
}

impl KernelConfig {
    /// Reads what was found in a file: its content decides what it is.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if let Some(at) = find(bytes, EMBEDDED) {
            return Self::of_full(&unpack(&bytes[at + EMBEDDED.len() - GZIP.len()..], GzDecoder::new)?);
        }
        if bytes.starts_with(GZIP) {
            let inner = unpack(bytes, MultiGzDecoder::new)?;
            return match find(&inner, EMBEDDED) {
                Some(_) => Self::parse(&inner),
                // /proc/config.gz has all options.
                None => Self::of_full(&inner),
            };
        }
        Self::of_text(bytes)
    }

    fn of_full(bytes: &[u8]) -> Result<Self> {
        Ok(Self { kind: ConfigKind::Full, ..Self::of_text(bytes)? })
    }

    fn of_text(bytes: &[u8]) -> Result<Self> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(not_one("it is binary, and has no configuration inside"));
        };
        let mut values = BTreeMap::new();
        for line in text.lines().map(str::trim_end) {
            // The last line for an option decides, as for the kernel's own tools.
            if let Some((name, value)) = assignment(line) {
                values.insert(name.to_owned(), value.to_owned());
            }
        }
        if values.is_empty() {
            return Err(not_one("it has no line like CONFIG_NAME=y or # CONFIG_NAME is not set"));
        }
        let header = text.lines().take(8).find_map(header);
        let kind = if header.is_some() { ConfigKind::Full } else { ConfigKind::Defconfig };
        let version = header.and_then(|(_, version)| version.parse().ok());
        Ok(Self { values, kind, version, arch: header.map(|(arch, _)| arch.to_owned()) })
    }

    /// A defconfig that says nothing.
    pub fn nothing() -> Self {
        Self { values: BTreeMap::new(), kind: ConfigKind::Defconfig, version: None, arch: None }
    }

    /// What it says of the option `name`.
    pub fn state(&self, name: &str) -> State {
        match (self.values.get(name).map(String::as_str), self.kind) {
            (Some("y"), _) => State::On,
            (Some("m"), _) => State::Module,
            // A number or text is a value, not off.
            (Some(value), _) if value != "n" => State::On,
            (Some(_), _) | (None, ConfigKind::Full) => State::Off,
            (None, ConfigKind::Defconfig) => State::Unsaid,
        }
    }

    /// Every option that is mentioned, and its value.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The same with these lines after its own.
    pub fn with<'a>(&self, lines: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut changed = self.clone();
        changed.values.extend(lines.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        changed
    }
}

/// The option and the value of a line, if it has one.
fn assignment(line: &str) -> Option<(&str, &str)> {
    if let Some(off) = line.strip_prefix("# CONFIG_") {
        let name = off.strip_suffix(" is not set")?;
        return is_name(name).then_some((name, "n"));
    }
    let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    is_name(name).then_some((name, value))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Architecture and version of `# Linux/arm64 5.10.79 Kernel Configuration`.
fn header(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# Linux/")?.strip_suffix(" Kernel Configuration")?.split_once(' ')
}

fn unpack<'a, R: Read>(bytes: &'a [u8], decoder: fn(&'a [u8]) -> R) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    let read = decoder(bytes).take(LARGEST + 1).read_to_end(&mut unpacked);
    read.map_err(|error| not_one(&format!("its compressed part is damaged: {error}")))?;
    match unpacked.len() as u64 > LARGEST {
        true => Err(not_one("it is larger than any kernel")),
        false => Ok(unpacked),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn not_one(why: &str) -> anyhow::Error {
    Failure::new(Kind::Data, format!("this is no configuration of a kernel: {why}"))
        .next("give a .config, a defconfig, /proc/config.gz, or an uncompressed or gzip-compressed image of a kernel with CONFIG_IKCONFIG=y")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_decides() {
        let config = KernelConfig::parse(b"CONFIG_A=y\n# CONFIG_A is not set\nCONFIG_B=\"n\"\nCONFIG_C=m\r\n").unwrap();
        assert_eq!(config.kind, ConfigKind::Defconfig);
        assert_eq!(
            ["A", "B", "C", "D"].map(|name| config.state(name)),
            [State::Off, State::On, State::Module, State::Unsaid]
        );
    }

    #[test]
    fn a_header_makes_it_full() {
        let config = KernelConfig::parse(b"#\n# Linux/arm64 5.10.79 Kernel Configuration\n#\nCONFIG_A=y\n").unwrap();
        assert_eq!((config.kind, config.version.unwrap().to_string()), (ConfigKind::Full, "5.10".to_owned()));
        assert_eq!(config.state("B"), State::Off);
    }

    #[test]
    fn comments_and_damage_are_not_values() {
        let config =
            KernelConfig::parse(b"# CONFIG_A=y\n#CONFIG_B=y\n CONFIG_C=y\nCONFIG_D\nCONFIG_E-F=y\nCONFIG_G=y").unwrap();
        assert_eq!(config.values().collect::<Vec<_>>(), [("G", "y")]);
        for bad in [&b""[..], b"hello", b"\x1f\x8b\x08rest", b"\xff\xfe", b"xxIKCFG_STyy"] {
            assert!(KernelConfig::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
