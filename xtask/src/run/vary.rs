//! The surroundings of a second build, made as different from the first's as this machine allows.
//!
//! Knows what can be varied and how to find out, not what is built. What cannot be varied is said, with why.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Serialize;

use super::jobs::Jobs;
use super::process::{self, Spawn};
use super::tree;
use crate::data::project;
use crate::error::Result;

/// The host name that the second build sees.
pub const HOST: &str = "another-host-name";
/// `nobody` on every Linux.
const UID: u32 = 65534;
/// In each checkout, but not of it. Hidden ones are left out too.
const LEFT_OUT: [&str; 3] = ["target", "dist", "edit"];

/// One thing that was varied, or why it was not.
#[derive(Debug, Clone, Serialize)]
pub struct Variation {
    pub what: &'static str,
    pub varied: bool,
    /// `a → b`, or the reason.
    pub how: String,
}

/// How the second build is run.
#[derive(Debug)]
pub struct Surroundings {
    pub variations: Vec<Variation>,
    /// What comes before the command: programs that change one thing each and start the next.
    prefix: Vec<OsString>,
    env: BTreeMap<String, OsString>,
    dir: PathBuf,
    pub jobs: usize,
    /// Whether the second build turns the order of its sources' folders round.
    pub reversed: bool,
}

impl Surroundings {
    /// Finds out what can be varied. `dir` holds all that the second build writes; `reads` it must be able to read.
    pub fn new(
        dir: &Path,
        home: &Path,
        store: &Path,
        first_jobs: usize,
        reads: &[PathBuf],
        caged: bool,
    ) -> Result<Self> {
        let jobs = if first_jobs == 1 { 2 } else { first_jobs / 2 };
        let env = [
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("SLIPWAY_CACHE", store.into()),
            ("HOME", home.into()),
            ("TMPDIR", home.into()),
            ("TZ", "Pacific/Kiritimati".into()),
            ("LANG", "tr_TR.UTF-8".into()),
            ("LC_ALL", "tr_TR.UTF-8".into()),
            ("USER", "somebody-else".into()),
            ("LOGNAME", "somebody-else".into()),
            ("CFLAGS", "-DVARIED".into()),
            ("SOURCE_DATE_EPOCH", "1".into()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        let reversed = order_shows(dir)?;
        let (variations, prefix) = (Vec::new(), Vec::new());
        let mut surroundings = Self { variations, prefix, env, dir: dir.to_owned(), jobs, reversed };
        surroundings.say_what_is_always_varied(first_jobs, home);
        surroundings.vary_host();
        surroundings.vary_user(reads)?;
        surroundings.vary_kernel();
        surroundings.vary_processors();
        surroundings.say_what_is_not_varied(caged);
        Ok(surroundings)
    }

    /// A command in these surroundings.
    pub fn spawn(&self, argv: impl IntoIterator<Item = OsString>) -> Spawn {
        let umask = ["sh", "-c", "umask 0077; exec \"$@\"", "sh"].map(OsString::from);
        let argv = self.prefix.iter().cloned().chain(umask).chain(argv).collect();
        Spawn::isolated(argv, &self.dir, self.env.clone())
    }

    fn say_what_is_always_varied(&mut self, first_jobs: usize, home: &Path) {
        let var = |name| std::env::var(name).unwrap_or_else(|_| "unset".to_owned());
        self.varied("checkout and store", format!("copies below {}", self.dir.display()));
        self.varied("tool caches", "as they were → empty".to_owned());
        self.varied("home", format!("{} → {}", var("HOME"), home.display()));
        self.varied("umask", "the caller's → 0077".to_owned());
        self.varied("locale", format!("{} → tr_TR.UTF-8", var("LANG")));
        self.varied("time zone", format!("{} → Pacific/Kiritimati", var("TZ")));
        self.varied("environment", "CFLAGS, SOURCE_DATE_EPOCH, USER, LOGNAME → nonsense; the rest gone".to_owned());
        self.varied("jobs", format!("{first_jobs} → {}", self.jobs));
        if self.reversed {
            self.varied("directory order", "of the sources' folders: turned round".to_owned());
        }
    }

    fn say_what_is_not_varied(&mut self, caged: bool) {
        if !self.reversed {
            self.same("directory order", "this file system shows names in an order of its own (a tmpfs does not)");
        }
        // A time namespace leaves the clock of the day alone, and static programs know no LD_PRELOAD.
        self.same("clock", "cannot be set for one build; the second ran later, so a time differs, a date may not");
        self.same("processor and distribution", "needs another machine: compare with --against there");
        if caged {
            let seen = "user, host name, home, paths, environment, kernel release and address layout are fixed in it";
            self.same("in the sandbox", seen);
        }
    }

    fn vary_host(&mut self) {
        let script = format!("echo {HOST} > /proc/sys/kernel/hostname && exec \"$@\"");
        let prefix = ["unshare", "--uts", "sh", "-c", &script, "sh"];
        let how = format!("→ {HOST}");
        self.try_prefix("host name", &prefix, how, "this user may not make a UTS namespace (unshare --uts)");
    }

    /// Root hands the second build's folders to another user. Nobody else can.
    fn vary_user(&mut self, reads: &[PathBuf]) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            self.same("user", "only root can run it as another user");
            return Ok(());
        }
        let id = UID.to_string();
        let prefix = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--pdeathsig", "KILL"];
        let mut test: Vec<OsString> = prefix.map(OsString::from).into();
        let script = "for path; do test -r \"$path\" || exit 1; done; test -w \"$1\"";
        test.extend(["sh", "-c", script, "sh"].map(OsString::from));
        test.push(self.dir.clone().into());
        test.extend(reads.iter().map(OsString::from));
        hand_over(&self.dir, UID)?;
        if self.works(test) {
            self.prefix.extend(prefix.map(OsString::from));
            self.varied("user", format!("0 → {UID}"));
            return Ok(());
        }
        hand_over(&self.dir, 0)?;
        self.same("user", "another user cannot reach the store or this program (SLIPWAY_CACHE chooses another store)");
        Ok(())
    }

    fn vary_kernel(&mut self) {
        let reason = "setarch (of util-linux) is missing or not allowed";
        self.try_prefix("kernel release", &["setarch", "--uname-2.6"], "as it is → 2.6".to_owned(), reason);
        self.try_prefix("address layout", &["setarch", "-R"], "random → fixed".to_owned(), reason);
    }

    fn vary_processors(&mut self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
        let first = list.split([',', '-']).next().unwrap_or("0").to_owned();
        let how = format!("{} → 1", Jobs::default_count());
        if Jobs::default_count() == 1 {
            return self.same("processors", "there is only one");
        }
        self.try_prefix("processors", &["taskset", "-c", &first], how, "taskset (of util-linux) is missing");
    }

    fn try_prefix(&mut self, what: &'static str, prefix: &[&str], how: String, reason: &str) {
        let prefix: Vec<OsString> = prefix.iter().map(OsString::from).collect();
        let mut test = self.prefix.clone();
        test.extend(prefix.iter().cloned());
        test.push("true".into());
        match self.works(test) {
            true => {
                self.prefix.extend(prefix);
                self.varied(what, how);
            }
            false => self.same(what, reason),
        }
    }

    fn works(&self, argv: Vec<OsString>) -> bool {
        let there = argv.first().and_then(|program| process::find(&program.to_string_lossy())).is_some();
        let env = self.env.clone();
        there && Spawn::isolated(argv, Path::new("/"), env).output().is_ok_and(|finished| finished.success())
    }

    fn varied(&mut self, what: &'static str, how: String) {
        self.variations.push(Variation { what, varied: true, how });
    }

    fn same(&mut self, what: &'static str, why: &str) {
        self.variations.push(Variation { what, varied: false, how: why.to_owned() });
    }
}

/// True if the file system of `dir` lists names by when they were put there, as a tmpfs does, and not by their hash.
fn order_shows(dir: &Path) -> Result<bool> {
    let test = tempfile::tempdir_in(dir)?;
    for name in 0..32 {
        fs::write(test.path().join(name.to_string()), "")?;
    }
    let before = tree::list(test.path())?;
    tree::reverse(test.path())?;
    Ok(tree::list(test.path())? != before)
}

/// Copies what a checkout is made of: everything but what is built, edited or hidden, and the store.
pub fn copy_checkout(from: &Path, to: &Path, store: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if LEFT_OUT.contains(&name.as_str()) || name.starts_with('.') || store.starts_with(&path) {
            continue;
        }
        match path.is_dir() {
            true => tree::copy(&path, &to.join(name))?,
            false => drop(fs::copy(&path, to.join(name))?),
        }
    }
    Ok(())
}

fn hand_over(dir: &Path, id: u32) -> Result<()> {
    let give = |path: &Path| fs::os::unix::fs::lchown(path, Some(id), Some(id));
    give(dir)?;
    // A folder without a file in it is no path of the walk.
    for entry in fs::read_dir(dir)? {
        give(&entry?.path())?;
    }
    for path in project::walk(dir)? {
        give(&dir.join(&path))?;
        for folder in path.ancestors().skip(1) {
            give(&dir.join(folder))?;
        }
    }
    Ok(())
}
