//! The small values everything is made of, each checked once, where it is read.
//!
//! Knows nothing of files, recipes or steps.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest;

/// Why a value was refused: one line, written for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Gives a checked string type its `Display`, `Deserialize` (through `FromStr`) and `Serialize`.
macro_rules! checked_string {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}

/// A SHA-256 digest, as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(String);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self::from_digest(&sha2::Sha256::digest(bytes.as_ref()))
    }

    /// Takes a finished hasher's output, 32 bytes.
    pub fn from_digest(digest: &[u8]) -> Self {
        debug_assert_eq!(digest.len(), 32);
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits: enough for a person to tell two apart.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for Sha256 {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        hex_digits(text, 64, "a sha256")?;
        Ok(Self(text.to_owned()))
    }
}

checked_string!(Sha256);

/// A git commit id: 40 lower-case hexadecimal digits, never a branch or tag name, which can move.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(String);

impl Commit {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Commit {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        hex_digits(text, 40, "a git commit")?;
        Ok(Self(text.to_owned()))
    }
}

checked_string!(Commit);

fn hex_digits(text: &str, length: usize, what: &str) -> Result<(), Invalid> {
    if text.len() != length {
        let found = text.chars().count();
        return Err(Invalid(format!("{what} has {length} hexadecimal digits, this has {found} characters")));
    }
    match text.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
        None => Ok(()),
        Some(c) => Err(Invalid(format!("{what} is written in the digits 0-9 and a-f, this has `{c}`"))),
    }
}

/// The name of a recipe, target or toolchain: the stem of its file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut chars = text.chars();
        let starts_well = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        let goes_on_well = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
        if starts_well && goes_on_well {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(format!(
                "`{text}` is not a name: a lower-case letter, then lower-case letters, digits, `-` or `_`"
            )))
        }
    }
}

checked_string!(Name);

/// The path by which Go code imports a package: `github.com/opencontainers/runc`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImportPath(RelPath);

impl ImportPath {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The same as a path below `GOPATH/src`.
    pub fn path(&self) -> &RelPath {
        &self.0
    }
}

impl FromStr for ImportPath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~' | '/');
        match text.parse::<RelPath>() {
            Ok(path) if text.chars().all(allowed) => Ok(Self(path)),
            _ => Err(Invalid(format!(
                "`{}` is not an import path, like github.com/opencontainers/runc",
                text.escape_debug()
            ))),
        }
    }
}

checked_string!(ImportPath);

/// The value of a variable that a target sets: it goes into command lines, so it is one plain word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(String);

impl Value {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Value {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+~:@/,=%".contains(c);
        match !text.is_empty() && text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(Invalid(format!(
                "`{}` is not a value: letters, digits and any of . _ - + ~ : @ / , = %",
                text.escape_debug()
            ))),
        }
    }
}

checked_string!(Value);

/// The name of a Debian package: `docker.io`, `golang-1.19-go`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package(String);

impl Package {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Package {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        // Debian Policy 5.6.1.
        if text.len() >= 2 && text.starts_with(plain) && text.chars().all(|c| plain(c) || matches!(c, '+' | '-' | '.'))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(format!(
                "`{}` is not the name of a Debian package: lower-case letters, digits, `+`, `-` and `.`",
                text.escape_debug()
            )))
        }
    }
}

checked_string!(Package);

/// A version as Debian writes it, its revision included: `1.1.5+ds1-1+deb12u1`, `1:2.3-4`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebianVersion(String);

impl DebianVersion {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DebianVersion {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // Debian Policy 5.6.12.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '~' | ':');
        if text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(format!("`{}` is not a version of a Debian package", text.escape_debug())))
        }
    }
}

checked_string!(DebianVersion);

/// A relative path that stays where it is put: `/`-separated, without `.`, `..` or empty parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(String);

impl RelPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Everything before the last part; `None` for a single part.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

impl FromStr for RelPath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.starts_with('/') {
            "it is absolute"
        } else if text.contains('\\') || text.chars().any(char::is_control) {
            "it holds a backslash or a control character"
        } else if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            "it has an empty, `.` or `..` part"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(Invalid(format!(
            "`{}` is not a path inside the tree ({problem}); write it like `bin/ip`",
            text.escape_debug()
        )))
    }
}

checked_string!(RelPath);

impl AsRef<std::path::Path> for RelPath {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

/// An upstream version such as `1.8.9`. Runs of digits compare as numbers: `1.8.9 < 1.8.11`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(String);

impl Version {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version cut into numbers and the text between them.
    fn parts(&self) -> Vec<(u64, &str)> {
        let mut rest = self.0.as_str();
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let text = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            parts.push((number.parse().unwrap_or(0), &tail[..text]));
            rest = &tail[text..];
        }
        parts
    }
}

impl FromStr for Version {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_digit());
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '~');
        if starts_well && text.len() <= 64 && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(format!(
                "`{}` is not a version: a digit, then letters, digits, `.`, `-`, `_`, `+` or `~`",
                text.escape_debug()
            )))
        }
    }
}

checked_string!(Version);

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A processor architecture that programs are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit Arm, little-endian.
    Aarch64,
    /// 32-bit Arm, ARMv7-A, hard float, little-endian.
    Armhf,
    /// 64-bit x86: what the build machine itself is.
    X86_64,
}

impl Arch {
    pub const ALL: [Arch; 3] = [Arch::Aarch64, Arch::Armhf, Arch::X86_64];
    /// What builds run on, and with them the programs that they make for themselves.
    pub const BUILD: Arch = Arch::X86_64;

    pub fn as_str(self) -> &'static str {
        match self {
            Arch::Aarch64 => "aarch64",
            Arch::Armhf => "armhf",
            Arch::X86_64 => "x86_64",
        }
    }

    /// How wide an address is.
    pub fn bits(self) -> u8 {
        match self {
            Arch::Aarch64 | Arch::X86_64 => 64,
            Arch::Armhf => 32,
        }
    }

    /// What Debian calls it.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Aarch64 => "arm64",
            Arch::Armhf => "armhf",
            Arch::X86_64 => "amd64",
        }
    }

    /// The suffix of the qemu-user program that runs this architecture's binaries.
    pub fn qemu(self) -> &'static str {
        match self {
            Arch::Aarch64 => "aarch64",
            Arch::Armhf => "arm",
            Arch::X86_64 => "x86_64",
        }
    }

    /// True if this machine runs such programs by itself.
    pub fn is_native(self) -> bool {
        self.as_str() == std::env::consts::ARCH
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Arch {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Arch::ALL
            .into_iter()
            .find(|arch| arch.as_str() == text)
            .ok_or_else(|| Invalid(format!("`{text}` is not an architecture; one of: aarch64, armhf, x86_64")))
    }
}

/// The name that a container image is loaded under: `kubeedge/pause:3.1`, `registry.example.org:5000/a/b:1`.
/// Always has a tag: `latest` if none was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the last colon.
    pub fn tag(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or(&self.0)
    }

    /// The name with everything in it that Docker leaves out: `docker.io/kubeedge/pause:3.1`.
    pub fn full(&self) -> String {
        match split_registry(&self.0) {
            (Some(_), _) => self.0.clone(),
            (None, path) if path.contains('/') => format!("docker.io/{path}"),
            (None, path) => format!("docker.io/library/{path}"),
        }
    }
}

impl FromStr for ImageName {
    type Err = Invalid;

    // The grammar is that of github.com/distribution/reference, digests left out.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, "latest"),
        };
        let (registry, repository) = split_registry(path);
        let problem = if text.contains('@') {
            "only a registry gives it a digest"
        } else if !is_tag(tag) {
            "a tag has up to 128 letters, digits, `_`, `.` and `-`, and begins with neither of the last two"
        } else if !registry.is_none_or(is_registry) {
            "its first part is not a host name, with or without a port"
        } else if !repository.split('/').all(is_path_part) {
            "each part has lower-case letters and digits, with one `.`, one or two `_`, or any `-` between them"
        } else if path.len() > 255 {
            "it has more than 255 characters"
        } else if path.len() == 64 && hex_digits(path, 64, "").is_ok() {
            "64 hexadecimal digits are an image's id"
        } else {
            return Ok(Self(format!("{path}:{tag}")));
        };
        Err(Invalid(format!(
            "`{}` is not the name of an image ({problem}); write it like `kubeedge/pause:3.1`",
            text.escape_debug()
        )))
    }
}

checked_string!(ImageName);

/// An image's registry, if the first part of the name is one, and the rest.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (Some(first), rest),
        _ => (None, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let plain = |c: char| c.is_ascii_alphanumeric();
    let is_label =
        |label: &str| label.starts_with(plain) && label.ends_with(plain) && label.chars().all(|c| plain(c) || c == '-');
    host.split('.').all(is_label) && !port.is_empty() && port.chars().all(|c| c.is_ascii_digit())
}

fn is_path_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.chars().all(|c| c == '-');
    part.starts_with(plain) && part.ends_with(plain) && part.split(plain).all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

/// An `http://` or `https://` address of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url(String);

impl Url {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part of the path: the file's name upstream.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for Url {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refused = |why: &str| Err(Invalid(format!("`{}` is not a download address: {why}", text.escape_debug())));
        let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
            return refused("it begins with https:// or http://");
        };
        if reqwest::Url::parse(text).is_err() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return refused("it does not parse as a URL");
        }
        match rest.split_once('/') {
            Some((_, path)) if !path.is_empty() && !path.ends_with('/') => Ok(Self(text.to_owned())),
            _ => refused("it names a host and a file, like https://example.org/a.tar.gz"),
        }
    }
}

checked_string!(Url);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let mut versions: Vec<Version> =
            ["1.8.11", "1.8.9", "1.8.9-rc1", "10.0", "2.0"].map(|v| v.parse().unwrap()).to_vec();
        versions.sort();
        let sorted: Vec<&str> = versions.iter().map(Version::as_str).collect();
        assert_eq!(sorted, ["1.8.9", "1.8.9-rc1", "1.8.11", "2.0", "10.0"]);
    }

    #[test]
    fn paths_that_leave_are_refused() {
        for bad in ["", "/bin/sh", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "a\nb"] {
            assert!(bad.parse::<RelPath>().is_err(), "{bad:?} was accepted");
        }
        for good in ["bin/ip", "a", "usr/lib/os-release", "..a/b..c"] {
            assert!(good.parse::<RelPath>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn digests_are_exact() {
        let good = "c109c96bb04998cd44156622d36f8e04b140701ec60531a10668cfdff5e8d8f0";
        assert!(good.parse::<Sha256>().is_ok());
        assert!(good[1..].parse::<Sha256>().is_err());
        assert!(good.to_uppercase().parse::<Sha256>().is_err());
        assert_eq!(Sha256::of("").as_str(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn images_are_named_as_docker_names_them() {
        let long = "a".repeat(256);
        let id = "0123456789abcdef".repeat(4);
        for bad in [
            "",
            ":",
            "a:",
            ":1",
            "/a",
            "a/",
            "a//b",
            "A/b",
            "kubeedge/Pause",
            "a b",
            "a:-1",
            "a:.1",
            "a:1/b:",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "_a",
            "a.",
            "a@sha256:00",
            "a:b:c",
            "é",
            "a:é",
            "a\n",
            "host:port/a",
            "a_b.c/d",
            "-h.c/d",
            "h..c/d",
            &long,
            &id,
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?} was accepted");
        }
        for (good, full) in [
            ("kubeedge/pause:3.1", "docker.io/kubeedge/pause:3.1"),
            ("busybox", "docker.io/library/busybox:latest"),
            ("a--b_c__d/e.f:_X.-", "docker.io/a--b_c__d/e.f:_X.-"),
            ("localhost/a", "localhost/a:latest"),
            ("Registry.example.org:5000/a/b:1", "Registry.example.org:5000/a/b:1"),
        ] {
            let name: ImageName = good.parse().unwrap();
            assert_eq!(name.full(), full);
            assert!(full.ends_with(name.as_str()), "{name}");
            assert!(name.as_str().ends_with(&format!(":{}", name.tag())));
        }
    }

    #[test]
    fn addresses_name_a_file() {
        for bad in ["ftp://a/b", "https://", "https://host", "https://host/", "file:///etc/passwd", "https://h/a b"] {
            assert!(bad.parse::<Url>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!("https://h/a/b.tar.xz".parse::<Url>().unwrap().file_name(), "b.tar.xz");
    }
}
