//! Why a machine forbids a sandbox, and the line that allows it.

use std::path::Path;

use rustix::io::Errno;

/// What was refused, and what allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// `enter the namespaces: Operation not permitted (os error 1)`
    pub what: String,
    /// A line for a shell, or a sentence where no line helps.
    pub mend: String,
}

impl Why {
    pub(super) fn new(what: String, errno: Option<i32>) -> Self {
        Self { what, mend: mend(Path::new("/proc"), errno.map(Errno::from_raw_os_error)) }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// Kernels say only "not permitted"; which of the many switches it was stands in /proc.
fn mend(proc: &Path, errno: Option<Errno>) -> String {
    let number = |path: &str| fs_err::read_to_string(proc.join(path)).ok()?.trim().parse::<u64>().ok();
    let status = fs_err::read_to_string(proc.join("self/status")).unwrap_or_default();
    let filtered = status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"));
    if number("sys/user/max_user_namespaces") == Some(0) || errno == Some(Errno::NOSPC) {
        "sudo sysctl -w user.max_user_namespaces=15000"
    } else if number("sys/kernel/unprivileged_userns_clone") == Some(0) {
        "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    } else if number("sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    } else if filtered {
        "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    } else if matches!(errno, Some(Errno::INVAL | Errno::NOSYS)) {
        "use a kernel with CONFIG_USER_NS, CONFIG_PID_NS and CONFIG_NET_NS"
    } else {
        "allow user namespaces to this user; in a chroot there are none"
    }
    .to_owned()
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
        mend(proc.path(), errno)
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
        let docker = of(&[("self/status", "Name:\txtask\nSeccomp:\t2\n")], denied);
        assert!(docker.contains("seccomp=unconfined"), "{docker}");
        assert!(of(&[], Some(Errno::INVAL)).contains("CONFIG_USER_NS"));
        let open = [("sys/kernel/unprivileged_userns_clone", "1"), ("sys/user/max_user_namespaces", "9")];
        assert!(of(&open, denied).contains("chroot"));
    }
}
