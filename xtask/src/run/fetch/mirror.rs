//! Mirrors: folders and addresses that keep sources under their hashes, and writing such a folder.
//!
//! ```text
//! sha256/SHA256/FILE   one file            FILE          the same, dropped in by hand
//! git/COMMIT.pack      one commit          COMMIT.pack   likewise
//! ```
//!
//! Knows where in a mirror a thing would be, not whether what is there is right.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use sha2::Digest as _;

use super::answer::{Answer, Candidate};
use crate::data::source::{Origin, Pinned};
use crate::data::types::{Commit, Sha256};
use crate::error::{Context, Failure, Kind, Result, bail};
use crate::interrupt;
use crate::run::store::{self, Store};
use crate::ui::Task;

/// One mirror, as given by `--mirror`.
#[derive(Debug, Clone)]
pub(super) enum Mirror {
    Dir(PathBuf),
    Url(String),
}

impl Mirror {
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with("https://") || text.starts_with("http://") {
            return match reqwest::Url::parse(text) {
                Ok(_) => Ok(Self::Url(text.trim_end_matches('/').to_owned())),
                Err(error) => {
                    Err(Failure::new(Kind::Host, format!("the mirror {text} is not an address: {error}")).into())
                }
            };
        }
        let dir = std::path::absolute(text).with_context(|| format!("resolve the mirror `{text}`"))?;
        if dir.is_dir() {
            return Ok(Self::Dir(dir));
        }
        let found = if dir.exists() { "is not a folder" } else { "does not exist" };
        Err(Failure::new(Kind::Host, format!("the mirror {} {found}", dir.display()))
            .next("name a folder or an http(s) address: --mirror FOLDER")
            .into())
    }

    /// The paths below the mirror that may hold a file, the surest first.
    pub fn file_names(pinned: &Pinned) -> Vec<String> {
        let mut names = vec![format!("sha256/{}/{}", pinned.sha256, pinned.file), pinned.file.clone()];
        names.extend(debian_name(pinned));
        names
    }

    /// The paths below the mirror that may hold a commit.
    pub fn pack_names(commit: &Commit) -> Vec<String> {
        vec![format!("git/{commit}.pack"), format!("{commit}.pack")]
    }
}

/// The name that Debian's archive gives to an upstream tarball, where the file's own name tells the
/// version: `iptables-1.8.7.tar.bz2` is `iptables_1.8.7.orig.tar.bz2` there.
fn debian_name(pinned: &Pinned) -> Option<String> {
    let package = pinned.origins.iter().find_map(|origin| match origin {
        Origin::Debian(source) => Some(source.package.as_str()),
        Origin::Url(_) | Origin::Deb(_) | Origin::Pip { .. } => None,
    })?;
    let (version, extension) = pinned.file.strip_prefix(package)?.strip_prefix('-')?.split_once(".tar.")?;
    Some(format!("{package}_{version}.orig.tar.{extension}"))
}

/// The address of `name` below the mirror `base`; unusual characters in file names are encoded.
pub(super) fn address(base: &str, name: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(base) else { return format!("{base}/{name}") };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(name.split('/'));
    }
    url.into()
}

/// Copies a mirror's file into the store's scaffolding, hashing as it goes. The mirror is only read.
pub(super) fn take(store: &Store, from: &Path, task: &Task) -> Result<Answer> {
    let source = match fs::File::open(from) {
        Ok(source) => source,
        Err(error) => return Ok(Answer::Miss(error.to_string())),
    };
    let temp = store.temp_dir()?;
    let path = temp.path().join("file");
    task.bytes(0, source.metadata().ok().map(|metadata| metadata.len()));
    match copy(source, &mut fs::File::create(&path)?, &mut |count| task.advance(count)) {
        Ok((sha256, size)) => Ok(Answer::File(Candidate { path, sha256, size, remark: None, _temp: Some(temp) })),
        Err(Broken::Read(error)) => Ok(Answer::Miss(format!("unreadable: {error}"))),
        Err(Broken::Ours(error)) => Err(error),
    }
}

/// Which side of a copy failed: a bad mirror is passed over, a full disk of our own is not.
enum Broken {
    Read(std::io::Error),
    Ours(anyhow::Error),
}

fn copy(mut from: fs::File, to: &mut impl Write, advance: &mut dyn FnMut(u64)) -> Result<(Sha256, u64), Broken> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        interrupt::check().map_err(Broken::Ours)?;
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((Sha256::from_digest(&hasher.finalize()), size)),
            Ok(count) => count,
            Err(error) => return Err(Broken::Read(error)),
        };
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count]).map_err(|error| Broken::Ours(error.into()))?;
        size += count as u64;
        advance(count as u64);
    }
}

/// Writes a folder that serves as `--mirror`: the given files and packs, as they lie in the store.
/// What is there already and right is left alone.
pub fn write(dir: &Path, files: &[(Pinned, PathBuf)], packs: &[(Commit, PathBuf)]) -> Result<()> {
    for (pinned, path) in files {
        let to = dir.join("sha256").join(pinned.sha256.as_str()).join(&pinned.file);
        put(path, &to, &pinned.sha256).with_context(|| format!("write {} to the mirror", pinned.file))?;
    }
    for (commit, path) in packs {
        let to = dir.join("git").join(format!("{commit}.pack"));
        put(path, &to, &store::hash_file(path)?).with_context(|| format!("write commit {commit} to the mirror"))?;
    }
    Ok(())
}

fn put(from: &Path, to: &Path, sha256: &Sha256) -> Result<()> {
    if to.is_file() && store::hash_file(to)? == *sha256 {
        return Ok(());
    }
    store::fill_atomic(to, |file| {
        let (actual, _) = copy(fs::File::open(from)?, file, &mut |_| ()).map_err(|broken| match broken {
            Broken::Read(error) => error.into(),
            Broken::Ours(error) => error,
        })?;
        if actual != *sha256 {
            bail!("{} has changed\nexpected sha256 {sha256}\nfound    sha256 {actual}", from.display());
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::DebianSource;

    #[test]
    fn a_mirror_is_asked_under_every_usual_name() {
        let debian = DebianSource { suite: "bullseye".parse().unwrap(), package: "iptables".parse().unwrap() };
        let sha256 = Sha256::of("x");
        let file = "iptables-1.8.7.tar.bz2".to_owned();
        let pinned = Pinned { file, sha256: sha256.clone(), origins: vec![Origin::Debian(debian)] };
        let layout = format!("sha256/{sha256}/iptables-1.8.7.tar.bz2");
        let names = Mirror::file_names(&pinned);
        assert_eq!(names, [layout.as_str(), "iptables-1.8.7.tar.bz2", "iptables_1.8.7.orig.tar.bz2"]);
    }

    #[test]
    fn addresses_are_encoded() {
        assert_eq!(address("http://h/m", "a+b~c d#e.tar"), "http://h/m/a+b~c%20d%23e.tar");
        assert_eq!(address("http://h/m", "git/0.pack"), "http://h/m/git/0.pack");
    }
}
