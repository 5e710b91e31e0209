//! What a board is, asked before anything is written to it, and whether that is enough for a bundle.
//!
//! The questions are one command of what every board has: a POSIX shell, `id`, `uname`, `df`, `cat`.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::GzDecoder;

use super::package::Package;
use super::{Link, failure};
use crate::data::types::{Arch, Name, Version};
use crate::error::Result;
use crate::run::process::quote;
use crate::ui;

/// File systems round up, and must not be filled to the brim.
const MARGIN: u64 = 32_000_000;

/// A board as it told about itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Facts {
    pub machine: String,
    pub kernel: String,
    pub uid: String,
    /// The folder that is there and that the board's folder is or will be in.
    pub there: String,
    pub writable: bool,
    /// Free bytes there.
    pub free: Option<u64>,
    /// Options of the mount there: `rw,noexec`.
    pub options: String,
    /// True if the board's own shell is a 32-bit program.
    pub narrow_shell: bool,
    /// The slot that is installed.
    pub current: Option<String>,
    /// The slot before it.
    pub previous: Option<String>,
    pub secrets: BTreeSet<Name>,
    /// What was sent of this bundle before, in bytes.
    pub sent: u64,
}

/// Asks the board. Nothing is changed on it.
pub fn ask(link: &dyn Link, dir: &str, file: &str) -> Result<Facts> {
    let answer = link.shell(&question(dir, file))?;
    let facts = parse(&answer.output);
    if facts.machine.is_empty() || facts.there.is_empty() {
        let what = format!("{}: the board did not tell what it is:\n{}", link.name(), answer.output.trim());
        return Err(failure(what, vec!["a shell with id, uname, df and cat is needed on it".into()]).into());
    }
    Ok(facts)
}

fn question(dir: &str, file: &str) -> String {
    let dir = quote(dir);
    let file = quote(file);
    let lines = [
        format!("b={dir}; d=$b"),
        "while [ ! -d \"$d\" ]; do d=${d%/*}; [ -n \"$d\" ] || d=/; done".to_owned(),
        "echo \"uid=$(id -u)\"; echo \"machine=$(uname -m)\"; echo \"kernel=$(uname -r)\"; echo \"there=$d\"".to_owned(),
        "if [ -w \"$d\" ]; then echo writable=yes; fi".to_owned(),
        // The fifth byte of a program says how wide it is.
        "if [ \"$(dd if=/proc/$$/exe bs=1 skip=4 count=1 2>/dev/null)\" = \"$(printf '\\001')\" ]; then echo width=32; fi"
            .to_owned(),
        "for l in current previous; do if [ -d \"$b/$l\" ]; then echo \"$l=$(readlink \"$b/$l\")\"; fi; done".to_owned(),
        "for s in \"$b\"/secrets/*; do if [ -f \"$s\" ]; then echo \"secret=${s##*/}\"; fi; done".to_owned(),
        format!("for f in \"$b\"/incoming/{file}*; do if [ -f \"$f\" ]; then echo \"sent=$(wc -c <\"$f\")\"; fi; done"),
        "df -P -k \"$d\" 2>/dev/null | while read -r l; do echo \"df=$l\"; done".to_owned(),
        "while read -r l; do echo \"mount=$l\"; done </proc/mounts".to_owned(),
    ];
    lines.join("; ")
}

fn parse(text: &str) -> Facts {
    let mut facts = Facts::default();
    let mut mounts = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let slot = || value.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned);
        match key {
            "uid" => facts.uid = value.to_owned(),
            "machine" => facts.machine = value.to_owned(),
            "kernel" => facts.kernel = value.to_owned(),
            "there" => facts.there = value.to_owned(),
            "writable" => facts.writable = true,
            "width" => facts.narrow_shell = true,
            "current" => facts.current = slot(),
            "previous" => facts.previous = slot(),
            "secret" => facts.secrets.extend(value.parse::<Name>().ok()),
            "sent" => facts.sent += value.parse().unwrap_or(0),
            "df" => facts.free = free(value).or(facts.free),
            "mount" => mounts.push(value.to_owned()),
            _ => {}
        }
    }
    facts.options = options(&mounts, &facts.there).unwrap_or_default();
    facts
}

/// The free space in a line of `df -k`: what stands before the percentage, also where a long device's name
/// broke the line in two.
fn free(line: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let percent = words.iter().position(|word| word.ends_with('%') && word.len() > 1)?;
    words.get(percent.checked_sub(1)?)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The options of the mount that a folder is on: of the deepest, and of those the last.
fn options(mounts: &[String], folder: &str) -> Option<String> {
    let below = |point: &str| point == "/" || folder == point || folder.starts_with(&format!("{point}/"));
    let fields = mounts.iter().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((*words.get(1)?, *words.get(3)?))
    });
    fields.filter(|(point, _)| below(point)).max_by_key(|(point, _)| point.len()).map(|(_, options)| options.to_owned())
}

/// The kernel's configuration, as text; nothing if the board does not tell it.
pub fn kernel_config(link: &dyn Link) -> Result<Option<Vec<u8>>> {
    let answer = link.shell("cat /proc/config.gz 2>/dev/null | base64 2>/dev/null")?;
    let packed = decode(&answer.output).filter(|packed| !packed.is_empty());
    let mut text = Vec::new();
    Ok(packed.and_then(|packed| GzDecoder::new(packed.as_slice()).read_to_end(&mut text).ok()).map(|_| text))
}

/// Base64, its line breaks ignored; nothing if a character is none of it.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace() && *c != b'=') {
        bits = (bits << 6) | u32::from(digit(c)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

/// Whether a kernel's configuration has an option, built in or as a module.
fn has_option(config: &[u8], option: &str) -> bool {
    let text = String::from_utf8_lossy(config);
    ["y", "m"].into_iter().any(|value| text.lines().any(|line| line.trim_end() == format!("{option}={value}")))
}

/// Whether 32-bit programs run beside 64-bit ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    /// There are none, or it is known that they run.
    Runs,
    /// The kernel was built without them.
    Never,
    /// It must be tried.
    Unknown,
}

/// What is known before anything is sent.
pub fn narrow(facts: &Facts, package: &Package, config: Option<&[u8]>) -> Narrow {
    let needed = package.archs.contains(&Arch::Armhf) && is_wide_arm(&facts.machine);
    match config {
        _ if !needed || facts.narrow_shell => Narrow::Runs,
        Some(config) if has_option(config, "CONFIG_COMPAT") => Narrow::Runs,
        Some(_) => Narrow::Never,
        None => Narrow::Unknown,
    }
}

/// `armv8l` is what a 64-bit kernel tells a 32-bit shell.
fn is_wide_arm(machine: &str) -> bool {
    matches!(machine, "aarch64" | "arm64" | "armv8l")
}

fn runs(machine: &str, arch: Arch) -> bool {
    match arch {
        Arch::Aarch64 => is_wide_arm(machine),
        Arch::Armhf => is_wide_arm(machine) || machine.starts_with("armv7"),
        Arch::X86_64 => machine == "x86_64",
    }
}

/// All that keeps the bundle off this board, as sentences with what to do; empty if nothing does.
pub fn obstacles(facts: &Facts, package: &Package, oldest: Option<&Version>, config: Option<&[u8]>) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut add = |what: String, next: &str| found.push(Obstacle { what, next: next.to_owned() });
    let foreign: Vec<&str> =
        package.archs.iter().filter(|arch| !runs(&facts.machine, **arch)).map(|arch| arch.as_str()).collect();
    if !foreign.is_empty() {
        add(
            format!("its processor is {}, and the bundle holds programs for {}", facts.machine, foreign.join(" and ")),
            "is this the board you mean? `cargo xtask list` tells which targets there are",
        );
    }
    if foreign.is_empty() && narrow(facts, package, config) == Narrow::Never {
        add(
            "its kernel runs no 32-bit programs (CONFIG_COMPAT is not set), and the bundle holds some".to_owned(),
            "a kernel with CONFIG_COMPAT=y, or --set RECIPE.arch=aarch64 for the programs of armhf",
        );
    }
    if let Some(oldest) = oldest.filter(|oldest| is_older(&facts.kernel, oldest)) {
        add(
            format!("its kernel is Linux {}, and the bundle needs {oldest} or newer", facts.kernel),
            "a newer kernel or system on the board",
        );
    }
    if facts.uid != "0" {
        add(
            format!("commands run there as user {}, not as root", facts.uid),
            "hdc: `hdc smode`; adb: `adb root`; ssh: --device root@ADDRESS",
        );
    }
    let has = |option: &str| facts.options.split(',').any(|it| it == option);
    if has("ro") || !facts.writable {
        add(
            format!("{} cannot be written to", facts.there),
            "--set board_dir=DIR for the bundle: a folder on a partition that can be written to and lasts",
        );
    }
    if has("noexec") {
        add(
            format!("no program may be started from {} (it is mounted noexec)", facts.there),
            "--set board_dir=DIR for the bundle: a folder on another partition",
        );
    }
    let slot = package.slot();
    let unpacked = match [&facts.current, &facts.previous].into_iter().any(|there| there.as_ref() == Some(&slot)) {
        true => 0,
        false => package.unpacked,
    };
    let need = (unpacked + MARGIN + package.size).saturating_sub(facts.sent);
    if let Some(free) = facts.free.filter(|free| *free < need) {
        add(
            format!(
                "{} has {} free, and the bundle needs {} (as a file {}, unpacked {})",
                facts.there,
                ui::size(free),
                ui::size(need),
                ui::size(package.size),
                ui::size(package.unpacked)
            ),
            "make room there, or --set board_dir=DIR for the bundle: a folder on a larger partition",
        );
    }
    found
}

/// One thing that keeps a bundle off a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub what: String,
    pub next: String,
}

/// Compares the numbers at the head of `5.10.97-rk3568` with a version.
fn is_older(kernel: &str, oldest: &Version) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        let head = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text[..head].split('.').map_while(|part| part.parse().ok()).collect()
    };
    let kernel = numbers(kernel);
    !kernel.is_empty() && kernel < numbers(oldest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOARD: &str = "uid=0\nmachine=aarch64\nkernel=5.10.97\nthere=/data\nwritable=yes\nwidth=32\n\
        current=slots/slipway-x-1-0123456789ab\nsecret=cloud_token\nsent=100\nsent=20\n\
        df=Filesystem 1024-blocks Used Available Capacity Mounted on\n\
        df=/dev/block/platform/fe310000.sdhci/by-name/userdata\ndf= 5000000 1000 4000000 1% /data\n\
        mount=/dev/root / ext4 ro 0 0\nmount=/dev/x /data f2fs rw,nosuid 0 0\nmount=/dev/y /data/other ext4 ro 0 0\n";

    #[test]
    fn what_a_board_tells() {
        let facts = parse(BOARD);
        assert_eq!(facts.free, Some(4_000_000 * 1024));
        assert_eq!(facts.options, "rw,nosuid");
        assert_eq!(facts.current.as_deref(), Some("slipway-x-1-0123456789ab"));
        assert!(facts.writable && facts.narrow_shell && facts.secrets.contains("cloud_token"));
        assert_eq!(facts.sent, 120);
    }

    #[test]
    fn kernels_are_compared_by_number() {
        let older = |kernel: &str, oldest: &str| is_older(kernel, &oldest.parse().unwrap());
        assert!(older("4.9.1", "4.14") && older("3.18.0-perf", "4.9"));
        assert!(
            !older("5.10.97-rk3568", "5.10") && !older("5.10", "5.9.200") && !older("6.1", "5.10") && !older("?", "5")
        );
    }

    #[test]
    fn base64_of_any_width() {
        assert_eq!(decode("SGVsbG8s\r\nIHdvcmxkIQ==\r\n").unwrap(), b"Hello, world!");
        assert_eq!(decode("sh: base64: not found"), None);
        assert_eq!(decode("").unwrap(), b"");
    }

    #[test]
    fn options_of_a_kernel() {
        let config = b"CONFIG_COMPAT=y\n# CONFIG_COMPATX is not set\nCONFIG_M=m\n";
        assert!(has_option(config, "CONFIG_COMPAT") && has_option(config, "CONFIG_M"));
        assert!(!has_option(config, "CONFIG_COMPATX") && !has_option(config, "CONFIG_COMP"));
    }
}
