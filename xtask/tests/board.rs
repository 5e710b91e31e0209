//! The script on the board, driven as a person would at its console: `board/bin/slipway`, from an empty board to a
//! running container and back, through bad input, kills at every step, and reboots.
//!
//! The board is a root of its own in mount, network and process namespaces: OpenHarmony's layout, read-only, with a
//! static busybox. containerd, dockerd, docker and edgecore are small scripts (tests/board): what the real ones do is for
//! the emulated board. Where namespaces or a static busybox are missing, each test says that it was skipped; CI has both.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use fs_err as fs;
use tempfile::TempDir;
use xtask::data::types::Sha256;

/// The slipway of the installed bundle.
const SLIPWAY: &str = "/data/slipway/current/bin/slipway";
/// The one that was sent to install the first bundle with.
const SENT: &str = "/data/slipway/incoming/slipway";

// --- The board ----------------------------------------------------------------------------------------------------

/// A board with a console. It ends when this is dropped, with everything that was mounted and started there.
struct Board {
    child: Child,
    console: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// `/host` there.
    host: TempDir,
    /// The other end of the stand-ins' sockets.
    _socket: UnixListener,
}

/// How a command ended there, and what it printed: output and errors as they came, hashes of slots shortened.
#[derive(Debug)]
struct Answer {
    status: i32,
    text: String,
}

impl Board {
    /// None, and said, where this machine cannot have one.
    fn new() -> Option<Self> {
        Self::with("size=64m")
    }

    /// `data`: options of /data's tmpfs, or `kept`.
    fn with(data: &str) -> Option<Self> {
        allowed().then(|| Self::boot(tempfile::tempdir().unwrap(), data))
    }

    fn boot(host: TempDir, data: &str) -> Self {
        let busybox = busybox().unwrap();
        fs::copy(&busybox, host.path().join("busybox")).unwrap();
        fs::copy(repository("board/bin/slipway"), host.path().join("slipway")).unwrap();
        let _ = fs::remove_file(host.path().join("socket"));
        let _socket = UnixListener::bind(host.path().join("socket")).unwrap();
        let mut command = board(host.path(), &busybox, data);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (console, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, console, answers, host, _socket }
    }

    /// Turned off and on: what was not on /data (`kept`) is gone, and it is another boot.
    fn reboot(mut self) -> Self {
        let host = std::mem::replace(&mut self.host, tempfile::tempdir().unwrap());
        drop(self);
        fs::write(host.path().join("boot_id"), "00000000-0000-4000-8000-000000000002\n").unwrap();
        Self::boot(host, "kept")
    }

    /// Types a command, which may have several lines, and waits for its end.
    fn run(&mut self, command: &str) -> Answer {
        writeln!(self.console, "({command}\n) </dev/null 2>&1; printf '\\n@@@ %s\\n' $?").unwrap();
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "the board died at {command}:\n{text}");
            match line.strip_prefix("@@@ ") {
                Some(status) => {
                    return Answer { status: status.trim().parse().unwrap(), text: shorten(text.trim_end()) };
                }
                None => text.push_str(&line),
            }
        }
    }

    /// Types a command, and expects exit status 0.
    fn ok(&mut self, command: &str) -> String {
        self.fails(0, command)
    }

    /// Types a command, and expects this exit status.
    fn fails(&mut self, status: i32, command: &str) -> String {
        let answer = self.run(command);
        assert_eq!(answer.status, status, "{command}:\n{}", answer.text);
        answer.text
    }

    /// Puts a bundle's tarball on the board, and gives its path and hash.
    fn send(&mut self, bundle: &Bundle) -> (String, Sha256) {
        let file = format!("slipway-test-{}.tar.gz", bundle.version);
        let sha256 = bundle.write(&self.host.path().join(&file));
        (format!("/host/{file}"), sha256)
    }

    fn install(&mut self, bundle: &Bundle) -> String {
        let (file, _) = self.send(bundle);
        self.ok(&format!("sh {SENT} install {file}"))
    }

    /// All that `up` changes and `down` puts back: mounts, rules, values, links, folders, and which daemons run.
    fn state(&mut self) -> String {
        self.ok("cut -d' ' -f1-3 /proc/mounts | grep -v boot_id | sort
            awk '$2 == \"/\" || $2 == \"/system\" { print $4 }' /proc/mounts
            /t/busybox ip rule | sed 's/ *$//'; cat /proc/sys/net/ipv4/ip_forward /sys/fs/selinux/enforce /etc/hosts
            ls -l / /dev /system/etc /sys/fs/cgroup | awk '{ print $1, $9, $10, $11 }'
            daemon() { tr '\\0' '\\n' 2>/dev/null </proc/$1/cmdline | grep '^10000[1-3]$\\|^_keep$'; }
            for process in /proc/[0-9]*; do
                name=$(daemon ${process#/proc/}) || continue
                # A shell that has forked, and not yet become what it is to run, has its parent's name.
                daemon $(sed -n 's/^PPid:.//p' $process/status 2>/dev/null) >/dev/null || echo $name
            done | sort; true")
    }

    /// The value of one line of `status --porcelain`.
    fn status(&mut self, key: &str) -> String {
        let text = self.ok(&format!("{SLIPWAY} status --porcelain"));
        text.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).expect(key).to_owned()
    }

    /// Waits until nothing of a killed run is at work any more: the subshells of a shell outlive it for a moment.
    fn settle(&mut self) {
        self.ok("while cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q 'bin/slipway [^_]\\|ing/slipway [^_]'; do
            sleep 0.01; done");
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name of a slot ends with the bundle's hash, which changes with every change to the script.
fn shorten(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("slipway-test-") {
        let end =
            at + rest[at..].find(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)).unwrap_or(rest.len() - at);
        let name = &rest[at..end];
        let hash = name.rsplit_once('-').filter(|(_, hash)| hash.len() == 12);
        out.push_str(&rest[..at]);
        out.push_str(hash.map_or(name, |(name, _)| name));
        rest = &rest[end..];
    }
    out + rest
}

/// The namespaces, and board.sh in them; two minutes at the longest.
fn board(host: &Path, busybox: &Path, data: &str) -> Command {
    let root = host.join("root");
    fs::create_dir_all(&root).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "120", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("sh").arg(stand_in("board.sh")).arg(root).arg(host).arg(busybox).arg(data);
    command
}

fn allowed() -> bool {
    static ALLOWED: OnceLock<Result<(), String>> = OnceLock::new();
    let answer = ALLOWED.get_or_init(|| {
        let Some(busybox) = busybox() else { return Err("no static busybox: apt-get install busybox-static".into()) };
        let host = tempfile::tempdir().unwrap();
        fs::copy(&busybox, host.path().join("busybox")).unwrap();
        fs::copy(repository("board/bin/slipway"), host.path().join("slipway")).unwrap();
        let output = board(host.path(), &busybox, "size=8m").stdin(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
    if let Err(why) = answer {
        eprintln!("SKIPPED: no board on this machine: {why}");
    }
    answer.is_ok()
}

/// A dynamic one would find no libraries on the board, which [`allowed`] then tells.
fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

fn stand_in(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/board").join(name)
}

fn with_knife() -> String {
    let slipway = fs::read_to_string(repository("board/bin/slipway")).unwrap();
    let (start, end) = slipway.rsplit_once("main \"$@\"").unwrap();
    format!("{start}{}\nmain \"$@\"{end}", fs::read_to_string(stand_in("knife.sh")).unwrap())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

// --- Bundles --------------------------------------------------------------------------------------------------------

/// A bundle with the real script, and stand-ins for the programs.
struct Bundle {
    version: &'static str,
    files: BTreeMap<String, (Vec<u8>, bool)>,
    settings: BTreeMap<&'static str, String>,
}

impl Bundle {
    fn new(version: &'static str) -> Self {
        let mut bundle = Self { version, files: BTreeMap::new(), settings: BTreeMap::new() };
        bundle.program("busybox", fs::read(busybox().unwrap()).unwrap());
        bundle.program("slipway", fs::read(repository("board/bin/slipway")).unwrap());
        for part in fs::read_dir(repository("board/libexec/slipway")).unwrap() {
            let part = part.unwrap();
            bundle.file(&format!("libexec/slipway/{}", part.file_name().display()), fs::read(part.path()).unwrap());
        }
        for name in ["containerd", "dockerd", "docker"] {
            bundle.program(name, fs::read(stand_in(name)).unwrap());
        }
        bundle.program("runc", "#!/t/busybox true\n");
        bundle.program("ip", "#!/t/busybox sh\nexec \"${0%/*}/busybox\" ip \"$@\"\n");
        bundle.program("iptables", "#!/t/busybox sh\necho 'iptables v1.8.9 (legacy)'\n");
        bundle.file("etc/docker/daemon.json", "{\n  \"hosts\": [\"unix:///var/run/docker.sock\"]\n}\n");
        bundle.file("etc/hosts", "127.0.0.1 localhost board\n");
        bundle.file("etc/resolv.conf", "nameserver 192.0.2.1\n");
        bundle.file("etc/init/slipway.cfg", format!("{{ \"version\": \"{version}\" }}\n"));
        bundle.file("usr/lib/os-release", "ID=openharmony\n");
        bundle.file("share/images/hello.tar", image("slipway/hello", version));
        let named = "name=slipway-test-a name=slipway-test-b"; // hierarchies that nothing else on this machine uses
        for (name, value) in [
            ("board_dir", "/data/slipway"),
            ("data_root", "/data/docker"),
            ("data_device", ""),
            ("data_filesystem", "f2fs"),
            ("bind_dirs", "/var /run /tmp /opt /usr"),
            ("cgroup_controllers", if is_root() { named } else { "" }),
            ("node_name", "board"),
            ("interface", "eth0"),
            ("cloud_address", ""),
            ("runtime_endpoint", "unix:///var/run/docker.sock"),
            ("registry_mirrors", "https://mirror.example"),
            ("nameservers", "192.0.2.1"),
            ("routing_rules", "1:main 2:default"),
            ("target", "test"),
            ("version", version),
        ] {
            bundle.settings.insert(name, value.to_owned());
        }
        bundle
    }

    /// The smallest that still has one of each: for tests that set it up many times.
    fn small(version: &'static str) -> Self {
        let bundle = Self::new(version).set("bind_dirs", "/var").set("routing_rules", "1:main");
        if is_root() { bundle.set("cgroup_controllers", "name=slipway-test-a") } else { bundle }
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.settings.insert(name, value.to_owned());
        self
    }

    /// With a slipway that does what the test orders (tests/board/knife.sh).
    fn knife(mut self) -> Self {
        self.program("slipway", with_knife());
        let (journal, _) = self.files.get_mut("libexec/slipway/journal.sh").unwrap();
        let text = String::from_utf8(journal.clone()).unwrap();
        let knife = "\nnote() {\n    note_it \"$@\"\n    knife note\n}\n\nnote_it() {";
        assert!(text.contains("\nnote() {"));
        *journal = text.replace("\nnote() {", knife).into_bytes();
        self
    }

    fn edgecore(mut self) -> Self {
        self.program("edgecore", fs::read(stand_in("edgecore")).unwrap());
        self.file(
            "etc/kubeedge/edgecore.yaml",
            "database:\n  dataSource: /var/lib/kubeedge/edgecore.db\ntoken: \"@SECRET:cloud_token@\"\n",
        );
        self.set("cloud_address", "192.0.2.7")
    }

    fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.to_owned(), (bytes.into(), false));
    }

    fn program(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.insert(format!("bin/{name}"), (bytes.into(), true));
    }

    fn write(&self, to: &Path) -> Sha256 {
        self.write_damaged(to, "")
    }

    /// Writes it with one byte more in the file `damaged` than SHA256SUMS says.
    fn write_damaged(&self, to: &Path, damaged: &str) -> Sha256 {
        let mut files = self.files.clone();
        let settings: String = self.settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        files.entry("etc/slipway/settings".into()).or_insert((settings.into_bytes(), false));
        let sums: String = files.iter().map(|(path, (bytes, _))| format!("{}  {path}\n", Sha256::of(bytes))).collect();
        files.insert("SHA256SUMS".into(), (sums.into_bytes(), false));
        if let Some((bytes, _)) = files.get_mut(damaged) {
            bytes.push(b'\n');
        }
        let entries = files.iter().map(|(path, (bytes, executable))| {
            (format!("slipway-test-{}/{path}", self.version), bytes.as_slice(), *executable)
        });
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&tar(entries)).unwrap();
        let bytes = gz.finish().unwrap();
        fs::write(to, &bytes).unwrap();
        Sha256::of(bytes)
    }
}

fn tar<'a>(entries: impl Iterator<Item = (String, &'a [u8], bool)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes, executable) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        builder.append_data(&mut header, path, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// As much of an image's archive as tells its name and id.
fn image(name: &str, version: &str) -> Vec<u8> {
    let id = Sha256::of(version);
    // Spread over lines, as bundles have it.
    let manifest = format!(
        "[\n  {{\n    \"Config\": \"blobs/sha256/{id}\",\n    \"RepoTags\": [\n      \"{name}:latest\"\n    ],\n    \"Layers\": []\n  }}\n]"
    );
    tar(std::iter::once(("manifest.json".to_owned(), manifest.as_bytes(), false)))
}

// --- From a tarball to a running board, and back ----------------------------------------------------------------------

#[test]
fn up_twice_down_and_up_again_leaves_the_same() {
    let Some(mut board) = Board::new() else { return };
    let before = board.state();
    insta::assert_snapshot!("install", board.install(&Bundle::new("1")));
    assert_eq!(board.state(), before, "install changed more than its own folder");
    let first = board.ok(&format!("{SLIPWAY} up"));
    insta::assert_snapshot!("up", without_numbers(&first));
    let up = board.state();
    for (what, line) in [
        ("a bind mount", "data /var tmpfs"),
        ("a routing rule", "2:\tfrom all lookup default"),
        ("our /etc/hosts", "127.0.0.1 localhost board"),
        ("a link", "lrwxrwxrwx fd -> /proc/self/fd"),
        ("containerd", "100001"),
        ("dockerd", "100002"),
        ("the keeper of the logs", "_keep"),
    ] {
        assert!(up.lines().any(|found| found == line), "{what} is missing: {up}");
    }
    assert!(!is_root() || up.contains("/sys/fs/cgroup/slipway-test-b cgroup"), "{up}");

    board.ok(&format!("{SLIPWAY} up"));
    assert_eq!(board.state(), up, "up, run a second time, did something");
    insta::assert_snapshot!("verify", without_numbers(&board.ok(&format!("{SLIPWAY} verify"))));
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.state(), before, "down left something");
    insta::assert_snapshot!("down_twice", board.ok(&format!("{SLIPWAY} down")));
    assert_eq!(board.state(), before);
    board.ok(&format!("{SLIPWAY} up"));
    assert_eq!(board.state(), up, "up after down is not up");
    board.ok(&format!("{SLIPWAY} uninstall"));
    assert_eq!(board.state(), before);
    assert_eq!(board.ok("ls /data"), "t\nvar", "more is left than what programs have written");
}

/// Process ids, and the room on the board, change from run to run.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n', ')']) {
        let number = word.trim_end_matches([' ', '\n', ')', '(']);
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        out.push_str(if is_number { "N" } else { number });
        out.push_str(&word[number.len()..]);
    }
    out
}

#[test]
fn what_up_changes_others_may_change_too() {
    let Some(mut board) = Board::new() else { return };
    board.install(&Bundle::new("1"));
    board.ok("mkdir -p /data/opt && echo mine >/data/opt/file");
    board.ok("/t/busybox ip rule add pref 2 from all lookup default");
    board.ok(&format!("{SLIPWAY} up"));
    assert_eq!(board.ok("cat /sys/fs/selinux/enforce /opt/file"), "0\nmine");
    // Somebody stands in a folder, has put the values elsewhere, and another mount on top.
    board.ok("(cd /opt && exec sleep 100009) & mkdir /tmp/mine && mount -t tmpfs mine /tmp/mine
        echo 2 >/sys/fs/selinux/enforce");
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.ok("cat /sys/fs/selinux/enforce; cat /data/opt/file"), "2\nmine");
    assert_eq!(board.ok("ls -d /opt; grep -c mine /proc/mounts; true"), "ls: /opt: No such file or directory\n0");
    assert!(board.ok("/t/busybox ip rule").contains("2:\tfrom all lookup default"), "the rule was not ours");
}

#[test]
fn killed_at_any_step_up_can_be_finished_and_taken_back() {
    if !allowed() {
        return;
    }
    // Much of a run is waiting for daemons: three boards share the work.
    let workers = (0..3).map(|worker| std::thread::spawn(move || kill_up(worker, 3)));
    let places: u32 = workers.collect::<Vec<_>>().into_iter().map(|worker| worker.join().unwrap()).sum();
    assert!(places > 30, "{places}");
}

/// Kills `up` after every entry in the journal and before every call that changes mounts, folders or links. Then it is
/// finished or taken back.
fn kill_up(worker: u32, workers: u32) -> u32 {
    let mut board = Board::new().unwrap();
    board.install(&Bundle::small("1").knife());
    let before = board.state();
    board.ok("echo 'note mount mkdir ln umount rmdir' >/data/t/calls");
    board.ok(&format!("{SLIPWAY} up"));
    let up = board.state();
    let calls: u32 = board.ok("cat /data/t/count").parse().unwrap();
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.state(), before);
    let mut places = 0;
    for at in (0..calls).filter(|at| at % workers == worker) {
        board.ok(&format!("rm -f /data/t/count /data/t/loaded; echo {at} >/data/t/kill-at"));
        let killed = board.run(&format!("{SLIPWAY} up"));
        board.settle();
        if board.run("rm /data/t/kill-at").status == 0 {
            assert_eq!(killed.status, 0, "{at}: {}", killed.text); // the first run had folders to make that are there now
            break;
        }
        assert_eq!(killed.status, 137, "{at}: {}", killed.text);
        if (at / workers).is_multiple_of(2) {
            board.ok(&format!("{SLIPWAY} up"));
            assert_eq!(board.state(), up, "{at}");
        } else {
            // `down` is killed as well, at one of its dozen steps.
            board.ok(&format!("rm -f /data/t/count; echo {} >/data/t/kill-at", at % 12));
            board.run(&format!("{SLIPWAY} down"));
            board.settle();
            board.ok("rm -f /data/t/kill-at");
        }
        board.ok(&format!("{SLIPWAY} down"));
        assert_eq!(board.state(), before, "{at}");
        places += 1;
    }
    places
}

#[test]
fn an_install_that_is_killed_leaves_the_old_bundle_or_the_new() {
    let Some(mut board) = Board::new() else { return };
    fs::write(board.host.path().join("slipway"), with_knife()).unwrap();
    board.ok(&format!("cp /host/slipway {SENT}"));
    let (old, new) = (Bundle::small("1"), Bundle::small("2"));
    board.install(&old);
    let (file, _) = board.send(&new);
    board.ok("echo 'mkdir rm mv ln cp rmdir tar chmod' >/data/t/calls");
    for at in 0.. {
        board.ok(&format!(
            "cd /data/slipway && ln -sfn $(ls -d slots/*-1-*) current && rm -rf slots/*-2-* previous
            rm -f /data/t/count; echo {at} >/data/t/kill-at"
        ));
        let killed = board.run(&format!("sh {SENT} install {file}"));
        board.settle();
        if board.run("rm /data/t/kill-at").status == 0 {
            assert_eq!(killed.status, 0, "{}", killed.text);
            assert!(at > 12, "{at}");
            return;
        }
        assert_eq!(killed.status, 137, "{at}: {}", killed.text);
        let slot = board.status("slot");
        assert!(slot == "slipway-test-1" || slot == "slipway-test-2", "{at}: {slot}");
        board.ok(&format!("{SLIPWAY} verify"));
        board.ok(&format!("sh {SENT} install {file}"));
        assert_eq!(board.status("slot"), "slipway-test-2", "{at}");
        assert_eq!(board.status("previous"), "slipway-test-1", "{at}");
        assert_eq!(board.ok("ls -A /data/slipway/slots | wc -l; ls -A /data/slipway/state"), "2", "{at}");
    }
}

// --- Other bundles, and back ------------------------------------------------------------------------------------------

#[test]
fn a_bundle_whose_containers_fail_is_left_for_the_one_before() {
    let Some(mut board) = Board::new() else { return };
    board.install(&Bundle::small("1"));
    board.ok(&format!("{SLIPWAY} up"));
    insta::assert_snapshot!("install_while_up", board.install(&Bundle::small("2")));
    assert_eq!(board.status("docker"), "up-from slipway-test-1", "an installation stops nothing");
    board.ok("touch /data/t/unhealthy-2");
    insta::assert_snapshot!("rolled_back", without_numbers(&board.fails(3, &format!("{SLIPWAY} up"))));
    let text = board.ok(&format!("{SLIPWAY} status --porcelain"));
    insta::assert_snapshot!("porcelain_after_roll_back", text);

    // Mended, it is taken; and left again when somebody says so.
    board.ok("rm /data/t/unhealthy-2");
    board.ok(&format!("{SLIPWAY} rollback"));
    assert_eq!(board.status("slot"), "slipway-test-2");
    assert_eq!(board.status("docker"), "up");
    board.ok(&format!("{SLIPWAY} rollback"));
    assert_eq!((board.status("slot"), board.status("health")), ("slipway-test-1".into(), "ok".into()));

    // dockerd that does not even start; and no bundle to go back to that ever was healthy.
    board.install(&Bundle::small("3"));
    board.ok("touch /data/t/dockerd-fails");
    let text = board.fails(1, &format!("{SLIPWAY} up"));
    assert!(text.contains("dockerd ended: level=fatal") && text.contains("does not come up either"), "{text}");
    board.ok("rm /data/t/dockerd-fails");
    board.ok(&format!("{SLIPWAY} up"));
    board.ok(&format!("{SLIPWAY} down"));
    // Of four bundles, the two that are needed are kept.
    board.install(&Bundle::small("4"));
    assert_eq!(board.ok("ls /data/slipway/slots | wc -l"), "2");
}

#[test]
fn a_reboot_takes_all_but_the_folders() {
    let Some(mut board) = Board::with("kept") else { return };
    board.install(&Bundle::new("1"));
    board.ok(&format!("{SLIPWAY} up"));
    let up = board.state();
    let mut board = board.reboot();
    let before = board.state();
    assert_eq!((board.status("docker"), board.status("health")), ("down".into(), "unknown".into()));
    board.ok(&format!("{SLIPWAY} up"));
    assert_eq!(board.state(), up);
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.state(), before);
}

#[test]
fn a_process_id_that_is_anothers_is_not_killed() {
    let Some(mut board) = Board::new() else { return };
    board.install(&Bundle::small("1"));
    board.ok(&format!("{SLIPWAY} up"));
    board.ok("sleep 100009 & cd /data/slipway/run && read -r id slot <dockerd.pid && kill -9 ${id%%-*}
        rest=${id#*-} && echo \"$!-${rest%%-*}1-${rest#*-} $slot\" >dockerd.pid");
    assert_eq!((board.status("docker"), board.status("health")), ("down".into(), "failed".into()));
    board.ok(&format!("{SLIPWAY} up"));
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.ok("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c '^100009$'"), "1");
}

#[test]
fn one_run_at_a_time_and_a_dead_one_holds_nobody_up() {
    let Some(mut board) = Board::new() else { return };
    board.install(&Bundle::small("1"));
    let lock = "boot=$(cat /proc/sys/kernel/random/boot_id); cd /data/slipway/state";
    // The console is process 1, and lives; its start time is the 22nd word of its stat.
    board.ok(&format!("{lock}; ln -s 1-$(cut -d' ' -f22 /proc/1/stat)-$boot lock"));
    insta::assert_snapshot!("locked", board.fails(4, &format!("{SLIPWAY} up")));
    board.ok(&format!("{lock}; ln -sfn 1-1-$boot lock; ln -s 99999-1-$boot lock.1-1-$boot"));
    board.ok(&format!("{SLIPWAY} up"));
    assert_eq!(board.ok("ls /data/slipway/state | grep lock; true"), "");
    // Of many at once, each does it or says that another does.
    board.ok(&format!("{SLIPWAY} down"));
    board.ok(&format!(
        "for i in 1 2 3 4 5; do {{ {SLIPWAY} up >/dev/null 2>&1; echo $? >/data/t/status-$i; }} & done; wait"
    ));
    let statuses = board.ok("cat /data/t/status-*");
    assert!(statuses.lines().all(|status| status == "0" || status == "4") && statuses.contains('0'), "{statuses}");
    assert_eq!(board.ok("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c '^100002$'"), "1");
}

// --- The pod side, the boot side ----------------------------------------------------------------------------------------

#[test]
fn edgecore_waits_for_its_secret() {
    let Some(mut board) = Board::new() else { return };
    board.install(&Bundle::small("1").edgecore());
    let text = board.ok(&format!("{SLIPWAY} up"));
    assert!(text.contains("edgecore is not started: the secret cloud_token is missing"), "{text}");
    assert_eq!(board.status("edge"), "no-secret");
    let texts = [
        board.fails(2, &format!("{SLIPWAY} secret ../x /host/slipway")),
        board.fails(1, &format!("{SLIPWAY} secret cloud_token /data/nothing")),
        board.fails(1, &format!("printf 'a b' >/data/t/token; {SLIPWAY} secret cloud_token /data/t/token")),
        board.fails(1, &format!("printf 'a\\nb\\n' >/data/t/token; {SLIPWAY} secret cloud_token /data/t/token")),
    ];
    insta::assert_snapshot!("bad_secrets", texts.join("\n"));
    board.ok(&format!(
        "echo 'abc.&/+=_-1' >/data/t/token && {SLIPWAY} secret cloud_token /data/t/token && test ! -e /data/t/token"
    ));
    board.ok(&format!("SLIPWAY_EDGE_SECONDS=0 {SLIPWAY} up"));
    assert_eq!((board.status("edge"), board.status("secrets")), ("up".into(), "cloud_token".into()));
    assert_eq!(board.ok("grep token /data/slipway/run/edgecore.yaml"), "token: \"abc.&/+=_-1\"");
    let process = "cut -d- -f1 /data/slipway/run/edgecore.pid";
    let first = board.ok(process);
    board.ok(&format!("SLIPWAY_EDGE_SECONDS=0 {SLIPWAY} up"));
    assert_eq!(board.ok(process), first, "edgecore was started again without need");
    board.ok(&format!("echo other >/data/t/token && {SLIPWAY} secret cloud_token /data/t/token"));
    board.ok(&format!("SLIPWAY_EDGE_SECONDS=0 {SLIPWAY} up"));
    assert_ne!(board.ok(process), first, "edgecore still has the old token");
    assert_eq!(board.ok("ls -l /data/slipway/run/edgecore.yaml /data/slipway/secrets/cloud_token | cut -c1-10; ls -d /var/lib/kubeedge"),
        "-rw-------\n-rw-------\n/var/lib/kubeedge");
    assert_eq!(board.ok("grep -r 'abc[.]' /data/slipway/log /data/slipway/state; true"), "");
}

/// At boot the network comes late, and the cloud may come back in an hour: no bundle is bad for that.
#[test]
fn edgecore_is_started_again_until_there_is_a_cloud() {
    let Some(mut board) = Board::new() else { return };
    let before = board.state();
    board.install(&Bundle::small("1").edgecore());
    board.ok(&format!(
        "touch /data/t/no-cloud; echo a.b.c.d >/data/t/token; {SLIPWAY} secret cloud_token /data/t/token"
    ));
    let edge = "export SLIPWAY_EDGE_PAUSE=0.01 SLIPWAY_EDGE_SECONDS=60";
    let text = board.ok(&format!("{edge}; {SLIPWAY} up"));
    assert!(
        text.contains(
            "edgecore ended: Error: failed to get CA certificate, err: connection refused. It is started again"
        ),
        "{text}"
    );
    assert_eq!(board.status("health"), "ok");
    board.ok(
        "until grep -c '^edgecore --config' /data/slipway/log/edgecore.log | grep -q '[1-9][0-9]'; do sleep 0.01; done",
    );
    board.ok("rm /data/t/no-cloud; until cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -q '^100003$'; do sleep 0.01; done");
    assert_eq!(board.status("edge"), "up");
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.ok("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c -e '^100003$' -e '^_edge$'; true"), "0");
    // While it waits to be started again, that is what it says; and so does who looks the board over.
    board.ok("touch /data/t/no-cloud");
    board.ok(&format!("SLIPWAY_EDGE_PAUSE=100004 SLIPWAY_EDGE_SECONDS=60 {SLIPWAY} up"));
    assert_eq!(board.status("edge"), "waiting");
    let found = board.fails(1, &format!("{SLIPWAY} verify"));
    let found = found.lines().filter(|line| !line.starts_with("ok:")).collect::<Vec<_>>().join("\n");
    let texts = [board.ok(&format!("{SLIPWAY} status | grep edgecore")), found];
    insta::assert_snapshot!("edgecore_waits", texts.join("\n"));
    board.ok(&format!("{SLIPWAY} down; {SLIPWAY} uninstall --data"));
    assert_eq!(board.state(), before);
}

#[test]
fn edgecore_that_does_not_run_is_a_bad_bundle() {
    let Some(mut board) = Board::new() else { return };
    board.install(&Bundle::small("1").edgecore());
    board.ok(&format!(
        "touch /data/t/edgecore-broken; echo a.b.c.d >/data/t/token; {SLIPWAY} secret cloud_token /data/t/token"
    ));
    let text = board.fails(1, &format!("SLIPWAY_EDGE_SECONDS=60 {SLIPWAY} up"));
    assert!(text.contains("edgecore does not run"), "{text}");
}

#[test]
fn started_at_boot_until_it_is_not() {
    let Some(mut board) = Board::new() else { return };
    let before = board.state();
    let (file, _) = board.send(&Bundle::small("1"));
    board.ok(&format!("sh {SENT} install {file} --boot"));
    assert_eq!(board.status("boot"), "yes");
    assert_eq!(board.ok("cat /system/etc/init/slipway.cfg"), "{ \"version\": \"1\" }");
    board.install(&Bundle::small("2"));
    assert_eq!(board.ok("cat /system/etc/init/slipway.cfg"), "{ \"version\": \"2\" }", "it follows the bundle");
    let (file, _) = board.send(&Bundle::small("2"));
    board.ok(&format!("sh {SENT} install {file} --no-boot"));
    assert_eq!(board.status("boot"), "no");
    assert_eq!(board.state(), before, "the root is read-only again");
    board.ok(&format!("sh {SENT} install {file} --boot; {SLIPWAY} uninstall"));
    assert_eq!(board.ok("ls /system/etc/init /data"), "/data:\nt\n\n/system/etc/init:");
    assert_eq!(board.state(), before);
}

#[test]
fn controllers_that_the_board_has_mounted_already() {
    let Some(mut board) = Board::new() else { return };
    if board.run("mkdir /dev/frozen && mount -t cgroup -o freezer cgroup /dev/frozen").status != 0 {
        eprintln!("SKIPPED: this machine's cgroup controllers are used as version 2");
        return;
    }
    let before = board.state();
    board.install(&Bundle::small("1").set("cgroup_controllers", "freezer devices schedtune"));
    let text = board.ok(&format!("{SLIPWAY} up"));
    assert!(text.contains("this kernel has no cgroup controller: schedtune"), "{text}");
    assert_eq!(board.status("cgroups_missing"), "schedtune");
    let mounted = board.ok("cut -d' ' -f2,3 /proc/mounts | grep ' cgroup$' | sort");
    // Also beside the one that was there first, by their names: runc and containerd look for all of them there.
    assert_eq!(
        mounted,
        "/dev/devices cgroup\n/dev/frozen cgroup\n/sys/fs/cgroup/devices cgroup\n/sys/fs/cgroup/freezer cgroup"
    );
    assert_eq!(board.ok("readlink /dev/freezer"), "frozen");
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.state(), before);
}

#[test]
fn logs_are_kept_short() {
    let Some(mut board) = Board::new() else { return };
    board.install(&Bundle::small("1"));
    board.ok(&format!("{SLIPWAY} up && {SLIPWAY} down"));
    board.ok("head -c 5000000 /dev/zero >>/data/slipway/log/dockerd.log");
    board.ok(&format!("{SLIPWAY} up"));
    assert_eq!(board.ok("cd /data/slipway/log; ls"), "containerd.log\ndockerd.log\ndockerd.log.1\nkeeper.log");
    let text = board.ok(&format!("{SLIPWAY} logs dockerd"));
    assert!(
        text.starts_with("dockerd --config-file /data/slipway/run/daemon.json --containerd /data/slipway/run"),
        "{text}"
    );
    board.fails(2, &format!("{SLIPWAY} logs ../state/journal"));
    // As init starts it, nobody sees what it says.
    board.ok(&format!("{SLIPWAY} up >/dev/null 2>&1"));
    assert_eq!(board.ok("grep -c 'ok: a container ran' /data/slipway/log/up.log"), "1");
}

// --- What goes wrong, and what is said then -----------------------------------------------------------------------------

#[test]
fn tarballs_that_are_not_taken() {
    let Some(mut board) = Board::with("size=26m") else { return };
    let bundle = Bundle::small("1");
    let (file, sha256) = board.send(&bundle);
    let wrong = sha256.as_str().replace(|c: char| c.is_ascii_digit(), "0");
    let host = board.host.path().to_owned();
    bundle.write_damaged(&host.join("damaged.tar.gz"), "bin/docker");
    let mut foreign = Bundle::small("1");
    foreign.program("busybox", b"\x7fELF\x02\x01\x01".to_vec());
    foreign.write(&host.join("foreign.tar.gz"));
    Bundle::small("1").set("board_dir", "/data/elsewhere").write(&host.join("elsewhere.tar.gz"));
    let mut big = Bundle::small("1");
    big.file("big", vec![7; 16 << 20]);
    big.write(&host.join("big.tar.gz"));
    fs::write(host.join("garbage.tar.gz"), b"no tarball at all").unwrap();
    let whole = fs::read(host.join("slipway-test-1.tar.gz")).unwrap();
    fs::write(host.join("cut.tar.gz"), &whole[..whole.len() / 2]).unwrap();

    let mut texts = String::new();
    for (status, arguments) in [
        (2, String::new()),
        (2, "--sha256".into()),
        (2, format!("{file} --sha256 {}", &sha256.as_str()[1..])),
        (2, format!("{file} --force")),
        (1, "/host/nothing.tar.gz".into()),
        (1, format!("{file} --sha256 {wrong}")),
        (1, "/host/garbage.tar.gz".into()),
        (1, "/host/cut.tar.gz".into()),
        (1, "/host/damaged.tar.gz".into()),
        (1, "/host/foreign.tar.gz".into()),
        (1, "/host/elsewhere.tar.gz".into()),
        (1, "/host/big.tar.gz".into()),
    ] {
        let text = board.fails(status, &format!("sh {SENT} install {arguments}"));
        let arguments = arguments.replace(sha256.as_str(), "HASH").replace(&wrong, "WRONG");
        let text =
            text.replace(sha256.as_str(), "HASH").replace(&wrong, "WRONG").replace(&sha256.as_str()[1..], "SHORT");
        texts += &format!("$ slipway install {}\n{text}\n", arguments.replace(&sha256.as_str()[1..], "SHORT"));
        assert_eq!(
            board.ok("ls -A /data/slipway/slots /data/slipway/current 2>/dev/null; true"),
            "/data/slipway/slots:".repeat(usize::from(status == 1 && !arguments.contains("nothing"))).trim()
        );
    }
    insta::assert_snapshot!("tarballs_not_taken", without_numbers(&texts));
    board.ok(&format!("sh {SENT} install {file} --sha256 {sha256}"));
}

#[test]
fn what_is_not_slipways_stays() {
    let Some(mut board) = Board::new() else { return };
    board.install(&Bundle::small("1").set("data_root", "/data/slipway/docker"));
    board
        .ok(&format!("{SLIPWAY} up && mkdir -p /data/slipway/docker/overlay2 && echo mine >/data/slipway/docker/mine"));
    let text = board.ok(&format!("{SLIPWAY} uninstall"));
    assert!(text.ends_with("removed from /data/slipway, except: docker"), "{text}");
    assert_eq!(
        board.ok("ls -A /data/slipway /data/slipway/docker"),
        "/data/slipway:\ndocker\n\n/data/slipway/docker:\nmine\noverlay2"
    );
    board.ok("mkdir -p /data/slipway/incoming && cp /host/slipway /host/busybox /data/slipway/incoming");
    board.install(&Bundle::small("1").set("data_root", "/data/slipway/docker"));
    board.ok(&format!("{SLIPWAY} uninstall --data"));
    assert_eq!(board.ok("ls -A /data/slipway/docker"), "mine");
}

#[test]
fn a_full_disk_keeps_nothing_up() {
    let Some(mut board) = Board::with("size=26m") else { return };
    let before = board.state();
    board.install(&Bundle::small("1"));
    board.ok("cat /dev/zero >/data/t/full 2>/dev/null; true");
    let text = board.fails(1, &format!("{SLIPWAY} up"));
    assert!(text.contains("df -h"), "{text}");
    board.ok("rm /data/t/full");
    board.ok(&format!("{SLIPWAY} up"));
    board.ok("cat /dev/zero >/data/t/full 2>/dev/null; true");
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.state(), before);
}

#[test]
fn settings_that_are_not_taken() {
    let Some(mut board) = Board::new() else { return };
    let before = board.state();
    let garbage = |text: &str| {
        let mut bundle = Bundle::small("1");
        bundle.file("etc/slipway/settings", text);
        bundle
    };
    let mut tcp = Bundle::small("1");
    tcp.file("etc/docker/daemon.json", "{ \"hosts\": [\"tcp://0.0.0.0:2375\"] }\n");
    let mut texts = String::new();
    for (what, bundle) in [
        ("no name=value", garbage("data_root=/data/docker\nthis is garbage\n")),
        ("an unknown name", garbage("data_root=/data/docker\ncolour=blue\n")),
        ("no data_root", garbage("# nothing\n")),
        ("a path that is none", Bundle::small("1").set("data_root", "/data/../x")),
        ("containers among our own folders", Bundle::small("1").set("data_root", "/data/slipway/run/docker")),
        ("a rule that is none", Bundle::small("1").set("routing_rules", "1:main main")),
        ("a pattern", Bundle::small("1").set("bind_dirs", "/*")),
        ("a folder that is a link to the system's", Bundle::small("1").set("bind_dirs", "/bin /var")),
        ("containers on the read-only root", Bundle::small("1").set("data_root", "/mnt/f2fs")),
        ("a card that is not there", Bundle::small("1").set("data_device", "/dev/block/mmcblk0p1")),
        ("a card that is no device", Bundle::small("1").set("data_device", "/dev/null")),
        ("docker for everybody", tcp),
    ] {
        board.install(&bundle);
        texts += &format!("# {what}\n{}\n", board.fails(1, &format!("{SLIPWAY} up")));
        board.ok(&format!("{SLIPWAY} down"));
        assert_eq!(board.state(), before, "{what}");
    }
    insta::assert_snapshot!("settings_not_taken", texts);
}

#[test]
fn a_root_that_cannot_be_written_to() {
    let Some(mut board) = Board::new() else { return };
    let before = board.state();
    board.install(&Bundle::new("1").knife());
    board.ok("echo 'mount -o remount,rw' >/data/t/refuse");
    insta::assert_snapshot!("root_not_writable", board.fails(1, &format!("{SLIPWAY} up")));
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.state(), before);
    let (file, _) = board.send(&Bundle::new("1").knife());
    insta::assert_snapshot!("boot_not_writable", board.fails(1, &format!("{SLIPWAY} install {file} --boot")));
}

#[test]
fn a_card_is_formatted_only_if_that_was_said_and_it_is_the_card() {
    let Some(mut board) = Board::new() else { return };
    if !is_root() {
        eprintln!("SKIPPED: no device can be made without root");
        return;
    }
    board.install(&Bundle::small("1").knife().set("data_root", "/mnt/card").set("data_device", "/dev/block/card"));
    board.ok("mkdir /dev/block; /t/busybox mknod /dev/block/card b 259 4242");
    let before = board.state();
    let mkfs = "mount -o remount,rw / && echo 'echo f2fs >/data/t/blkid-card' >/system/bin/mkfs.f2fs &&
        chmod +x /system/bin/mkfs.f2fs && mount -o remount,ro /";
    let mut texts = String::new();
    for (what, prepare, arguments) in [
        ("empty", "true", ""),
        ("empty, no mkfs", "true", "--format"),
        ("with photos", "echo vfat >/data/t/blkid-card", ""),
        ("with photos, no type said", mkfs, "--format"),
        ("with photos, another type said", "true", "--format=ext4"),
        (
            "mounted",
            "mkdir /data/t/m && mount -t tmpfs m /data/t/m && rm /dev/block/card &&
            number=$(awk '$5 == \"/data/t/m\" { sub(/:/, \" \", $3); print $3 }' /proc/self/mountinfo) &&
            /t/busybox mknod /dev/block/card b $number",
            "--format=vfat",
        ),
        (
            "the board's own disk",
            "umount /data/t/m && rm /dev/block/card && /t/busybox mknod /dev/block/card b 259 4242 &&
            mkdir -p /sys/dev/block /sys/disk/card /sys/disk/data && touch /sys/disk/card/partition &&
            ln -s ../../disk/card /sys/dev/block/259:4242 &&
            awk '$5 == \"/data\" { print $3 }' /proc/self/mountinfo >/sys/disk/data/dev",
            "--format=vfat",
        ),
    ] {
        board.ok(prepare);
        texts += &format!("# {what}\n{}\n", board.fails(1, &format!("{SLIPWAY} up {arguments}")));
        assert!(!board.ok("cat /data/t/blkid-card 2>/dev/null; true").contains("f2fs"), "{what}");
    }
    insta::assert_snapshot!("card_not_formatted", without_numbers(&texts));
    board.ok("rm -r /sys/dev /sys/disk");
    let text = board.ok(&format!("{SLIPWAY} up --format=vfat"));
    assert!(text.contains("formatting /dev/block/card with f2fs"), "{text}");
    let up = board.state();
    assert!(up.contains("/dev/block/card /mnt/card tmpfs"), "{up}");
    board.ok(&format!("{SLIPWAY} up --format"));
    assert_eq!(board.state(), up);
    board.ok(&format!("{SLIPWAY} down"));
    assert_eq!(board.state(), before);
}

// --- Other shells -------------------------------------------------------------------------------------------------------

#[test]
fn any_posix_shell_can_start_it() {
    let Some(busybox) = busybox() else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::copy(&busybox, dir.path().join("busybox")).unwrap();
    fs::copy(repository("board/bin/slipway"), dir.path().join("slipway")).unwrap();
    std::os::unix::fs::symlink("slipway", dir.path().join("link")).unwrap();
    let mut tried = 0;
    for shell in ["dash", "mksh", "lksh", "bash --posix", "busybox ash", "ksh"] {
        let mut words = shell.split(' ');
        for name in ["slipway", "./slipway", "link"] {
            let mut command = Command::new(words.clone().next().unwrap());
            command.args(words.clone().skip(1)).arg(name).arg("help").current_dir(dir.path());
            let Ok(output) = command.output() else { break };
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(
                text.contains("slipway rollback"),
                "{shell} {name}: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            tried += 1;
        }
        words.next();
    }
    assert!(tried >= 3, "no shell but one was there");
    fs::remove_file(dir.path().join("busybox")).unwrap();
    let output = Command::new("sh").arg(dir.path().join("slipway")).arg("up").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    insta::assert_snapshot!("no_busybox", text.replace(&*dir.path().to_string_lossy(), "DIR"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_it_says_about_itself() {
    let Some(mut board) = Board::new() else { return };
    insta::assert_snapshot!("help", board.ok(&format!("sh {SENT} help")));
    insta::assert_snapshot!("nothing_installed", board.fails(1, &format!("sh {SENT} up")));
    insta::assert_snapshot!("no_such_command", board.fails(2, &format!("sh {SENT} start")));
    board.install(&Bundle::new("1"));
    insta::assert_snapshot!("status_down", board.ok(&format!("{SLIPWAY} status")));
    let text = board.ok(&format!("sh {SENT} doctor"));
    assert!(
        text.contains("ok: iptables runs (iptables v1.8.9 (legacy))") && text.contains("SELinux is enforcing"),
        "{text}"
    );
    board.ok("mount --bind /host/busybox /data/slipway/current/bin/docker");
    let text = board.fails(1, &format!("{SLIPWAY} verify"));
    assert!(text.contains("bin/docker: FAILED"), "{text}");
}
