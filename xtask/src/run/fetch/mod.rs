//! Gets pinned sources into the store: from mirrors, upstream addresses, Debian's archive, pip and git.
//!
//! Knows places and bytes, not what the bytes are for. Nothing is believed before its hash matches, and
//! nothing is asked of a place that the store can answer.

mod answer;
mod debian;
mod git;
mod http;
pub mod mirror;
pub mod pip;
mod set;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fs_err as fs;

pub use answer::{Attempt, Unavailable};
pub use debian::MIRROR_VARIABLE;
pub use http::Limits;

use crate::data::lock;
use crate::data::source::{Git, Origin, Pinned};
use crate::data::types::{Arch, Name, Package, Sha256, Version};
use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;
use crate::run::process;
use crate::run::store::{self, Lock, Store};
use crate::ui::{self, Task, Ui};
use answer::{Answer, Candidate};
use debian::{Carrier, Shelf, Trust};
use mirror::Mirror;

/// For one of the machine's own clients to do its work: large repositories on slow lines, but not for ever.
const CLIENT_LIMIT: Duration = Duration::from_secs(3600);

/// Gets sources. Threads share it.
pub struct Fetcher {
    store: Store,
    mirrors: Vec<Mirror>,
    offline: bool,
    ui: Ui,
    clients: Clients,
    http: http::Http,
    debian: debian::Archive,
    trust: Trust,
    /// One thread at a time fetches a set of files.
    sets: Mutex<()>,
}

/// Where the machine's own clients (apt-get, pip, git) are: in `PATH`, or in one folder only.
#[derive(Debug, Clone, Default)]
struct Clients {
    dir: Option<PathBuf>,
}

impl Clients {
    fn find(&self, program: &str) -> Option<PathBuf> {
        match &self.dir {
            Some(dir) => Some(dir.join(program)).filter(|path| path.is_file()),
            None => process::find(program),
        }
    }

    /// The program's path; its bare name, for the error that starting it gives, where it is missing.
    fn get(&self, program: &str) -> PathBuf {
        self.find(program).unwrap_or_else(|| program.into())
    }
}

/// A revision of a binary package as the archive has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    pub package: String,
    pub version: String,
    pub file: String,
    pub sha256: Sha256,
}

/// Everything that was wanted at once, each with its own outcome.
pub struct Fetched {
    /// In the order they were asked for: which alternative, and where it is.
    pub files: Vec<Result<(usize, PathBuf)>>,
    pub packs: Vec<Result<PathBuf>>,
}

impl Fetcher {
    /// `mirrors` are folders or http(s) addresses, asked in order before any origin. Offline, only the
    /// store and mirror folders are asked.
    pub fn new(store: Store, mirrors: Vec<String>, offline: bool, ui: Ui) -> Result<Self> {
        let mirrors = mirrors.iter().map(|mirror| Mirror::parse(mirror)).collect::<Result<_>>()?;
        let debian_mirror = std::env::var(MIRROR_VARIABLE).ok().filter(|mirror| !mirror.is_empty());
        let clients = Clients::default();
        let debian = debian::Archive::new(store.clone(), clients.clone(), debian_mirror);
        let http = http::Http::new(Limits::default());
        Ok(Self { store, mirrors, offline, ui, clients, http, debian, trust: Trust::Signed, sets: Mutex::default() })
    }

    /// The same with other limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.http = http::Http::new(limits);
        self
    }

    /// The same with the machine's clients taken from `dir` alone, and Debian's archive at `debian_mirror`.
    pub fn with_clients(mut self, dir: &Path, debian_mirror: Option<String>) -> Self {
        self.clients = Clients { dir: Some(dir.to_owned()) };
        self.debian = debian::Archive::new(self.store.clone(), self.clients.clone(), debian_mirror);
        self
    }

    /// The same, believing lists of Debian's archive that nobody signed when a lock is made from them.
    pub fn trusting_unsigned_lists(mut self) -> Self {
        self.trust = Trust::Anything;
        self
    }

    /// One pinned file; gives its path in the store.
    pub fn file(&self, pinned: &Pinned) -> Result<PathBuf> {
        Ok(self.any_of(std::slice::from_ref(pinned))?.1)
    }

    /// Any one of several files that serve the same end, such as a tool as tarball or as wheel. All are
    /// looked for in the store, then all in the mirrors, then each at its origins.
    pub fn any_of(&self, alternatives: &[Pinned]) -> Result<(usize, PathBuf)> {
        let first = alternatives.first().context("fetch one of no files")?;
        if let Some(found) = self.stored(alternatives) {
            return Ok(found);
        }
        let _locks = self.lock(alternatives)?;
        // Whoever held the lock may have fetched it.
        if let Some(found) = self.stored(alternatives) {
            return Ok(found);
        }
        let task = self.ui.task("fetch", &first.file);
        let mut attempts = Vec::new();
        for ask in self.places(alternatives) {
            let pinned = &alternatives[ask.index];
            match self.ask(&ask, pinned, &task)? {
                Ok((path, size)) => {
                    let other = if ask.index == 0 { String::new() } else { format!(" as {}", pinned.file) };
                    task.done(&format!("{}{other} from {}", ui::size(size), ask.short));
                    return Ok((ask.index, path));
                }
                Err(answer) => attempts.push(Attempt { place: ask.place, answer }),
            }
        }
        task.failed("no place has it");
        let pin = format!("{} with sha256 {}", first.file, first.sha256);
        Err(Unavailable::new(first.file.clone(), attempts, self.offline, &pin).into())
    }

    /// One commit; gives the path of its pack in the store.
    pub fn git(&self, git: &Git) -> Result<PathBuf> {
        self.git_at(git, git.url.as_str())
    }

    /// The same from another address, anything that git understands.
    pub fn git_at(&self, git: &Git, address: &str) -> Result<PathBuf> {
        let to = self.store.path(format!("git/{}.pack", git.commit));
        if to.is_file() {
            return Ok(to);
        }
        let what = repository_name(git);
        let _lock = self.store.lock(&format!("git-{}", git.commit), || self.waiting(&what))?;
        if to.is_file() {
            return Ok(to);
        }
        let task = self.ui.task("fetch", &what);
        let mut attempts = Vec::new();
        for ask in self.git_places(git, address) {
            match self.ask_git(&ask, git, &task)? {
                Ok(pack) => {
                    self.store.publish(&pack.path, &to)?;
                    http::discard(&self.partial(&format!("git-{}", git.commit)))?;
                    let size = fs::metadata(&to)?.len();
                    task.done(&format!("{} from {}", ui::size(size), ask.short));
                    return Ok(to);
                }
                Err(answer) => attempts.push(Attempt { place: ask.place, answer }),
            }
        }
        task.failed("no place has it");
        let what = format!("{what} (commit {})", git.commit);
        let bring = format!("{}.pack from a machine that has it", git.commit);
        Err(Unavailable::new(what, attempts, self.offline, &bring).into())
    }

    /// Unpacks a commit into `into`, a new or empty folder, exactly as it is. Fetches it if need be.
    pub fn git_checkout(&self, git: &Git, into: &Path) -> Result<()> {
        let pack = self.git(git)?;
        git::checkout(&self.store, &self.clients, &pack, &git.commit, into)
            .with_context(|| format!("unpack {} into {}", repository_name(git), into.display()))
    }

    /// Makes the lock of a source package as the suite has it now.
    pub fn resolve(&self, suite: &Name, package: &Package) -> Result<lock::Lock> {
        let resolve = || format!("resolve {package} in {suite}");
        if self.offline {
            let what = "only Debian's archive knows what it has now, and it is not asked: offline";
            return Err(Failure::new(Kind::Source, what)).with_context(resolve);
        }
        let task = self.ui.task("resolve", format!("{package} in {suite}"));
        let lock = self.debian.resolve(suite, package, self.trust, &task).with_context(resolve)?;
        task.done(&format!("{}, {} libraries", lock.version, lock.library.len()));
        Ok(lock)
    }

    /// The binary package that another one stands for in its newest revision.
    pub fn newest(&self, suite: &Name, arch: Arch, stands_for: &Package) -> Result<Newest> {
        let resolve = || format!("look what {stands_for} is in {suite}");
        if self.offline {
            let what = "only Debian's archive knows what it has now, and it is not asked: offline";
            return Err(Failure::new(Kind::Source, what)).with_context(resolve);
        }
        let task = self.ui.task("resolve", format!("{stands_for} in {suite}"));
        let shelf = Shelf { suite: suite.clone(), arch };
        let newest = self.debian.follow(&shelf, stands_for, self.trust, &task).with_context(resolve)?;
        task.done(&format!("{} {}", newest.package, newest.version));
        Ok(newest)
    }

    /// All of them, `threads` at a time. No failure stops the others.
    pub fn fetch_all(&self, wanted: &[Vec<Pinned>], gits: &[Git], threads: usize) -> Fetched {
        let files = wanted.iter().map(|_| Mutex::new(None)).collect::<Vec<_>>();
        let packs = gits.iter().map(|_| Mutex::new(None)).collect::<Vec<_>>();
        let turn = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let turn = turn.fetch_add(1, Ordering::Relaxed);
                        if let Some(wanted) = wanted.get(turn) {
                            put(&files[turn], self.any_of(wanted));
                        } else if let Some(git) = gits.get(turn - wanted.len()) {
                            put(&packs[turn - wanted.len()], self.git(git));
                        } else {
                            break;
                        }
                    }
                });
            }
        });
        Fetched { files: files.into_iter().map(take).collect(), packs: packs.into_iter().map(take).collect() }
    }

    fn stored(&self, alternatives: &[Pinned]) -> Option<(usize, PathBuf)> {
        let paths = alternatives.iter().map(|pinned| self.store.source(&pinned.sha256, &pinned.file));
        paths.enumerate().find(|(_, path)| path.is_file())
    }

    /// Keeps other processes from fetching the same files. Always taken in the same order, so that two
    /// never wait for each other.
    fn lock(&self, alternatives: &[Pinned]) -> Result<Vec<Lock>> {
        let mut sorted: Vec<&Pinned> = alternatives.iter().collect();
        sorted.sort_by_key(|pinned| &pinned.sha256);
        sorted.dedup_by_key(|pinned| &pinned.sha256);
        let lock =
            |pinned: &&Pinned| self.store.lock(&format!("source-{}", pinned.sha256), || self.waiting(&pinned.file));
        sorted.iter().map(lock).collect()
    }

    fn waiting(&self, what: &str) {
        self.ui.note("waiting", &format!("{what} is being fetched by another cargo xtask"));
    }
}

/// One place to ask for one of the wanted things.
struct Ask {
    /// Which of the alternatives.
    index: usize,
    /// In full, for the table of answers.
    place: String,
    /// For the line that says it is done.
    short: String,
    how: How,
}

enum How {
    Copy(PathBuf),
    Url(String),
    Debian(Shelf, Carrier),
    Pip(Name, Version),
    Git(String),
    /// The answer is known without asking.
    Not(&'static str),
}

impl Ask {
    fn url(index: usize, url: &str) -> Self {
        Self { index, place: url.to_owned(), short: http::host(url), how: How::Url(url.to_owned()) }
    }

    fn origin(index: usize, origin: &Origin) -> Self {
        let (place, short, how) = match origin {
            Origin::Url(url) => return Self::url(index, url.as_str()),
            Origin::Debian(source) => (
                format!("the Debian archive ({}, {})", source.suite, source.package),
                "the Debian archive",
                How::Debian(Shelf::of(&source.suite), Carrier::Source(source.package.clone())),
            ),
            Origin::Deb(binary) => (
                format!("the Debian archive ({}, {} {})", binary.suite, binary.package, binary.version),
                "the Debian archive",
                How::Debian(
                    Shelf { suite: binary.suite.clone(), arch: binary.arch },
                    Carrier::Binary(binary.package.clone()),
                ),
            ),
            Origin::Pip { package, version } => {
                (format!("pip ({package} {version})"), "pip", How::Pip(package.clone(), version.clone()))
            }
        };
        Self { index, place, short: short.to_owned(), how }
    }
}

impl Fetcher {
    /// Every place that may have one of the files, in the order they are asked.
    fn places(&self, alternatives: &[Pinned]) -> Vec<Ask> {
        let mut asks = Vec::new();
        for mirror in &self.mirrors {
            for (index, pinned) in alternatives.iter().enumerate() {
                asks.extend(self.mirror_places(mirror, index, &Mirror::file_names(pinned)));
            }
        }
        for (index, pinned) in alternatives.iter().enumerate() {
            asks.extend(pinned.origins.iter().map(|origin| self.allowed(Ask::origin(index, origin))));
        }
        asks
    }

    fn git_places(&self, git: &Git, address: &str) -> Vec<Ask> {
        let names = Mirror::pack_names(&git.commit);
        let mut asks: Vec<Ask> = self.mirrors.iter().flat_map(|mirror| self.mirror_places(mirror, 0, &names)).collect();
        let how = How::Git(address.to_owned());
        asks.push(self.allowed(Ask { index: 0, place: address.to_owned(), short: http::host(address), how }));
        asks
    }

    fn mirror_places(&self, mirror: &Mirror, index: usize, names: &[String]) -> Vec<Ask> {
        let dir = match mirror {
            Mirror::Url(base) => {
                let ask = |name: &String| self.allowed(Ask::url(index, &mirror::address(base, name)));
                return names.iter().map(ask).collect();
            }
            Mirror::Dir(dir) => dir,
        };
        let ask = |place: String, how| Ask { index, place, short: format!("mirror {}", dir.display()), how };
        let there = names.iter().map(|name| dir.join(name)).filter(|path| path.is_file());
        let asks: Vec<Ask> = there.map(|path| ask(path.display().to_string(), How::Copy(path))).collect();
        if !asks.is_empty() {
            return asks;
        }
        vec![ask(format!("{}: {}", dir.display(), names.join(", ")), How::Not("no such file"))]
    }

    /// Offline, nobody beyond this machine is asked.
    fn allowed(&self, ask: Ask) -> Ask {
        if self.offline { Ask { how: How::Not("not asked: offline"), ..ask } } else { ask }
    }

    /// Asks one place for a file; gives its path in the store and its size, or the place's answer.
    fn ask(&self, ask: &Ask, pinned: &Pinned, task: &Task) -> Result<std::result::Result<(PathBuf, u64), String>> {
        interrupt::check()?;
        task.now(&ask.short);
        let answer = match &ask.how {
            How::Not(why) => Answer::Miss((*why).to_owned()),
            How::Copy(path) => mirror::take(&self.store, path, task)?,
            How::Url(url) => {
                let partial = self.partial(pinned.sha256.as_str());
                self.http.get(&http::Wanted { url, partial: &partial, expected: Some(&pinned.sha256), task })?
            }
            How::Debian(shelf, carrier) => self.debian.get(shelf, carrier, &pinned.sha256, task)?,
            How::Pip(package, version) => pip::get(&self.store, &self.clients, pinned, package, version)?,
            How::Git(_) => unreachable!("only commits are asked of git"),
        };
        match answer {
            Answer::File(candidate) => self.judge(candidate, pinned),
            Answer::Miss(why) => Ok(Err(why)),
        }
    }

    /// Where a download's bytes are kept until they are complete.
    fn partial(&self, name: &str) -> PathBuf {
        self.store.path("partial").join(name)
    }

    /// Believes the bytes and publishes them, or puts them aside.
    fn judge(&self, candidate: Candidate, pinned: &Pinned) -> Result<std::result::Result<(PathBuf, u64), String>> {
        if candidate.sha256 == pinned.sha256 {
            let to = self.store.source(&pinned.sha256, &pinned.file);
            store::set_mode(&candidate.path, 0o644)?;
            self.store.publish(&candidate.path, &to)?;
            // Another place may have begun to send it, in this run or an earlier one.
            http::discard(&self.partial(pinned.sha256.as_str()))?;
            return Ok(Ok((to, candidate.size)));
        }
        let looks = answer::looks(&candidate.path)?;
        let quarantine = self.store.quarantine(&candidate.path, &candidate.sha256, &pinned.file)?;
        Ok(Err(answer::mismatch(&pinned.sha256, &candidate, &looks, &quarantine)))
    }

    /// Asks one place for a commit; gives a checked pack, or the place's answer.
    fn ask_git(&self, ask: &Ask, git: &Git, task: &Task) -> Result<std::result::Result<git::Pack, String>> {
        interrupt::check()?;
        task.now(&ask.short);
        match &ask.how {
            How::Not(why) => Ok(Err((*why).to_owned())),
            How::Git(address) => git::fetch(&self.store, &self.clients, address, git.tag.as_deref(), &git.commit),
            How::Copy(path) => git::verify(&self.store, &self.clients, path, &git.commit),
            How::Url(url) => self.ask_pack(url, git, task),
            How::Debian(..) | How::Pip(..) => unreachable!("only files are asked of these"),
        }
    }

    fn ask_pack(&self, url: &str, git: &Git, task: &Task) -> Result<std::result::Result<git::Pack, String>> {
        let partial = self.partial(&format!("git-{}", git.commit));
        let candidate = match self.http.get(&http::Wanted { url, partial: &partial, expected: None, task })? {
            Answer::File(candidate) => candidate,
            Answer::Miss(why) => return Ok(Err(why)),
        };
        match git::verify(&self.store, &self.clients, &candidate.path, &git.commit)? {
            Ok(pack) => Ok(Ok(pack)),
            Err(why) => {
                let looks = answer::looks(&candidate.path)?;
                let file = format!("{}.pack", git.commit);
                let kept = self.store.quarantine(&candidate.path, &candidate.sha256, &file)?;
                Ok(Err(format!("{why}\n{}, {looks}; kept in {}", ui::size(candidate.size), kept.display())))
            }
        }
    }
}

/// `kubeedge v1.9.1`: the repository's name and the tag that people know the commit by.
fn repository_name(git: &Git) -> String {
    let name = git.url.file_name().trim_end_matches(".git");
    let known_by = git.tag.as_deref().unwrap_or(&git.commit.as_str()[..12]);
    format!("{name} {known_by}")
}

fn put<T>(place: &Mutex<Option<T>>, value: T) {
    *place.lock().expect("a place is filled once, by one thread") = Some(value);
}

fn take<T>(place: Mutex<Option<T>>) -> T {
    place.into_inner().ok().flatten().expect("every place is filled before the threads end")
}
