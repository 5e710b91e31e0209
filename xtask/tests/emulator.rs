//! The agent of an emulated board, with this system's shell and tools in the board's place; what the files of
//! emulators and checks may hold.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fs_err as fs;
use xtask::data::emulator::Emulator;
use xtask::data::text::Text;
use xtask::error::render;
use xtask::ship::board::agent::Agent;
use xtask::ship::emulator::acceptance::{Bench, Board, Checks, Verdict};
use xtask::ship::emulator::machine::Machine;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The agent's script in a process of its own.
struct Guest {
    process: Child,
    scratch: tempfile::TempDir,
}

impl Guest {
    fn start() -> (Self, UnixStream) {
        let scratch = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs: OwnedFd = theirs.into();
        let process = Command::new("sh")
            .arg(root().join("board/emulator/agent"))
            .args([scratch.path().as_os_str(), "sh".as_ref()])
            .env("EMULATOR_TOOLS", "busybox")
            .stdin(Stdio::from(theirs.try_clone().unwrap()))
            .stdout(Stdio::from(theirs))
            .spawn()
            .unwrap();
        (Self { process, scratch }, ours)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn commands_bring_their_status_and_output() {
    let (_guest, socket) = Guest::start();
    let mut agent = Agent::hello(socket, LONG).unwrap();
    assert_eq!(agent.run("echo out; echo err >&2; exit 7", LONG).unwrap(), (7, b"out\nerr\n".to_vec()));
    assert_eq!(agent.run("true", LONG).unwrap(), (0, Vec::new()));
    // What looks like an answer is output all the same, and so is every byte.
    let (status, output) = agent.run("printf 'answer 0 3\\nhello x\\n\\000\\377\\r\\n'; exit 1", LONG).unwrap();
    assert_eq!((status, output.as_slice()), (1, b"answer 0 3\nhello x\n\0\xff\r\n".as_slice()));
    // A command that reads finds nothing, and takes no request for its input.
    assert_eq!(agent.run("cat; echo end", LONG).unwrap(), (0, b"end\n".to_vec()));
    // What goes on in the background holds nothing up.
    assert_eq!(agent.run("sleep 1000 & echo $! >/dev/null; echo started", LONG).unwrap().1, b"started\n");
    let (status, _) = agent.run("kill -9 $$", LONG).unwrap();
    assert_eq!(status, 137);
    // A script larger than a pipe holds.
    let long = format!(": {}\necho end", "x".repeat(200_000));
    assert_eq!(agent.run(&long, LONG).unwrap(), (0, b"end\n".to_vec()));
}

#[test]
fn a_command_that_does_not_end_is_ended() {
    let (_guest, socket) = Guest::start();
    let mut agent = Agent::hello(socket, LONG).unwrap();
    let (status, output) = agent.run("echo begins; sleep 1234; echo ends", Duration::from_secs(1)).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert_eq!(status, 137);
    assert!(output.starts_with("begins\n") && !output.contains("\nends"), "{output}");
    let waited_for = output.lines().skip_while(|line| *line != "running:").find(|line| line.ends_with(" sleep 1234"));
    assert!(waited_for.is_some(), "{output}");
    assert_eq!(agent.run("echo still here", LONG).unwrap().1, b"still here\n");
}

#[test]
fn files_arrive_as_they_are() {
    let (guest, socket) = Guest::start();
    let mut agent = Agent::hello(socket, LONG).unwrap();
    let local = guest.path("local");
    for size in [0, 1, 65_535, 65_536, 65_537, 300_001] {
        let bytes: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        fs::write(&local, &bytes).unwrap();
        let remote = guest.path("a name with spaces");
        let mut told = 0;
        agent.put(&local, remote.to_str().unwrap(), &mut |count| told += count).unwrap();
        assert_eq!(told, u64::from(size));
        assert_eq!(fs::read(&remote).unwrap(), bytes, "{size} bytes");
    }
    let nowhere = guest.path("missing/file");
    let error = agent.put(&local, nowhere.to_str().unwrap(), &mut |_| ()).unwrap_err().to_string();
    assert!(error.starts_with("the board could not write ") && error.contains("missing/file"), "{error}");
    // The bytes that had no place were not taken for requests.
    assert_eq!(agent.run("echo still here", LONG).unwrap().1, b"still here\n");
}

#[test]
fn a_board_that_goes_down_is_no_success() {
    let (mut guest, socket) = Guest::start();
    let mut agent = Agent::hello(socket, LONG).unwrap();
    guest.process.kill().unwrap();
    guest.process.wait().unwrap();
    assert_eq!(agent.run("true", LONG).unwrap_err().to_string(), "the board went down");
}

#[test]
fn a_board_that_does_not_answer_is_given_up() {
    // The other end is there and says nothing.
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = Agent::hello(ours, Duration::from_millis(1)).unwrap_err().to_string();
    assert!(error.starts_with("the board did not answer"), "{error}");
}

/// Reads the checks `(file, text)` of a small project.
fn checks(files: &[(&str, &str)]) -> Result<Checks, String> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("checks");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("lib.sh"), "").unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
    Checks::read(dir.path(), &"checks".parse().unwrap()).map_err(|error| render(&error))
}

#[test]
fn wrong_checks_are_told() {
    let good = "# proves: it works\n# limit: 5\n";
    assert_eq!(checks(&[("01-one.sh", good)]).unwrap().all[0].limit, Duration::from_secs(5));
    let told = [
        checks(&[("one.sh", good)]),
        checks(&[("01-one.sh", "true\n")]),
        checks(&[("01-one.sh", "# proves: it works\n# limit: soon\n")]),
        checks(&[("01-one.sh", "# proves: it works\n# need: two\n")]),
        checks(&[("01-one.sh", "# proves: it works\n# needs: two\n"), ("02-two.sh", good)]),
        checks(&[("01-one.sh", "# proves: it works\n# asks: ../passwd\n")]),
    ];
    let told: Vec<String> = told.into_iter().map(|checks| checks.err().expect("it is wrong")).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn what_a_check_needs_is_run_before_it() {
    let one = ("01-one.sh", "# proves: one\n");
    let two = ("02-two.sh", "# proves: two\n# needs: one\n");
    let three = ("03-three.sh", "# proves: three\n");
    let all = checks(&[three, two, one]).unwrap();
    let names = |chosen: Vec<&xtask::ship::emulator::acceptance::Check>| {
        chosen.iter().map(|check| check.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(all.choose(&["two".to_owned()]).unwrap()), ["one", "two"]);
    assert!(render(&all.choose(&["tow".to_owned()]).err().unwrap()).contains("did you mean `two`?"));
}

/// On a board that is there already, a check is run by its name alone, with what it needs or without.
#[test]
fn a_check_of_what_the_bundle_lacks_is_not_run() {
    let (_guest, socket) = Guest::start();
    let mut agent = Agent::hello(socket, LONG).unwrap();
    let asks = ("01-asks.sh", "# proves: it is there\n# asks: bin/edgecore\necho evidence: it ran\n");
    let sends = ("02-sends.sh", "# proves: it is sent\n# sends: cloud-peer\necho evidence: it ran\n");
    let all = checks(&[asks, sends]).unwrap();
    let facts = BTreeMap::new();
    let mut outcomes = |missing: &[&str]| {
        let missing = missing.iter().map(|path| path.parse().unwrap()).collect();
        let mut bench = Bench::new(&all, BTreeMap::new(), missing, &facts, "");
        let mut run = |check| bench.run(check, &mut Board::Attached(&mut agent), &[]).unwrap();
        all.all.iter().map(|check| (run(check).verdict, run(check).evidence.join("; "))).collect::<Vec<_>>()
    };
    let not_sent = (Verdict::NotRun, "there is no cloud-peer to send".to_owned());
    assert_eq!(outcomes(&[]), [(Verdict::Passed, "it ran".to_owned()), not_sent.clone()]);
    let lacks = (Verdict::NotRun, "edgecore is not in this bundle".to_owned());
    assert_eq!(outcomes(&["bin/edgecore"]), [lacks, not_sent]);
}

/// The emulated board of this repository, its file changed so, with a folder for a machine; it has no disks.
fn machine(change: impl FnOnce(&str) -> String) -> (Machine, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(root().join("emulators/openharmony-3-1.toml")).unwrap();
    let (before, disks) = text.split_once("[disks.system]").unwrap();
    let (_, after) = disks.split_once("[initramfs]").unwrap();
    let text = Text::new("emulators/x.toml", change(&format!("{before}[disks]\n[initramfs]{after}")));
    let emulator = Emulator::parse("x".parse().unwrap(), &text).map_err(|error| render(&error)).unwrap();
    let run = dir.path().join("run");
    (Machine::new(&emulator, run, Path::new("/kernel"), b"initramfs", Some(512)).unwrap(), dir)
}

/// A machine whose QEMU is this script; it has a second to come up.
fn start_with(script: &str) -> (String, tempfile::TempDir) {
    let args = format!("args = [\"-c\", {},", toml::Value::from(script));
    let (mut machine, dir) = machine(|text| {
        let text = text.replace("\"qemu-system-aarch64\"", "\"/bin/sh\"").replace("boot    = 180", "boot    = 1");
        text.replacen("args = [", &args, 1)
    });
    let error = render(&machine.start().expect_err("it does not start"));
    (error.replace(dir.path().to_str().unwrap(), "DIR"), dir)
}

#[test]
fn a_qemu_that_may_miss_changed_code_gets_one_thread() {
    let names = tempfile::tempdir().unwrap();
    let command = |version: &str| {
        let qemu = names.path().join(format!("qemu-{version}"));
        std::os::unix::fs::symlink(root().join("xtask/tests/fakes/qemu"), &qemu).unwrap();
        machine(|text| text.replace("qemu-system-aarch64", qemu.to_str().unwrap())).0.command()
    };
    assert!(command("7.2.22").ends_with(" -accel tcg,thread=single"));
    assert!(!command("8.1.0").contains("-accel"));
    assert!(!command("10.0.2").contains("-accel"));
}

#[test]
fn a_qemu_that_ends_is_told_with_what_it_said() {
    let (error, _dir) = start_with("echo \"qemu: no machine 'virt'\" >&2; exit 3\n");
    assert!(error.contains("QEMU did not start: exit status: 3"), "{error}");
    assert!(error.contains("| qemu: no machine 'virt'"), "{error}");
    assert!(error.contains("-m 512 "), "the command can be pasted: {error}");
}

#[test]
fn a_machine_that_hangs_is_ended_with_its_last_screen() {
    let (error, dir) =
        start_with("printf 'Booting\\033[0m\\r\\nstuck here\\r\\n' >console.log\necho $$ >pid\nexec sleep 1000\n");
    assert!(error.contains("QEMU opened no socket"), "{error}");
    assert!(error.contains("| stuck here"), "{error}");
    let pid = fs::read_to_string(dir.path().join("run/pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "nothing is left running");
}
