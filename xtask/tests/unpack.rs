//! Archives that mean harm, and archives that do not.

use std::io::{Cursor, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use xtask::run::unpack::{Limits, Options, Refused, Strip, Unpacked, unpack};
use zip::write::SimpleFileOptions;

const MTIME: u64 = 1_600_000_000;

/// A folder with a canary beside the place that is unpacked into.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/canary"), "alive").unwrap();
        Self { dir }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("into")
    }

    fn unpack(&self, name: &str, bytes: &[u8], options: &Options) -> anyhow::Result<Unpacked> {
        let archive = self.dir.path().join(name);
        fs::write(&archive, bytes).unwrap();
        let result = unpack(&archive, &self.folder(), options);
        fs::remove_file(&archive).unwrap();
        self.check_outside(result.is_ok());
        result
    }

    /// Nothing but our own files may be there, the canary as it was.
    fn check_outside(&self, unpacked: bool) {
        assert_eq!(fs::read_to_string(self.dir.path().join("outside/canary")).unwrap(), "alive");
        assert_eq!(names(&self.dir.path().join("outside")), ["canary"]);
        let expected: &[&str] = if unpacked { &["into", "outside"] } else { &["outside"] };
        assert_eq!(names(self.dir.path()), expected);
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn options() -> Options {
    Options { strip: Strip::None, only: None, mtime: MTIME, limits: Limits::default() }
}

/// Writes a tar header field by field: the tar crate refuses to write what these tests need.
fn entry(kind: u8, name: &str, mode: u32, link: &str, content: &[u8]) -> Vec<u8> {
    entry_of_size(kind, name, mode, link, content, content.len() as u64)
}

fn entry_of_size(kind: u8, name: &str, mode: u32, link: &str, content: &[u8], size: u64) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\x000000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    fix_sum(&mut bytes, 0);
    bytes
}

/// Makes the checksum of the header at `at` right.
fn fix_sum(bytes: &mut [u8], at: usize) {
    let header = &mut bytes[at..at + 512];
    if &header[257..262] == b"ustar" {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn file(name: &str) -> Vec<u8> {
    entry(b'0', name, 0o644, "", b"text\n")
}

fn folder(name: &str) -> Vec<u8> {
    entry(b'5', name, 0o755, "", b"")
}

fn symlink(name: &str, target: &str) -> Vec<u8> {
    entry(b'2', name, 0o777, target, b"")
}

fn hard_link(name: &str, to: &str) -> Vec<u8> {
    entry(b'1', name, 0o644, to, b"")
}

fn long_name(name: &str) -> Vec<u8> {
    entry(b'L', "././@LongLink", 0o644, "", name.as_bytes())
}

fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest + 1..).find(|length| length.to_string().len() + rest == *length).unwrap();
    entry(b'x', "pax", 0o644, "", format!("{length} {key}={value}\n").as_bytes())
}

/// The entries with an end mark behind them.
fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Asserts that the archive is refused for the entry, with `why` in the message, and leaves nothing.
#[track_caller]
fn refused_with(bytes: &[u8], options: &Options, entry: Option<&str>, why: &str) {
    let error = Place::new().unpack("bad.tar", bytes, options).expect_err("the archive was unpacked");
    let Some(refused) = error.downcast_ref::<Refused>() else { panic!("not a refusal: {error:?}") };
    assert_eq!(refused.entry.as_deref(), entry, "{error}");
    assert!(error.to_string().starts_with("refused to unpack bad.tar: "), "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[track_caller]
fn refused(entries: &[Vec<u8>], entry: &str, why: &str) {
    refused_with(&tar(entries), &options(), Some(entry), why);
}

#[test]
fn names_that_leave_are_refused() {
    for name in ["../evil", "a/../../evil", "a/..", "..", "./../outside/canary"] {
        refused(&[file(name)], name, "climbs out of the folder");
        refused(&[folder(name)], name, "climbs out of the folder");
    }
    refused(&[file("/etc/evil")], "/etc/evil", "is an absolute path");
    refused(&[file("")], "", "has no name");
    refused(&[file("./")], "./", "claims to hold 5 bytes");
    refused(&[file("a\nb")], "a\\nb", "has a control character in its name");
    refused(&[file("a\x1b[2Jb")], "a\\u{1b}[2Jb", "has a control character");
    let long = "d/".repeat(3000) + "f";
    refused(&[long_name(&long), file("x")], &long, "longer than a path can be");
}

#[test]
fn names_from_extensions_are_checked_too() {
    refused(&[pax("path", "../evil"), file("good")], "../evil", "climbs out of the folder");
    refused(&[pax("path", "/evil"), file("good")], "/evil", "absolute");
    refused(&[long_name("../evil\0"), file("good")], "../evil", "climbs out");
    refused(&[pax("linkpath", "../evil"), symlink("l", "good")], "l", "`../evil`, which leaves the folder");
    refused(&[entry(b'K', "l", 0o644, "", b"/evil\0"), symlink("l", "good")], "l", "`/evil`, which is absolute");
    refused(&[entry(b'g', "g", 0o644, "", b"16 path=../evil\n"), file("f")], "g", "renames or resizes");
    refused(&[entry(b'x', "x", 0o644, "", b"99 path=evil\n"), file("good")], "good", "malformed pax");
}

#[test]
fn symlinks_that_leave_are_refused() {
    for target in ["/etc", "../outside", "..", "../../x", "a/../../..", "./.."] {
        refused(&[symlink("l", target)], "l", "is a symlink to");
    }
    refused(&[symlink("a/b/l", "../../..")], "a/b/l", "leaves the folder");
    refused(&[symlink("l", "")], "l", "is no path");
    // Each leads to a place inside, read off its text; followed one behind the other they leave.
    refused(&[symlink("a/b/l", "../.."), symlink("m", "a/b/l/../../outside")], "m", "climbs behind a name");
}

#[test]
fn nothing_is_written_through_a_symlink() {
    let through = "lies behind the symlink `l`";
    refused(&[folder("d"), symlink("l", "d"), file("l/evil")], "l/evil", through);
    refused(&[symlink("l", "."), file("l/a/b")], "l/a/b", through);
    refused(&[symlink("l", "d"), folder("l/d")], "l/d", through);
    refused(&[symlink("l", "d"), symlink("l/m", "x")], "l/m", through);
    refused(&[symlink("l", "f"), file("l")], "l", "twice: there is a symlink");
    refused(&[symlink("l", "f"), folder("l/")], "l/", "twice: there is a symlink");
    refused(&[file("f"), file("f/g")], "f/g", "lies below `f`, which is a file");
}

#[test]
fn hard_links_reach_only_files_that_are_there() {
    refused(&[hard_link("h", "../outside/canary")], "h", "climbs out of the folder");
    refused(&[hard_link("h", "/etc/passwd")], "h", "is an absolute path");
    refused(&[hard_link("h", "later"), file("later")], "h", "`later`, which is not there");
    refused(&[hard_link("h", "h")], "h", "which is not there");
    refused(&[symlink("l", "f"), hard_link("h", "l")], "h", "hard link to the symlink `l`");
    refused(&[folder("d"), hard_link("h", "d")], "h", "hard link to the folder `d`");
    refused(&[file("f"), symlink("l", "."), hard_link("h", "l/f")], "h", "which is not there");
    refused(&[file("f"), symlink("l", "."), hard_link("l/h", "f")], "l/h", "lies behind the symlink");
    refused(&[file("f"), entry(b'1', "h", 0o644, "f", b"text")], "h", "claims to hold 4 bytes");
}

#[test]
fn special_files_are_refused() {
    refused(&[entry(b'3', "null", 0o666, "", b"")], "null", "is a device");
    refused(&[entry(b'4', "sda", 0o666, "", b"")], "sda", "is a device");
    refused(&[entry(b'6', "pipe", 0o666, "", b"")], "pipe", "is a FIFO");
    refused(&[entry(b'V', "label", 0o666, "", b"")], "label", "is of the unknown type `V`");
    refused(&[entry(b'7', "fast", 0o666, "", b"")], "fast", "is of the unknown type `7`");
    refused(&[pax("GNU.sparse.major", "1"), file("holes")], "holes", "is a sparse file");
}

#[test]
fn duplicates_are_refused() {
    refused(&[file("f"), file("f")], "f", "twice: there is a file");
    refused(&[file("f"), file("./f")], "./f", "twice: there is a file");
    refused(&[file("f"), folder("f/")], "f/", "twice: there is a file");
    refused(&[file("d/f"), file("d")], "d", "twice: there is a folder");
    refused(&[file("d/f"), symlink("d", "e")], "d", "twice: there is a folder");
    let twice = tar(&[folder("./"), folder("d/"), file("d/f"), folder("d"), file("D"), file("d/F")]);
    assert_eq!(Place::new().unpack("a.tar", &twice, &options()).unwrap(), Unpacked { files: 3, bytes: 15 });
}

#[test]
fn bombs_are_refused() {
    let zeros = tar(&[entry(b'0', "zeros", 0o644, "", &vec![0; 1 << 20])]);
    let small = |limits| Options { limits, ..options() };
    let bytes = small(Limits { bytes: 100_000, ..Limits::default() });
    refused_with(&gzip(&zeros), &bytes, None, "unpacks to more than the 100 kB");
    let one = small(Limits { entry_bytes: 100_000, ..Limits::default() });
    refused_with(&zeros, &one, Some("zeros"), "more than the 100 kB that one file may have");
    let entries = small(Limits { entries: 2, ..Limits::default() });
    refused_with(&tar(&[file("a"), file("b"), file("c")]), &entries, None, "has more than 2 entries");
    // 70 MB of zeros: the ratio alone decides.
    let many = tar(&[entry(b'0', "zeros", 0o644, "", &vec![0; 70 << 20])]);
    refused_with(&gzip(&many), &options(), None, "unpacks to more than the 67.1 MB");
    // A name of two megabytes would be in memory before anybody could look at it.
    let name = long_name(&"x".repeat(2 << 20));
    refused_with(&tar(&[name, file("x")]), &options(), None, "has a header of absurd size");
    let lie = [entry_of_size(b'0', "huge", 0o644, "", b"", 0o77_777_777_777)];
    refused_with(&tar(&lie), &options(), Some("huge"), "that one file may have");
}

#[test]
fn truncated_archives_are_refused() {
    let whole = tar(&[file("a"), file("b")]);
    for length in (1..2048).step_by(100).chain([512, 1024, 1536, 2048]) {
        for bytes in [whole[..length].to_vec(), gzip(&whole[..length])] {
            let error = Place::new().unpack("bad.tar", &bytes, &options()).expect_err("half an archive was unpacked");
            assert!(error.is::<Refused>(), "{length}: {error:?}");
        }
    }
    for packed in [gzip(&whole), bzip2(&whole), xz(&whole), zstd(&whole)] {
        for length in 0..packed.len() {
            let result = Place::new().unpack("bad.tar", &packed[..length], &options());
            assert!(result.is_err(), "{length} of {} bytes were enough: {:x?}", packed.len(), &packed[..4]);
        }
    }
}

#[test]
fn what_follows_the_end_must_be_padding() {
    let mut padded = tar(&[file("a")]);
    padded.resize(10240, 0);
    assert!(Place::new().unpack("a.tar", &padded, &options()).is_ok());
    padded.push(b'x');
    refused_with(&padded, &options(), None, "has something behind its end");
    let mut behind = gzip(&tar(&[file("a")]));
    behind.extend_from_slice(b"garbage");
    refused_with(&behind, &options(), None, "is truncated or damaged");
    let mut flipped = xz(&tar(&[entry(b'0', "a", 0o644, "", &[7; 4000])]));
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert!(Place::new().unpack("bad.tar", &flipped, &options()).is_err());
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in [b"".as_slice(), b"<html>", &[0; 4096], b"PK\x05\x06"] {
        refused_with(bytes, &options(), None, "is not a tar");
    }
    refused_with(&gzip(b"no tar"), &options(), None, "is truncated or damaged");
    refused_with(&gzip(&tar(&[])), &options(), None, "has nothing in it");
}

// Debian packages.

/// One member of an ar archive, its size as `size` says it.
fn member(name: &str, content: &[u8], size: &str) -> Vec<u8> {
    let mut bytes = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes();
    bytes.extend_from_slice(content);
    if bytes.len() % 2 == 1 {
        bytes.push(b'\n');
    }
    bytes
}

fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
    let members = members.iter().map(|(name, content)| member(name, content, &content.len().to_string()));
    std::iter::once(b"!<arch>\n".to_vec()).chain(members).collect::<Vec<_>>().concat()
}

/// What dpkg-deb makes of these files.
fn package(name: &str, data: &[u8]) -> Vec<u8> {
    deb(&[("debian-binary", b"2.0\n"), ("control.tar.xz", &xz(&tar(&[file("./control")]))), (name, data)])
}

#[test]
fn a_packages_files_are_taken() {
    let whole = tar(&[
        folder("./"),
        folder("./usr/"),
        file("./usr/share/gocode/src/example.org/a/a.go"),
        symlink("./usr/share/gocode/src/example.org/b", "a"),
        // What leads to the rest of the system is left out.
        symlink("./usr/share/gocode/src/example.org/a/elsewhere", "/some/inexistent/link"),
        symlink("./usr/share/gocode/src/doc", "../../doc/a"),
        symlink("./usr/share/doc/a", "/etc"),
    ]);
    let packed: [(&str, Vec<u8>); 5] = [
        ("data.tar.xz", xz(&whole)),
        ("data.tar.zst", zstd(&whole)),
        ("data.tar.gz", gzip(&whole)),
        ("data.tar", whole.clone()),
        // As ar writes names, and compressed otherwise than it says.
        ("data.tar.xz/", bzip2(&whole)),
    ];
    for (name, data) in packed {
        let place = Place::new();
        let only = Some("usr/share/gocode/src".parse().unwrap());
        let options = Options { only, ..options() };
        let unpacked = place.unpack("wrong-name.tar", &package(name, &data), &options).unwrap();
        assert_eq!(unpacked, Unpacked { files: 1, bytes: 5 });
        assert_eq!(fs::read(place.folder().join("example.org/b/a.go")).unwrap(), b"text\n");
        assert_eq!(names(&place.folder()), ["example.org"]);
        assert_eq!(names(&place.folder().join("example.org/a")), ["a.go"]);
        check_times(&place.folder());
    }
    let entry = "./usr/share/gocode/src/example.org/a/elsewhere";
    refused_with(&package("data.tar", &whole), &options(), Some(entry), "link`, which is absolute");
    // A package that only stands for another one.
    let place = Place::new();
    let elsewhere = Options { only: Some("usr/lib".parse().unwrap()), ..options() };
    assert_eq!(place.unpack("a.deb", &package("data.tar", &whole), &elsewhere).unwrap(), Unpacked::default());
    assert_eq!(names(&place.folder()), Vec::<String>::new());
}

#[test]
fn a_packages_files_keep_to_the_same_rules() {
    let hostile = |entries: &[Vec<u8>]| package("data.tar.gz", &gzip(&tar(entries)));
    refused_with(&hostile(&[file("./../evil")]), &options(), Some("./../evil"), "climbs out of the folder");
    refused_with(&hostile(&[file("./a"), file("a")]), &options(), Some("a"), "twice: there is a file");
    refused_with(&hostile(&[]), &options(), None, "has nothing in it");
    let part = Options { only: Some("d".parse().unwrap()), ..options() };
    let link = || symlink("./d/l", "/etc");
    refused_with(&hostile(&[link(), file("./d/l/evil")]), &part, Some("./d/l/evil"), "lies behind the symlink `l`");
    refused_with(&hostile(&[link(), file("./d/l")]), &part, Some("./d/l"), "twice: there is a symlink");
    refused_with(&hostile(&[link(), hard_link("./d/h", "d/l")]), &part, Some("./d/h"), "to the symlink `l`");
    let zeros = hostile(&[entry(b'0', "zeros", 0o644, "", &vec![0; 1 << 20])]);
    let limits = Limits { bytes: 100_000, ..Limits::default() };
    refused_with(&zeros, &Options { limits, ..options() }, None, "unpacks to more than the 100 kB");
}

#[test]
fn packages_of_the_wrong_members_are_refused() {
    let (version, control, data) = (b"2.0\n".as_slice(), gzip(&tar(&[file("control")])), gzip(&tar(&[file("a")])));
    let head = [("debian-binary", version), ("control.tar.gz", &control)];
    let with = |more: &[(&str, &[u8])]| deb(&[&head, more].concat());
    let refused = |bytes: &[u8], why| refused_with(bytes, &options(), None, why);
    assert!(Place::new().unpack("a.deb", &with(&[("_extra", b"x"), ("data.tar.gz", &data)]), &options()).is_ok());
    refused(&with(&[]), "a Debian package without its data");
    refused(b"!<arch>\n", "a Debian package without its data");
    refused(&with(&[("data.tar.gz", &data), ("data.tar.xz", &data)]), "has two data members");
    refused(&deb(&[("data.tar.gz", &data)]), "is an ar archive, but not a Debian package");
    refused(&deb(&[("debian-binary", b"3.0\n"), ("data.tar.gz", &data)]), "of the unknown format `3.0`");
    for name in ["../data.tar.gz", "data.tar.gz\0", "data.tar.lzma", "data", "#1/11", "//", "/0", "", "debian-binary"] {
        refused(&with(&[(name, &data)]), "which is not a package's");
    }
    refused(&with(&[("data.tar.gz", &data), ("evil", b"x")]), "has a member `evil`, which is not a package's");
    for wrong in [b"no tar at all".to_vec(), with(&[("data.tar.gz", &data)]), b"PK\x03\x04".to_vec(), Vec::new()] {
        refused(&with(&[("data.tar.gz", &wrong)]), "has a data member that is not a tar");
    }
    let many = vec![("_x", b"".as_slice()); 20];
    refused(&with(&many), "has more than 16 members");
}

#[test]
fn packages_that_lie_about_their_sizes_are_refused() {
    let data = gzip(&tar(&[file("a")]));
    let whole = package("data.tar.gz", &data);
    for length in 8..whole.len() - 1 {
        let result = Place::new().unpack("bad.tar", &whole[..length], &options());
        assert!(result.is_err_and(|error| error.is::<Refused>()), "{length} of {} bytes were enough", whole.len());
    }
    let start = deb(&[("debian-binary", b"2.0\n")]);
    let sized = |size: &str| [start.clone(), member("data.tar.gz", &data, size)].concat();
    let there = data.len().next_multiple_of(2) as u64;
    let refused = |bytes: &[u8], why: &str| refused_with(bytes, &options(), None, why);
    refused(&sized("9999999999"), &format!("{} bytes of `data.tar.gz` are missing", 9_999_999_999 - there));
    refused(&sized("1"), "no member of an ar archive at byte 134");
    for size in ["", "-1", "0x10", "1 1"] {
        refused(&sized(size), "no member of an ar archive at byte 72");
    }
}

#[test]
fn every_format_round_trips() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let whole = tar(&[
        entry(b'g', "pax_global_header", 0o644, "", b"15 comment=abc\n"),
        folder("top/"),
        entry(b'0', "top/run", 0o4711, "", b"#!/bin/sh\n"),
        entry(b'0', "top/caf\u{e9}", 0o600, "", b""),
        entry(b'\0', "top/old/", 0o700, "", b""),
        symlink("top/a/l", "../run"),
        hard_link("top/again", "top/run"),
        long_name(&format!("top/{long}\0")),
        file("cut"),
        pax("path", "top/from-pax"),
        file("cut"),
    ]);
    let half = whole.len() / 2;
    let multi = |pack: fn(&[u8]) -> Vec<u8>| [pack(&whole[..half]), pack(&whole[half..])].concat();
    let skipped = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let frames = [&skipped[..], &multi(zstd), &skipped].concat();
    for bytes in [whole.clone(), multi(gzip), multi(bzip2), multi(xz), frames] {
        let place = Place::new();
        let options = Options { strip: Strip::TopFolder, ..options() };
        let unpacked = place.unpack("wrong-name.zip", &bytes, &options).unwrap();
        assert_eq!(unpacked, Unpacked { files: 5, bytes: 20 });
        let into = place.folder();
        assert_eq!(fs::read(into.join("run")).unwrap(), b"#!/bin/sh\n");
        assert_eq!(fs::read(into.join(&long)).unwrap(), b"text\n");
        assert_eq!(fs::read_link(into.join("a/l")).unwrap(), Path::new("../run"));
        let inode = |name| fs::metadata(into.join(name)).unwrap().ino();
        assert_eq!(inode("again"), inode("run"));
        for (name, mode) in [("run", 0o755), ("caf\u{e9}", 0o644), ("old", 0o755), ("from-pax", 0o644), ("a", 0o755)] {
            assert_eq!(fs::metadata(into.join(name)).unwrap().permissions().mode() & 0o7777, mode, "{name}");
        }
        check_times(&into);
    }
}

/// Everything has the one time, to the nanosecond.
fn check_times(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (MTIME as i64, 0), "{}", path.display());
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| check_times(&entry.unwrap().path()));
    }
}

#[test]
fn a_top_folder_is_the_only_one() {
    let strip = Options { strip: Strip::TopFolder, ..options() };
    let not_top = |entries: &[Vec<u8>], entry, why| refused_with(&tar(entries), &strip, Some(entry), why);
    not_top(&[file("a/x"), file("b/x")], "b/x", "lies outside the archive's top folder `a`");
    not_top(&[file("README")], "README", "is not a folder");
    not_top(&[symlink("a", "b")], "a", "is not a folder");
    not_top(&[symlink("a/l", "../a/x")], "a/l", "leaves the folder");
    not_top(&[file("a/x"), hard_link("a/h", "b/x")], "a/h", "lies outside the archive's top folder");
    let place = Place::new();
    place.unpack("a.tar", &tar(&[folder("./"), folder("./a/"), file("./a/x")]), &strip).unwrap();
    assert_eq!(names(&place.folder()), ["x"]);
}

#[test]
fn one_folder_can_be_taken() {
    let only = |name: &str| Options { only: Some(name.parse().unwrap()), ..options() };
    let bytes = tar(&[file("other"), folder("a"), folder("a/b"), file("a/b/x"), file("a/bc"), symlink("a/b/l", "x")]);
    let place = Place::new();
    assert_eq!(place.unpack("a.tar", &bytes, &only("a/b")).unwrap(), Unpacked { files: 1, bytes: 5 });
    assert_eq!(names(&place.folder()), ["l", "x"]);
    refused_with(&bytes, &only("missing"), None, "has nothing in a folder `missing`");
    refused_with(&bytes, &only("other"), Some("other"), "is not a folder");
    refused_with(&tar(&[file("x"), hard_link("a/h", "x")]), &only("a"), Some("a/h"), "not unpacked");
    refused_with(&tar(&[file("a/x"), file("../y")]), &only("a"), Some("../y"), "climbs out");
}

#[test]
fn the_folder_must_be_empty() {
    let place = Place::new();
    let archive = place.dir.path().join("a.tar");
    fs::write(&archive, tar(&[file("a")])).unwrap();
    let outside = place.dir.path().join("outside");
    assert!(unpack(&archive, &outside, &options()).unwrap_err().to_string().contains("it is not empty"));
    assert!(unpack(&archive, &archive, &options()).unwrap_err().to_string().contains("it is not a folder"));
    let link = place.dir.path().join("link");
    fs::os::unix::fs::symlink("elsewhere", &link).unwrap();
    assert!(unpack(&archive, &link, &options()).unwrap_err().to_string().contains("it is not a folder"));
    assert_eq!(names(&outside), ["canary"]);
    // An empty folder that was there stays there, whatever happens.
    fs::create_dir(place.folder()).unwrap();
    fs::write(&archive, tar(&[file("a"), file("../b")])).unwrap();
    assert!(unpack(&archive, &place.folder(), &options()).is_err());
    assert!(names(&place.folder()).is_empty());
}

fn zip(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, content) in entries {
        let options = SimpleFileOptions::default().unix_permissions(*mode);
        if mode & 0o170_000 == 0o120_000 {
            writer.add_symlink(*name, std::str::from_utf8(content).unwrap(), options).unwrap();
        } else if name.ends_with('/') {
            writer.add_directory(*name, options).unwrap();
        } else {
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

/// Overwrites every occurrence: names and sizes stand in a zip twice.
#[track_caller]
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let windows = bytes.windows(from.len()).enumerate();
    let places: Vec<usize> = windows.filter(|(_, window)| *window == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "nothing to replace");
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    bytes
}

#[test]
fn zips_round_trip() {
    let bytes = zip(&[
        ("pkg/", 0o755, b""),
        ("pkg/tool", 0o755, &[b'x'; 5000]),
        ("pkg/data", 0o600, b"data"),
        ("pkg/lib/l", 0o120_777, b"../data"),
        ("pkg-1.dist-info/RECORD", 0o644, b""),
    ]);
    let place = Place::new();
    let options = Options { only: Some("pkg".parse().unwrap()), ..options() };
    assert_eq!(place.unpack("a.whl", &bytes, &options).unwrap(), Unpacked { files: 2, bytes: 5004 });
    let mode = |name| fs::metadata(place.folder().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("tool"), mode("data"), mode("lib")], [0o755, 0o644, 0o755]);
    assert_eq!(fs::read(place.folder().join("lib/l")).unwrap(), b"data");
    check_times(&place.folder());
}

#[test]
fn hostile_zips_are_refused() {
    let one = |name: &str| zip(&[(name, 0o644, b"text")]);
    let bad = |bytes: &[u8], entry, why| refused_with(bytes, &options(), entry, why);
    bad(&replaced(one("aa/evil"), b"aa/evil", b"../evil"), Some("../evil"), "climbs out of the folder");
    bad(&replaced(one("aa/evil"), b"aa/evil", b"/a/evil"), Some("/a/evil"), "absolute path");
    bad(&replaced(one("aa/evil"), b"aa/evil", b"aa\\evil"), Some("aa\\evil"), "has a backslash");
    bad(&replaced(one("aa/evil"), b"aa/evil", b"aa\0evil"), Some("aa\\u{0}evil"), "has a control character");
    bad(&zip(&[("l", 0o120_777, b"../outside")]), Some("l"), "leaves the folder");
    bad(&zip(&[("l", 0o120_777, b"d"), ("l/f", 0o644, b"x")]), Some("l/f"), "lies behind the symlink");
    bad(&zip(&[("a", 0o644, b"x"), ("a/", 0o755, b"")]), Some("a/"), "twice");
    bad(&replaced(zip(&[("aa", 0o644, b"x"), ("ab", 0o644, b"x")]), b"ab", b"aa"), None, "duplicate");
    let mode = |mode: u32| replaced(one("f"), &0o100_644_u32.to_le_bytes()[..2], &mode.to_le_bytes()[..2]);
    bad(&mode(0o010_644), Some("f"), "mode 010000");
    bad(&mode(0o020_644), Some("f"), "mode 020000");
}

#[test]
fn zip_bombs_are_refused() {
    let bytes = zip(&[("zeros", 0o644, &vec![0; 1 << 20])]);
    let small = |limits| Options { limits, ..options() };
    let total = small(Limits { bytes: 100_000, ..Limits::default() });
    refused_with(&bytes, &total, None, "unpacks to more than the 100 kB");
    let one = small(Limits { entry_bytes: 100_000, ..Limits::default() });
    refused_with(&bytes, &one, Some("zeros"), "that one file may have");
    let entries = small(Limits { entries: 0, ..Limits::default() });
    refused_with(&bytes, &entries, None, "has more than 0 entries");
    // It says that it is small.
    let liar = replaced(bytes, &(1_u32 << 20).to_le_bytes(), &1000_u32.to_le_bytes());
    refused_with(&liar, &options(), Some("zeros"), "");
}

#[test]
fn damaged_zips_are_refused() {
    let whole = zip(&[("a", 0o644, b"text"), ("b", 0o644, b"text")]);
    for length in 0..whole.len() {
        assert!(Place::new().unpack("bad.zip", &whole[..length], &options()).is_err(), "{length} bytes were enough");
    }
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("a", stored).unwrap();
    writer.write_all(b"text").unwrap();
    let damaged = replaced(writer.finish().unwrap().into_inner(), b"text", b"tExt");
    refused_with(&damaged, &options(), Some("a"), "is truncated or damaged");
}

/// Flips bytes of good archives, always the same ones: whatever they turn into, nothing outside is touched.
#[test]
fn mutated_archives_do_no_harm() {
    let mut random: u64 = 1;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let whole = tar(&[
        folder("d"),
        file("d/f"),
        symlink("d/l", "../d/f"),
        hard_link("h", "d/f"),
        pax("path", "d/p"),
        file("cut"),
        long_name("d/long\0"),
        file("cut"),
    ]);
    let archives = [whole.clone(), gzip(&whole), zip(&[("d/f", 0o755, b"text"), ("l", 0o120_777, b"d/f")])];
    let place = Place::new();
    for round in 0..1500 {
        let kind = round % archives.len();
        let mut bytes = archives[kind].clone();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            bytes[at] = [b'/', b'.', 0, b'2', next(256) as u8][next(5)];
            if kind == 0 {
                // More than the checksum is to be tested.
                fix_sum(&mut bytes, at / 512 * 512);
            }
        }
        let _ = place.unpack("a", &bytes, &options());
        xtask::run::store::remove_tree(&place.folder()).unwrap();
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}
