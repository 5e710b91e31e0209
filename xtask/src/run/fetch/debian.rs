//! Debian's archive through the machine's own apt: as any user, and without touching the machine's apt.
//!
//! Each suite has a folder in the store with lists of its own. A source package's revision is not
//! pinned: whichever one carries the wanted sha256 is asked for that single file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use fs_err as fs;
use xshell::{Shell, cmd};

use super::answer::{Answer, Candidate};
use super::{CLIENT_LIMIT, Clients};
use crate::data::source::DebianSource;
use crate::data::types::Sha256;
use crate::error::Result;
use crate::run::process::{Finished, Spawn};
use crate::run::store::{self, Store};
use crate::ui::Task;

/// Names a mirror of Debian's archive where the machine's apt knows none.
pub const MIRROR_VARIABLE: &str = "SLIPWAY_DEBIAN_MIRROR";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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

/// One suite's folder in the store.
struct Suite {
    name: String,
    dir: PathBuf,
    uri: String,
}

impl Archive {
    pub fn new(store: Store, clients: Clients, mirror: Option<String>) -> Self {
        Self { store, clients, mirror, learnt: OnceLock::new(), updated: Mutex::default() }
    }

    /// The file with this sha256, whichever revision of the source package carries it.
    pub fn get(&self, source: &DebianSource, sha256: &Sha256, task: &Task) -> Result<Answer> {
        let (url, size) = match self.locate(source, sha256, task)? {
            Ok(found) => found,
            Err(why) => return Ok(Answer::Miss(why)),
        };
        task.bytes(0, Some(size));
        self.download(&self.suite_dir(source).join("apt.conf"), &url, sha256)
    }

    fn locate(&self, source: &DebianSource, sha256: &Sha256, task: &Task) -> Answered<(String, u64)> {
        if self.clients.find("apt-get").is_none() {
            let advice = "this machine has no apt-get, through which Debian's archive is asked";
            return Ok(Err(format!("{advice}: use a mirror folder, or a Debian machine or container")));
        }
        let uri = match self.uri()? {
            Ok(uri) => uri,
            Err(why) => return Ok(Err(why)),
        };
        let suite = Suite { name: source.suite.to_string(), dir: self.suite_dir(source), uri };
        let _lock = self.store.lock(&format!("apt-{}", suite.name), || task.now("waiting for apt's lists"))?;
        self.find(&suite, source.package.as_str(), sha256)
    }

    /// The file's address, from lists that were updated in this run before they are called too old.
    fn find(&self, suite: &Suite, package: &str, sha256: &Sha256) -> Answered<(String, u64)> {
        suite.prepare(&self.clients)?;
        if !suite.ready()
            && let Err(why) = self.update(suite)?
        {
            return Ok(Err(why));
        }
        let mut sources = self.sources(suite, package)?;
        if version_with(&sources, sha256).is_none() && !self.is_updated(suite) {
            if let Err(why) = self.update(suite)? {
                return Ok(Err(why));
            }
            sources = self.sources(suite, package)?;
        }
        match version_with(&sources, sha256) {
            Some(version) => self.address(suite, package, version, sha256),
            None => Ok(Err(not_carried(suite, package, &sources))),
        }
    }

    fn sources(&self, suite: &Suite, package: &str) -> Result<Vec<Source>> {
        let shell = Shell::new()?;
        let command = cmd!(shell, "apt-cache showsrc --only-source {package}");
        Ok(parse_showsrc(&self.run(suite, command)?.text()))
    }

    fn address(&self, suite: &Suite, package: &str, version: &str, sha256: &Sha256) -> Answered<(String, u64)> {
        let shell = Shell::new()?;
        let wanted = format!("{package}={version}");
        let options = ["-o", "Acquire::ForceHash=SHA256"];
        let command = cmd!(shell, "apt-get {options...} source --only-source --download-only --print-uris {wanted}");
        let finished = self.run(suite, command)?;
        match address_of(&finished.text(), sha256) {
            Some(found) => Ok(Ok(found)),
            None => Ok(Err(format!("apt-get names no address for {wanted}: {}", complaint(&finished)))),
        }
    }

    /// Has apt fetch this one file: others of the package may be gone from the mirror.
    fn download(&self, config: &Path, url: &str, sha256: &Sha256) -> Result<Answer> {
        let helper = self.clients.find("apt-helper").unwrap_or_else(|| "/usr/lib/apt/apt-helper".into());
        let temp = self.store.temp_dir()?;
        let path = temp.path().join("file");
        let digest = format!("SHA256:{sha256}");
        let shell = Shell::new()?;
        let command = cmd!(shell, "{helper} download-file {url} {path} {digest}");
        let finished =
            Spawn::host(command.env("APT_CONFIG", config).env("LC_ALL", "C")).limit(CLIENT_LIMIT).output()?;
        if !finished.success() {
            return Ok(Answer::Miss(format!("apt could not fetch {url}: {}", complaint(&finished))));
        }
        let (sha256, size) = (store::hash_file(&path)?, fs::metadata(&path)?.len());
        Ok(Answer::File(Candidate { path, sha256, size, remark: None, _temp: Some(temp) }))
    }

    fn update(&self, suite: &Suite) -> Answered<()> {
        if let Some(outcome) = self.updates().get(&suite.name) {
            return Ok(outcome.clone());
        }
        let outcome = self.update_lists(suite)?;
        self.updates().insert(suite.name.clone(), outcome.clone());
        Ok(outcome)
    }

    fn update_lists(&self, suite: &Suite) -> Answered<()> {
        let mut why = String::new();
        for signed in [Path::new(KEYRING).is_file(), false] {
            suite.write_sources(signed)?;
            let shell = Shell::new()?;
            let finished = self.run(suite, cmd!(shell, "apt-get -q update"))?;
            let complaint = complaint(&finished);
            if finished.success() && !finished.text().contains("\nE: ") {
                store::write_atomic(&suite.dir.join("updated"), suite.uri.as_bytes())?;
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
        self.updates().contains_key(&suite.name)
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

    fn suite_dir(&self, source: &DebianSource) -> PathBuf {
        self.store.path("apt").join(source.suite.as_str())
    }
}

impl Suite {
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
        store::write_atomic(&path, config(&host, &self.dir).as_bytes())?;
        // A proxy's address may hold a password.
        store::set_mode(&path, 0o600)
    }

    /// True if the lists were updated from the archive's present address, by this run or an earlier one.
    fn ready(&self) -> bool {
        fs::read_to_string(self.dir.join("updated")).is_ok_and(|uri| uri == self.uri)
    }

    fn write_sources(&self, signed: bool) -> Result<()> {
        // Unsigned lists do no harm: they only say where to look, the pinned sha256 decides what is believed.
        let options = if signed { format!("[signed-by={KEYRING}]") } else { "[trusted=yes]".to_owned() };
        let line = format!("deb-src {options} {} {} main\n", self.uri, self.name);
        store::write_atomic(&self.dir.join("sources.list"), line.as_bytes())
    }
}

/// The whole of apt's configuration: how the host's apt reaches the network (proxies, certificates), and
/// nothing else of it, since its hooks would run as part of our update and its lists are not ours.
fn config(host: &str, dir: &Path) -> String {
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
        ("APT::Sandbox::User", "root".to_owned()), // The _apt user could not write into the store.
        ("APT::Update::Error-Mode", "any".to_owned()), // Else a failed update exits with 0.
    ] {
        text.push_str(&format!("{name} \"{value}\";\n"));
    }
    text
}

/// A source package in apt's lists.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    version: String,
    digests: Vec<String>,
}

fn parse_showsrc(text: &str) -> Vec<Source> {
    let stanzas = text.split("\n\n").filter_map(|stanza| {
        let version = stanza.lines().find_map(|line| line.strip_prefix("Version: "))?;
        let list = stanza.lines().skip_while(|line| !line.starts_with("Checksums-Sha256:")).skip(1);
        let files = list.take_while(|line| line.starts_with(' '));
        let digests = files.filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect();
        Some(Source { version: version.trim().to_owned(), digests })
    });
    stanzas.collect()
}

fn version_with<'a>(sources: &'a [Source], sha256: &Sha256) -> Option<&'a str> {
    let carries = |source: &&Source| source.digests.iter().any(|digest| digest == sha256.as_str());
    sources.iter().find(carries).map(|source| source.version.as_str())
}

fn not_carried(suite: &Suite, package: &str, sources: &[Source]) -> String {
    if sources.is_empty() {
        return format!("{} has no source package {package}", suite.name);
    }
    let versions: Vec<&str> = sources.iter().map(|source| source.version.as_str()).collect();
    format!("{} has {package} {}, without a file that has this sha256", suite.name, versions.join(", "))
}

/// Address and size from apt's lines `'URL' file size SHA256:…`.
fn address_of(text: &str, sha256: &Sha256) -> Option<(String, u64)> {
    let digest = format!("SHA256:{sha256}");
    text.lines().find_map(|line| {
        let (url, rest) = line.strip_prefix('\'')?.split_once('\'')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let size = words.get(1)?.parse().ok()?;
        words.contains(&digest.as_str()).then(|| (url.to_owned(), size))
    })
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
    fn a_revision_is_found_by_its_files() {
        let (orig, other) = (Sha256::of("orig"), Sha256::of("other"));
        let text = format!(
            "Package: iptables\nVersion: 1.8.9-2\nFiles:\n 00 1 a.dsc\nChecksums-Sha256:\n {other} 27 a.dsc\n \
             {orig} 63 iptables_1.8.9.orig.tar.xz\nHomepage: https://a.example/\n\nPackage: iptables\n\
             Version: 1.8.7-1\nChecksums-Sha256:\n {other} 5 b.dsc\n\n"
        );
        let sources = parse_showsrc(&text);
        assert_eq!(version_with(&sources, &orig), Some("1.8.9-2"));
        assert_eq!(version_with(&sources, &Sha256::of("none")), None);
        let suite = Suite { name: "bookworm".into(), dir: PathBuf::new(), uri: String::new() };
        let message = "bookworm has iptables 1.8.9-2, 1.8.7-1, without a file that has this sha256";
        assert_eq!(not_carried(&suite, "iptables", &sources), message);
    }

    #[test]
    fn one_address_is_picked() {
        let (orig, dsc) = (Sha256::of("orig"), Sha256::of("dsc"));
        let text = format!(
            "Need to get 666 kB of source archives.\n'http://m.example/i_1.dsc' i_1.dsc 27 SHA256:{dsc}\n\
             'http://m.example/i_1.orig.tar.xz' i_1.orig.tar.xz 637848 SHA256:{orig}\n"
        );
        assert_eq!(address_of(&text, &orig), Some(("http://m.example/i_1.orig.tar.xz".to_owned(), 637_848)));
        assert_eq!(address_of(&text, &Sha256::of("none")), None);
    }

    #[test]
    fn only_the_way_to_the_network_is_taken_over() {
        let host = "Dir \"/\";\nAcquire::http::Proxy \"http://p.example:3128/\";\nAcquire::Languages \"de\";\n\
                    APT::Update::Post-Invoke:: \"rm -f /var/cache/apt/*.bin\";\n";
        let text = config(host, Path::new("/s/apt/bookworm"));
        assert!(text.starts_with("Acquire::http::Proxy \"http://p.example:3128/\";\nDir::Etc::main"), "{text}");
        assert!(!text.contains("Post-Invoke") && !text.contains("\"de\""), "{text}");
    }
}
