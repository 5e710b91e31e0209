//! Many files that belong together, such as a source package and its libraries: one line for all of them,
//! and few calls of apt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::PoisonError;

use super::answer::{Attempt, Candidate, Unavailable};
use super::debian::{Carrier, Found, Shelf, Wanted};
use super::{Fetcher, How};
use crate::data::source::Pinned;
use crate::data::types::Sha256;
use crate::error::Result;
use crate::ui::{self, Task};

impl Fetcher {
    /// All of the files; gives their paths in the store, in the same order. What is in the store already is
    /// not fetched again, and what has come stays, whatever becomes of the rest.
    ///
    /// Places are asked as for a single file, but Debian's archive after all others and for all files at once.
    pub fn all_of(&self, title: &str, files: &[Pinned]) -> Result<Vec<PathBuf>> {
        let path = |pinned: &Pinned| self.store.source(&pinned.sha256, &pinned.file);
        let paths: Vec<PathBuf> = files.iter().map(path).collect();
        if paths.iter().all(|path| path.is_file()) {
            return Ok(paths);
        }
        // One turn for all sets, since they overlap. Whoever waits for this process itself need not be told.
        let _turn = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = || self.ui.note("waiting", &format!("{title}: another cargo xtask fetches such files"));
        let _lock = self.store.lock("source-sets", waiting)?;
        let mut seen = BTreeSet::new();
        let mut missing: Vec<&Pinned> = Vec::new();
        for (path, pinned) in paths.iter().zip(files) {
            if !path.is_file() && seen.insert(path) {
                missing.push(pinned);
            }
        }
        if !missing.is_empty() {
            let task = self.ui.task("fetch", title);
            let gaps = missing.into_iter().map(Gap::new).collect();
            let mut set = Set { fetcher: self, task, gaps, count: 0, bytes: 0, places: BTreeSet::new() };
            set.fetch()?;
            set.finish(title, files.len())?;
        }
        Ok(paths)
    }
}

/// The files of a set that the store does not have.
struct Set<'a> {
    fetcher: &'a Fetcher,
    task: Task,
    gaps: Vec<Gap<'a>>,
    /// What has come so far, and from where.
    count: usize,
    bytes: u64,
    places: BTreeSet<String>,
}

/// One file that is missing.
struct Gap<'a> {
    pinned: &'a Pinned,
    come: bool,
    attempts: Vec<Attempt>,
    /// The archive carries another revision, or none.
    replaced: bool,
}

impl<'a> Gap<'a> {
    fn new(pinned: &'a Pinned) -> Self {
        Self { pinned, come: false, attempts: Vec::new(), replaced: false }
    }
}

impl Set<'_> {
    fn fetch(&mut self) -> Result<()> {
        // By suite and architecture: which of the gaps, and what carries it.
        let mut archive: BTreeMap<Shelf, Vec<(usize, Carrier)>> = BTreeMap::new();
        for index in 0..self.gaps.len() {
            let pinned = self.gaps[index].pinned;
            for ask in self.fetcher.places(std::slice::from_ref(pinned)) {
                if let How::Debian(shelf, carrier) = ask.how {
                    archive.entry(shelf).or_default().push((index, carrier));
                    continue;
                }
                match self.fetcher.ask(&ask, pinned, &self.task)? {
                    Ok((_, size)) => {
                        self.has_come(index, size, &ask.short);
                        break;
                    }
                    Err(answer) => self.gaps[index].attempts.push(Attempt { place: ask.short, answer }),
                }
            }
        }
        for (shelf, mut wanted) in archive {
            wanted.retain(|(index, _)| !self.gaps[*index].come);
            self.ask_archive(&shelf, &wanted)?;
        }
        Ok(())
    }

    fn has_come(&mut self, index: usize, size: u64, place: &str) {
        self.gaps[index].come = true;
        self.count += 1;
        self.bytes += size;
        self.places.insert(place.to_owned());
    }

    fn ask_archive(&mut self, shelf: &Shelf, wanted: &[(usize, Carrier)]) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.task.now("the Debian archive");
        let debian = &self.fetcher.debian;
        let hash = |index: usize| &self.gaps[index].pinned.sha256;
        let pieces: Vec<Wanted<'_>> =
            wanted.iter().map(|(index, carrier)| Wanted { carrier, sha256: hash(*index) }).collect();
        let answers = debian.locate(shelf, &pieces, &self.task)?;
        let mut files = Vec::new();
        for (number, (index, _)) in wanted.iter().enumerate() {
            let why = match &answers {
                Ok(located) => match &located[number] {
                    Ok(found) => {
                        files.push((*index, found.clone()));
                        continue;
                    }
                    Err(lost) => {
                        self.gaps[*index].replaced |= lost.replaced;
                        &lost.why
                    }
                },
                Err(why) => why,
            };
            self.gaps[*index].attempts.push(attempt(shelf, why.clone()));
        }
        self.download(shelf, &files)
    }

    fn download(&mut self, shelf: &Shelf, files: &[(usize, Found)]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let fetcher = self.fetcher;
        let total: u64 = files.iter().map(|(_, found)| found.size).sum();
        self.task.bytes(0, Some(total));
        let temp = fetcher.store.temp_dir()?;
        let asked: Vec<(Found, Sha256)> =
            files.iter().map(|(index, found)| (found.clone(), self.gaps[*index].pinned.sha256.clone())).collect();
        let answers = fetcher.debian.download(shelf, &asked, temp.path(), &mut |number, candidate: Candidate| {
            let index = files[number].0;
            match fetcher.judge(candidate, self.gaps[index].pinned)? {
                Ok((_, size)) => {
                    self.has_come(index, size, "the Debian archive");
                    self.task.advance(size);
                }
                Err(answer) => self.gaps[index].attempts.push(attempt(shelf, answer)),
            }
            Ok(())
        })?;
        for ((index, _), answer) in files.iter().zip(answers) {
            if let Err(why) = answer {
                self.gaps[*index].attempts.push(attempt(shelf, why));
            }
        }
        Ok(())
    }

    /// The line that says how it went, and the error if anything is missing.
    fn finish(self, title: &str, total: usize) -> Result<()> {
        let missing: Vec<&Gap<'_>> = self.gaps.iter().filter(|gap| !gap.come).collect();
        if missing.is_empty() {
            let places: Vec<&str> = self.places.iter().map(String::as_str).collect();
            let detail = format!("{}, {} from {}", files(self.count), ui::size(self.bytes), places.join(" and "));
            self.task.done(&detail);
            return Ok(());
        }
        let what = format!("{} of {} of {title}", missing.len(), files(total));
        let replaced = missing.iter().any(|gap| gap.replaced);
        let missing: Vec<(String, Vec<Attempt>)> =
            missing.iter().map(|gap| (gap.pinned.file.clone(), gap.attempts.clone())).collect();
        self.task.failed(&format!("{} could not be had", files(missing.len())));
        Err(Unavailable::of_set(what, &missing, self.fetcher.offline, replaced).into())
    }
}

fn attempt(shelf: &Shelf, answer: String) -> Attempt {
    Attempt { place: format!("the Debian archive ({})", shelf.suite), answer }
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}
