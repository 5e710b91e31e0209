//! Why a machine forbids a sandbox, and the line that allows it.

use std::path::Path;

use rustix::io::Errno;

use super::Refusal;
use super::inside::UID_MAP;
use crate::error::{Failure, Kind};

/// What was refused, and what allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// `enter the namespaces: Operation not permitted (os error 1)`
    pub what: String,
    /// A line for a shell, or a sentence where no line helps.
    pub mend: String,
}

impl Why {
    pub(super) fn of(refusal: &Refusal) -> Self {
        let errno = refusal.errno.map(Errno::from_raw_os_error);
        Self { what: refusal.to_string(), mend: mend(Path::new("/proc"), errno, refusal.doing.ends_with(UID_MAP)) }
    }

    /// It did not come so far as to be refused.
    pub(super) fn unknown(what: String, errno: Option<i32>) -> Self {
        Self { what, mend: mend(Path::new("/proc"), errno.map(Errno::from_raw_os_error), false) }
    }

    /// The failure of a build that asked for a sandbox.
    pub fn failure(self) -> Failure {
        Failure::new(Kind::Host, format!("this machine forbids the sandbox: {}", self.what))
            .next(self.mend)
            .next("--sandbox=off builds without one: the machine's files and network are open to it, and the manifest says so")
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// The number of `CAP_SETFCAP`. Since Linux 5.12, who maps user 0 into a namespace must have it.
const SETFCAP: u32 = 31;
/// The kinds of namespaces that a sandbox is made of, as /proc/sys/user calls them.
const KINDS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Kernels say only "not permitted"; which of the many switches it was stands in /proc.
fn mend(proc: &Path, errno: Option<Errno>, mapping: bool) -> String {
    let number = |path: &str| fs_err::read_to_string(proc.join(path)).ok()?.trim().parse::<u64>().ok();
    let status = fs_err::read_to_string(proc.join("self/status")).unwrap_or_default();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next()).unwrap_or_default()
    };
    let capabilities = u64::from_str_radix(field("CapEff"), 16).unwrap_or(u64::MAX);
    let none_of = |kind: &&&str| number(&format!("sys/user/max_{kind}_namespaces")) == Some(0);
    if let Some(kind) = KINDS.iter().find(none_of) {
        format!("sudo sysctl -w user.max_{kind}_namespaces=15000")
    } else if errno == Some(Errno::NOSPC) {
        "sudo sysctl -w user.max_user_namespaces=15000".to_owned()
    } else if mapping && field("Uid") == "0" && capabilities & (1 << SETFCAP) == 0 {
        "run it as another user than root, or start the container with --cap-add SETFCAP".to_owned()
    } else if number("sys/kernel/unprivileged_userns_clone") == Some(0) {
        "sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned()
    } else if number("sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned()
    } else if field("Seccomp") == "2" {
        "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined".to_owned()
    } else if matches!(errno, Some(Errno::INVAL | Errno::NOSYS)) {
        "use a kernel with CONFIG_USER_NS, CONFIG_PID_NS and CONFIG_NET_NS".to_owned()
    } else if errno == Some(Errno::NOENT) && !proc.join("self").exists() {
        "mount -t proc proc /proc".to_owned()
    } else if errno == Some(Errno::AGAIN) {
        "allow this user more processes: ulimit -u unlimited".to_owned()
    } else {
        "allow user namespaces to this user; in a chroot there are none".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)], errno: Option<Errno>) -> String {
        let proc = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = proc.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        mend(proc.path(), errno, true)
    }

    #[test]
    fn each_switch_has_its_line() {
        let denied = Some(Errno::PERM);
        let debian = of(&[("sys/kernel/unprivileged_userns_clone", "0\n")], denied);
        assert_eq!(debian, "sudo sysctl -w kernel.unprivileged_userns_clone=1");
        let ubuntu = of(&[("sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")], denied);
        assert_eq!(ubuntu, "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
        let none = of(&[("sys/user/max_user_namespaces", "0\n")], Some(Errno::NOSPC));
        assert_eq!(none, "sudo sysctl -w user.max_user_namespaces=15000");
        let no_net = of(&[("sys/user/max_net_namespaces", "0\n")], Some(Errno::NOSPC));
        assert_eq!(no_net, "sudo sysctl -w user.max_net_namespaces=15000");
        let docker = of(&[("self/status", "Name:\txtask\nSeccomp:\t2\n")], denied);
        assert!(docker.contains("seccomp=unconfined"), "{docker}");
        assert!(of(&[], Some(Errno::INVAL)).contains("CONFIG_USER_NS"));
        assert!(of(&[], Some(Errno::AGAIN)).contains("ulimit -u"));
        assert_eq!(of(&[], Some(Errno::NOENT)), "mount -t proc proc /proc");
        let open = [("sys/kernel/unprivileged_userns_clone", "1"), ("sys/user/max_user_namespaces", "9")];
        assert!(of(&open, denied).contains("chroot"));
    }

    #[test]
    fn root_must_be_able_to_hand_root_on() {
        let status = |uid: u32, capabilities: u64| {
            let text = format!("Uid:\t{uid}\t0\t0\t0\nCapEff:\t{capabilities:016x}\nSeccomp:\t0\n");
            of(&[("self/status", &text)], Some(Errno::PERM))
        };
        let all = 0x1ff_ffff_ffff;
        assert!(status(0, all & !(1 << SETFCAP)).contains("--cap-add SETFCAP"));
        assert!(!status(0, all).contains("SETFCAP"));
        assert!(!status(1000, 0).contains("SETFCAP"));
    }
}
