//! Which kernel modules to load, in which order: read from the modules themselves.
//!
//! A module's section `.modinfo` holds `depends=` with the modules whose symbols it uses, and `softdep=pre:`
//! with those it would like before it. Knows no kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use object::{Object as _, ObjectSection as _};

use crate::data::project;
use crate::error::{Context, Failure, Kind, Result};

/// The modules of one kernel.
pub struct Modules {
    /// By the name that the kernel knows, which has no dashes.
    files: BTreeMap<String, PathBuf>,
    /// Those that are in the kernel itself.
    builtin: BTreeSet<String>,
}

/// A module to load: its name and its bytes, ready for the kernel.
pub struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Modules {
    /// The modules below `folder`, a `/lib/modules/RELEASE`.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for path in project::walk(folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stem = [".ko", ".ko.xz"].iter().find_map(|ending| name.strip_suffix(ending));
            if let Some(stem) = stem {
                files.insert(normal(stem), folder.join(&path));
            }
        }
        let list = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let builtin = list.lines().filter_map(|line| Some(normal(line.rsplit('/').next()?.strip_suffix(".ko")?)));
        Ok(Self { files, builtin: builtin.collect() })
    }

    /// Those that are wanted and all that they need, in an order in which they can be loaded.
    pub fn load_order(&self, wanted: &[String]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(name, None, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        needed_by: Option<&str>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> Result<()> {
        let name = normal(name);
        if self.builtin.contains(&name) || !seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(path) = self.files.get(&name) else {
            let why = needed_by.map(|by| format!(", which {by} needs")).unwrap_or_default();
            return Err(Failure::new(Kind::Data, format!("this kernel has no module `{name}`{why}")).into());
        };
        let bytes = contents(path)?;
        let info = info(&bytes).with_context(|| format!("read {}", path.display()))?;
        for needed in &info.depends {
            self.visit(needed, Some(&name), seen, order)?;
        }
        for liked in &info.liked {
            // Only wished for: a name that no module has, such as an algorithm's, is the kernel's affair.
            if self.files.contains_key(&normal(liked)) {
                self.visit(liked, Some(&name), seen, order)?;
            }
        }
        order.push(Module { name, bytes });
        Ok(())
    }
}

/// The kernel's own spelling.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn contents(path: &Path) -> Result<Vec<u8>> {
    let packed = fs::read(path)?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        return Ok(packed);
    }
    /// The largest module is below 20 MB.
    const LARGEST: u64 = 128 << 20;
    let mut bytes = Vec::new();
    let read = liblzma::bufread::XzDecoder::new(packed.as_slice()).take(LARGEST).read_to_end(&mut bytes);
    read.with_context(|| format!("unpack {}", path.display()))?;
    Ok(bytes)
}

/// What a module says of others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    depends: Vec<String>,
    liked: Vec<String>,
}

fn info(bytes: &[u8]) -> Result<Info> {
    let file = object::File::parse(bytes).context("it is not an ELF file")?;
    let section = file.section_by_name(".modinfo").context("it has no section .modinfo")?;
    Ok(read_info(section.data().context("read the section .modinfo")?))
}

fn read_info(section: &[u8]) -> Info {
    let mut info = Info::default();
    for entry in section.split(|byte| *byte == 0) {
        let Ok(entry) = std::str::from_utf8(entry) else { continue };
        if let Some(depends) = entry.strip_prefix("depends=") {
            info.depends.extend(depends.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
        }
        if let Some(liked) = entry.strip_prefix("softdep=pre: ") {
            let before = liked.split(" post: ").next().unwrap_or_default();
            info.liked.extend(before.split_whitespace().map(str::to_owned));
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modinfo_is_read() {
        let section = b"license=GPL\0depends=x_tables,nf-nat\0softdep=pre: crc32 post: other\0depends=\0";
        let info = read_info(section);
        assert_eq!(info.depends, ["x_tables", "nf-nat"]);
        assert_eq!(info.liked, ["crc32"]);
    }
}
