//! Has apt download files of the archive: many with one call, each handed over soon after it has come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use xshell::{Shell, cmd};

use super::{Archive, Found, Shelf, complaint};
use crate::data::types::Sha256;
use crate::error::Result;
use crate::run::fetch::CLIENT_LIMIT;
use crate::run::fetch::answer::Candidate;
use crate::run::process::{Finished, Spawn};
use crate::run::store;

/// So many addresses fit a command line, several times over.
const AT_ONCE: usize = 400;

/// Called with a file's place in the list.
pub(in crate::run::fetch) type Come<'a> = dyn FnMut(usize, Candidate) -> Result<()> + 'a;

impl Archive {
    /// Fetches these files alone, since others of their packages may be gone from the mirror. What has come
    /// lies below `temp` until it is moved from there. Gives for each file apt's reason if it did not come.
    pub fn download(
        &self,
        shelf: &Shelf,
        files: &[(Found, Sha256)],
        temp: &Path,
        come: &mut Come<'_>,
    ) -> Result<Vec<std::result::Result<(), String>>> {
        let mut answers = Vec::new();
        for (number, files) in files.chunks(AT_ONCE).enumerate() {
            let mut batch = Batch { first: number * AT_ONCE, files, temp, left: (0..files.len()).collect() };
            let finished = self.run_helper(shelf, &mut batch, come)?;
            batch.gather(true, come)?;
            let refused = |index: usize| match batch.left.contains(&index) {
                true => Err(refusal(&finished, &files[index].0.url)),
                false => Ok(()),
            };
            answers.extend((0..files.len()).map(refused));
        }
        Ok(answers)
    }

    fn run_helper(&self, shelf: &Shelf, batch: &mut Batch<'_>, come: &mut Come<'_>) -> Result<Finished> {
        let helper = self.clients.find("apt-helper").unwrap_or_else(|| "/usr/lib/apt/apt-helper".into());
        let shell = Shell::new()?;
        let mut command =
            cmd!(shell, "{helper} download-file").env("APT_CONFIG", self.shelf_dir(shelf).join("apt.conf"));
        for (index, (found, sha256)) in batch.files.iter().enumerate() {
            command = command.args([found.url.clone().into(), batch.path(index).into_os_string()]);
            command = command.arg(format!("SHA256:{sha256}"));
        }
        let mut output = Vec::new();
        let spawn = Spawn::host(command.env("LC_ALL", "C")).limit(limit(batch.files.len()));
        let finished = spawn.stream(None, &mut |line| {
            output.extend_from_slice(line);
            // apt begins with the next file: the one before is complete.
            if line.starts_with(b"Get:") { batch.gather(false, come) } else { Ok(()) }
        })?;
        Ok(Finished { output, ..finished })
    }
}

fn limit(files: usize) -> Duration {
    CLIENT_LIMIT + Duration::from_secs(10) * u32::try_from(files).unwrap_or(u32::MAX)
}

/// The files of one call.
struct Batch<'a> {
    /// The place of the first in the whole list.
    first: usize,
    files: &'a [(Found, Sha256)],
    temp: &'a Path,
    /// Those that have not come yet.
    left: Vec<usize>,
}

impl Batch<'_> {
    fn path(&self, index: usize) -> PathBuf {
        self.temp.join((self.first + index).to_string())
    }

    /// Hands over what has come since the last time; at the end also what is of another size than announced.
    fn gather(&mut self, end: bool, come: &mut Come<'_>) -> Result<()> {
        let mut left = Vec::new();
        for index in std::mem::take(&mut self.left) {
            match self.take(index, end)? {
                Some(candidate) => come(self.first + index, candidate)?,
                None => left.push(index),
            }
        }
        self.left = left;
        Ok(())
    }

    fn take(&self, index: usize, end: bool) -> Result<Option<Candidate>> {
        let (from, (found, sha256)) = (self.path(index), &self.files[index]);
        // Follows the symlink that apt makes for a file that it has itself from this machine.
        let Ok(metadata) = fs::metadata(&from) else { return Ok(None) };
        if !end && metadata.len() != found.size {
            return Ok(None);
        }
        let path = self.temp.join(format!("{}.taken", self.first + index));
        // apt may still look at its own.
        if from.is_symlink() || fs::hard_link(&from, &path).is_err() {
            fs::copy(&from, &path)?;
        }
        let actual = store::hash_file(&path)?;
        if !end && actual != *sha256 {
            fs::remove_file(&path)?;
            return Ok(None);
        }
        Ok(Some(Candidate { path, sha256: actual, size: metadata.len(), remark: None, _temp: None }))
    }
}

/// What apt says of one file, else of all.
fn refusal(finished: &Finished, url: &str) -> String {
    let text = finished.text();
    let about = text.lines().find_map(|line| line.strip_prefix("E: Failed to fetch ")?.strip_prefix(url));
    let why = about.map(|about| about.split_whitespace().collect::<Vec<_>>().join(" "));
    format!("apt could not fetch {url}: {}", why.unwrap_or_else(|| complaint(finished)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn each_file_has_its_own_reason() {
        let output =
            b"Err:1 http://m.example/a.deb\n  404  Not Found\nE: Failed to fetch http://m.example/a.deb  404  \
                       Not Found [IP: 203.0.113.80 80]\nE: Download Failed\n";
        let status = std::process::ExitStatus::from_raw(100 << 8);
        let finished = Finished { status, output: output.to_vec(), timed_out: false, limit: None };
        let expected = "apt could not fetch http://m.example/a.deb: 404 Not Found [IP: 203.0.113.80 80]";
        assert_eq!(refusal(&finished, "http://m.example/a.deb"), expected);
        assert!(refusal(&finished, "http://m.example/b.deb").ends_with("E: Download Failed"));
    }
}
