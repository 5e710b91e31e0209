//! `repro` and `why`: what differs between two builds is found and named. What is planted are the mistakes that
//! real build systems make; a script stands in for make, since the machine's own may be missing.

mod support;

use fs_err as fs;
use support::{HELLO, Ran, Space, sandbox_works};

const BUNDLE: &str = "dist/board/slipway-board-0.1.0.tar.gz";
/// Without the sandbox, which hides most of what is varied: the mistakes must be able to show.
const REPRO: [&str; 7] = ["repro", "--target", "board", "--offline", "--mirror", "mirror", "--sandbox=off"];

const MAKE: &str = r#"
summary = "a stand-in for make: runs the script `build`"
license = "0BSD"
homepage = "https://example.org/make"
version = "1.0"
programs = ["bin/make"]

[archive]
urls = ["https://make.invalid/make.tar.gz"]
sha256 = "SHA256"

[program]
provides = "make"
"#;

const SCRIPTED: &str = r#"
summary = "is built by a script"
license = "0BSD"
homepage = "https://example.org/scripted"

[release."1.0".tree]
path = "src/scripted"

[build.make]
make = []

[files]
"share/made" = "made"

[[check]]
run = ["bin/hello"]
expect = "hello 1.0"
"#;

/// A board with the program in C, and one whose only file `made` is made by a script.
fn scripted(script: &str) -> Space {
    let space = Space::hello();
    let archive = make();
    let sha256 = xtask::data::types::Sha256::of(&archive);
    space.write("toolchains/make.toml", &MAKE.replace("SHA256", sha256.as_str()));
    fs::create_dir_all(space.root().join("mirror")).unwrap();
    fs::write(space.root().join("mirror/make.tar.gz"), archive).unwrap();
    space.write("recipes/scripted.toml", SCRIPTED.split("[[check]]").next().unwrap());
    space.write("src/scripted/build", script);
    space.write("src/scripted/main.c", "int main(void) { return 0; }\n");
    let board = space.read("targets/board.toml");
    space.write("targets/board.toml", &format!("{board}scripted = {{ version = \"1.0\" }}\n"));
    space
}

fn make() -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let script = b"#!/bin/sh\nexec sh ./build\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "make/bin/make", &script[..]).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

/// Builds twice, and expects that it is told where the difference is and what made it.
fn caught(script: &str, expected: &[&str]) -> Ran {
    let ran = scripted(script).run(&REPRO);
    assert_eq!(ran.status, 6, "{}{}", ran.stdout, ran.stderr);
    for part in expected {
        assert!(ran.stdout.contains(part), "no {part:?} in:\n{}\n{}", ran.stdout, ran.stderr);
    }
    assert!(ran.stderr.contains("board is not reproducible"), "{}", ran.stderr);
    ran
}

#[test]
fn two_builds_are_identical() {
    let space = scripted("echo always the same > made\n");
    let ran = space.run(&REPRO);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.starts_with("board: identical, 6 of 6 files and the whole tarball\n  sha256  "),
        "{}",
        ran.stdout
    );
    for part in ["umask ", "time zone ", "not varied:", "directory order"] {
        assert!(ran.stdout.contains(part), "no {part:?} in:\n{}", ran.stdout);
    }
    let left = fs::read_dir(space.cache().join("repro/board")).unwrap().count();
    assert_eq!(left, 0, "a second build that is the same is not kept");

    let ran = space.ok(&["repro", "--target", "board", "hello", "--offline", "--mirror", "mirror"]);
    assert!(ran.stdout.starts_with("hello: identical, 3 of 3 files"), "{}", ran.stdout);
    let ran = space.run(&["repro", "--target", "board", "nothing"]);
    assert_eq!(ran.status, 4, "{}", ran.stderr);
}

#[test]
fn a_clock_is_caught() {
    let ran = caught(
        "date '+built on %b %e %Y %H:%M:%S.%N' > made\n",
        &[
            "share/made\n  text",
            "-built on ",
            "likely cause: the clock",
            "it follows from the others",
            "board is not reproducible: 3 of 6 files differ, 2 of them only in the hashes of others",
        ],
    );
    assert!(!ran.stdout.contains("\nbin/hello\n"), "{}", ran.stdout);
}

/// gcc's `__DATE__` and `__TIME__` obey SOURCE_DATE_EPOCH, which every build has: it must be unset to be a mistake.
#[test]
fn a_date_in_a_program_is_caught() {
    let script = "printf 'const char *made = \"on \" __DATE__ \" \" __TIME__ \"%s\"; int main(void) { return !made; }\\n' \
                  \"$(date +.%N)\" > m.c\nenv -u SOURCE_DATE_EPOCH gcc -static -s m.c -o made\n";
    let space = scripted(script);
    let args: Vec<&str> = REPRO.into_iter().chain(["--json"]).collect();
    let ran = space.run(&args);
    assert_eq!(ran.status, 6, "{}{}", ran.stdout, ran.stderr);
    let result = ran.stdout.lines().find(|line| line.contains("\"event\":\"result\"")).expect("a result");
    let result: serde_json::Value = serde_json::from_str(result).unwrap();
    let differences = result["comparison"]["differences"].as_array().unwrap();
    let made = differences.iter().find(|difference| difference["path"] == "share/made").unwrap();
    assert!(made["places"].to_string().contains("section .rodata at 0x"), "{made}");
    assert!(made["causes"].to_string().contains("the clock"), "{made}");
    assert_eq!(result["identical"], false);
}

/// What the sandbox fixes is the same in both builds, and the report says which that is.
#[test]
fn what_the_sandbox_fixes_cannot_differ() {
    if !sandbox_works() {
        return;
    }
    let space = scripted("pwd > made; hostname >> made; id >> made; uname -r | cut -d. -f1 >> made\n");
    let args: Vec<&str> =
        REPRO.into_iter().map(|arg| arg.strip_suffix("off").map_or(arg, |_| "--sandbox=on")).collect();
    let ran = space.run(&args);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("in the sandbox             user, host name, home, paths,"), "{}", ran.stdout);
}

/// In a program, the build's own inspection finds it before there is anything to compare.
#[test]
fn a_build_path_is_caught() {
    caught("printf '%s\\n' \"$PWD\" > made\n", &["share/made", "likely cause: the build path"]);
}

#[test]
fn a_random_build_id_is_caught() {
    let script = "id=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \\n')\n\
                  gcc -static -s -Wl,--build-id=0x$id main.c -o made\n";
    caught(script, &["section .note.gnu.build-id", "likely cause: a build id that each build makes anew"]);
}

/// The order of a folder cannot be forced everywhere; a list that is not sorted looks the same.
#[test]
fn an_unsorted_list_is_caught() {
    caught("seq 100 | shuf > made\n", &["share/made", "likely cause: order: the same things, sorted differently"]);
}

#[test]
fn a_second_build_without_its_sources_is_told() {
    let space = scripted("echo fine > made\n");
    space.ok(&["bundle", "--target", "board", "--offline", "--mirror", "mirror"]);
    fs::remove_dir_all(space.cache().join("sources")).unwrap();
    let ran = space.run(&["repro", "--target", "board", "--offline"]);
    assert_eq!(ran.status, 5, "{}", ran.stderr);
    for part in ["the second build failed (exit status 5), the first did not", "cargo xtask fetch --target board"] {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
    }
}

/// What the script does in the second build only.
fn only_the_second(action: &str) -> String {
    format!("case $PWD in *a-second-build*) {action};; esac\necho fine > made\n")
}

#[test]
fn a_second_build_that_a_signal_ends_is_no_difference() {
    for signal in ["INT", "TERM", "KILL"] {
        // The shell's parent is the second build itself: a script stands in for make, and becomes the shell.
        let script = only_the_second(&format!("kill -{signal} $PPID; exec sleep 1000"));
        let ran = scripted(&script).run(&REPRO);
        assert_eq!(ran.status, 130, "{signal}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("the second build was ended ("), "{signal}: {}", ran.stderr);
        assert!(!ran.stderr.contains("not reproducible"), "{signal}: {}", ran.stderr);
    }
}

#[test]
fn a_second_build_that_fails_is_told_with_its_log() {
    let ran = scripted(&only_the_second("echo out of ideas; exit 9")).run(&REPRO);
    assert_eq!(ran.status, 3, "{}{}", ran.stdout, ran.stderr);
    for part in ["the second build failed (exit status 3), the first did not; nothing was compared", "| out of ideas"] {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("not reproducible"), "{}", ran.stderr);
}

/// A tmpfs shows in which order its names came; the second build turns that round.
#[test]
fn the_order_of_a_folder_is_caught_where_the_file_system_shows_it() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else { return eprintln!("SKIPPED: no /dev/shm here") };
    let space = scripted("ls -U files > made\n");
    for name in ["a", "b", "c", "d"] {
        space.write(&format!("src/scripted/files/{name}"), name);
    }
    let cache = memory.path().join("cache");
    let ran = Ran::of(space.xtask(&REPRO).env("SLIPWAY_CACHE", cache).output().unwrap(), &space.root());
    assert_eq!(ran.status, 6, "{}{}", ran.stdout, ran.stderr);
    for part in
        ["share/made", "likely cause: order", "directory order            of the sources' folders: turned round"]
    {
        assert!(ran.stdout.contains(part), "no {part:?} in:\n{}", ran.stdout);
    }
}

#[test]
fn a_published_bundle_is_held_against_the_checkout() {
    let space = Space::hello();
    space.ok(&["bundle", "--target", "board", "--sandbox=off"]);
    let published = space.root().join("published.tar.gz");
    fs::copy(space.root().join(BUNDLE), &published).unwrap();
    let against = ["repro", "--target", "board", "--against", "published.tar.gz", "--sandbox=off"];
    let ran = space.ok(&against);
    assert!(ran.stdout.starts_with("published.tar.gz is what this checkout builds\n  sha256  "), "{}", ran.stdout);

    // Another program went in than what the sources say.
    let source = space.read("src/hello/hello.c");
    space.write("src/hello/hello.c", &source.replace("hello \"", "hello \" \"1.0 \""));
    let ran = space.run(&against);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    for part in ["published.tar.gz is not what this checkout builds", "bin/hello\n  section ", "kept:"] {
        assert!(ran.stdout.contains(part), "no {part:?} in:\n{}", ran.stdout);
    }

    // Of another board.
    let board = space.read("targets/board.toml");
    space.write("targets/other.toml", &board);
    let ran = space.run(&["repro", "--target", "other", "--against", "published.tar.gz"]);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    assert!(ran.stdout.contains("its target is \"board\", this checkout's is \"other\""), "{}", ran.stdout);

    // Built in another sandbox: the manifest says so, and nothing else differs.
    space.write("src/hello/hello.c", &source);
    if sandbox_works() {
        let ran = space.run(&["repro", "--target", "board", "--against", "published.tar.gz", "--sandbox=on"]);
        assert_eq!(ran.status, 6, "{}", ran.stderr);
        assert!(ran.stdout.contains("its sandbox is \"off\", this checkout's is \"namespaces"), "{}", ran.stdout);
        assert!(ran.stderr.contains("every other file is the same"), "{}", ran.stderr);
    }

    // Cut short, and none at all.
    let bytes = fs::read(&published).unwrap();
    fs::write(&published, &bytes[..bytes.len() / 2]).unwrap();
    let ran = space.run(&against);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("published.tar.gz is not a bundle, or damaged"), "{}", ran.stderr);
    fs::remove_file(&published).unwrap();
    let ran = space.run(&against);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("read the published bundle published.tar.gz"), "{}", ran.stderr);
}

#[test]
fn a_record_is_held_against_the_checkout() {
    let space = Space::hello();
    let ran = space.ok(&["bundle", "--target", "board", "--record"]);
    assert!(ran.stderr.contains("recorded dist/board.sha256"), "{}", ran.stderr);
    let record = space.read("dist/board.sha256");
    let names: Vec<&str> = record.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name).collect();
    assert_eq!(names.first(), Some(&"slipway-board-0.1.0.tar.gz"), "the tarball comes first:\n{record}");
    assert!(names.contains(&"slipway-board-0.1.0/bin/hello"), "{record}");
    let ran = space.ok(&["bundle", "--target", "board", "--record"]);
    assert!(ran.stderr.contains("recorded already"), "{}", ran.stderr);

    let against = ["repro", "--target", "board", "--against", "dist/board.sha256"];
    let ran = space.ok(&against);
    assert!(
        ran.stdout.starts_with("this checkout builds what dist/board.sha256 records\n  sha256  "),
        "{}",
        ran.stdout
    );

    // `clean` removes what was built, not what the project keeps.
    space.ok(&["clean"]);
    assert!(space.exists("dist/board.sha256") && !space.exists("dist/board"));

    let source = space.read("src/hello/hello.c");
    space.write("src/hello/hello.c", &source.replace("hello \"", "hello \" \"1.0 \""));
    let ran = space.run(&against);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    for part in ["slipway-board-0.1.0/bin/hello\n    recorded  ", "slipway-board-0.1.0/MANIFEST.json\n    recorded  "] {
        assert!(ran.stdout.contains(part), "no {part:?} in:\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("COPYING"), "what is the same is not listed:\n{}", ran.stdout);
    assert!(ran.stderr.contains("cargo xtask bundle --target board --record"), "{}", ran.stderr);
    assert_eq!(space.read("dist/board.sha256"), record, "a comparison writes no record");

    // The line that is published beside a tarball knows the tarball alone.
    space.write("published.sha256", &format!("{}\n", record.lines().next().unwrap()));
    let ran = space.run(&["repro", "--target", "board", "--against", "published.sha256"]);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    space.write("src/hello/hello.c", &source);
    space.ok(&["repro", "--target", "board", "--against", "published.sha256"]);

    // Not of a changed or partial bundle.
    let ran = space.run(&["bundle", "--target", "board", "--record", "--set", "hello.version=1.0"]);
    assert_eq!(ran.status, 2, "{}", ran.stderr);
}

#[test]
fn why_tells_of_the_sandbox() {
    let space = Space::hello();
    space.ok(&["recipe", "hello", "--arch", "x86_64", "--sandbox=off"]);
    let ran = space.ok(&["why", "hello", "--arch", "x86_64", "--sandbox=on"]);
    assert!(ran.stdout.contains("is built anew: the sandbox changed\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("-sandbox off\n+sandbox on\n"), "{}", ran.stdout);
}

#[test]
fn why_tells_what_changed() {
    let space = Space::hello();
    let why = || space.ok(&["why", "hello", "--arch", "x86_64"]).stdout;
    assert!(why().starts_with("hello 1.0 x86_64: never built"), "{}", why());
    space.ok(&["recipe", "hello", "--arch", "x86_64"]);
    assert!(why().starts_with("hello 1.0 x86_64: nothing changed"), "{}", why());
    let ran = space.ok(&["why", "hello", "--target", "board"]);
    assert!(ran.stdout.contains("nothing changed"), "{}", ran.stdout);

    let source = space.read("src/hello/hello.c");
    space.write("src/hello/hello.c", &format!("{source}\n"));
    insta::assert_snapshot!("why_the_source", hashes(&why()));
    space.write("src/hello/hello.c", &source);

    let patch = "Why not.\n\n--- a/COPYING\n+++ b/COPYING\n@@ -1 +1 @@\n-Do what you like.\n+Do.\n";
    space.write("patches/hello/1.0/0001-licence.patch", patch);
    space.write("recipes/hello.toml", &HELLO.replace("\"-s\"]", "\"-s\", \"-O1\"]"));
    insta::assert_snapshot!("why_a_patch_and_a_flag", hashes(&why()));
}

/// Where the host's compiler is the toolchain, the plan's text does not hold what it is; the key does.
#[test]
fn why_tells_of_another_compiler() {
    let space = Space::hello();
    space.ok(&["recipe", "hello", "--arch", "x86_64"]);
    let out = fs::read_dir(space.cache().join("out")).unwrap().next().unwrap().unwrap().path();
    let other = out.with_file_name("0".repeat(64));
    fs::rename(out, other).unwrap();
    let ran = space.ok(&["why", "hello", "--arch", "x86_64"]);
    assert!(ran.stdout.contains("the compiler of this machine (host) is another"), "{}", ran.stdout);
}

fn hashes(text: &str) -> String {
    let words = text.split_inclusive([' ', '\n']);
    let is_hash = |word: &str| word.trim().len() == 64 && word.trim().chars().all(|c| c.is_ascii_hexdigit());
    words.map(|word| if is_hash(word) { word.replace(word.trim(), "HASH") } else { word.to_owned() }).collect()
}
