//! Container images: wrong definitions, the archive's bytes, what a real reader makes of it, the pause program.
//!
//! The messages and the archive's JSON are goldens: `INSTA_UPDATE=always cargo test` writes them anew.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use serde_json::Value;
use support::{BOARD, HELLO, HOST_TOOLCHAIN, Ran, Space};
use xtask::data::project::Project;
use xtask::data::types::{Arch, RelPath, Sha256};
use xtask::ship::image::{Content, Packed, Planned};

const IMAGE: &str = r#"
[images."share/images/hello.tar"]
name = "slipway/hello:1.0"
entrypoint = ["/bin/hello"]
cmd = ["world"]
env = { PATH = "/bin" }
files = { "bin/hello" = "bin/hello", "COPYING" = "share/licenses/hello/COPYING" }
links = { "bin/hi" = "hello" }
"#;

const TAR: &str = "share/images/hello.tar";

/// The small project, with an image of its program.
fn space() -> Space {
    let space = Space::hello();
    space.write("targets/board.toml", &format!("{BOARD}{IMAGE}"));
    space
}

// --- wrong definitions

fn message(space: &Space, args: &[&str]) -> String {
    let ran = space.run(args);
    assert_eq!(ran.status, 4, "expected the status of wrong data:\n{}{}", ran.stdout, ran.stderr);
    ran.stderr
}

/// What is said about the image of `space` with one text replaced.
fn refused(from: &str, to: &str) -> String {
    let space = space();
    let text = space.read("targets/board.toml");
    assert!(text.contains(from), "the target has no {from:?}");
    space.write("targets/board.toml", &text.replacen(from, to, 1));
    message(&space, &["list"])
}

macro_rules! refusals {
    ($($name:ident: $from:expr => $to:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(refused($from, $to));
        })*
    };
}

const FILES: &str = "files = { \"bin/hello\" = \"bin/hello\", \"COPYING\" = \"share/licenses/hello/COPYING\" }";

refusals! {
    unknown_key: "entrypoint =" => "entry_point =";
    a_name_in_capitals: "slipway/hello:1.0" => "Slipway/hello:1.0";
    a_name_with_a_digest: "slipway/hello:1.0" => "slipway/hello@sha256:00";
    a_bad_tag: "slipway/hello:1.0" => "slipway/hello:-1";
    no_files: FILES => "files = {}";
    a_misspelt_file: "= \"bin/hello\"," => "= \"bin/helo\",";
    a_link_of_the_recipe: "= \"bin/hello\"," => "= \"bin/hi\",";
    an_absolute_path: "{ \"bin/hello\" =" => "{ \"/bin/hello\" =";
    a_path_that_climbs: "{ \"bin/hello\" =" => "{ \"../hello\" =";
    a_file_and_a_folder: "\"bin/hi\" = \"hello\"" => "\"bin/hello/hi\" = \"hello\"";
    a_file_and_a_link: "\"bin/hi\" = \"hello\"" => "\"bin/hello\" = \"hi\"";
    a_link_to_nowhere: "\"bin/hi\" = \"hello\"" => "\"bin/hi\" = \"helo\"";
    a_link_that_leaves: "\"bin/hi\" = \"hello\"" => "\"bin/hi\" = \"../../etc/passwd\"";
    a_link_to_a_link: "\"bin/hi\" = \"hello\"" => "\"bin/hi\" = \"hello\", \"bin/ho\" = \"hi\"";
    nothing_to_run: "entrypoint = [\"/bin/hello\"]\ncmd = [\"world\"]" => "entrypoint = []";
    a_program_that_is_not_there: "[\"/bin/hello\"]" => "[\"/bin/hallo\"]";
    a_program_by_its_name_alone: "[\"/bin/hello\"]" => "[\"hello\"]";
    a_word_with_a_nul: "[\"world\"]" => "[\"wor\\u0000ld\"]";
    a_variable_that_is_none: "PATH =" => "\"PA=TH\" =";
    a_value_with_a_nul: "PATH = \"/bin\"" => "PATH = \"/bin\\u0000\"";
    an_archive_over_a_program: "share/images/hello.tar" => "bin/hello";
    an_archive_below_a_program: "share/images/hello.tar" => "bin/hello/image.tar";
    an_archive_over_a_folder: "share/images/hello.tar" => "bin";
    an_archive_over_the_manifest: "share/images/hello.tar" => "MANIFEST.json";
    an_archive_over_a_board_file: "\n[images." => "\n[files]\n\"share/images/hello.tar\" = \"src/hello/COPYING\"\n[images.";
    two_images_of_one_name: "\n[images." => "\n[images.\"a.tar\"]\nname = \"docker.io/slipway/hello:1.0\"\n\
        cmd = [\"/x\"]\nfiles = { x = \"bin/hello\" }\n[images.";
}

/// The compiler is said to know a second architecture, so that targets can be written for it.
fn two_architectures() -> Space {
    let space = space();
    let other = "\n[c.arch.aarch64]\ntriple = \"aarch64-linux-gnu\"\ncpu = \"generic\"\n\
                 rust_target = \"aarch64-unknown-linux-gnu\"\n";
    space.write("toolchains/host.toml", &format!("{HOST_TOOLCHAIN}{other}"));
    space.write("recipes/other.toml", &recipe("other"));
    space.write(
        "targets/board.toml",
        &format!("{BOARD}other = {{ version = \"1.0\" }}\n{IMAGE}")
            .replace("\"COPYING\" =", "\"bin/other\" = \"bin/other\", \"COPYING\" ="),
    );
    space
}

/// The small program once more, under a name of its own.
fn recipe(name: &str) -> String {
    let recipe = HELLO.replace("[links]\n\"bin/hi\" = \"hello\"\n", "").replace("bin/hi", &format!("bin/{name}"));
    recipe.replace("\"bin/hello\" =", &format!("\"bin/{name}\" ="))
}

#[test]
fn two_architectures_in_one_image() {
    let space = two_architectures();
    let text = space.read("targets/board.toml");
    space.write("targets/board.toml", &text.replace("\"1.0\" }\n\n", "\"1.0\", arch = \"aarch64\" }\n\n"));
    insta::assert_snapshot!(message(&space, &["list"]));
}

#[test]
fn two_architectures_by_set() {
    let space = two_architectures();
    space.ok(&["list"]);
    insta::assert_snapshot!(message(&space, &["bundle", "--target", "board", "--set", "other.arch=aarch64"]));
    assert!(!space.cache().join("out").exists(), "this is told before anything is built");
}

// --- the archive

fn contents() -> BTreeMap<RelPath, Content> {
    let file = |path: &str, bytes: &str, executable| {
        (path.parse().unwrap(), Content { bytes: bytes.as_bytes().to_vec(), executable })
    };
    BTreeMap::from([file("bin/hello", "a program", true), file("COPYING", "a licence", false)])
}

fn pack(arch: Arch) -> Packed {
    let project = Project::load(&space().root()).unwrap();
    let image = project.target("board").unwrap().images[TAR].clone();
    let contents = contents();
    Planned { image, arch }.pack(&contents.iter().map(|(path, content)| (path, content.clone())).collect()).unwrap()
}

/// Path → (mode, what a link says, content), in the order in which they stand there.
fn entries(tar: &[u8]) -> Vec<(String, u32, String, Vec<u8>)> {
    let mut tar = tar::Archive::new(tar);
    let read = |entry: std::io::Result<tar::Entry<_>>| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), 1_577_836_800);
        let mode = header.mode().unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let link = entry.link_name().unwrap().map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, mode, link, content)
    };
    tar.entries().unwrap().map(read).collect()
}

fn content(tar: &[u8], path: &str) -> Vec<u8> {
    entries(tar).into_iter().find(|(found, ..)| found == path).unwrap_or_else(|| panic!("no {path}")).3
}

#[test]
fn the_archive() {
    for arch in Arch::ALL {
        let packed = pack(arch);
        assert_eq!(packed.sha256, Sha256::of(&packed.bytes));
        let mut shown = String::new();
        for (path, mode, _, bytes) in entries(&packed.bytes) {
            shown.push_str(&format!("{mode:04o} {path}\n"));
            if let Some(hash) = path.strip_prefix("blobs/sha256/").filter(|hash| !hash.is_empty()) {
                assert_eq!(Sha256::of(&bytes).as_str(), hash, "a blob is named by its hash");
            }
            if bytes.starts_with(b"{") || bytes.starts_with(b"[") {
                shown.push_str(&String::from_utf8(bytes).unwrap());
            } else if path.starts_with("blobs/sha256/") && !bytes.is_empty() {
                for (path, mode, link, bytes) in entries(&bytes) {
                    shown.push_str(&format!("  {mode:04o} {path} {link}{}\n", String::from_utf8(bytes).unwrap()));
                }
            }
        }
        insta::assert_snapshot!(format!("archive_{arch}"), shown);
    }
}

// --- real readers

/// Runs skopeo; `None` where it is not installed. In CI that is a failure.
fn skopeo(args: &[&str]) -> Option<Vec<u8>> {
    let policy = ["--insecure-policy"];
    match Command::new("skopeo").args(policy).args(args).output() {
        Ok(output) => {
            assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "skopeo: {error}; apt-get install skopeo");
            eprintln!("SKIPPED: skopeo: {error}; apt-get install skopeo");
            None
        }
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn skopeo_reads_the_archive_in_both_forms() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for arch in Arch::ALL {
        let packed = pack(arch);
        let tar = at(&format!("{arch}.tar"));
        fs::write(&tar, &packed.bytes).unwrap();
        for form in [format!("docker-archive:{tar}:slipway/hello:1.0"), format!("oci-archive:{tar}:1.0")] {
            let Some(seen) = skopeo(&["inspect", &form]) else { return };
            let seen = json(&seen);
            let (architecture, variant) =
                [(Arch::Aarch64, ("arm64", "")), (Arch::Armhf, ("arm", "v7")), (Arch::X86_64, ("amd64", ""))]
                    .into_iter()
                    .find_map(|(known, names)| (known == arch).then_some(names))
                    .unwrap();
            assert_eq!((&seen["Architecture"], &seen["Os"]), (&architecture.into(), &"linux".into()), "{form}");
            assert_eq!(seen["Created"], "2020-01-01T00:00:00Z");
            assert_eq!(seen["Env"], json(b"[\"PATH=/bin\"]"));
            let config = skopeo(&["inspect", "--config", "--raw", &form]).unwrap();
            assert_eq!(Sha256::of(&config), packed.id, "the configuration is the one that is the image's id");
            assert_eq!(json(&config)["variant"].as_str().unwrap_or(""), variant);
        }
        let tags = skopeo(&["list-tags", &format!("docker-archive:{tar}")]).unwrap();
        assert_eq!(json(&tags)["Tags"], json(b"[\"slipway/hello:1.0\"]"));
    }
}

/// Copied by skopeo, which checks every hash on the way, it is the same image with the same files.
#[test]
fn skopeo_copies_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let packed = pack(Arch::Aarch64);
    fs::write(at("image.tar"), &packed.bytes).unwrap();
    let (to_oci, to_dir) = (format!("oci:{}:x", at("oci")), format!("dir:{}", at("dir")));
    if skopeo(&["copy", &format!("docker-archive:{}", at("image.tar")), &to_dir]).is_none() {
        return;
    }
    skopeo(&["copy", &format!("oci-archive:{}:1.0", at("image.tar")), &to_oci]).unwrap();

    let copied = json(&fs::read(at("dir/manifest.json")).unwrap());
    let digest = |value: &Value| value["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    assert_eq!(digest(&copied["config"]), packed.id.as_str());
    let config = json(&fs::read(at(&format!("dir/{}", packed.id))).unwrap());
    assert_eq!(config["config"]["Entrypoint"], json(b"[\"/bin/hello\"]"));
    assert_eq!(config["config"]["Cmd"], json(b"[\"world\"]"));
    let layer = fs::read(at(&format!("dir/{}", digest(&copied["layers"][0])))).unwrap();
    assert_eq!(format!("sha256:{}", Sha256::of(&layer)), config["rootfs"]["diff_ids"][0].as_str().unwrap());
    let found: Vec<(String, u32, String)> =
        entries(&layer).into_iter().map(|(path, mode, link, _)| (path, mode, link)).collect();
    let entry = |path: &str, mode, link: &str| (path.to_owned(), mode, link.to_owned());
    assert_eq!(
        found,
        [
            entry("COPYING", 0o644, ""),
            entry("bin/", 0o755, ""),
            entry("bin/hello", 0o755, ""),
            entry("bin/hi", 0o777, "hello"),
        ]
    );
    assert_eq!(content(&layer, "bin/hello"), b"a program");
    let blob = fs::read(at(&format!("oci/blobs/sha256/{}", packed.id))).unwrap();
    assert_eq!(Sha256::of(blob), packed.id);
}

// --- in a bundle

const BUNDLE: &str = "dist/board/slipway-board-0.1.0.tar.gz";

fn from_bundle(space: &Space, bundle: &str, path: &str) -> Option<Vec<u8>> {
    let mut tar = Vec::new();
    let file = fs::File::open(space.root().join(bundle)).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut tar).unwrap();
    entries(&tar).into_iter().find(|(found, ..)| found.ends_with(path)).map(|(.., content)| content)
}

#[test]
fn a_bundle_holds_the_image_and_tells_of_it() {
    let (one, other) = (space(), space());
    one.ok(&["bundle", "--target", "board"]);
    other.ok(&["bundle", "--target", "board", "-j1"]);
    assert_eq!(fs::read(one.root().join(BUNDLE)).unwrap(), fs::read(other.root().join(BUNDLE)).unwrap());

    let image = from_bundle(&one, BUNDLE, TAR).unwrap();
    let manifest = json(&from_bundle(&one, BUNDLE, "/MANIFEST.json").unwrap());
    let told = &manifest["images"][0];
    assert_eq!((&told["path"], &told["name"]), (&TAR.into(), &"slipway/hello:1.0".into()));
    assert_eq!(told["files"]["bin/hello"], "bin/hello");
    let config = json(&content(&image, "manifest.json"))[0]["Config"].as_str().unwrap().to_owned();
    assert_eq!(told["id"], format!("sha256:{}", Sha256::of(content(&image, &config))));
    assert_eq!(json(&content(&image, &config))["architecture"], "amd64");
    let sums = String::from_utf8(from_bundle(&one, BUNDLE, "/SHA256SUMS").unwrap()).unwrap();
    assert!(sums.contains(&format!("{}  {TAR}\n", Sha256::of(&image))), "{sums}");
    let files = manifest["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["path"] == TAR && file["size"] == image.len()), "{manifest}");

    let layer = json(&content(&image, "manifest.json"))[0]["Layers"][0].as_str().unwrap().to_owned();
    let layer = content(&image, &layer);
    assert_eq!(content(&layer, "bin/hello"), from_bundle(&one, BUNDLE, "/bin/hello").unwrap());
}

#[test]
fn a_changed_image_is_another_bundle() {
    let space = space();
    let sum = || Sha256::of(fs::read(space.root().join(BUNDLE)).unwrap());
    space.ok(&["bundle", "--target", "board"]);
    let first = sum();
    assert!(space.ok(&["bundle", "--target", "board"]).stdout.contains("up to date"));
    let text = space.read("targets/board.toml");
    // Other lines for the same image change nothing …
    space.write("targets/board.toml", &text.replace("\n[images", "\n# The first container.\n[images"));
    assert!(space.ok(&["bundle", "--target", "board"]).stdout.contains("up to date"));
    // … every other word does.
    for (from, to) in [
        ("hello:1.0", "hello:1.1"),
        ("[\"world\"]", "[\"you\"]"),
        ("\"/bin\"", "\"/sbin\""),
        ("\"bin/hi\" =", "\"bin/ho\" ="),
        ("\"COPYING\" =", "\"LICENSE\" ="),
        ("[\"/bin/hello\"]", "[\"/bin/hi\"]"),
    ] {
        assert!(text.contains(from), "{from}");
        space.write("targets/board.toml", &text.replace(from, to));
        let ran = space.ok(&["bundle", "--target", "board"]);
        assert!(!ran.stdout.contains("up to date"), "{from:?} became {to:?}");
        assert_ne!(sum(), first, "{from:?} became {to:?}");
    }
    space.write("targets/board.toml", &text);
    space.ok(&["bundle", "--target", "board"]);
    assert_eq!(sum(), first);
}

#[test]
fn an_image_without_its_program_is_missing_too() {
    let space = space();
    let gone = recipe("gone").replace(
        "[release.\"1.0\".tree]\npath = \"src/hello\"",
        "[release.\"1.0\".archive]\nurls = [\"http://127.0.0.1:9/gone-1.0.tar.gz\"]\n\
         sha256 = \"c109c96bb04998cd44156622d36f8e04b140701ec60531a10668cfdff5e8d8f0\"",
    );
    space.write("recipes/gone.toml", &gone);
    let second = "[images.\"gone.tar\"]\nname = \"slipway/gone\"\ncmd = [\"/gone\"]\nfiles = { gone = \"bin/gone\" }\n";
    space.write("targets/board.toml", &format!("{BOARD}gone = {{ version = \"1.0\" }}\n{IMAGE}{second}"));
    let ran = space.run(&["bundle", "--target", "board", "--offline", "--partial"]);
    assert_eq!(ran.status, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("so the image slipway/gone:latest (gone.tar) is missing too"), "{}", ran.stderr);
    let bundle = "dist/board/slipway-board-0.1.0-partial.tar.gz";
    let manifest = json(&from_bundle(&space, bundle, "/MANIFEST.json").unwrap());
    assert_eq!(manifest["missing_images"][0]["name"], "slipway/gone:latest");
    assert_eq!(manifest["images"].as_array().unwrap().len(), 1);
    assert!(from_bundle(&space, bundle, "gone.tar").is_none());
    assert!(from_bundle(&space, bundle, TAR).is_some());
}

// --- the first process of a pod

const PAUSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/pause/pause.c");

/// Compiled for this machine.
fn pause(dir: &Path) -> String {
    let program = dir.join("pause").to_str().unwrap().to_owned();
    let flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-DVERSION=\"3.1\"", "-o"];
    assert!(Command::new("cc").args(flags).args([&program, PAUSE]).status().unwrap().success());
    program
}

/// Comes back when `done`. What is waited for is another process's doing, so it is looked at again and
/// again; the limit is for a program that never does it.
fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not happen");
        std::thread::yield_now();
    }
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// The parent and state of a process, if it is there.
fn process(pid: &str) -> Option<(String, String)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
    Some((field("PPid:")?, field("State:")?))
}

fn signal(pid: &str, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A process that does not outlive a failed test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts pause as PID 1 of a namespace, by way of a shell that leaves it `inherited` children; gives its PID
/// here. `None` where that is not permitted; in CI that is a failure.
fn as_pid_1(program: &str, inherited: &str) -> Option<(Running, String)> {
    let script = format!("read -r pid rest < /proc/self/stat; echo $pid; {inherited} exec {program}");
    let mut command = Command::new("unshare");
    command.args(["--fork", "--pid", "--kill-child", "sh", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = line(&mut BufReader::new(child.stdout.take().unwrap()));
    let mut child = Running(child);
    if pid.is_empty() {
        let mut why = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
        return None;
    }
    Some((child, pid))
}

#[test]
fn pause_reaps_orphans_and_ends_on_term() {
    let dir = tempfile::tempdir().unwrap();
    let Some((mut pause, pid)) = as_pid_1(&pause(dir.path()), "true & true &") else { return };
    let children = || {
        let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        all.filter(|other| process(other).is_some_and(|(parent, _)| parent == pid)).collect::<Vec<_>>()
    };
    until("the children it was born with are reaped", || children().is_empty());

    // A process that loses its parent inside the namespace, and ends when its standard input does.
    let orphan = "exec 3<&0; sh -c 'read -r pid rest < /proc/self/stat; echo $pid; read -r line' <&3 & exit";
    let mut parent = Command::new("nsenter");
    parent.args(["--target", &pid, "--pid", "sh", "-c", orphan]).stdin(Stdio::piped()).stdout(Stdio::piped());
    for _ in 0..20 {
        let mut parent = parent.spawn().unwrap();
        let input = parent.stdin.take().unwrap();
        let orphan = line(&mut BufReader::new(parent.stdout.take().unwrap()));
        until("pause becomes the parent", || process(&orphan).unwrap().0 == pid);
        drop(input);
        until("the orphan is reaped", || process(&orphan).is_none_or(|(parent, _)| parent != pid));
        parent.wait().unwrap();
    }

    signal(&pid, rustix::process::Signal::TERM);
    assert_eq!(pause.0.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    pause.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn pause_ends_on_int_and_warns_when_it_is_not_pid_1() {
    let dir = tempfile::tempdir().unwrap();
    let program = pause(dir.path());
    let mut child = Running(Command::new(&program).stderr(Stdio::piped()).spawn().unwrap());
    let mut stderr = BufReader::new(child.0.stderr.take().unwrap());
    assert_eq!(line(&mut stderr), "pause: warning: not PID 1, so orphans of this pod will not be reaped here");
    // It warns when its signals are blocked already: none is lost from here on.
    signal(&child.0.id().to_string(), rustix::process::Signal::INT);
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let ran = Ran::of(Command::new(&program).arg("-v").output().unwrap(), dir.path());
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (0, "pause 3.1\n", ""));
}
