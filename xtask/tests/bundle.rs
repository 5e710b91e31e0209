//! The real program, end to end, on a tiny program in C: bundles, the store, concurrency, interruption.

mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Stdio};

use fs_err as fs;
use support::{HELLO, Ran, Space};

const BUNDLE: &str = "dist/board/slipway-board-0.1.0.tar.gz";

fn sha256(space: &Space, path: &str) -> String {
    let ran = Ran::of(
        std::process::Command::new("sha256sum").arg(space.root().join(path)).output().unwrap(),
        std::path::Path::new("/nonexistent"),
    );
    ran.stdout.split_whitespace().next().unwrap().to_owned()
}

/// Path → (mode, content) of a bundle's entries, in the order in which they stand there.
fn entries(space: &Space) -> Vec<(String, u32, Vec<u8>)> {
    let file = fs::File::open(space.root().join(BUNDLE)).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let read = |entry: std::io::Result<tar::Entry<_>>| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), 1_577_836_800);
        let mode = header.mode().unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, mode, content)
    };
    tar.entries().unwrap().map(read).collect()
}

#[test]
fn a_bundle_holds_what_its_manifest_says() {
    let space = Space::hello();
    space.write("board/motd", "welcome\n");
    let target = space.read("targets/board.toml");
    space.write("targets/board.toml", &format!("{target}\n[files]\n\"etc/motd\" = \"board/motd\"\n"));
    let ran = space.ok(&["bundle", "--target", "board"]);
    assert!(ran.stdout.contains(&sha256(&space, BUNDLE)), "{}", ran.stdout);
    assert_eq!(
        space.read(&format!("{BUNDLE}.sha256")),
        format!("{}  slipway-board-0.1.0.tar.gz\n", sha256(&space, BUNDLE))
    );

    let entries = entries(&space);
    let paths: Vec<&str> = entries.iter().map(|(path, ..)| path.as_str()).collect();
    let top = "slipway-board-0.1.0";
    assert_eq!(
        paths,
        [
            format!("{top}/"),
            format!("{top}/MANIFEST.json"),
            format!("{top}/SHA256SUMS"),
            format!("{top}/bin/"),
            format!("{top}/bin/hello"),
            format!("{top}/bin/hi"),
            format!("{top}/etc/"),
            format!("{top}/etc/motd"),
            format!("{top}/share/"),
            format!("{top}/share/licenses/"),
            format!("{top}/share/licenses/hello/"),
            format!("{top}/share/licenses/hello/COPYING"),
        ]
    );
    let modes: BTreeMap<&str, u32> = entries.iter().map(|(path, mode, _)| (path.as_str(), *mode)).collect();
    assert_eq!(modes["slipway-board-0.1.0/bin/hello"], 0o755);
    assert_eq!(modes["slipway-board-0.1.0/etc/motd"], 0o644);

    let content = |name: &str| &entries.iter().find(|(path, ..)| path.ends_with(name)).unwrap().2;
    let manifest: serde_json::Value = serde_json::from_slice(content("MANIFEST.json")).unwrap();
    assert_eq!(manifest["partial"], false);
    assert_eq!(manifest["files"][0]["path"], "bin/hello");
    assert_eq!(manifest["files"][0]["recipe"], "hello");
    assert_eq!(manifest["files"][0]["version"], "1.0");
    assert_eq!(manifest["links"][0]["target"], "hello");
    let sums = String::from_utf8(content("SHA256SUMS").clone()).unwrap();
    let listed: Vec<&str> = sums.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(listed, ["MANIFEST.json", "bin/hello", "etc/motd", "share/licenses/hello/COPYING"]);
    assert!(sums.contains(manifest["files"][0]["sha256"].as_str().unwrap()));
}

#[test]
fn notes_for_its_release_lie_beside_it() {
    let space = Space::hello();
    space.ok(&["bundle", "--target", "board"]);
    let notes = "dist/board/release-notes.md";
    let text = space.read(notes);
    let parts =
        ["# slipway-board-0.1.0\n", &sha256(&space, BUNDLE), "| hello | 1.0 | x86_64 |", "emulate --target board"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    // What was added by hand stays as long as the bundle does; what was lost is there again.
    space.write(notes, "mine");
    space.ok(&["bundle", "--target", "board"]);
    assert_eq!(space.read(notes), "mine");
    fs::remove_file(space.root().join(notes)).unwrap();
    space.ok(&["bundle", "--target", "board"]);
    assert_eq!(space.read(notes), text);
}

#[test]
fn two_checkouts_give_the_same_bytes() {
    let (one, other) = (Space::hello(), Space::hello());
    one.ok(&["bundle", "--target", "board"]);
    let mut command = other.xtask(&["bundle", "--target", "board", "-j1"]);
    command.env("CFLAGS", "-DVERSION=oops").env("LC_ALL", "C").env("TZ", "Asia/Tokyo").env("SOURCE_DATE_EPOCH", "1");
    assert!(command.status().unwrap().success());
    assert_eq!(sha256(&one, BUNDLE), sha256(&other, BUNDLE));
}

#[test]
fn the_second_run_does_nothing() {
    let space = Space::hello();
    space.ok(&["bundle", "--target", "board"]);
    let modified = || fs::metadata(space.root().join(BUNDLE)).unwrap().modified().unwrap();
    let before = modified();
    let ran = space.ok(&["bundle", "--target", "board"]);
    assert!(ran.stdout.contains("up to date"), "{}", ran.stdout);
    // Where a sandbox is forbidden, that is said.
    assert!(ran.stderr.lines().all(|line| line.contains("--sandbox=off")), "{}", ran.stderr);
    assert_eq!(before, modified());
}

#[test]
fn a_bundle_that_was_touched_is_written_again() {
    let space = Space::hello();
    space.ok(&["bundle", "--target", "board"]);
    let good = sha256(&space, BUNDLE);
    space.write(BUNDLE, "oops");
    space.ok(&["bundle", "--target", "board"]);
    assert_eq!(sha256(&space, BUNDLE), good);
}

#[test]
fn a_result_that_rotted_is_built_again() {
    let space = Space::hello();
    space.ok(&["bundle", "--target", "board"]);
    let good = sha256(&space, BUNDLE);
    fs::remove_dir_all(space.root().join("dist")).unwrap();
    let out = fs::read_dir(space.cache().join("out")).unwrap().next().unwrap().unwrap().path();
    fs::write(out.join("files/bin/hello"), "rot").unwrap();
    let ran = space.ok(&["bundle", "--target", "board"]);
    assert!(ran.stderr.contains("was damaged; it is built again"), "{}", ran.stderr);
    assert_eq!(sha256(&space, BUNDLE), good);
}

#[test]
fn a_changed_source_is_another_build() {
    let space = Space::hello();
    space.ok(&["bundle", "--target", "board"]);
    let before = sha256(&space, BUNDLE);
    let source = space.read("src/hello/hello.c");
    space.write("src/hello/hello.c", &source.replace("hello ", "hello  "));
    let failed = space.run(&["bundle", "--target", "board"]);
    assert_eq!(failed.status, 6, "the check expects one space:\n{}", failed.stderr);
    assert_eq!(sha256(&space, BUNDLE), before, "a failed run leaves the old bundle");
    space.write("recipes/hello.toml", &HELLO.replace("hello 1.0", "hello  1.0"));
    space.ok(&["bundle", "--target", "board"]);
    assert_ne!(sha256(&space, BUNDLE), before);
}

#[test]
fn a_recipe_lands_in_dist() {
    let space = Space::hello();
    let ran = space.ok(&["recipe", "hello", "--arch", "x86_64"]);
    assert!(ran.stdout.contains("dist/recipes/hello-1.0-x86_64"), "{}", ran.stdout);
    let program = space.root().join("dist/recipes/hello-1.0-x86_64/bin/hi");
    let output = std::process::Command::new(program).output().unwrap();
    assert_eq!(output.stdout, b"hello 1.0\n");
    space.ok(&["recipe", "hello", "--arch", "x86_64"]);
}

#[test]
fn a_patch_is_applied() {
    let space = Space::hello();
    let patch = "Say hallo: the test wants it.\n\n--- a/hello.c\n+++ b/hello.c\n@@ -1,2 +1,2 @@\n \
                 #include <stdio.h>\n-int main(void) { puts(\"hello \" VERSION); return 0; }\n\
                 +int main(void) { puts(\"hallo \" VERSION); return 0; }\n";
    space.write("patches/hello/1.0/0001-hallo.patch", patch);
    space.write("recipes/hello.toml", &HELLO.replace("hello 1.0", "hallo 1.0"));
    space.ok(&["bundle", "--target", "board"]);
    space.write("patches/hello/1.0/0001-hallo.patch", &patch.replace("-int main", "-int mein"));
    let ran = space.run(&["bundle", "--target", "board"]);
    assert_eq!(ran.status, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("0001-hallo.patch") && ran.stderr.contains("hello.c"), "{}", ran.stderr);
}

#[test]
fn a_failed_build_says_how_to_go_on() {
    let space = Space::hello();
    space.write("src/hello/hello.c", "int main(void) { return oops; }\n");
    let ran = space.run(&["bundle", "--target", "board"]);
    assert_eq!(ran.status, 3, "{}", ran.stderr);
    for part in [
        "error: build hello 1.0 x86_64",
        "cc of hello 1.0 x86_64 failed: exit status 1",
        "undeclared",
        "log:     SPACE/cache/logs/hello-1.0-x86_64-",
        "command: cd ",
        "SPACE/cache/work/hello-1.0-x86_64-",
        "try:     cargo xtask recipe hello --version 1.0 --arch x86_64 -v",
    ] {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
    }
    assert!(!space.exists("dist"), "nothing is written after a failure");
}

#[test]
fn a_dynamic_program_does_not_ship() {
    let space = Space::hello();
    space.write("recipes/hello.toml", &HELLO.replace("\"-static\", \"-s\"", "\"-g\""));
    let ran = space.run(&["recipe", "hello", "--arch", "x86_64"]);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    for part in ["bin/hello must not ship", "interpreter", ".symtab", "the build folder"] {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
    }
}

#[test]
fn a_program_that_does_not_work_is_told() {
    let space = Space::hello();
    space.write("recipes/hello.toml", &HELLO.replace("expect = \"hello 1.0\"", "expect = \"hello 2.0\""));
    let ran = space.run(&["recipe", "hello", "--arch", "x86_64"]);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    for part in ["expected exit status 0 and \"hello 2.0\"", "found    exit status 0 and", "| hello 1.0"] {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
    }
}

/// The same program once more, under paths of its own.
fn second(name: &str) -> String {
    let recipe = HELLO.replace("\"bin/hello\" =", &format!("\"bin/{name}\" ="));
    recipe.replace("[links]\n\"bin/hi\" = \"hello\"\n", "").replace("bin/hi", &format!("bin/{name}"))
}

/// One source is there, the other nowhere: the rest is built, the table says what is missing.
fn with_a_missing_source() -> Space {
    let space = Space::hello();
    let gone = second("gone").replace(
        "[release.\"1.0\".tree]\npath = \"src/hello\"",
        "[release.\"1.0\".archive]\nurls = [\"http://127.0.0.1:9/gone-1.0.tar.gz\"]\n\
         sha256 = \"c109c96bb04998cd44156622d36f8e04b140701ec60531a10668cfdff5e8d8f0\"",
    );
    space.write("recipes/gone.toml", &gone);
    let target = space.read("targets/board.toml");
    space.write("targets/board.toml", &format!("{target}gone = {{ version = \"1.0\" }}\n"));
    space
}

#[test]
fn a_missing_source_ends_with_a_table() {
    let space = with_a_missing_source();
    let ran = space.run(&["bundle", "--target", "board", "--offline"]);
    assert_eq!(ran.status, 5, "{}", ran.stderr);
    for part in [
        "1 of 2 programs of board have no source",
        "gone 1.0 x86_64: gone-1.0.tar.gz could not be had",
        "built, and kept for the next run: hello 1.0 x86_64",
        "--partial",
        "--mirror DIR",
    ] {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
    }
    assert!(!space.exists("dist"), "no bundle without --partial");
}

#[test]
fn a_partial_bundle_says_so() {
    let space = with_a_missing_source();
    let ran = space.run(&["bundle", "--target", "board", "--offline", "--partial"]);
    assert_eq!(ran.status, 5, "a partial bundle is no success:\n{}", ran.stderr);
    assert!(ran.stdout.contains("slipway-board-0.1.0-partial.tar.gz   PARTIAL"), "{}", ran.stdout);
    assert!(space.exists("dist/board/slipway-board-0.1.0-partial.tar.gz.sha256"));
    assert!(!space.exists(BUNDLE));
}

#[test]
fn a_failure_stops_the_rest_unless_told_to_keep_going() {
    let space = Space::hello();
    let bad = second("bad").replace("output = \"hello\"", "output = \"nothing/hello\"");
    space.write("recipes/bad.toml", &bad);
    let target = space.read("targets/board.toml");
    space.write("targets/board.toml", &format!("{target}bad = {{ version = \"1.0\" }}\n"));
    let ran = space.run(&["bundle", "--target", "board", "--keep-going"]);
    assert_eq!(ran.status, 3, "{}", ran.stderr);
    assert_eq!(fs::read_dir(space.cache().join("out")).unwrap().count(), 1, "hello was built all the same");
}

#[test]
fn json_is_one_object_a_line() {
    let space = Space::hello();
    let ran = space.ok(&["bundle", "--target", "board", "--json"]);
    let events: Vec<serde_json::Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.last().unwrap();
    assert_eq!(last["event"], "result");
    assert_eq!(last["sha256"], sha256(&space, BUNDLE));
    assert!(events.iter().any(|event| event["event"] == "done" && event["task"] == "compile"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn processes_share_one_build() {
    let space = Space::hello();
    let start = |_| {
        space
            .xtask(&["recipe", "hello", "--arch", "x86_64"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<Child> = (0..4).map(start).collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().all(|output| output.status.success()));
    let compiled =
        |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).matches("compile hello").count();
    assert_eq!(outputs.iter().map(compiled).sum::<usize>(), 1, "one builds, the others wait");
}

/// A program whose compiler can be caught in the act: it says that it runs, holds a pipe open, and waits at
/// another for as long as that is there. Both are in the compiler's cache, which is the only folder that it shares
/// with us in a sandbox, too.
fn slow() -> Space {
    let space = Space::hello();
    fs::create_dir_all(space.cache().join(SHARED)).unwrap();
    for pipe in ["gate", "alive"] {
        let path = space.cache().join(SHARED).join(pipe);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    let wait =
        "if [ -p {cache}/gate ]; then exec 9>{cache}/alive; echo in >{cache}/seen; read -r line <{cache}/gate; fi";
    let script = format!("case $* in *hello.c*) {wait};; esac; exec {{found}} \\\"$@\\\"");
    let gcc = format!("gcc = [\"sh\", \"-c\", \"{script}\", \"gcc\"]");
    space.write("toolchains/host.toml", &space.read("toolchains/host.toml").replace("gcc = [\"{found}\"]", &gcc));
    space
}

/// The compiler's cache in the store.
const SHARED: &str = "tool-cache/host-host";

/// Lets the compiler pass from now on.
fn open_gate(space: &Space) {
    fs::remove_file(space.cache().join(SHARED).join("gate")).unwrap();
}

/// Everything that the compiler started, by the pipe that it holds.
struct Alive(fs::File);

impl Alive {
    /// Before the compiler, which waits for a reader.
    fn watch(space: &Space) -> Self {
        use fs::os::unix::fs::OpenOptionsExt;
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let path = space.cache().join(SHARED).join("alive");
        Self(fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).unwrap())
    }

    /// True as long as one of them lives.
    fn is_one(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                true
            }
        }
    }

    /// Comes back when the last has ended.
    fn end(&self) {
        let mut polled = [rustix::event::PollFd::new(self.0.file(), rustix::event::PollFlags::empty())];
        rustix::event::poll(&mut polled, None).unwrap();
    }
}

/// Starts a build and comes back when its compiler is running.
fn caught_in_the_act(space: &Space, sandbox: &str) -> Child {
    let log = fs::File::create(space.cache().join("log")).unwrap();
    let mut child = space
        .xtask(&["bundle", "--target", "board", "--sandbox", sandbox])
        .stderr(log.into_parts().0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !space.cache().join(SHARED).join("seen").exists() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(space.cache().join("log")).unwrap());
        std::thread::yield_now();
    }
    child
}

/// `off`, and `on` where this machine allows it.
fn sandboxes() -> &'static [&'static str] {
    if support::sandbox_works() { &["off", "on"] } else { &["off"] }
}

#[test]
fn a_signal_leaves_no_process_and_the_next_run_goes_on() {
    use rustix::process::Signal;
    for &sandbox in sandboxes() {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let space = slow();
            let mut alive = Alive::watch(&space);
            let mut child = caught_in_the_act(&space, sandbox);
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(130), "{signal:?}");
            assert!(!alive.is_one(), "{signal:?}: the builder ended before its compiler, sandbox {sandbox}");
            assert!(!space.exists("dist"));
            open_gate(&space);
            space.ok(&["bundle", "--target", "board", "--sandbox", sandbox]);
        }
    }
}

#[test]
fn a_killed_run_leaves_nothing_that_hinders_the_next() {
    let fresh = Space::hello();
    fresh.ok(&["bundle", "--target", "board"]);
    let program = |space: &Space| entries(space).into_iter().find(|(path, ..)| path.ends_with("bin/hello")).unwrap().2;
    for &sandbox in sandboxes() {
        let space = slow();
        let alive = Alive::watch(&space);
        let mut child = caught_in_the_act(&space, sandbox);
        child.kill().unwrap();
        child.wait().unwrap();
        // Nobody is left who could wait for it: the kernel ends it.
        alive.end();
        open_gate(&space);
        space.ok(&["bundle", "--target", "board", "--sandbox", sandbox]);
        assert_eq!(program(&space), program(&fresh));
    }
}

/// Kills runs at moments spread over their whole length; the store must never be left in a state from
/// which the next run does not reach the same bytes.
#[test]
fn killed_at_any_moment_the_next_run_converges() {
    let reference = Space::hello();
    reference.ok(&["bundle", "--target", "board"]);
    let space = Space::hello();
    for moment in 0..25 {
        let mut child =
            space.xtask(&["bundle", "--target", "board"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        // The moment is a number of spins, not a time: what it hits differs from run to run, and should.
        for _ in 0..moment * 20_000 {
            std::hint::spin_loop();
            if child.try_wait().unwrap().is_some() {
                break;
            }
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    space.ok(&["bundle", "--target", "board"]);
    assert_eq!(sha256(&space, BUNDLE), sha256(&reference, BUNDLE));
}

#[test]
fn clean_removes_results_and_keeps_what_was_fetched() {
    let space = Space::hello();
    space.ok(&["bundle", "--target", "board"]);
    fs::create_dir_all(space.cache().join("sources/x")).unwrap();
    space.ok(&["clean"]);
    assert!(!space.exists("dist") && !space.cache().join("out").read_dir().unwrap().any(|_| true));
    assert!(space.cache().join("sources/x").exists());
    space.ok(&["clean", "--all"]);
    assert!(!space.cache().join("sources/x").exists());
}

#[test]
fn without_arguments_it_explains_itself() {
    let space = Space::hello();
    let ran = space.ok(&[]);
    for part in ["Usage: cargo xtask", "bundle", "recipe", "doctor", "Start here:", "Exit status:"] {
        assert!(ran.stdout.contains(part), "no {part:?} in:\n{}", ran.stdout);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let space = Space::hello();
    let mut child = space.xtask(&["list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn doctor_tells_what_is_missing_and_what_mends_it() {
    let space = Space::hello();
    assert!(space.ok(&["doctor"]).stdout.contains("this machine can build"));
    let mut command = space.xtask(&["doctor"]);
    let empty = space.cache();
    fs::create_dir_all(&empty).unwrap();
    let ran = Ran::of(command.env("PATH", &empty).output().unwrap(), &space.root());
    assert_eq!(ran.status, 7, "{}", ran.stdout);
    for part in ["BAD   shell tools", "mend: apt-get install gcc libc6-dev", "this machine cannot build yet"] {
        assert!(ran.stdout.contains(part), "no {part:?} in:\n{}", ran.stdout);
    }
}
