//! Debian's archive through the machine's own apt: as any user, and without touching the machine's apt.
//!
//! Each suite has a folder in the store with lists of its own, for each architecture that is asked for. A package's revision is not asked for:
//! whichever one carries the wanted sha256 is asked for that single file.

mod download;
mod index;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use fs_err as fs;
use xshell::{Shell, cmd};

use super::answer::{Answer, Candidate};
use super::{CLIENT_LIMIT, Clients};
use crate::data::types::{Arch, Name, Package, Sha256};
use crate::error::{Context, Result};
use crate::run::process::{Finished, Spawn};
use crate::run::store::{self, Lock, Store};
use crate::ui::Task;
use index::{Index, Revision};
pub(super) use resolve::Trust;

/// Names a mirror of Debian's archive where the machine's apt knows none.
pub const MIRROR_VARIABLE: &str = "SLIPWAY_DEBIAN_MIRROR";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt says MD5 too where it may.
const FORCE_SHA256: [&str; 2] = ["-o", "Acquire::ForceHash=SHA256"];

/// What is wrong on the way to the archive, as its answer; not an error of ours.
type Answered<T> = Result<std::result::Result<T, String>>;

/// The archive as this run knows it.
pub(super) struct Archive {
    store: Store,
    clients: Clients,
    /// From the environment; else it is learnt from the machine's apt.
    mirror: Option<String>,
    learnt: OnceLock<std::result::Result<String, String>>,
    /// How this run's one update of each suite's lists went.
    updated: Mutex<BTreeMap<String, std::result::Result<(), String>>>,
}

/// The package that carries a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Carrier {
    Source(Package),
    Binary(Package),
}

/// Part of the archive that has lists of its own: a suite, and the architecture whose binary packages are
/// looked at, besides those for all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shelf {
    pub suite: Name,
    pub arch: Arch,
}

impl Shelf {
    /// Where source packages and the build machine's own are found, whatever this machine is.
    pub fn of(suite: &Name) -> Self {
        Self { suite: suite.clone(), arch: Arch::X86_64 }
    }
}

/// A file that is looked for.
pub(super) struct Wanted<'a> {
    pub carrier: &'a Carrier,
    pub sha256: &'a Sha256,
}

/// Where the archive has a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub url: String,
    pub size: u64,
}

/// Why the archive does not have a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub why: String,
    /// The suite was asked and carries other bytes or none: the pin is out of date.
    pub replaced: bool,
}

/// One suite's folder in the store.
struct Suite {
    name: String,
    arch: Arch,
    dir: PathBuf,
    uri: String,
}

impl Carrier {
    pub fn package(&self) -> &Package {
        match self {
            Self::Source(package) | Self::Binary(package) => package,
        }
    }
}

impl Archive {
    pub fn new(store: Store, clients: Clients, mirror: Option<String>) -> Self {
        Self { store, clients, mirror, learnt: OnceLock::new(), updated: Mutex::default() }
    }

    /// The file with this sha256, whichever revision of the package carries it.
    pub fn get(&self, shelf: &Shelf, carrier: &Carrier, sha256: &Sha256, task: &Task) -> Result<Answer> {
        let located = match self.locate(shelf, &[Wanted { carrier, sha256 }], task)? {
            Ok(located) => located.into_iter().next().context("one answer for one file")?,
            Err(why) => return Ok(Answer::Miss(why)),
        };
        let found = match located {
            Ok(found) => found,
            Err(lost) => return Ok(Answer::Miss(lost.why)),
        };
        task.bytes(0, Some(found.size));
        let temp = self.store.temp_dir()?;
        let mut taken = None;
        let answers = self.download(shelf, &[(found, sha256.clone())], temp.path(), &mut |_, candidate| {
            taken = Some(candidate);
            Ok(())
        })?;
        Ok(match (taken, answers.into_iter().next()) {
            (Some(candidate), _) => Answer::File(Candidate { _temp: Some(temp), ..candidate }),
            (None, Some(Err(why))) => Answer::Miss(why),
            (None, _) => Answer::Miss("apt gave no answer".to_owned()),
        })
    }

    /// Where each of the files is, from lists that were updated in this run before they are called too old.
    pub fn locate(
        &self,
        shelf: &Shelf,
        wanted: &[Wanted<'_>],
        task: &Task,
    ) -> Answered<Vec<std::result::Result<Found, Lost>>> {
        let suite = match self.suite(shelf)? {
            Ok(suite) => suite,
            Err(why) => return Ok(Err(why)),
        };
        let _lock = self.lock(&suite, task)?;
        suite.prepare(&self.clients)?;
        if !suite.ready()
            && let Err(why) = self.update(&suite)?
        {
            return Ok(Err(why));
        }
        let mut index = self.index(&suite, wanted)?;
        if wanted.iter().any(|wanted| index.revision(wanted).is_none()) && !self.is_updated(&suite) {
            if let Err(why) = self.update(&suite)? {
                return Ok(Err(why));
            }
            index = self.index(&suite, wanted)?;
        }
        self.addresses(&suite, wanted, &index).map(Ok)
    }

    /// The suite's folder, if this machine can ask the archive at all.
    fn suite(&self, shelf: &Shelf) -> Answered<Suite> {
        if self.clients.find("apt-get").is_none() {
            let advice = "this machine has no apt-get, through which Debian's archive is asked";
            return Ok(Err(format!("{advice}: use a mirror folder, or a Debian machine or container")));
        }
        let (name, dir) = (shelf.suite.to_string(), self.shelf_dir(shelf));
        Ok(self.uri()?.map(|uri| Suite { name, arch: shelf.arch, dir, uri }))
    }

    fn lock(&self, suite: &Suite, task: &Task) -> Result<Lock> {
        self.store.lock(&format!("apt-{}", suite.id()), || task.now("waiting for apt's lists"))
    }

    /// What the lists say of the packages that carry the files.
    fn index(&self, suite: &Suite, wanted: &[Wanted<'_>]) -> Result<Index> {
        let carriers: BTreeSet<&Carrier> = wanted.iter().map(|wanted| wanted.carrier).collect();
        let mut binaries = Vec::new();
        let mut index = Index::default();
        for carrier in carriers {
            match carrier {
                Carrier::Source(package) => drop(index.0.insert(carrier.clone(), self.sources(suite, package)?)),
                Carrier::Binary(package) => binaries.push(package.as_str()),
            }
        }
        for revision in self.binaries(suite, &binaries)? {
            let Ok(package) = revision.package.parse() else { continue };
            index.0.entry(Carrier::Binary(package)).or_default().push(revision);
        }
        Ok(index)
    }

    fn sources(&self, suite: &Suite, package: &Package) -> Result<Vec<Revision>> {
        let (shell, package) = (Shell::new()?, package.as_str());
        let command = cmd!(shell, "apt-cache showsrc --only-source {package}");
        Ok(index::revisions(&self.run(suite, command)?.text()))
    }

    /// One call for all: names that the lists do not know do not hold up the others.
    fn binaries(&self, suite: &Suite, packages: &[&str]) -> Result<Vec<Revision>> {
        if packages.is_empty() {
            return Ok(Vec::new());
        }
        let shell = Shell::new()?;
        Ok(index::revisions(&self.run(suite, cmd!(shell, "apt-cache show {packages...}"))?.text()))
    }

    fn addresses(
        &self,
        suite: &Suite,
        wanted: &[Wanted<'_>],
        index: &Index,
    ) -> Result<Vec<std::result::Result<Found, Lost>>> {
        let (mut sources, mut binaries) = (BTreeSet::new(), BTreeSet::new());
        for wanted in wanted {
            let Some(revision) = index.revision(wanted) else { continue };
            let exact = format!("{}={}", wanted.carrier.package(), revision.version);
            match wanted.carrier {
                Carrier::Source(_) => sources.insert(exact),
                Carrier::Binary(_) => binaries.insert(exact),
            };
        }
        let (mut found, mut complaints) = (BTreeMap::new(), Vec::new());
        let shell = Shell::new()?;
        let mut ask = |command| -> Result<()> {
            let finished = self.run(suite, command)?;
            let all = index::addresses(&finished.text());
            complaints.extend(all.is_empty().then(|| complaint(&finished)));
            found.extend(all.into_iter().map(|(_, sha256, found)| (sha256, found)));
            Ok(())
        };
        for exact in &sources {
            ask(cmd!(shell, "apt-get {FORCE_SHA256...} source --only-source --download-only --print-uris {exact}"))?;
        }
        if !binaries.is_empty() {
            ask(cmd!(shell, "apt-get {FORCE_SHA256...} download --print-uris {binaries...}"))?;
        }
        let answer = |wanted: &Wanted<'_>| match (index.revision(wanted), found.get(wanted.sha256)) {
            (None, _) => Err(Lost { why: index.lost(&suite.name, wanted.carrier), replaced: true }),
            (Some(_), Some(found)) => Ok(found.clone()),
            (Some(revision), None) => {
                let (package, complaint) = (wanted.carrier.package(), complaints.join("\n"));
                let why = format!("apt-get names no address for {package}={}: {complaint}", revision.version);
                Err(Lost { why, replaced: false })
            }
        };
        Ok(wanted.iter().map(answer).collect())
    }

    fn update(&self, suite: &Suite) -> Answered<()> {
        if let Some(outcome) = self.updates().get(&suite.id()) {
            return Ok(outcome.clone());
        }
        let outcome = self.update_lists(suite)?;
        self.updates().insert(suite.id(), outcome.clone());
        Ok(outcome)
    }

    fn update_lists(&self, suite: &Suite) -> Answered<()> {
        let mut why = String::new();
        for signed in [Path::new(KEYRING).is_file(), false] {
            store::write_atomic(&suite.dir.join("sources.list"), suite.sources(signed).as_bytes())?;
            let shell = Shell::new()?;
            let finished = self.run(suite, cmd!(shell, "apt-get -q update"))?;
            let complaint = complaint(&finished);
            if finished.success() && !finished.text().contains("\nE: ") {
                store::write_atomic(&suite.dir.join("updated"), suite.sources(signed).as_bytes())?;
                return Ok(Ok(()));
            }
            why = format!("apt-get update failed for {} {}: {complaint}", suite.uri, suite.name);
            // A keyring older than the suite: the pinned sha256 vouches for the file all the same.
            if !signed || !["signature", "NO_PUBKEY", "not signed", "key"].iter().any(|word| complaint.contains(word)) {
                break;
            }
        }
        Ok(Err(why))
    }

    fn is_updated(&self, suite: &Suite) -> bool {
        self.updates().contains_key(&suite.id())
    }

    fn updates(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, std::result::Result<(), String>>> {
        self.updated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the archive is: from the environment, or as the machine's own apt is set up.
    fn uri(&self) -> Answered<String> {
        if let Some(mirror) = &self.mirror {
            return Ok(Ok(mirror.clone()));
        }
        if let Some(learnt) = self.learnt.get() {
            return Ok(learnt.clone());
        }
        let shell = Shell::new()?;
        let format = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
        let apt_get = self.clients.get("apt-get");
        let command = cmd!(shell, "{apt_get} indextargets --no-release-info --format {format}").env("LC_ALL", "C");
        let targets = Spawn::host(command).limit(CLIENT_LIMIT).output()?.text();
        let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let uri = debian_uri(&targets, is_debian(&system)).ok_or_else(|| {
            format!(
                "this machine's apt knows no mirror of Debian's archive ({}): \
                 name one, {MIRROR_VARIABLE}=http://HOST/debian",
                field(&system, "PRETTY_NAME").unwrap_or("unknown system")
            )
        });
        Ok(self.learnt.get_or_init(|| uri).clone())
    }

    fn run(&self, suite: &Suite, command: xshell::Cmd<'_>) -> Result<Finished> {
        let mut spawn = Spawn::host(command.env("APT_CONFIG", suite.dir.join("apt.conf")).env("LC_ALL", "C"));
        let program = spawn.argv[0].to_string_lossy().into_owned();
        spawn.argv[0] = self.clients.get(&program).into();
        spawn.limit(CLIENT_LIMIT).output()
    }

    fn shelf_dir(&self, shelf: &Shelf) -> PathBuf {
        self.store.path("apt").join(id(shelf.suite.as_str(), shelf.arch))
    }
}

/// What the folder and the lock of a suite's lists are called.
fn id(suite: &str, arch: Arch) -> String {
    if arch == Arch::X86_64 { suite.to_owned() } else { format!("{suite}-{}", arch.debian()) }
}

impl Suite {
    fn id(&self) -> String {
        id(&self.name, self.arch)
    }

    /// Makes apt's private folders and configuration.
    fn prepare(&self, clients: &Clients) -> Result<()> {
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.dir.join(dir))?;
        }
        store::write_atomic(&self.dir.join("status"), b"")?;
        let shell = Shell::new()?;
        let apt_config = clients.get("apt-config");
        let command = cmd!(shell, "{apt_config} dump").env("LC_ALL", "C");
        let host = Spawn::host(command).limit(CLIENT_LIMIT).output()?.text();
        let path = self.dir.join("apt.conf");
        store::write_atomic(&path, config(&host, &self.dir, self.arch).as_bytes())?;
        // A proxy's address may hold a password.
        store::set_mode(&path, 0o600)
    }

    /// True if lists of the same kinds were updated from the archive's present address, by this run or an
    /// earlier one.
    fn ready(&self) -> bool {
        [true, false].into_iter().any(|signed| self.updated_from(&self.sources(signed)))
    }

    /// True if the lists that are here were checked against Debian's keys.
    fn is_signed(&self) -> bool {
        self.updated_from(&self.sources(true))
    }

    fn updated_from(&self, sources: &str) -> bool {
        fs::read_to_string(self.dir.join("updated")).is_ok_and(|updated| updated == sources)
    }

    /// The text of apt's `sources.list`. For finding a file unsigned lists do no harm: they only say where to
    /// look, the pinned sha256 decides what is believed.
    fn sources(&self, signed: bool) -> String {
        let trust = if signed { format!("signed-by={KEYRING}") } else { "trusted=yes".to_owned() };
        let (uri, name, arch) = (&self.uri, &self.name, self.arch.debian());
        let binaries = format!("deb [arch={arch} {trust}] {uri} {name} main\n");
        match self.arch {
            Arch::X86_64 => format!("{binaries}deb-src [{trust}] {uri} {name} main\n"),
            // Source packages are the same for all: they are in the build machine's lists already.
            Arch::Aarch64 | Arch::Armhf => binaries,
        }
    }
}

/// The whole of apt's configuration: how the host's apt reaches the network (proxies, certificates), and
/// nothing else of it, since its hooks would run as part of our update and its lists are not ours.
fn config(host: &str, dir: &Path, arch: Arch) -> String {
    let network = |line: &&str| {
        let ours = ["Acquire::Languages", "Acquire::IndexTargets", "Acquire::GzipIndexes", "Acquire::CompressionTypes"];
        line.starts_with("Acquire::") && !ours.iter().any(|ours| line.starts_with(ours))
    };
    let mut text: String = host.lines().filter(network).map(|line| format!("{line}\n")).collect();
    let dir = dir.display();
    for (name, value) in [
        ("Dir::Etc::main", format!("{dir}/none")),
        ("Dir::Etc::parts", format!("{dir}/none")),
        ("Dir::Etc::sourcelist", format!("{dir}/sources.list")),
        ("Dir::Etc::sourceparts", format!("{dir}/none")),
        ("Dir::Etc::preferencesparts", format!("{dir}/none")),
        ("Dir::State", format!("{dir}")),
        ("Dir::State::lists", format!("{dir}/lists")),
        ("Dir::State::status", format!("{dir}/status")),
        ("Dir::Cache", format!("{dir}/cache")),
        ("Debug::NoLocking", "true".to_owned()), // The store's own lock is held.
        ("Acquire::Languages", "none".to_owned()),
        ("Acquire::http::Timeout", "30".to_owned()),
        ("Acquire::https::Timeout", "30".to_owned()),
        ("APT::Architecture", arch.debian().to_owned()),
        ("APT::Architectures::", arch.debian().to_owned()), // Else this machine's own, and its foreign ones.
        ("APT::Install-Recommends", "false".to_owned()),
        ("APT::Sandbox::User", "root".to_owned()), // The _apt user could not write into the store.
        ("APT::Update::Error-Mode", "any".to_owned()), // Else a failed update exits with 0.
    ] {
        text.push_str(&format!("{name} \"{value}\";\n"));
    }
    text
}

/// The address of Debian's archive among the machine's index targets, lines `URI|SUITE|COMPONENT`.
///
/// Other people's archives call their suites by Debian's names too. What tells the archive itself is
/// its `-updates` suite (only on Debian: Ubuntu's has one as well), else the path that its mirrors share.
fn debian_uri(targets: &str, on_debian: bool) -> Option<String> {
    let targets: Vec<(&str, &str)> = targets
        .lines()
        .filter_map(|line| line.split_once('|'))
        .filter_map(|(uri, rest)| Some((uri, rest.strip_suffix("|main")?)))
        .collect();
    let plain = targets.iter().filter(|(_, suite)| !suite.contains(['-', '/']));
    let candidates = plain.filter_map(|(uri, suite)| {
        let updates = targets.iter().any(|(other, name)| other == uri && *name == format!("{suite}-updates"));
        let path = uri.trim_end_matches('/').ends_with("/debian");
        let evident = path || (on_debian && updates);
        evident.then_some(((updates, path), uri.trim_end_matches('/')))
    });
    // The first of the best: `max_by_key` would give the last.
    candidates.rev().max_by_key(|(rank, _)| *rank).map(|(_, uri)| uri.to_owned())
}

/// True for Debian itself and what keeps Debian's own suites.
fn is_debian(os_release: &str) -> bool {
    field(os_release, "ID") == Some("debian")
}

fn field<'a>(os_release: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
    os_release.lines().find_map(value).map(|value| value.trim_matches('"'))
}

/// What apt found wrong, without what it says on every run.
fn complaint(finished: &Finished) -> String {
    let text = finished.text();
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("E: ") || line.starts_with("Err:") || line.starts_with("W: "))
        .filter(|line| !line.contains("Unable to read") && !line.contains("Some index files failed"))
        .collect();
    if lines.iter().any(|line| line.starts_with("E: ")) {
        lines.retain(|line| line.starts_with("E: "));
    }
    lines.dedup();
    lines.truncate(4);
    if lines.is_empty() { finished.how() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_told_from_other_peoples() {
        let targets = "http://mirror.example/debian-security/|bookworm-security|main\n\
                       https://tools.example/apt/debian/|bookworm|main\n\
                       https://tools.example/linux/debian/|bookworm|stable\n\
                       http://mirror.example/debian/|bookworm|main\n\
                       http://mirror.example/debian/|bookworm-updates|main\n";
        assert_eq!(debian_uri(targets, true).as_deref(), Some("http://mirror.example/debian"));
        let listed =
            "mirror+file:/etc/apt/mirrors/list|trixie|main\nmirror+file:/etc/apt/mirrors/list|trixie-updates|main";
        assert_eq!(debian_uri(listed, true).as_deref(), Some("mirror+file:/etc/apt/mirrors/list"));
        let ubuntu = "http://mirror.example/ubuntu/|noble|main\nhttp://mirror.example/ubuntu/|noble-updates|main";
        assert_eq!(debian_uri(ubuntu, false), None);
        assert!(!is_debian("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n"));
        assert!(is_debian("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"));
    }

    #[test]
    fn only_the_way_to_the_network_is_taken_over() {
        let host = "Dir \"/\";\nAcquire::http::Proxy \"http://p.example:3128/\";\nAcquire::Languages \"de\";\n\
                    APT::Update::Post-Invoke:: \"rm -f /var/cache/apt/*.bin\";\n";
        let text = config(host, Path::new("/s/apt/bookworm"), Arch::X86_64);
        assert!(text.starts_with("Acquire::http::Proxy \"http://p.example:3128/\";\nDir::Etc::main"), "{text}");
        assert!(!text.contains("Post-Invoke") && !text.contains("\"de\""), "{text}");
    }
}
