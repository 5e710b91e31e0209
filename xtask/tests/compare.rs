//! The comparison by itself, on pairs made by hand.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use fs_err as fs;
use xtask::run::compare::{self, Marks};

/// Two folders with one file each, compared; what a person would read.
fn read(name: &str, first: &[u8], second: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (side, bytes) in [("first", first), ("second", second)] {
        fs::create_dir_all(dir.path().join(side)).unwrap();
        fs::write(dir.path().join(side).join(name), bytes).unwrap();
    }
    trees(dir.path())
}

fn trees(dir: &Path) -> String {
    let mut marks = Marks::default();
    marks.add("the build path", "/home/one/work", "/home/another/longer/work");
    marks.add("the host name", "tick", "tock-tock");
    compare::trees(&dir.join("first"), &dir.join("second"), &marks).unwrap().text()
}

#[test]
fn the_same_is_the_same() {
    assert_eq!(read("a", b"x", b"x"), "");
}

#[test]
fn files_that_are_on_one_side_and_facts_that_differ() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, mode: u32| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("first/gone", 0o644);
    write("first/mode", 0o644);
    write("second/mode", 0o755);
    write("second/new", 0o644);
    fs::os::unix::fs::symlink("here", dir.path().join("first/link")).unwrap();
    fs::os::unix::fs::symlink("there", dir.path().join("second/link")).unwrap();
    insta::assert_snapshot!(trees(dir.path()));
}

#[test]
fn texts() {
    let sums = |a: char, b: char| {
        let hash = |digit: char| digit.to_string().repeat(64);
        format!("{}  MANIFEST.json\n{}  bin/hello\n{}  share/made\n", hash(a), hash('0'), hash(b))
    };
    let texts = [
        ("first line\nbuilt Nov 23 2026 10:00:01\nlast\n", "first line\nbuilt Nov 23 2026 10:00:09\nlast\n"),
        ("in /home/one/work/src\n", "in /home/another/longer/work/src\n"),
        ("by root on tick\n", "by root on tock-tock\n"),
        ("a\nb\nc\n", "c\nb\na\n"),
        ("objects: b.o a.o\n", "objects: a.o b.o\n"),
        ("x 1\n", "x 2\n"),
        (&sums('7', '8'), &sums('9', 'a')),
    ];
    let shown: Vec<String> = texts.iter().map(|(a, b)| read("text", a.as_bytes(), b.as_bytes())).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn bytes() {
    let mut first = vec![0u8; 4000];
    let mut second = first.clone();
    second[100] = 7;
    second[104] = 8;
    second[3000] = 9;
    let mut shown = vec![read("bytes", &first, &second)];
    first.extend(b"\0/home/one/work/x.c\0");
    second = first.clone();
    second.truncate(4000);
    second.extend(b"\0/home/another/longer/work/x.c\0");
    shown.push(read("bytes", &first, &second));
    insta::assert_snapshot!(shown.join("\n"));
}

fn gz(bytes: &[u8], mtime: u32) -> Vec<u8> {
    let mut gz = flate2::GzBuilder::new().mtime(mtime).write(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn tar(members: &[(&str, &[u8], u64)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes, mtime) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(*mtime);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn archives_within_archives() {
    let inner = |text: &[u8]| tar(&[("etc/motd", text, 1), ("etc/other", b"x\n", 1)]);
    let outer = |text: &[u8]| gz(&tar(&[("a/layer.tar", &inner(text), 1), ("a/b", b"y\n", 1)]), 0);
    let mut shown = vec![read("image.tar.gz", &outer(b"one\n"), &outer(b"two\n"))];
    shown.push(read("time.gz", &gz(b"x", 1_700_000_000), &gz(b"x", 1_700_000_001)));
    shown.push(read("time.tar", &tar(&[("a", b"x", 1_700_000_000)]), &tar(&[("a", b"x", 1_700_000_009)])));
    let (a, b) = (("a", b"x".as_slice(), 1), ("b", b"y".as_slice(), 1));
    shown.push(read("order.tar", &tar(&[a, b]), &tar(&[b, a])));
    // Named by what is in it.
    let by_hash = |digit: &str, text: &[u8]| tar(&[(&format!("{}.json", digit.repeat(64)), text, 1)]);
    shown.push(read("hash.tar", &by_hash("a", b"one\n"), &by_hash("b", b"two\n")));
    insta::assert_snapshot!(shown.join("\n"));
}

/// Compiles `code` with the host's own compiler.
fn cc(dir: &Path, code: &str, flags: &[&str]) -> Vec<u8> {
    fs::write(dir.join("m.c"), code).unwrap();
    let status = Command::new("cc").current_dir(dir).args(flags).args(["m.c", "-o", "m"]).status().unwrap();
    assert!(status.success());
    fs::read(dir.join("m")).unwrap()
}

#[test]
fn sections_symbols_and_build_ids() {
    let dir = tempfile::tempdir().unwrap();
    let code = |text: &str| format!("const char answer[] = \"{text}\"; int main(void) {{ return answer[0]; }}\n");
    let object = |text: &str| cc(dir.path(), &code(text), &["-c"]);
    let shown = read("m.o", &object("at 10:00:01"), &object("at 10:00:02"));
    for part in ["m.o\n  section .rodata at 0x", "in `answer`", "|at 10:00:01", "likely cause: the clock: `10:00:01`"] {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    let program = |id: &str| cc(dir.path(), &code("x"), &["-s", &format!("-Wl,--build-id=0x{id}")]);
    let shown = read("m", &program("0011223344556677"), &program("8899aabbccddeeff"));
    for part in ["section .note.gnu.build-id\n    first   0011223344556677", "likely cause: a build id that each build"]
    {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    // A build id that is made from the content says nothing by itself.
    let program = |text: &str| cc(dir.path(), &code(text), &["-s", "-Wl,--build-id=sha1"]);
    let shown = read("m", &program("in /home/one/work"), &program("in /home/another/longer/work"));
    assert!(shown.contains("likely cause: the build path is in the output"), "{shown}");
    assert!(!shown.contains("a build id that"), "{shown}");
    // A damaged file is compared as bytes.
    let whole = program("x");
    assert!(read("m", &whole, &whole[..100]).contains("bytes"), "a cut program");
}

#[test]
fn members_of_a_library() {
    let ar = |time: &str| {
        let mut bytes = b"!<arch>\n".to_vec();
        bytes.extend(format!("{:16}{time:12}{:6}{:6}{:8}{:10}`\n", "a.txt/", "0", "0", "100644", "2").into_bytes());
        bytes.extend(b"x\n");
        bytes
    };
    insta::assert_snapshot!(read("lib.a", &ar("1700000000"), &ar("1700000005")));
}
