//! Emulators: machines that stand in for a board, `emulators/NAME.toml`.
//!
//! Knows what such a machine is made of, not how it is started.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::source::{DebianBinary, Origin, Pinned};
use super::text::Text;
use super::types::{Arch, DebianVersion, Name, Package, RelPath, Sha256, Version};
use crate::error::Result;

/// One emulated board.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulator {
    #[serde(skip)]
    pub name: Option<Name>,
    pub summary: String,
    pub arch: Arch,
    /// Kernel modules, loaded in this order, each after what it needs.
    pub modules: Vec<String>,
    pub qemu: Qemu,
    /// The first that can be had is booted.
    #[serde(rename = "kernel")]
    pub kernels: Vec<Kernel>,
    #[serde(rename = "package", default)]
    pub packages: Vec<Extra>,
    pub disks: BTreeMap<Name, Disk>,
    pub initramfs: Initramfs,
    pub acceptance: Acceptance,
}

/// `[qemu]`: the program of this machine that emulates, and its command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qemu {
    pub program: String,
    /// The command that installs it.
    pub install: String,
    /// The board's memory in MiB.
    pub memory: u32,
    /// How many seconds the board has until it answers.
    pub boot: u64,
    /// The words of the command, with `{memory}`, `{kernel}`, `{initrd}`, `{console}`, `{agent}` and `{log}`.
    pub args: Vec<String>,
    /// The words for each disk, with `{disk}` and `{file}`.
    pub disk: Vec<String>,
    #[serde(default)]
    pub older: Vec<Older>,
}

/// `[[qemu.older]]`: what a QEMU before a version is told besides, and one that does not say its version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Older {
    pub than: Version,
    pub args: Vec<String>,
}

impl Qemu {
    /// The words of the command for a QEMU of this version, but for its disks.
    pub fn args(&self, version: Option<&Version>) -> impl Iterator<Item = &String> {
        let older = self.older.iter().filter(move |older| version.is_none_or(|version| *version < older.than));
        self.args.iter().chain(older.flat_map(|older| &older.args))
    }
}

/// `[[kernel]]`: a package with a kernel and its modules.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// `5.10`: what people call it.
    pub series: String,
    pub suite: Name,
    pub package: Package,
    pub version: DebianVersion,
    pub file: RelPath,
    pub sha256: Sha256,
    /// The kernel's path in the package.
    pub image: RelPath,
    /// The folder of its modules in the package.
    pub modules: RelPath,
    /// The package that depends on the newest revision of the series.
    pub newest: Package,
}

/// `[[package]]`: a package of which files are put into the initramfs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extra {
    pub suite: Name,
    pub package: Package,
    pub version: DebianVersion,
    pub file: RelPath,
    pub sha256: Sha256,
    /// Path in the initramfs → path in the package.
    pub take: BTreeMap<RelPath, RelPath>,
}

/// `[disks.NAME]`: a disk, made anew for each run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// In bytes.
    pub size: u64,
    /// The command that makes its file system, with `{file}`.
    pub make: Vec<String>,
    /// The command that installs that program.
    pub install: String,
}

/// `[initramfs]`: what the kernel finds in memory when it starts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initramfs {
    #[serde(default)]
    pub folders: Vec<RelPath>,
    /// Path → what the link says.
    #[serde(default)]
    pub links: BTreeMap<RelPath, String>,
    /// Path → path in this repository.
    #[serde(default)]
    pub files: BTreeMap<RelPath, RelPath>,
    /// Path → path in the bundle.
    #[serde(default)]
    pub bundle: BTreeMap<RelPath, RelPath>,
    pub applets: Option<Applets>,
}

/// `[initramfs.applets]`: many links to one program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applets {
    pub folder: RelPath,
    pub program: String,
    pub names: Vec<RelPath>,
}

/// `[acceptance]`: what is checked on the board.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The folder of this repository with the checks, `NN-NAME.sh`, run in this order.
    pub folder: RelPath,
    /// The checks of the short list; all of them are the long one.
    pub short: Vec<Name>,
    /// Programs that are built for checks, by the name that they have on the board.
    #[serde(default)]
    pub programs: BTreeMap<RelPath, Program>,
    /// Files of the target, filled in otherwise, by the name that they have on the board.
    #[serde(default)]
    pub templates: BTreeMap<RelPath, Refill>,
}

/// One file of a program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    pub recipe: Name,
    /// Without one that of the target; a target without the program has none for the check then.
    pub version: Option<Version>,
    pub arch: Arch,
    pub file: RelPath,
}

/// A template of the target, with other values than the target's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refill {
    /// Its path in a bundle. A target without it has none for the check.
    pub file: RelPath,
    /// Variable → value.
    pub set: BTreeMap<Name, String>,
}

impl Emulator {
    /// Reads and checks an emulator; `name` is the file's stem.
    pub fn parse(name: Name, text: &Text) -> Result<Self> {
        let mut emulator: Self = text.parse()?;
        let problem = if emulator.kernels.is_empty() {
            "there is no [[kernel]]: name at least one"
        } else if emulator.disks.values().any(|disk| disk.make.is_empty()) {
            "a disk's `make` is an argv with at least the program"
        } else {
            emulator.name = Some(name);
            return Ok(emulator);
        };
        Err(text.wrong(0..0, problem).into())
    }
}

impl Kernel {
    /// The package's file.
    pub fn pinned(&self, arch: Arch) -> Pinned {
        pinned(arch, &self.suite, &self.package, &self.version, &self.file, &self.sha256)
    }

    /// `5.10.0-32-arm64`: what `uname -r` says on it.
    pub fn release(&self) -> &str {
        self.modules.file_name()
    }
}

impl Kernel {
    /// The file's text with this kernel's pin moved to another revision: `(package, version, file, sha256)`. `None` if
    /// the new package is not called as this one is.
    pub fn renewed(&self, text: &str, [package, version, file, sha256]: [&str; 4]) -> Option<String> {
        let prefix = self.package.as_str().strip_suffix(self.release())?;
        let release = package.strip_prefix(prefix)?;
        Some(
            text.replace(self.file.as_str(), file)
                .replace(self.sha256.as_str(), sha256)
                .replace(&format!("\"{}\"", self.version), &format!("\"{version}\""))
                .replace(self.release(), release),
        )
    }
}

impl Extra {
    /// The package's file.
    pub fn pinned(&self, arch: Arch) -> Pinned {
        pinned(arch, &self.suite, &self.package, &self.version, &self.file, &self.sha256)
    }
}

fn pinned(
    arch: Arch,
    suite: &Name,
    package: &Package,
    version: &DebianVersion,
    file: &RelPath,
    sha256: &Sha256,
) -> Pinned {
    let (suite, package, version) = (suite.clone(), package.clone(), version.clone());
    let origin = Origin::Deb(DebianBinary { suite, arch, package, version });
    Pinned { file: file.as_str().to_owned(), sha256: sha256.clone(), origins: vec![origin] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_qemu_is_told_more() {
        let text = "program = 'q'\ninstall = 'i'\nmemory = 1\nboot = 1\nargs = ['-a']\ndisk = []\n\
                    [[older]]\nthan = '8.1'\nargs = ['-b', '-c']\n";
        let qemu: Qemu = toml::from_str(text).unwrap();
        let args = |version: &str| qemu.args(version.parse().ok().as_ref()).cloned().collect::<Vec<_>>().join(" ");
        for (version, expected) in [
            ("7.2.22", "-a -b -c"),
            ("8.0.50", "-a -b -c"),
            ("8.1", "-a"),
            ("8.1.0", "-a"),
            ("10.0.2", "-a"),
            ("what?", "-a -b -c"),
        ] {
            assert_eq!(args(version), expected, "{version}");
        }
    }

    #[test]
    fn a_kernel_is_renewed_wherever_it_is_named() {
        let text = "suite = \"s\"\npackage = \"linux-image-6.1.0-1-arm64\"\nversion = \"6.1.2-1\"\n\
                    file = \"linux-image-6.1.0-1-arm64_6.1.2-1_arm64.deb\"\nsha256 = \"OLD\"\nseries = \"6.1\"\n\
                    image = \"boot/vmlinuz-6.1.0-1-arm64\"\nmodules = \"lib/modules/6.1.0-1-arm64\"\nnewest = \"newest\"\n";
        let (old, new) = (Sha256::of("old"), Sha256::of("new"));
        let text = text.replace("OLD", old.as_str());
        let kernel: Kernel = toml::from_str(&text).unwrap();
        let file = "linux-image-6.1.0-2-arm64_6.1.5-1_arm64.deb";
        let renewed = kernel.renewed(&text, ["linux-image-6.1.0-2-arm64", "6.1.5-1", file, new.as_str()]).unwrap();
        let kernel: Kernel = toml::from_str(&renewed).unwrap();
        assert_eq!((kernel.release(), kernel.version.as_str()), ("6.1.0-2-arm64", "6.1.5-1"));
        assert_eq!((kernel.file.as_str(), kernel.image.as_str()), (file, "boot/vmlinuz-6.1.0-2-arm64"));
        assert_eq!((kernel.sha256, kernel.series.as_str()), (new.clone(), "6.1"));
        let other = ["linux-headers-6.1", "6.1.5-1", file, new.as_str()];
        assert!(toml::from_str::<Kernel>(&text).unwrap().renewed(&text, other).is_none());
    }
}
