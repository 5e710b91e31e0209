//! Puts a Debian source package together: its upstream tarball, further components, and Debian's own part
//! with the patches. What `dpkg-source -x` does with format 3.0 (quilt), and no other.
//!
//! Knows files by their names, which say what each is; not where they come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::data::types::RelPath;
use crate::error::{Context, Failure, Kind, Result};
use crate::run::unpack::{Limits, Options, Strip, unpack};
use crate::run::{patch, store};

const SERIES: &str = "debian/patches/series";
/// What quilt keeps its own records in. An upstream tarball with links at this place would mislead it.
const QUILT: &str = ".pc";

/// Unpacks a source package's files, each given with its name in the archive, into `into`, an empty or
/// missing folder. Gives the paths of its patches in their order, relative to `into`; none is applied yet.
/// After an error `into` is gone.
///
/// Modes and times are those of [`unpack`].
pub fn assemble(files: &[(String, PathBuf)], into: &Path, mtime: u64) -> Result<Vec<String>> {
    let parts = Parts::of(files)?;
    match parts.unpack(into, mtime).and_then(|()| series(into)) {
        Ok(patches) => Ok(patches),
        Err(error) => {
            store::remove_tree(into)?;
            Err(error)
        }
    }
}

/// Applies the package's own patches, in the order of its series, to the tree that [`assemble`] made. They
/// fit with zero fuzz, as dpkg-source demands; what they write gets the time `mtime`, the tree's own.
pub fn apply_series(into: &Path, series: &[String], mtime: u64) -> Result<()> {
    for path in series {
        let bytes = fs::read(into.join(path))?;
        patch::apply(path, bytes, into, mtime)?;
    }
    Ok(())
}

/// The files of one source package, by what they are.
struct Parts<'a> {
    upstream: &'a Path,
    /// Further upstream tarballs, by the folder that each becomes.
    components: BTreeMap<&'a str, &'a Path>,
    debian: &'a Path,
}

enum Part<'a> {
    Upstream,
    Component(&'a str),
    Debian,
    /// A signature or description: the pinned hash has said all that it could say.
    Aside,
}

impl<'a> Parts<'a> {
    fn of(files: &'a [(String, PathBuf)]) -> Result<Self> {
        let (mut upstream, mut components, mut debian) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (name, path) in files {
            let twice = match part(name)? {
                Part::Upstream => put(&mut upstream, path),
                Part::Debian => put(&mut debian, path),
                Part::Component(folder) => components.insert(folder, path.as_path()).is_some(),
                Part::Aside => false,
            };
            if twice {
                return Err(wrong(format!("{name}: the source package has two files of this kind")));
            }
        }
        match (upstream.pop(), debian.pop()) {
            (Some(upstream), Some(debian)) => Ok(Self { upstream, components, debian }),
            (None, _) => Err(wrong("the source package has no upstream tarball (NAME_VERSION.orig.tar.…)")),
            (_, None) => Err(wrong("the source package has no part of Debian's own (NAME_VERSION.debian.tar.…)")),
        }
    }

    fn unpack(&self, into: &Path, mtime: u64) -> Result<()> {
        let options = Options { strip: Strip::TopFolder, only: None, mtime, limits: Limits::default() };
        unpack(self.upstream, into, &options)?;
        clear(&into.join(QUILT))?;
        for (folder, tarball) in &self.components {
            let folder = into.join(folder);
            clear(&folder)?;
            unpack(tarball, &folder, &options)?;
        }
        self.unpack_debian(into, &options)?;
        store::set_mtime(into, mtime)
    }

    /// The one tarball whose top folder stays, so that its links may lead into the source beside it.
    fn unpack_debian(&self, into: &Path, options: &Options) -> Result<()> {
        let parent = into.parent().context("a source tree has a folder above it")?;
        let temp = tempfile::Builder::new().prefix(".debian-").tempdir_in(parent)?;
        let place = temp.path().join("place");
        unpack(self.debian, &place, &Options { strip: Strip::None, ..options.clone() })?;
        let names = fs::read_dir(&place)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
        if names != ["debian"] || !fs::symlink_metadata(place.join("debian"))?.is_dir() {
            let name = self.debian.file_name().unwrap_or_default().to_string_lossy();
            return Err(wrong(format!("{name} holds something else than a folder `debian`")));
        }
        let debian = into.join("debian");
        clear(&debian)?;
        fs::rename(place.join("debian"), debian)?;
        Ok(())
    }
}

/// True if there was one already.
fn put<'a>(place: &mut Vec<&'a Path>, path: &'a Path) -> bool {
    place.push(path);
    place.len() > 1
}

/// Tells from its name what a file is in its source package.
fn part(name: &str) -> Result<Part<'_>> {
    if name.ends_with(".asc") || name.ends_with(".dsc") {
        return Ok(Part::Aside);
    }
    let unknown = || {
        wrong(format!("{name} is not a file of a source package in the format 3.0 (quilt)"))
            .context("older formats and native packages are not supported")
    };
    let (stem, packed) = name.rsplit_once(".tar.").ok_or_else(unknown)?;
    let (_, version) = stem.split_once('_').ok_or_else(unknown)?;
    if !matches!(packed, "gz" | "bz2" | "xz" | "zst") {
        return Err(unknown());
    }
    if version.ends_with(".debian") {
        return Ok(Part::Debian);
    }
    if version.ends_with(".orig") {
        return Ok(Part::Upstream);
    }
    let (_, component) = version.rsplit_once(".orig-").ok_or_else(unknown)?;
    let plain = !component.is_empty() && component.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    // Debian's own part takes this place.
    if plain && component != "debian" { Ok(Part::Component(component)) } else { Err(unknown()) }
}

/// Removes whatever is at `path`, a symlink itself and not what it leads to.
fn clear(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => store::remove_tree(path),
        Ok(_) => Ok(fs::remove_file(path)?),
        Err(_) => Ok(()),
    }
}

/// The patches that the package's series names.
fn series(dir: &Path) -> Result<Vec<String>> {
    // The vendor's own series goes before the common one.
    let special = "debian/patches/debian.series";
    let path = if dir.join(special).is_file() { special } else { SERIES };
    if !dir.join(path).is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(dir.join(path))?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, uncommented(line)));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines.map(|(number, line)| patch_of(line).map_err(|why| wrong(format!("{path}:{number}: {why}")))).collect()
}

/// A comment begins a line, or stands behind a space.
fn uncommented(line: &str) -> &str {
    let starts = line.match_indices('#').map(|(at, _)| at);
    let mut comments = starts.filter(|at| line[..*at].chars().next_back().is_none_or(char::is_whitespace));
    line[..comments.next().unwrap_or(line.len())].trim()
}

fn patch_of(line: &str) -> std::result::Result<String, String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    // Every patch is applied with -p1, said or not.
    if let Some(option) = words.find(|option| *option != "-p1") {
        return Err(format!("{name} is to be applied with the option `{option}`; only -p1 is supported"));
    }
    let path: RelPath = format!("debian/patches/{name}").parse().map_err(|error| format!("{error}"))?;
    Ok(path.as_str().to_owned())
}

fn wrong(what: impl Into<String>) -> anyhow::Error {
    Failure::new(Kind::Source, what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_read_as_quilt_reads_it() {
        let read = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("debian/patches")).unwrap();
            fs::write(dir.path().join(SERIES), text).unwrap();
            series(dir.path()).map_err(|error| error.to_string())
        };
        let text = "# why\n\na.patch\n  sub/b#1.diff   -p1 # said twice\n\t\n#c.patch\n";
        assert_eq!(read(text).unwrap(), ["debian/patches/a.patch", "debian/patches/sub/b#1.diff"]);
        assert_eq!(read("").unwrap(), Vec::<String>::new());
        let refused = "debian/patches/series:2: b.patch is to be applied with the option `-p0`; only -p1 is supported";
        assert_eq!(read("a.patch\nb.patch -p0\n").unwrap_err(), refused);
        for bad in ["../x", "/etc/passwd", "a/../../x", "./a"] {
            assert!(read(bad).unwrap_err().contains("is not a path inside the tree"), "{bad}");
        }
    }

    #[test]
    fn names_say_what_a_file_is() {
        let name_of = |name: &'static str| match part(name) {
            Ok(Part::Upstream) => "upstream".to_owned(),
            Ok(Part::Debian) => "debian".to_owned(),
            Ok(Part::Component(folder)) => format!("component {folder}"),
            Ok(Part::Aside) => "aside".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        assert_eq!(name_of("docker.io_20.10.24+dfsg1.orig.tar.xz"), "upstream");
        assert_eq!(name_of("docker.io_20.10.24+dfsg1.orig-cli.tar.xz"), "component cli");
        assert_eq!(name_of("docker.io_20.10.24+dfsg1-1+deb12u1.debian.tar.xz"), "debian");
        assert_eq!(name_of("tini_0.19.0.orig.tar.gz.asc"), "aside");
        for other in ["a_1.tar.xz", "a_1-1.diff.gz", "a_1.orig-../x.tar.gz", "a_1.orig-debian.tar.gz", "a_1.orig.zip"] {
            assert!(name_of(other).contains("3.0 (quilt)"), "{other}");
        }
    }
}
