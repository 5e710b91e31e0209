//! The sandbox, tried from inside: what a command sees, what it cannot do, and that nothing outlives it.
//!
//! The commands are the machine's own: /usr, /bin and /lib are bound. Where user namespaces are forbidden,
//! each test says that it was skipped; `.ci/run` runs where they are not.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fs_err as fs;
use support::{Ran, Space};
use tempfile::TempDir;
use xtask::error;
use xtask::run::process::{Finished, Spawn};
use xtask::run::sandbox::{self, Level, Partial, Sandbox};

/// Makes this test program do one thing and end: a builder in another process. See [`helper`].
const HELPER: &str = "SLIPWAY_TEST_SANDBOX_SCRIPT";
/// The program that a helper uses, if it was copied.
const PROGRAM: &str = "SLIPWAY_TEST_SANDBOX_PROGRAM";
const DIR: &str = "SLIPWAY_TEST_SANDBOX_DIR";

/// False, and said, where this machine forbids namespaces.
fn allowed() -> bool {
    let program = std::env::var_os(PROGRAM).unwrap_or(env!("CARGO_BIN_EXE_xtask").into());
    sandbox::set_program(Path::new(&program));
    match sandbox::probe() {
        Ok(_) => true,
        Err(why) => {
            eprintln!("SKIPPED: no sandbox here: {why}; {}", why.mend);
            false
        }
    }
}

/// A folder, and a sandbox that has it as /build, with the machine's own programs.
struct Cage {
    dir: TempDir,
    sandbox: Sandbox,
}

impl Cage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = machine().write(dir.path(), "/build");
        Self { dir, sandbox }
    }

    fn spawn(&self, script: &str) -> Spawn {
        spawn(&self.sandbox, script)
    }

    fn run(&self, script: &str) -> Finished {
        self.spawn(script).output().unwrap_or_else(|error| panic!("{}", error::render(&error)))
    }

    /// Runs it, expects success, and gives what it printed.
    fn says(&self, script: &str) -> String {
        let finished = self.run(script);
        assert!(finished.success(), "{}: {}", finished.how(), finished.text());
        finished.text()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A fifo that whoever opens it inside holds; the thread ends when nobody does any more.
    fn lifeline(&self) -> Lifeline {
        let path = self.path("lifeline");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let (opened, is_open) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut file = fs::File::open(path).unwrap();
            let _ = opened.send(());
            std::io::copy(&mut file, &mut std::io::sink()).unwrap();
        });
        Lifeline { thread, is_open }
    }
}

struct Lifeline {
    thread: JoinHandle<()>,
    is_open: std::sync::mpsc::Receiver<()>,
}

fn machine() -> Sandbox {
    let folders = ["/usr", "/bin", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists());
    folders.fold(Sandbox::default(), |sandbox, path| sandbox.read(path, path))
}

fn spawn(sandbox: &Sandbox, script: &str) -> Spawn {
    let argv: Vec<OsString> = ["/bin/bash", "-c", script].map(OsString::from).into();
    Spawn::isolated(argv, Path::new("/build"), environment()).sandbox(sandbox.clone())
}

fn environment() -> BTreeMap<String, OsString> {
    let pairs = [("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

#[test]
fn no_network_but_its_own() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("the test itself can connect");
    let connect = |address: &str| cage.run(&format!("exec 3<>/dev/tcp/{address}")).text();
    let own = connect(&format!("127.0.0.1/{port}"));
    assert!(own.contains("Connection refused"), "the host's loopback: {own}");
    let far = connect("192.0.2.1/80");
    assert!(far.contains("Network is unreachable"), "{far}");
    let inside = "use IO::Socket::INET; my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die;
        IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $l->sockport) or die; print 'connected'";
    assert_eq!(cage.says(&format!("perl -e \"{}\"", inside.replace('$', "\\$"))), "connected");
    assert_eq!(cage.says("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo\n");
}

#[test]
fn writes_reach_its_own_folders_only() {
    if !allowed() {
        return;
    }
    let mut cage = Cage::new();
    let declared = tempfile::tempdir().unwrap();
    fs::write(declared.path().join("input"), "as it was").unwrap();
    cage.sandbox = cage.sandbox.read(declared.path(), "/input");
    for path in ["/x", "/usr/x", "/bin/x", "/etc/x", "/etc/passwd", "/dev/x", "/input/x", "/input/input", "/proc/x"] {
        let finished = cage.run(&format!("echo x > {path}"));
        let text = finished.text();
        let refused = ["Read-only file system", "Permission denied", "No such file"];
        assert!(!finished.success() && refused.iter().any(|word| text.contains(word)), "{path}: {text}");
    }
    for command in [
        "chmod 600 /dev/null",
        "rm /input/input",
        "touch /input/input",
        "mknod /build/null c 1 3",
        "mount -t tmpfs none /build",
        "mount -o remount,rw /input",
        "unshare -Ur true",
        "hostname other",
        "echo x > /proc/sys/kernel/core_pattern",
        "chown 0 /build",
    ] {
        assert!(!cage.run(command).success(), "{command}");
    }
    cage.says(
        "echo x > /build/x && mkdir -p a/b && echo y > a/y && mv a/y a/b/ && ln a/b/y z && echo x > /tmp/sandboxed",
    );
    cage.says("echo x > /dev/null && head -c 9 /dev/zero | cmp -n 9 - <(head -c 9 /dev/zero)");
    assert_eq!(fs::read_to_string(cage.path("z")).unwrap(), "y\n");
    let ours = rustix::process::geteuid().as_raw();
    assert_eq!(fs::metadata(cage.path("x")).unwrap().uid(), ours, "the builder's own");
    assert!(!Path::new("/tmp/sandboxed").exists(), "/tmp is not the host's");
    assert_eq!(fs::read_to_string(declared.path().join("input")).unwrap(), "as it was");
}

#[test]
fn sees_nothing_that_was_not_declared() {
    if !allowed() {
        return;
    }
    let mut cage = Cage::new();
    cage.sandbox = cage.sandbox.link("/tools/sh", "/bin/sh");
    let mut top: Vec<&str> = vec!["bin", "build", "dev", "etc", "lib", "lib64", "proc", "tmp", "tools", "usr"];
    top.retain(|name| !name.starts_with("lib") || Path::new("/").join(name).exists());
    assert_eq!(cage.says("ls -A /").lines().collect::<Vec<_>>(), top);
    assert_eq!(cage.says("ls -A /tmp /build"), "/build:\n\n/tmp:\n");
    let here = env!("CARGO_MANIFEST_DIR");
    for path in ["/home", "/root", "/sys", "/run", "/var", "/.old", "/etc/shadow", "/etc/resolv.conf", "/dev/tty", here]
    {
        assert!(!cage.run(&format!("test -e {path}")).success(), "{path}");
    }
    assert_eq!(cage.says("set -- /proc/[0-9]*; echo $#"), "2\n", "PID 1 and the shell");
    assert_eq!(cage.says("readlink /tools/sh; /tools/sh -c 'echo runs'"), "/bin/sh\nruns\n");
    assert_eq!(cage.says("cat /proc/1/environ 2>&1 || true"), "cat: /proc/1/environ: Permission denied\n");
}

#[test]
fn what_differs_between_machines_is_fixed() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    assert_eq!(cage.says("hostname; cat /etc/hostname; uname -n; domainname"), "slipway\nslipway\nslipway\n(none)\n");
    let groups = cage.says("id -u; id -g; id -un; id -gn");
    assert_eq!(groups, "1000\n1000\nbuilder\nbuilder\n");
    assert_eq!(cage.says("umask; ulimit -n; ulimit -c; ulimit -s; uname -m"), "0022\n4096\n0\n8192\nx86_64\n");
    assert_eq!(cage.says("unset TZ; date +%Z"), "UTC\n");
    assert_eq!(cage.says("getent hosts localhost slipway | wc -l"), "2\n");
    assert_eq!(cage.says("grep -c '^Cap.*:.*[1-9a-f]' /proc/self/status || true"), "0\n", "no capability");
    assert_eq!(cage.says("cat <&0; ls -l /proc/self/fd/0 | sed 's/.*-> //'"), "/dev/null\n");
    let env = Spawn { argv: vec!["env".into()], ..cage.spawn("") }.output().unwrap().text();
    assert_eq!(env, "LC_ALL=C\nPATH=/usr/bin:/bin\nTZ=UTC\n");
}

#[test]
fn a_command_longer_than_argv_and_environment_allow_elsewhere() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    let words = (0..40).map(|_| OsString::from("x".repeat(20_000)));
    let argv = ["/bin/bash", "-c", "echo $# ${#LONG}", "sh"].map(OsString::from).into_iter().chain(words).collect();
    let mut spawn = Spawn { argv, ..cage.spawn("") };
    spawn.env.insert("LONG".to_owned(), "y".repeat(100_000).into());
    assert_eq!(spawn.output().unwrap().text(), "40 100000\n");
}

#[test]
fn statuses_and_signals_pass() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    for code in [0, 1, 42, 125, 255] {
        assert_eq!(cage.run(&format!("exit {code}")).status.code(), Some(code));
    }
    for signal in [1, 2, 6, 9, 11, 13, 15] {
        let finished = cage.run(&format!("kill -{signal} $$"));
        assert_eq!(finished.status.signal(), Some(signal), "{}", finished.how());
    }
    assert_eq!(cage.run("kill -11 $$").how(), "killed by signal 11 (SIGSEGV)");
    assert_eq!(cage.says("kill -9 1; echo still here"), "still here\n", "PID 1 cannot be killed from inside");
    assert_eq!(cage.says("echo out; echo err >&2; echo out"), "out\nerr\nout\n", "in the order they came");
}

/// As under nohup, and worse: a build would be another one there.
#[test]
fn what_the_caller_ignores_is_not_ignored_inside() {
    if !allowed() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let helper = helper_command(&std::env::current_exe().unwrap(), "grep SigIgn /proc/self/status", work.path());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' HUP INT TERM USR1 XCPU; exec \"$@\"", "sh"]).arg(helper.get_program());
    shell.args(helper.get_args()).envs(helper.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    let ignored = output.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).expect(&output);
    // Two beyond those with names are the C library's own.
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0, "{output}");
}

#[test]
fn nothing_outlives_the_command() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    let life = cage.lifeline();
    cage.says("exec 3> lifeline; (trap '' HUP TERM; setsid sleep 1000) & exit 0");
    life.thread.join().unwrap();
}

#[test]
fn a_time_limit_is_told() {
    if !allowed() {
        return;
    }
    // However far it has come by then, it would not end by itself.
    let finished = Cage::new().spawn("sleep 1000 & sleep 1000").limit(Duration::from_millis(200)).output().unwrap();
    assert!(finished.timed_out, "{}", finished.how());
    assert_eq!(finished.how(), "killed at its time limit of 0.2 s");
}

#[test]
fn a_command_that_is_stopped_leaves_nothing() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    let life = cage.lifeline();
    let cancel = Arc::new(AtomicBool::new(false));
    let mut spawn = cage.spawn("exec 3> lifeline; (trap '' HUP TERM; setsid sleep 1000) & sleep 1000");
    spawn.cancel = Some(Arc::clone(&cancel));
    let builder = std::thread::spawn(move || error::exit_code(&spawn.output().unwrap_err()));
    life.is_open.recv().expect("it runs");
    cancel.store(true, Ordering::Relaxed);
    assert_eq!(builder.join().unwrap(), 130);
    // Whatever had not ended by now would still hold the pipe.
    life.thread.join().unwrap();
}

/// Not in a sandbox: what has left its process group stays, but nobody waits for it.
#[test]
fn who_escapes_and_holds_the_output_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let argv: Vec<OsString> = [
        "sh",
        "-c",
        "setsid sh -c 'echo $$ > pid; echo late; exec sleep 1000' & \
         while [ ! -s pid ]; do :; done; echo done",
    ]
    .map(OsString::from)
    .into();
    let finished = Spawn::isolated(argv, dir.path(), environment()).output().unwrap();
    let text = finished.text();
    assert!(finished.success() && text.contains("done\n"), "{text}");
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
        .expect("it is still there");
}

#[test]
fn nothing_outlives_the_builder() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    let life = cage.lifeline();
    let script = "exec 3> lifeline; (trap '' HUP TERM; setsid sleep 1000) & sleep 1000";
    let mut builder = helper_command(&std::env::current_exe().unwrap(), script, cage.dir.path()).spawn().unwrap();
    life.is_open.recv().unwrap();
    builder.kill().unwrap();
    builder.wait().unwrap();
    life.thread.join().unwrap();
}

#[test]
fn a_jobserver_passes_and_no_other_file() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    let client = jobserver::Client::new(2).unwrap();
    let leak = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let run = |script: &str| {
        let mut text = Vec::new();
        let mut sink = |line: &[u8]| {
            text.extend_from_slice(line);
            Ok(())
        };
        let finished = cage.spawn(script).stream(Some(&client), &mut sink).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(finished.success(), "{text}");
        text
    };
    let take = "auth=${MAKEFLAGS##*--jobserver-auth=}; token=$(head -c 1 <&${auth%,*}); echo \"took $token\"";
    assert_eq!(run(&format!("{take}; printf %s \"$token\" >&${{auth#*,}}")), "took |\n");
    let tokens = client.available().unwrap();
    assert_eq!(tokens, 2, "it was given back");

    let files =
        run("auth=${MAKEFLAGS##*--jobserver-auth=}; echo $auth; for f in /proc/self/fd/*; do echo ${f##*/}; done");
    let mut lines = files.lines();
    let auth: Vec<&str> = lines.next().unwrap().split(',').collect();
    let open: Vec<&str> = lines.filter(|fd| !["0", "1", "2"].contains(fd) && !auth.contains(fd)).collect();
    // The shell's own, to read the folder.
    assert!(open.len() <= 1, "{files}");
    let names = run("for f in /proc/self/fd/*; do readlink $f || true; done");
    assert!(!names.contains("passwd"), "{names}");
    if xtask::run::process::find("make").is_none() {
        return eprintln!("SKIPPED: no make here");
    }
    // Both meet: each waits until the other has started, which needs two tokens.
    let rule = "a: ; mkfifo f && echo met > f\nb: ; @until test -p f; do :; done; cat f\nall: a b\n";
    fs::write(cage.path("Makefile"), rule.replace(": ;", ":;")).unwrap();
    let met = run("make -s a b");
    assert!(met.contains("met") && !met.contains("jobserver unavailable"), "{met}");
}

#[test]
fn memory_is_limited_for_each_process() {
    if !allowed() {
        return;
    }
    let mut cage = Cage::new();
    cage.sandbox.memory = Some(64 << 20);
    assert!(!cage.run("head -c 200M /dev/zero | tail -n 1 | wc -c | grep -qx 209715200").success());
    cage.sandbox.memory = Some(1 << 30);
    cage.says("head -c 200M /dev/zero | tail -n 1 | wc -c | grep -qx 209715200");
}

/// No test but a measurement: `cargo test --test sandbox cost -- --ignored --nocapture`.
#[test]
#[ignore = "prints what a sandbox costs; nothing to fail"]
fn the_cost_of_entering() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    let inside = Spawn { argv: vec!["/bin/true".into()], ..cage.spawn("") };
    let outside = Spawn { sandbox: None, dir: "/".into(), ..inside.clone() };
    for round in 0..3 {
        for (what, spawn) in [("outside", &outside), ("inside", &inside)] {
            let mut times: Vec<Duration> = (0..200)
                .map(|_| {
                    let started = std::time::Instant::now();
                    assert!(spawn.output().unwrap().success());
                    started.elapsed()
                })
                .collect();
            times.sort();
            let mean = times.iter().sum::<Duration>() / 200;
            println!("{round} {what}: least {:?}, median {:?}, mean {mean:?}", times[0], times[100]);
        }
    }
}

#[test]
fn errors_name_what_is_wrong() {
    if !allowed() {
        return;
    }
    let cage = Cage::new();
    fs::create_dir(cage.path("there")).unwrap();
    std::os::unix::fs::symlink("there", cage.path("link")).unwrap();
    let failure = |sandbox: Sandbox, argv: &str, dir: &str| {
        let mut spawn = spawn(&sandbox, "true");
        spawn.argv[0] = argv.into();
        spawn.dir = dir.into();
        let error = spawn.output().expect_err("it cannot work");
        assert_eq!(error::exit_code(&error), 7);
        error::render(&error).replace(&*cage.dir.path().to_string_lossy(), "DIR")
    };
    let missing = Path::new("/no/such/folder");
    let plain = || cage.sandbox.clone();
    let texts = [
        failure(plain().read(missing, "/input"), "true", "/build"),
        failure(plain().read("/usr", "/build/not/there"), "true", "/build"),
        failure(plain().read("/usr", "/build/link"), "true", "/build"),
        failure(plain().read("/usr", "relative"), "true", "/build"),
        failure(plain().read("/usr", "/build/../etc"), "true", "/build"),
        failure(plain().link("/bin/sh", "x"), "true", "/build"),
        failure(plain(), "no-such-program", "/build"),
        failure(plain(), "true", "/build/nowhere"),
    ];
    insta::assert_snapshot!(texts.join("\n"));
    assert!(!cage.path("not").exists(), "nothing is made in a bound folder");
}

#[test]
fn binds_nest_and_files_can_be_bound() {
    if !allowed() {
        return;
    }
    let mut cage = Cage::new();
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("out")).unwrap();
    fs::write(source.path().join("a file"), "text\n").unwrap();
    cage.sandbox = cage
        .sandbox
        .read(source.path(), "/work/src")
        .write(cage.dir.path(), "/work/src/out")
        .read(source.path().join("a file"), "/deep/er/a file");
    assert_eq!(cage.says("echo x > /work/src/out/x; cat '/deep/er/a file'"), "text\n");
    assert!(!cage.run("echo x > /work/src/x").success());
    assert!(!cage.run("echo x > '/deep/er/a file'").success());
    assert!(cage.path("x").exists() && !source.path().join("out/x").exists());
}

#[test]
fn the_command_that_is_shown_tells_of_the_sandbox() {
    let sandbox = Sandbox::default().read("/store/tool one", "/tools").write("/store/work", "/build");
    let line = Spawn::isolated(vec!["make".into()], Path::new("/build"), BTreeMap::new()).sandbox(sandbox).shell_line();
    assert_eq!(
        line,
        "cd /build && env -i make  # in a sandbox: /tools is '/store/tool one', /build is /store/work (writable)"
    );
}

#[test]
fn levels_are_read_as_they_are_written() {
    let partial = |landlock, own_proc| Level::Partial(Partial { landlock, own_proc });
    let all = [Level::Full, partial(false, true), partial(true, false), partial(false, false), Level::Off];
    let texts = all.map(|level| serde_json::to_string(&level).unwrap());
    let read = texts.clone().map(|text| serde_json::from_str::<Level>(&text).unwrap());
    assert_eq!(read, all);
    insta::assert_snapshot!(texts.join("\n"), @r#"
    "namespaces+landlock"
    "namespaces"
    "namespaces+landlock, host's /proc"
    "namespaces, host's /proc"
    "off"
    "#);
    assert!(serde_json::from_str::<Level>("\"some\"").is_err());
}

/// A program whose compiler does something else first, for a shell to run.
fn curious(first: &str) -> Space {
    let space = Space::hello();
    let script = format!("case $* in *hello.c*) {first};; esac; exec {{found}} \\\"$@\\\"");
    let gcc = format!("gcc = [\"bash\", \"-c\", \"{script}\", \"gcc\"]");
    space.write("toolchains/host.toml", &space.read("toolchains/host.toml").replace("gcc = [\"{found}\"]", &gcc));
    space
}

/// The compiler's cache in the store: a step writes to it, we read it.
const SHARED: &str = "tool-cache/host-host";

#[test]
fn a_step_of_a_build_is_in_it() {
    if !allowed() {
        return;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let secret = elsewhere.path().join("secret");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let note = format!(
        "{{ cat /etc/hostname; pwd; echo $TMPDIR; ulimit -d; cat {0}; echo written >{0}; \
         touch /usr/slipway-was-here && rm /usr/slipway-was-here; exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected; }} >{{cache}}/note 2>&1",
        secret.display()
    );
    let build = |sandbox: &str| {
        fs::write(&secret, "the host's own").unwrap();
        let space = curious(&note);
        space.ok(&["recipe", "hello", "--arch", "x86_64", "--sandbox", sandbox]);
        let note = fs::read_to_string(space.cache().join(SHARED).join("note")).unwrap();
        (note, fs::read_to_string(&secret).unwrap())
    };
    // Without a sandbox all of it works: what is refused below is refused by the sandbox.
    let (open, after) = build("off");
    assert!(open.contains("the host's own") && open.contains("connected"), "{open}");
    assert_eq!(after, "written\n");
    let (caged, after) = build("on");
    assert!(caged.starts_with("slipway\n/build/src\n/build/tmp\n16777216\n"), "{caged}");
    for word in ["secret: No such file", "/usr/slipway-was-here': Read-only", "Connection refused"] {
        assert!(caged.contains(word), "no {word:?} in {caged}");
    }
    assert!(!caged.contains("the host's own") && !caged.contains("connected"), "{caged}");
    assert_eq!(after, "the host's own");
}

#[test]
fn a_step_that_runs_out_of_memory_is_told_its_limit() {
    if !allowed() {
        return;
    }
    let space = curious("echo 'cc1: out of memory allocating 99 bytes'; exit 1");
    let ran = space.run(&["recipe", "hello", "--arch", "x86_64", "--sandbox=on"]);
    assert_eq!(ran.status, 3, "{}", ran.stderr);
    let limit = "each process of a step may have 17.2 GB of data in the sandbox";
    assert!(ran.stderr.contains(limit), "{}", ran.stderr);
}

#[test]
fn the_manifest_says_what_was_in_force() {
    if !allowed() {
        return;
    }
    let level = |sandbox: &str| {
        let space = Space::hello();
        space.ok(&["bundle", "--target", "board", "--sandbox", sandbox]);
        let bundle = fs::File::open(space.root().join("dist/board/slipway-board-0.1.0.tar.gz")).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bundle));
        let is_manifest = |entry: &tar::Entry<_>| entry.path().unwrap().ends_with("MANIFEST.json");
        let entry = tar.entries().unwrap().map(Result::unwrap).find(is_manifest).unwrap();
        serde_json::from_reader::<_, serde_json::Value>(entry).unwrap()["sandbox"].as_str().unwrap().to_owned()
    };
    assert_eq!(level("on"), "namespaces", "whatever else this kernel has");
    assert_eq!(level("off"), "off");
    let partial = |landlock, own_proc| Level::Partial(Partial { landlock, own_proc });
    let weakest = |levels: &[Level]| Level::weakest(levels.iter().copied());
    assert_eq!(weakest(&[Level::Full, partial(false, true), Level::Full]), partial(false, true));
    assert_eq!(weakest(&[Level::Full, Level::Off]), Level::Off);
    assert_eq!(weakest(&[]), Level::Off);
}

#[test]
fn an_ordinary_user_can() {
    if !allowed() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: all of these tests run as an ordinary user already");
    }
    let place = Copies::new();
    let user = 54_321;
    std::os::unix::fs::chown(place.work(), Some(user), Some(user)).unwrap();
    let id = user.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all", "--"]);
    let ran = place.helper(command, "id -un; cat /etc/hostname; echo x > x; ! echo x > /usr/x");
    assert!(ran.status == 0 && ran.stdout.contains("builder\nslipway\n"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(fs::metadata(place.work().join("x")).unwrap().uid(), user);
}

#[test]
fn a_masked_proc_is_no_obstacle_but_the_level_says_so() {
    if !allowed() {
        return;
    }
    let place = Copies::new();
    // Like a container: root in a namespace of its own, part of /proc covered.
    let mut command = Command::new("unshare");
    command.args(["-U", "-r", "-m", "sh", "-c", "mount -t tmpfs none /proc/tty && exec \"$@\"", "sh"]);
    let ran = place.helper(command, "id -un; grep -c ^Name: /proc/self/status; ! echo x > /proc/sys/kernel/hostname");
    let text = format!("{}{}", ran.stdout, ran.stderr);
    assert!(ran.status == 0 && ran.stdout.contains("host's /proc\n") && ran.stdout.contains("builder\n1\n"), "{text}");
}

#[test]
fn where_it_is_forbidden_doctor_says_so_with_the_line_that_allows_it() {
    if !allowed() {
        return;
    }
    let forbid = || {
        let mut command = Command::new("unshare");
        command.args(["-U", "-r", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"", "sh"]);
        command
    };
    let space = Space::empty();
    let mut doctor = forbid();
    doctor.arg(env!("CARGO_BIN_EXE_xtask")).arg("doctor").current_dir(space.root()).env("SLIPWAY_CACHE", space.cache());
    let doctor = Ran::of(doctor.output().unwrap(), &space.root());
    let at = doctor.stdout.find("weak  sandbox").unwrap_or_else(|| panic!("{}{}", doctor.stdout, doctor.stderr));
    insta::assert_snapshot!(doctor.stdout[at..].lines().take(2).collect::<Vec<_>>().join("\n"));

    let ran = Copies::new().helper(forbid(), "true");
    assert!(ran.status != 0 && ran.stdout.contains("--sandbox=off"), "{}{}", ran.stdout, ran.stderr);
}

/// Each way to forbid it that can be had here, and what is said. Root alone can take its own rights away.
#[test]
fn what_forbids_it_is_named() {
    if !allowed() || !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: not root");
    }
    let place = Copies::new();
    let doctor = |start: &[&str]| {
        let space = Space::empty();
        let mut command = Command::new(start[0]);
        command.args(&start[1..]).arg(place.dir.path().join("xtask")).arg("doctor");
        let cache = place.work().join("cache");
        let ran =
            Ran::of(command.current_dir(space.root()).env("SLIPWAY_CACHE", cache).output().unwrap(), place.dir.path());
        let at = ran.stdout.find("weak  sandbox").unwrap_or_else(|| panic!("{}{}", ran.stdout, ran.stderr));
        ran.stdout[at..].lines().take(2).collect::<Vec<_>>().join("\n")
    };
    let no_handing_on = doctor(&["setpriv", "--bounding-set=-setfcap", "--inh-caps=-all", "--"]);
    assert!(no_handing_on.contains("write /proc/self/uid_map: Operation not permitted"), "{no_handing_on}");
    assert!(no_handing_on.contains("--cap-add SETFCAP"), "{no_handing_on}");
    let only_no_network = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$@\"";
    let no_network = doctor(&["unshare", "-U", "-r", "sh", "-c", only_no_network, "sh"]);
    assert!(no_network.contains("mend: sudo sysctl -w user.max_net_namespaces=15000"), "{no_network}");
    let in_a_chroot = "mkdir $1/root && mount --rbind / $1/root && cd / && shift && exec chroot ${0}/root \"$@\"";
    let work = place.work().to_string_lossy().into_owned();
    let chroot = doctor(&["unshare", "-m", "sh", "-c", in_a_chroot, &work, &work]);
    assert!(chroot.contains("enter new namespaces: Operation not permitted"), "{chroot}");
    assert!(chroot.contains("in a chroot there are none"), "{chroot}");
    if xtask::run::process::find("bwrap").is_none() {
        return eprintln!("SKIPPED: no bwrap here");
    }
    let contained = doctor(&["bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/"]);
    assert!(contained.contains("mend: sudo sysctl -w user.max_user_namespaces=15000"), "{contained}");
}

/// This test program and Slipway's where every user can run them, and a folder to work in.
struct Copies {
    dir: TempDir,
}

impl Copies {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let programs = [(std::env::current_exe().unwrap(), "tests"), (env!("CARGO_BIN_EXE_xtask").into(), "xtask")];
        for (from, to) in programs {
            // By another process: a file that this one has open for writing, a test beside may hand to a child for a
            // moment, and then it is too busy to be run.
            let install = Command::new("install").args(["-m", "755"]).arg(from).arg(dir.path().join(to)).status();
            assert!(install.unwrap().success());
        }
        fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir }
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Runs a script in a sandbox, made by a process that `start` starts.
    fn helper(&self, mut start: Command, script: &str) -> Ran {
        let helper = helper_command(&self.dir.path().join("tests"), script, &self.work());
        start.arg(helper.get_program()).args(helper.get_args()).current_dir("/");
        start.envs(helper.get_envs().filter_map(|(name, value)| Some((name, value?))));
        start.env(PROGRAM, self.dir.path().join("xtask"));
        Ran::of(start.output().unwrap(), self.dir.path())
    }
}

fn helper_command(program: &Path, script: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "helper", "--nocapture"]).env(HELPER, script).env(DIR, dir).stdin(Stdio::null());
    command
}

/// No test: with a variable set, this process is a builder that runs one script.
#[test]
fn helper() {
    let Some(script) = std::env::var_os(HELPER) else { return };
    let program = std::env::var_os(PROGRAM).unwrap_or(env!("CARGO_BIN_EXE_xtask").into());
    sandbox::set_program(Path::new(&program));
    let sandbox = machine().write(std::env::var_os(DIR).unwrap(), "/build");
    let level = sandbox::probe().map_or_else(|why| why.to_string(), |level| level.to_string());
    match spawn(&sandbox, &script.to_string_lossy()).output() {
        Ok(finished) => {
            println!("\n{level}\n{}{}", finished.text(), finished.how());
            assert!(finished.success());
        }
        Err(error) => {
            println!("\n{level}\n{}", error::render(&error));
            std::process::exit(1);
        }
    }
}
