//! Single commits through the machine's own git: fetched, checked, kept as one pack, and unpacked
//! exactly as they are in the commit.
//!
//! A commit's id vouches for all its files, so a pack is believed from anywhere once git has read
//! every object that the commit reaches. Its history is left out. Submodules are refused.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use fs_err as fs;
use xshell::{Shell, cmd};

use super::{CLIENT_LIMIT, Clients};
use crate::data::types::Commit;
use crate::error::{Context, Failure, Kind, Result};
use crate::run::process::{Finished, Spawn};
use crate::run::store::{self, Store};

/// What is wrong with a place's pack, as its answer; not an error of ours.
type Answered<T> = Result<std::result::Result<T, String>>;

/// An empty bare repository in the store's scaffolding, removed when dropped.
struct Repository {
    temp: tempfile::TempDir,
    git: PathBuf,
}

/// A pack that holds a commit and all that it reaches.
pub(super) struct Pack {
    pub path: PathBuf,
    _repository: Repository,
}

/// Fetches one commit from `address`, anything that git understands.
pub(super) fn fetch(
    store: &Store,
    clients: &Clients,
    address: &str,
    tag: Option<&str>,
    commit: &Commit,
) -> Answered<Pack> {
    let repository = match Repository::new(store, clients)? {
        Ok(repository) => repository,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = repository.download(address, tag, commit)? {
        return Ok(Err(why));
    }
    repository.keep_only(commit)?;
    repository.checked(commit)
}

/// Takes a pack from a mirror, if it is what its name says.
pub(super) fn verify(store: &Store, clients: &Clients, pack: &Path, commit: &Commit) -> Answered<Pack> {
    let repository = match Repository::new(store, clients)? {
        Ok(repository) => repository,
        Err(why) => return Ok(Err(why)),
    };
    repository.be_shallow(commit)?;
    if let Err(why) = repository.index(pack)? {
        return Ok(Err(why));
    }
    repository.checked(commit)
}

/// Unpacks a commit's files into `into`, a new or empty folder: no line ending, keyword or filter
/// touches them, symlinks are kept. Their times are those of this moment.
pub(super) fn checkout(store: &Store, clients: &Clients, pack: &Path, commit: &Commit, into: &Path) -> Result<()> {
    let repository = Repository::new(store, clients)?.map_err(|why| Failure::new(Kind::Host, why))?;
    repository.be_shallow(commit)?;
    if let Err(why) = repository.index(pack)? {
        return Err(Failure::new(Kind::Source, format!("the store's pack {} is damaged: {why}", pack.display()))
            .next(format!("rm {} and run the same command again: it is fetched anew", pack.display()))
            .into());
    }
    // A checkout knows no export-subst and no export-ignore; these are the attributes it does know.
    let attributes = "* -text -eol -ident -filter -working-tree-encoding\n";
    store::write_atomic(&repository.path("info/attributes"), attributes.as_bytes())?;
    fs::create_dir_all(into)?;
    let tree = [("GIT_WORK_TREE", into.as_os_str())];
    repository.must(&tree, &["read-tree", commit.as_str()])?;
    repository.must(&tree, &["checkout-index", "--all", "--force"])?;
    settle_modes(into)
}

impl Repository {
    fn new(store: &Store, clients: &Clients) -> Answered<Self> {
        let Some(git) = clients.find("git") else {
            return Ok(Err("this machine has no git: install it (Debian: apt-get install git)".to_owned()));
        };
        let repository = Self { temp: store.temp_dir()?, git };
        repository.must(&[], &["init", "--quiet", "--bare", "--template="])?;
        Ok(Ok(repository))
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.temp.path().join(relative)
    }

    /// Fetches the commit alone; where the server gives out only what has a name, the tag, then everything.
    fn download(&self, address: &str, tag: Option<&str>, commit: &Commit) -> Answered<()> {
        let tag = tag.map(|tag| format!("refs/tags/{tag}"));
        let alone =
            [Some(commit.as_str()), tag.as_deref()].into_iter().flatten().map(|what| vec!["--depth=1", address, what]);
        // The largest depth there is: it also brings what an attempt for a tag that was moved left out.
        let everything = vec!["--depth=2147483647", address, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        let mut first = None;
        for what in alone.chain([everything]) {
            let finished = self.fetch(&what)?;
            if finished.success() && self.has(commit)? {
                return Ok(Ok(()));
            }
            if finished.success() {
                first.get_or_insert(format!("it has no commit {commit}"));
                continue;
            }
            let why = complaint(&finished);
            let hopeless = is_hopeless(&why);
            first.get_or_insert(why);
            if hopeless {
                break;
            }
        }
        Ok(Err(first.unwrap_or_default()))
    }

    /// The one git command that has the user's own configuration: proxies, credentials, rewritten addresses.
    fn fetch(&self, what: &[&str]) -> Result<Finished> {
        let shell = Shell::new()?;
        let git = &self.git;
        let safe = ["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "fetch.writeCommitGraph=false"];
        let strict = ["-c", "fetch.fsckObjects=true", "-c", "fetch.unpackLimit=1"];
        let patient = ["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=30"];
        let plain = ["--quiet", "--no-tags", "--no-recurse-submodules"];
        let command = cmd!(shell, "{git} {safe...} {strict...} {patient...} fetch {plain...} {what...}");
        let mut spawn = Spawn::host(command).limit(CLIENT_LIMIT);
        spawn.env.extend(self.environment(&[]));
        spawn.env.insert("GIT_TERMINAL_PROMPT".to_owned(), "0".into());
        spawn.output()
    }

    fn has(&self, commit: &Commit) -> Result<bool> {
        Ok(self.run(&[], &["cat-file", "-e", &format!("{commit}^{{commit}}")])?.success())
    }

    /// Repacks so that one pack holds the commit without its history, and nothing else.
    fn keep_only(&self, commit: &Commit) -> Result<()> {
        self.be_shallow(commit)?;
        for name in ["packed-refs", "FETCH_HEAD"] {
            let path = self.path(name);
            if path.exists() {
                fs::remove_file(path)?;
            }
        }
        store::remove_tree(&self.path("refs"))?;
        fs::create_dir_all(self.path("refs/heads"))?;
        self.must(&[], &["update-ref", "refs/heads/slipway", commit.as_str()])?;
        self.must(&[], &["repack", "-a", "-d", "-q"])?;
        Ok(())
    }

    /// Tells git that the commit's parents are left out on purpose.
    fn be_shallow(&self, commit: &Commit) -> Result<()> {
        store::write_atomic(&self.path("shallow"), format!("{commit}\n").as_bytes())
    }

    /// Takes in a copy of a pack, reading each object in it.
    fn index(&self, pack: &Path) -> Answered<()> {
        let inside = self.path("objects/pack/pack-slipway.pack");
        if let Err(error) = fs::copy(pack, &inside) {
            return Ok(Err(error.to_string()));
        }
        let finished = self.run(&[], &["index-pack", "--strict", &inside.to_string_lossy()])?;
        Ok(if finished.success() { Ok(()) } else { Err(format!("not a whole git pack: {}", complaint(&finished))) })
    }

    /// The one pack, once everything that the commit reaches was found in it.
    fn checked(self, commit: &Commit) -> Answered<Pack> {
        if !self.has(commit)? {
            return Ok(Err(format!("it does not hold commit {commit}")));
        }
        let reached = self.run(&[], &["rev-list", "--objects", "--quiet", commit.as_str()])?;
        if !reached.success() {
            return Ok(Err(format!("it does not hold all of commit {commit}: {}", complaint(&reached))));
        }
        if let Some(path) = self.submodule(commit)? {
            return Ok(Err(format!("commit {commit} has a submodule, {path}, and submodules are not fetched")));
        }
        let mut packs = fs::read_dir(self.path("objects/pack"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<PathBuf>>>()?;
        packs.retain(|path| path.extension() == Some(OsStr::new("pack")));
        let path = packs.pop().filter(|_| packs.is_empty()).context("git kept not one pack but none or several")?;
        store::set_mode(&path, 0o644)?;
        Ok(Ok(Pack { path, _repository: self }))
    }

    fn submodule(&self, commit: &Commit) -> Result<Option<String>> {
        let listing = self.must(&[], &["ls-tree", "-r", commit.as_str()])?.text();
        let link = listing.lines().find(|line| line.starts_with("160000 "));
        Ok(link.and_then(|line| line.split_once('\t')).map(|(_, path)| path.to_owned()))
    }

    fn must(&self, more: &[(&str, &OsStr)], arguments: &[&str]) -> Result<Finished> {
        let finished = self.run(more, arguments)?;
        if finished.success() {
            return Ok(finished);
        }
        let message = format!("`git {}` failed: {}", arguments.join(" "), complaint(&finished));
        Err(Failure::new(Kind::Host, message).into())
    }

    /// Runs git on this repository with nothing of the user's configuration or environment.
    fn run(&self, more: &[(&str, &OsStr)], arguments: &[&str]) -> Result<Finished> {
        let settings = ["core.symlinks=true", "core.autocrlf=false", "core.fileMode=true", "gc.auto=0"];
        let mut argv: Vec<OsString> = vec![self.git.clone().into()];
        argv.extend(settings.iter().flat_map(|setting| ["-c".into(), OsString::from(setting)]));
        argv.extend(arguments.iter().map(OsString::from));
        let mut environment = self.environment(more);
        environment.insert("GIT_CONFIG_NOSYSTEM".to_owned(), "1".into());
        environment.insert("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".into());
        environment.insert("HOME".to_owned(), self.temp.path().into());
        environment.insert("PATH".to_owned(), std::env::var_os("PATH").unwrap_or_default());
        Spawn::isolated(argv, self.temp.path(), environment).output()
    }

    fn environment(&self, more: &[(&str, &OsStr)]) -> BTreeMap<String, OsString> {
        // All named outright: we may have been started from a git hook or alias, which sets them.
        let own = [
            ("GIT_DIR", self.temp.path().to_owned()),
            ("GIT_OBJECT_DIRECTORY", self.path("objects")),
            ("GIT_INDEX_FILE", self.path("index")),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES", PathBuf::new()),
            ("LC_ALL", "C".into()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.into_os_string()));
        own.chain(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }
}

/// The two modes that git knows, whatever the umask.
fn settle_modes(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    store::set_mode(dir, 0o755)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            settle_modes(&entry.path())?;
        } else if kind.is_file() {
            let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
            store::set_mode(&entry.path(), if executable { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

/// True if asking the same server for something else would fail the same way.
fn is_hopeless(complaint: &str) -> bool {
    ["unable to access", "Could not", "could not", "not found", "does not appear", "does not exist", "Authentication"]
        .iter()
        .any(|sign| complaint.contains(sign))
}

fn complaint(finished: &Finished) -> String {
    let text = finished.text();
    let wrong = |line: &&str| ["fatal: ", "error: ", "remote: "].iter().any(|start| line.starts_with(start));
    let lines: Vec<&str> = text.lines().filter(wrong).take(3).collect();
    if lines.is_empty() { format!("git: {}", finished.how()) } else { lines.join("\n") }
}
