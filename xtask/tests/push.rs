//! The real program pushes a real bundle, which the real script installs: by a faithful fake of hdc, by a fake
//! of an old adb, and by ssh to a real OpenSSH server. The board is a folder of this machine.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::{Compression, write::GzEncoder};
use fs_err as fs;
use support::{Ran, Space};

const KEY: &str = "7001005458323933";

/// A project with one target, a fake client, and a board.
struct Bench {
    space: Space,
    dir: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let space = Space::hello();
        let dir = space.root().parent().unwrap().to_owned();
        let bench = Self { space, dir };
        for folder in ["fake/bin", "board/data", "clients"] {
            fs::create_dir_all(bench.dir.join(folder)).unwrap();
        }
        bench.say("devices", &format!("{KEY}\t\tUSB\tConnected\tlocalhost\thdc\n"));
        bench.stub("id", "echo 0");
        bench.bundle("one", "");
        bench
    }

    /// A bundle in `dist/`, with this board's folder in its settings.
    fn bundle(&self, content: &str, secrets: &str) {
        self.bundle_for(content, secrets, "x86_64", true);
    }

    fn bundle_for(&self, content: &str, secrets: &str, arch: &str, script: bool) {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| fs::read(path).ok()).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("board");
        let mut files: BTreeMap<String, (Vec<u8>, u32)> = BTreeMap::new();
        files.insert("bin/busybox".into(), (busybox, 0o755));
        if script {
            files.insert("bin/slipway".into(), (fs::read(source.join("bin/slipway")).unwrap(), 0o755));
        }
        for part in fs::read_dir(source.join("libexec/slipway")).unwrap() {
            let path = part.unwrap().path();
            let name = format!("libexec/slipway/{}", path.file_name().unwrap().to_string_lossy());
            files.insert(name, (fs::read(path).unwrap(), 0o644));
        }
        files.insert("etc/content".into(), (content.as_bytes().to_vec(), 0o644));
        let settings = format!("board_dir={}\ndata_root=/nonexistent\n", self.board_dir());
        files.insert("etc/slipway/settings".into(), (settings.into_bytes(), 0o644));
        let listed: Vec<String> = files
            .iter()
            .map(|(path, (bytes, mode))| {
                format!(
                    "{{\"path\":\"{path}\",\"size\":{},\"mode\":\"0{mode:o}\",\"recipe\":\"busybox\"}}",
                    bytes.len()
                )
            })
            .collect();
        let manifest = format!(
            "{{\"name\":\"slipway-board-0.1.0\",\"target\":\"board\",\"secrets\":[{secrets}],\
             \"programs\":[{{\"recipe\":\"busybox\",\"arch\":\"{arch}\"}}],\"files\":[{}]}}",
            listed.join(",")
        );
        files.insert("MANIFEST.json".into(), (manifest.into_bytes(), 0o644));
        let sums: String = files
            .iter()
            .map(|(path, (bytes, _))| format!("{}  {path}\n", xtask::data::types::Sha256::of(bytes)))
            .collect();
        files.insert("SHA256SUMS".into(), (sums.into_bytes(), 0o644));
        let file = self.space.root().join("dist/board/slipway-board-0.1.0.tar.gz");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut tar = tar::Builder::new(GzEncoder::new(fs::File::create(&file).unwrap(), Compression::fast()));
        for (path, (bytes, mode)) in &files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(*mode);
            tar.append_data(&mut header, format!("slipway-board-0.1.0/{path}"), bytes.as_slice()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
    }

    fn board_dir(&self) -> String {
        format!("{}/board/data/slipway", self.dir.display())
    }

    /// A file of the fake's state.
    fn say(&self, name: &str, text: &str) {
        fs::write(self.dir.join("fake").join(name), text).unwrap();
    }

    fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.dir.join("fake").join(name));
    }

    /// A program of the board's own.
    fn stub(&self, name: &str, script: &str) {
        let path = self.dir.join("fake/bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn client(&self, name: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes").join(name);
        fs::copy(from, self.dir.join("clients").join(name)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.space.xtask(args);
        let path = format!("{}:{}", self.dir.join("clients").display(), std::env::var("PATH").unwrap());
        command
            .env("PATH", path)
            .env("FAKE", self.dir.join("fake"))
            .env_remove("HDC")
            .stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut ran = Ran::of(self.command(args).output().unwrap(), &self.dir);
        for text in [&mut ran.stdout, &mut ran.stderr] {
            *text = steady(text);
        }
        ran
    }

    fn push(&self) -> Ran {
        self.run(&["push", "--target", "board", "--via", "hdc", "--piece", "500000"])
    }

    fn pushed(&self) -> Ran {
        let ran = self.push();
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        ran
    }

    fn board(&self, verb: &str) -> Ran {
        self.run(&["board", verb, "--target", "board", "--via", "hdc"])
    }

    /// What the installed bundle holds.
    fn content(&self) -> Option<String> {
        fs::read_to_string(format!("{}/current/etc/content", self.board_dir())).ok()
    }

    /// Path → content of every file on the board.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut tree = BTreeMap::new();
        let mut folders = vec![self.dir.join("board")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match fs::symlink_metadata(&path).unwrap().is_dir() {
                    true => folders.push(path),
                    false => drop(tree.insert(path.clone(), fs::read(&path).unwrap_or_default())),
                }
            }
        }
        tree
    }
}

/// Without what differs from run to run: hashes, kernel, times.
fn steady(text: &str) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let text = text.replace(kernel.trim(), "KERNEL");
    let word = |word: &str| -> String {
        let bare = word.trim_end_matches([':', ',', ';', '\n']);
        let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
        match bare.rsplit_once('-') {
            _ if bare.len() == 64 && hex(bare) => word.replace(bare, "HASH"),
            Some((head, tail)) if tail.len() >= 12 && hex(&tail[..12]) => {
                word.replace(bare, &format!("{head}-HASH{}", &tail[12..]))
            }
            _ if bare.ends_with('s') && bare[..bare.len() - 1].parse::<f64>().is_ok() => word.replace(bare, "TIME"),
            _ => word.to_owned(),
        }
    };
    text.split_inclusive(' ')
        .map(|part| {
            let (body, space) = part.strip_suffix(' ').map_or((part, ""), |body| (body, " "));
            body.split_inclusive('\n').map(word).collect::<String>() + space
        })
        .collect()
}

#[test]
fn a_push_by_hdc_installs_and_a_second_one_sends_nothing() {
    let bench = Bench::new();
    bench.client("hdc");
    let first = bench.pushed();
    assert!(first.stdout.contains("next         cargo xtask board up --target board --via hdc"), "{}", first.stdout);
    assert_eq!(bench.content().as_deref(), Some("one"));
    assert!(!bench.tree().keys().any(|path| path.to_string_lossy().ends_with(".tar.gz")), "the tarball is gone");

    let again = bench.pushed();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    assert!(!again.stderr.contains("send"), "{}", again.stderr);

    bench.bundle("two", "");
    bench.pushed();
    assert_eq!(bench.content().as_deref(), Some("two"));
    let status = bench.board("status");
    assert!(status.stdout.contains("slipway-board-0.1.0"), "{}{}", status.stdout, status.stderr);
}

#[test]
fn cut_at_any_step_the_old_slot_stays_and_the_next_push_succeeds() {
    let bench = Bench::new();
    bench.client("hdc");
    bench.pushed();
    let mut number = 0;
    for how in ["before", "within", "after"] {
        bench.say("how", how);
        let mut steps = 0;
        loop {
            steps += 1;
            number += 1;
            // Another bundle each time, and nothing of it on the board.
            let (old, new) = (bench.content().unwrap(), format!("number {number}"));
            bench.bundle(&new, "");
            let _ = fs::remove_dir_all(format!("{}/incoming", bench.board_dir()));
            bench.forget("calls");
            bench.say("cut", &steps.to_string());
            let ran = bench.push();
            bench.forget("cut");
            if ran.status == 0 {
                assert_eq!(bench.content().unwrap(), new);
                break;
            }
            assert_eq!(ran.status, 8, "{how} step {steps}: {}", ran.stderr);
            assert!(ran.stderr.contains("  try:     "), "{how} step {steps} says no next step: {}", ran.stderr);
            // Once `install` has run to its end, only the message of it was lost.
            let now = bench.content().unwrap();
            assert!(now == old || (now == new && how != "before"), "{how} step {steps}: {now}");
            bench.pushed();
            assert_eq!(bench.content().unwrap(), new, "{how} step {steps}");
        }
        assert!(steps > 10, "{how}: {steps} steps");
    }
}

#[test]
fn a_push_that_was_cut_goes_on_where_it_was() {
    let bench = Bench::new();
    bench.client("hdc");
    bench.say("how", "within");
    bench.say("cut", "12"); // the second piece of the tarball
    let cut = bench.push();
    assert_eq!(cut.status, 8, "{}", cut.stderr);
    assert!(cut.stderr.contains("Transfer Stop at:"), "{}", cut.stderr);
    bench.forget("cut");
    let ran = bench.pushed();
    assert!(ran.stderr.contains("resume"), "{}", ran.stderr);
    assert_eq!(bench.content().as_deref(), Some("one"));
}

#[test]
fn a_bundle_older_than_what_it_is_made_of_is_told() {
    let bench = Bench::new();
    bench.client("hdc");
    let target = bench.space.read("targets/board.toml");
    bench.space.write("targets/board.toml", &format!("{target}\n[files]\n\"etc/shipped\" = \"board/shipped\"\n"));
    bench.space.write("board/shipped", "");
    bench.space.write("board/acceptance/of-the-emulated-board", "");
    let now = std::time::SystemTime::now();
    let changed = |path: &str, seconds: u64| {
        let file = fs::OpenOptions::new().append(true).open(bench.space.root().join(path)).unwrap();
        file.file().set_modified(now + std::time::Duration::from_secs(seconds)).unwrap();
    };
    changed("dist/board/slipway-board-0.1.0.tar.gz", 60);
    changed("board/acceptance/of-the-emulated-board", 120);
    assert!(!bench.pushed().stderr.contains("is newer than the bundle"));
    changed("board/shipped", 120);
    assert!(bench.pushed().stderr.contains("board/shipped is newer than the bundle, which is pushed as it is"));
}

#[test]
fn what_arrives_damaged_is_never_installed() {
    let bench = Bench::new();
    bench.client("hdc");
    bench.pushed();
    bench.bundle("two", "");
    bench.say("rot", "");
    let ran = bench.push();
    assert_eq!(ran.status, 8, "{}", ran.stderr);
    insta::assert_snapshot!("damaged", ran.stderr.split_once("error:").unwrap().1);
    assert_eq!(bench.content().as_deref(), Some("one"));
}

#[test]
fn what_cannot_work_is_told_and_nothing_is_changed() {
    type Case = (&'static str, fn(&Bench));
    let cases: [Case; 12] = [
        ("no-device", |bench| bench.say("devices", "")),
        ("several-devices", |bench| {
            bench.say(
                "devices",
                &format!("{KEY}\t\tUSB\tConnected\tlocalhost\thdc\nother\t\tUSB\tConnected\tlocalhost\thdc\n"),
            )
        }),
        ("unauthorised", |bench| bench.say("devices", &format!("{KEY}\t\tUSB\tUnauthorized\tunknown...\thdc\n"))),
        ("offline", |bench| bench.say("devices", &format!("{KEY}\t\tUSB\tOffline\tlocalhost\thdc\n"))),
        ("wrong-processor", |bench| bench.stub("uname", "case $1 in -m) echo aarch64;; *) echo 5.10.97;; esac")),
        ("old-kernel", |bench| bench.stub("uname", "case $1 in -m) echo x86_64;; *) echo 3.4.0-perf;; esac")),
        ("no-root", |bench| bench.stub("id", "echo 2000")),
        ("full", |bench| {
            bench.stub("df", "echo Filesystem 1024-blocks Used Available Capacity Mounted on; echo /dev/x 5000000 4999000 1000 99% /data")
        }),
        ("no-secret", |bench| bench.bundle("one", "\"cloud_token\"")),
        ("no-script", |bench| bench.bundle_for("one", "", "x86_64", false)),
        ("no-bundle", |bench| fs::remove_dir_all(bench.space.root().join("dist")).unwrap()),
        ("damaged-bundle", |bench| {
            bench.space.write("dist/board/slipway-board-0.1.0.tar.gz.sha256", &format!("{}  x\n", "0".repeat(64)))
        }),
    ];
    for (name, prepare) in cases {
        let bench = Bench::new();
        bench.client("hdc");
        let target = bench.space.read("targets/board.toml");
        bench.space.write("targets/board.toml", &format!("{target}\n[board]\nvia = [\"hdc\"]\nkernel = \"3.10\"\n"));
        prepare(&bench);
        let before = bench.tree();
        let mut command = bench.command(&["push", "--target", "board"]);
        // No terminal to ask at: a session of its own.
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(&mut command, || {
                rustix::process::setsid().map(|_| ()).map_err(std::io::Error::from)
            });
        }
        let ran = Ran::of(command.output().unwrap(), &bench.dir);
        assert_ne!(ran.status, 0, "{name}");
        let text = steady(&ran.stderr);
        let text: Vec<&str> = text.lines().filter(|line| !line.contains("is newer than the bundle")).collect();
        insta::assert_snapshot!(format!("push-{name}"), format!("exit status {}\n{}", ran.status, text.join("\n")));
        assert!(bench.tree() == before, "{name} changed the board");
    }
}

/// A board whose kernel tells that it has hardly anything, with the project's own list of what is needed.
fn poor_kernel() -> Bench {
    let bench = Bench::new();
    bench.client("hdc");
    let target = bench.space.read("targets/board.toml");
    bench.space.write("targets/board.toml", &format!("{target}\n[kernel]\nversion = \"5.10\"\n"));
    let options = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("kernel/options.toml");
    bench.space.write("kernel/options.toml", &fs::read_to_string(options).unwrap());
    let config = "# Linux/arm64 5.10.97 Kernel Configuration\nCONFIG_NAMESPACES=y\nCONFIG_COMPAT=y\n";
    let packed = bench.dir.join("config.gz");
    let mut gz = GzEncoder::new(fs::File::create(&packed).unwrap(), Compression::fast());
    std::io::Write::write_all(&mut gz, config.as_bytes()).unwrap();
    gz.finish().unwrap();
    let told = Command::new("base64").arg(&packed).output().unwrap();
    bench.stub("base64", &format!("cat <<'END'\n{}END", String::from_utf8(told.stdout).unwrap()));
    bench.stub("uname", "case $1 in -m) echo x86_64;; *) echo 5.10.97-board;; esac");
    bench
}

#[test]
fn a_kernel_without_what_containers_need_is_told_before_anything_is_written() {
    let bench = poor_kernel();
    let before = bench.tree();
    let ran = bench.push();
    assert_eq!(ran.status, 8, "{}", ran.stderr);
    for part in [
        "its kernel is not enough for containers: ",
        " OVERLAY_FS",
        "cargo xtask kernel check --device --target board",
        "nothing was changed on it",
    ] {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
    }
    assert!(bench.tree() == before, "a refused push changed the board");

    let ran = bench.run(&["kernel", "check", "--device", KEY, "--via", "hdc", "--target", "board"]);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    let head = format!("hdc {KEY}: a full configuration of Linux 5.10\n");
    assert!(ran.stdout.starts_with(&head), "{head:?} is not the beginning of:\n{}", ran.stdout);

    let ran = bench.run(&["push", "--target", "board", "--via", "hdc", "--any-kernel"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(bench.content().as_deref(), Some("one"));
}

#[test]
fn secrets_reach_the_board_in_files_of_root_alone_and_stand_in_no_command() {
    let bench = Bench::new();
    bench.client("hdc");
    bench.bundle("one", "\"cloud_token\"");
    let push = ["push", "--target", "board", "--via", "hdc"];
    let output = bench.command(&push).env("SLIPWAY_SECRET_CLOUD_TOKEN", "tok3n.abc").output().unwrap();
    let ran = Ran::of(output, &bench.dir);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let file = format!("{}/secrets/cloud_token", bench.board_dir());
    assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), "tok3n.abc");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let everything =
        format!("{}{}{}", ran.stdout, ran.stderr, fs::read_to_string(bench.dir.join("fake/commands")).unwrap());
    assert!(!everything.contains("tok3n"), "{everything}");
    assert!(!bench.tree().keys().any(|path| path.to_string_lossy().contains("incoming/secret")));
    // The board keeps it: the next push asks for nothing.
    bench.bundle("two", "\"cloud_token\"");
    bench.pushed();
    assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), "tok3n.abc");
}

#[test]
fn the_scripts_exit_status_is_ours() {
    let bench = Bench::new();
    bench.client("hdc");
    let none = bench.board("status");
    assert_eq!(none.status, 8, "{}", none.stderr);
    assert!(
        none.stderr.contains("no bundle is installed") && none.stderr.contains("cargo xtask push"),
        "{}",
        none.stderr
    );
    bench.pushed();
    let script = format!("{}/current/bin/slipway", bench.board_dir());
    fs::write(&script, "echo \"$@\"; echo tail >&2; printf end; exit 3\n").unwrap();
    let ran = bench.run(&["board", "logs", "a'b; $(touch x) \\", "--target", "board", "--via", "hdc"]);
    assert_eq!(ran.stdout, "logs a'b; $(touch x) \\\ntail\nend");
    assert_eq!(ran.status, 3, "{}", ran.stderr);
    let ran = bench.run(&["board", "logs", "a\nb", "--target", "board", "--via", "hdc"]);
    assert!(ran.stderr.contains("one line"), "{}", ran.stderr);
}

/// A real OpenSSH server, of the user who runs the tests, until it is dropped.
struct Sshd(std::process::Child);

impl Sshd {
    fn start(bench: &Bench, port: u16) -> Self {
        let dir = bench.dir.join("ssh");
        fs::create_dir_all(&dir).unwrap();
        let _ = fs::create_dir_all("/run/sshd"); // where it gives up its rights, if it has any
        for key in ["host", "user"] {
            let path = dir.join(key);
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
            assert!(made.unwrap().success());
        }
        fs::copy(dir.join("user.pub"), dir.join("authorized")).unwrap();
        let d = dir.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {d}/host\nAuthorizedKeysFile {d}/authorized\nStrictModes no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPidFile none\n\
             SetEnv PATH={}/fake/bin:/usr/bin:/bin:/usr/sbin:/sbin\n",
            bench.dir.display()
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        // The user's own known hosts and keys are left alone.
        let client = format!("Host *\nIdentityFile {d}/user\nIdentitiesOnly yes\nUserKnownHostsFile {d}/known\n");
        fs::write(dir.join("config"), client).unwrap();
        let wrapper = bench.dir.join("clients/ssh");
        fs::write(&wrapper, format!("#!/bin/sh\nexec /usr/bin/ssh -F {d}/config \"$@\"\n")).unwrap();
        fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Command::new("/usr/sbin/sshd");
        server.args(["-D", "-e", "-f"]).arg(dir.join("sshd_config")).stderr(std::process::Stdio::piped());
        let mut child = server.spawn().expect("sshd: apt-get install openssh-server");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        let listens = lines.by_ref().map_while(Result::ok).any(|line| line.contains("Server listening"));
        assert!(listens, "sshd does not listen");
        std::thread::spawn(move || lines.for_each(drop)); // so that it never waits for a reader
        Self(child)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs openssh-server"]
fn a_push_by_ssh_to_a_real_server() {
    let bench = Bench::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Sshd::start(&bench, port);
    let user = Command::new("/usr/bin/id").arg("-un").output().unwrap().stdout;
    let device = format!("{}@127.0.0.1:{port}", String::from_utf8(user).unwrap().trim());
    let push = ["push", "--target", "board", "--via", "ssh", "--device", &device];

    let unknown = bench.run(&push);
    assert_eq!(unknown.status, 8, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("once by hand: it shows the board's key"), "{}", unknown.stderr);
    assert!(bench.tree().is_empty());

    let key = fs::read_to_string(bench.dir.join("ssh/host.pub")).unwrap();
    fs::write(bench.dir.join("ssh/known"), format!("[127.0.0.1]:{port} {key}")).unwrap();
    let ran = bench.run(&push);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(bench.content().as_deref(), Some("one"));
    let mode =
        |path: &str| fs::metadata(format!("{}/{path}", bench.board_dir())).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("incoming"), mode("current/bin/slipway")), (0o700, 0o755));

    fs::write(format!("{}/current/bin/slipway", bench.board_dir()), "echo one; echo two >&2; exit 3\n").unwrap();
    let logs = bench.run(&["board", "logs", "--target", "board", "--device", &device]);
    assert_eq!((logs.status, logs.stdout.as_str()), (3, "one\ntwo\n"), "{}", logs.stderr);

    fs::write(bench.dir.join("ssh/authorized"), "").unwrap();
    let refused = bench.run(&push);
    assert_eq!(refused.status, 8);
    assert!(refused.stderr.contains("ssh-copy-id"), "{}", refused.stderr);
    drop(server);
    let gone = bench.run(&push);
    assert!(gone.stderr.contains("is a server (sshd, dropbear) running"), "{}", gone.stderr);
}

#[test]
fn an_old_adb_is_enough() {
    let bench = Bench::new();
    bench.client("adb");
    bench.say("devices", "0123456789\tdevice\n");
    let ran = bench.run(&["push", "--target", "board", "--via", "adb"]);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(bench.content().as_deref(), Some("one"));
    let ran = bench.run(&["push", "--target", "board", "--via", "adb", "--device", "another"]);
    assert_eq!(ran.status, 8);
    assert!(
        ran.stderr.contains("no device another can be seen, only:") && ran.stderr.contains("0123456789"),
        "{}",
        ran.stderr
    );
}
