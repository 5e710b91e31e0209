//! Debian's packages from an archive of a few, made here and asked through the machine's own apt: locks,
//! their files, and source packages put together. Needs apt, no network.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;
use support::{Ran, Space};
use xtask::data::lock::Lock;
use xtask::data::source::Pinned;
use xtask::data::text::Text;
use xtask::data::types::Sha256;
use xtask::error::{exit_code, render};
use xtask::run::debian_source::{apply_series, assemble};
use xtask::run::fetch::{Fetcher, Unavailable, mirror};
use xtask::run::store::Store;
use xtask::run::unpack::{Limits, Options, Strip, unpack};
use xtask::ui::Ui;

const MTIME: u64 = 1_600_000_000;
/// What `update` is told.
const RECIPE: &str = "tool";
const PATH: &str = "locks/bookworm/tool.toml";

// Small packages, byte by byte.

/// A tar.gz of these files; a name that ends in a slash is a folder, `name -> target` a symlink.
fn tarball(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none()));
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(if content.starts_with("#!") { 0o755 } else { 0o644 });
        header.set_mtime(1);
        if let Some((name, target)) = name.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, target).unwrap();
            continue;
        }
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// A Debian package that holds these files.
fn deb(files: &[(&str, &str)]) -> Vec<u8> {
    let members =
        [("debian-binary", b"2.0\n".to_vec()), ("control.tar.gz", tarball(&[])), ("data.tar.gz", tarball(files))];
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

// An archive of them.

/// One suite in a folder that apt takes for a mirror of Debian's archive.
struct Archive {
    dir: PathBuf,
    binaries: BTreeMap<String, String>,
    sources: BTreeMap<String, String>,
}

impl Archive {
    /// An archive that has what `tool` is built with: a library that needs another, which is built with the
    /// tool's own; one that is only recommended; and what is no library.
    fn new(dir: &Path) -> Self {
        let mut archive = Self { dir: dir.to_owned(), binaries: BTreeMap::new(), sources: BTreeMap::new() };
        archive.binary("build-essential", "12.9", "", &[]);
        archive.binary("golang-1.19-go", "1.19.8-2", "", &[]);
        let a = "./usr/share/gocode/src/example.org/a/a.go";
        archive.library("golang-a-dev", "1.0-1", "Depends: golang-b-dev (>= 1:2)\nRecommends: golang-c-dev\n", a);
        let b = "./usr/share/gocode/src/example.org/b/b.go";
        archive.library("golang-b-dev", "1:2.0+ds-1", "Source: b-source (1:2.0+ds-0)\nDepends: golang-tool-dev\n", b);
        archive.library("golang-c-dev", "3.0-1", "", "./usr/share/gocode/src/example.org/c/c.go");
        archive.library("golang-tool-dev", "1.0-1", "Source: tool\n", "./usr/share/gocode/src/example.org/tool/t.go");
        archive.source("1.0-1", "3.0 (quilt)");
        archive.publish();
        archive
    }

    fn library(&mut self, name: &str, version: &str, fields: &str, path: &str) {
        self.binary(name, version, fields, &[("./", ""), (path, &format!("package {version}\n"))]);
    }

    fn binary(&mut self, name: &str, version: &str, fields: &str, files: &[(&str, &str)]) {
        let (_, plain) = version.split_once(':').unwrap_or(("", version));
        let path = format!("pool/main/{name}_{plain}_all.deb");
        let (size, sha256) = self.put(&path, &deb(files));
        let stanza = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n\
             {fields}Filename: {path}\nSize: {size}\nSHA256: {sha256}\n"
        );
        self.binaries.insert(name.to_owned(), stanza);
    }

    fn source(&mut self, version: &str, format: &str) {
        let (upstream, _) = version.rsplit_once('-').unwrap();
        let files = source_package(version).into_iter().map(|(kind, bytes)| match kind {
            "debian" => (format!("tool_{version}.debian.tar.gz"), bytes),
            kind => (format!("tool_{upstream}.{kind}.tar.gz"), bytes),
        });
        let dsc = (format!("tool_{version}.dsc"), format!("Version: {version}\n").into_bytes());
        let signature = (format!("tool_{upstream}.orig.tar.gz.asc"), b"signed\n".to_vec());
        let mut list = String::new();
        for (name, bytes) in files.chain([dsc, signature]) {
            let (size, sha256) = self.put(&format!("pool/main/{name}"), &bytes);
            list.push_str(&format!(" {sha256} {size} {name}\n"));
        }
        let stanza = format!(
            "Package: tool\nBinary: tool, golang-tool-dev\nVersion: {version}\nMaintainer: A <a@example.org>\n\
             Build-Depends: golang-a-dev, golang-1.19-go\nArchitecture: any all\nFormat: {format}\n\
             Checksums-Sha256:\n{list}Directory: pool/main\n"
        );
        self.sources.insert("tool".to_owned(), stanza);
    }

    fn put(&self, path: &str, bytes: &[u8]) -> (usize, Sha256) {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        (bytes.len(), Sha256::of(bytes))
    }

    /// Writes the lists.
    fn publish(&self) {
        let mut release = "Suite: bookworm\nCodename: bookworm\nDate: Sat, 01 Jan 2022 00:00:00 UTC\n\
                           Architectures: amd64 all\nComponents: main\nSHA256:\n"
            .to_owned();
        for (list, stanzas) in [("binary-amd64/Packages", &self.binaries), ("source/Sources", &self.sources)] {
            let text = stanzas.values().cloned().collect::<Vec<_>>().join("\n");
            let (size, sha256) = self.put(&format!("dists/bookworm/main/{list}"), text.as_bytes());
            release.push_str(&format!(" {sha256} {size} main/{list}\n"));
        }
        self.put("dists/bookworm/Release", release.as_bytes());
    }

    fn uri(&self) -> String {
        format!("file:{}", self.dir.display())
    }
}

/// What `tool` is made of, by kind.
fn source_package(version: &str) -> Vec<(&'static str, Vec<u8>)> {
    let upstream = tarball(&[
        ("tool-1.0/", ""),
        ("tool-1.0/main.go", "one\ntwo\nthree\n"),
        ("tool-1.0/build", "#!/bin/sh\n"),
        ("tool-1.0/cli/old", "goes away\n"),
        ("tool-1.0/debian/rules", "upstream's own, which goes away\n"),
        ("tool-1.0/.pc -> ..tool", ""),
    ]);
    let component = tarball(&[("cli-other-name/", ""), ("cli-other-name/cli.go", "cli\n")]);
    let patch = "Subject: louder\n\n--- a/main.go\n+++ b/main.go\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n";
    let more = "Index: tool/main.go\n===================================================================\n\
                --- tool.orig/main.go\n+++ tool/main.go\n@@ -2,2 +2,3 @@\n TWO\n three\n+four\n";
    let debian = tarball(&[
        ("debian/changelog", version),
        ("debian/license -> ../build", ""),
        ("debian/patches/series", "# why\nlouder.patch\n\n  sub/more.patch -p1 # more\n"),
        ("debian/patches/louder.patch", patch),
        ("debian/patches/sub/more.patch", more),
    ]);
    vec![("orig", upstream), ("orig-cli", component), ("debian", debian)]
}

// A store and an archive for each test.

struct Bench {
    dir: tempfile::TempDir,
    archive: Archive,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::new(&dir.path().join("archive"));
        Self { dir, archive }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fetcher(&self) -> Fetcher {
        self.with(&[], false)
    }

    fn with(&self, mirrors: &[&Path], offline: bool) -> Fetcher {
        let mirrors = mirrors.iter().map(|mirror| mirror.display().to_string()).collect();
        let store = Store::open(&self.path("store")).unwrap();
        let fetcher = Fetcher::new(store, mirrors, offline, Ui::silent()).unwrap();
        fetcher.with_clients(Path::new("/usr/bin"), Some(self.archive.uri())).trusting_unsigned_lists()
    }

    fn resolve(&self) -> Lock {
        self.fetcher().resolve(&"bookworm".parse().unwrap(), &"tool".parse().unwrap()).unwrap()
    }

    fn clear_store(&self) {
        fs::remove_dir_all(self.path("store/sources")).unwrap();
    }

    /// The text with this test's folder as `DIR`, for goldens.
    fn shown(&self, text: &str) -> String {
        text.replace(&*self.dir.path().to_string_lossy(), "DIR")
    }
}

fn all_files(lock: &Lock) -> Vec<Pinned> {
    [lock.source_files(), lock.library_files()].concat()
}

fn names(files: &[Pinned]) -> Vec<&str> {
    files.iter().map(|pinned| pinned.file.as_str()).collect()
}

#[track_caller]
fn assert_right(files: &[Pinned], paths: &[PathBuf]) {
    assert_eq!(files.len(), paths.len());
    for (pinned, path) in files.iter().zip(paths) {
        assert_eq!(Sha256::of(fs::read(path).unwrap()), pinned.sha256, "{}", pinned.file);
        assert!(path.ends_with(&pinned.file) && !path.is_symlink(), "{}", path.display());
    }
}

#[test]
fn a_lock_holds_the_newest_source_and_its_libraries() {
    let bench = Bench::new();
    let lock = bench.resolve();
    assert_eq!(lock.version.as_str(), "1.0-1");
    let source = ["tool_1.0-1.debian.tar.gz", "tool_1.0.orig-cli.tar.gz", "tool_1.0.orig.tar.gz"];
    assert_eq!(names(&lock.source_files()), source);
    assert_eq!(names(&lock.library_files()), ["golang-a-dev_1.0-1_all.deb", "golang-b-dev_2.0+ds-1_all.deb"]);
    assert_eq!(lock.library[1].version.as_str(), "1:2.0+ds-1");
    assert_eq!(bench.resolve(), lock);
}

#[test]
fn a_lock_is_rendered_as_it_is_read() {
    let text = "\
# A Debian source package and the Go libraries it is built with, each file pinned.
# Written by `cargo xtask update RECIPE`, which takes what the archive has now; not by hand.
suite   = \"bookworm\"
package = \"tool\"
version = \"1.0-1\"

[[source]]
file   = \"tool_1.0.orig.tar.gz\"
size   = 7
sha256 = \"c109c96bb04998cd44156622d36f8e04b140701ec60531a10668cfdff5e8d8f0\"

[[library]]
package = \"golang-b-dev\"
version = \"1:2.0+ds-1\"
file    = \"golang-b-dev_2.0+ds-1_all.deb\"
size    = 1234567
sha256  = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"
";
    let parse = |text: &str| Lock::parse(&Text::new(PATH, text));
    let lock = parse(text).unwrap();
    assert_eq!(lock.render(), text);
    assert_eq!(parse(&lock.render()).unwrap(), lock);
    for name in ["../x", "/etc/passwd", "a/b", "", ".", "..", ".hidden", "a\\\\b", "a\\u0000b"] {
        let error = parse(&text.replace("tool_1.0.orig.tar.gz", name)).unwrap_err();
        assert_eq!(exit_code(&error), 4);
        assert!(error.to_string().contains("is not the name of a file"), "{name}: {error}");
    }
}

#[test]
fn the_locks_of_this_repository_are_as_they_were_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("locks/bookworm");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let lock = Lock::parse(&Text::new(path.display().to_string(), text.clone())).unwrap();
        assert_eq!(lock.render(), text, "{}", path.display());
        assert!(path.ends_with(Lock::path(&lock.suite, &lock.package)));
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn all_files_of_a_lock_are_fetched_once() {
    let bench = Bench::new();
    let files = all_files(&bench.resolve());
    let paths = bench.fetcher().all_of("tool", &files).unwrap();
    assert_right(&files, &paths);
    let left = fs::read_dir(bench.path("store/tmp")).unwrap().count();
    assert_eq!(left, 0, "something was left behind");
    assert!(bench.archive.dir.join("pool/main/tool_1.0.orig.tar.gz").is_file(), "the archive is only read");
    // Nobody is asked for what is there; the same file twice is one file.
    fs::rename(&bench.archive.dir, bench.path("gone")).unwrap();
    assert_eq!(bench.fetcher().all_of("tool", &files).unwrap(), paths);
    assert_eq!(bench.with(&[], true).all_of("tool", &files).unwrap(), paths);
    let twice = [files[0].clone(), files[0].clone()];
    fs::remove_file(&paths[0]).unwrap();
    fs::rename(bench.path("gone"), &bench.archive.dir).unwrap();
    assert_right(&twice, &bench.fetcher().all_of("tool", &twice).unwrap());
}

#[test]
fn one_library_is_a_file_like_any_other() {
    let bench = Bench::new();
    let files = bench.resolve().library_files();
    let path = bench.fetcher().file(&files[1]).unwrap();
    assert_right(&files[1..], &[path]);
}

#[test]
fn lists_of_an_older_slipway_are_updated() {
    let bench = Bench::new();
    let files = all_files(&bench.resolve());
    // As it was when only sources were listed.
    let dir = bench.path("store/apt/bookworm");
    fs::write(dir.join("updated"), bench.archive.uri()).unwrap();
    for entry in fs::read_dir(dir.join("lists")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("_Packages") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_right(&files, &bench.fetcher().all_of("tool", &files).unwrap());
}

#[test]
fn mirrors_serve_libraries_too() {
    let bench = Bench::new();
    let files = all_files(&bench.resolve());
    let paths = bench.fetcher().all_of("tool", &files).unwrap();
    let written = bench.path("mirror");
    mirror::write(&written, &files.iter().cloned().zip(paths).collect::<Vec<_>>(), &[]).unwrap();
    bench.clear_store();
    assert_right(&files, &bench.with(&[&written], true).all_of("tool", &files).unwrap());
    // Debian's own pool will do, since names decide where to look and hashes what is believed.
    bench.clear_store();
    let pool = bench.archive.dir.join("pool/main");
    assert_right(&files, &bench.with(&[&pool], true).all_of("tool", &files).unwrap());
    // What a mirror lacks, the archive has.
    bench.clear_store();
    fs::remove_dir_all(written.join("sha256").join(files[4].sha256.as_str())).unwrap();
    assert_right(&files, &bench.with(&[&written], false).all_of("tool", &files).unwrap());
}

#[test]
fn what_the_archive_has_replaced_is_told_for_each_file() {
    let mut bench = Bench::new();
    let files = all_files(&bench.resolve());
    bench.archive.library("golang-a-dev", "1.0-2", "", "./usr/share/gocode/src/example.org/a/a.go");
    bench.archive.binaries.remove("golang-b-dev");
    bench.archive.source("1.0-2", "3.0 (quilt)");
    bench.archive.publish();
    let fetcher = bench.fetcher();
    let error = fetcher.all_of("tool", &files).unwrap_err();
    assert_eq!(exit_code(&error), 5);
    assert!(error.chain().any(|link| link.is::<Unavailable>()));
    insta::assert_snapshot!(render(&error));
    // The upstream tarballs are the same in both revisions: they came, and stay.
    assert_right(&files[1..3], &bench.with(&[], true).all_of("tool", &files[1..3]).unwrap());
    let error = bench.with(&[], true).all_of("tool", &files).unwrap_err();
    insta::assert_snapshot!("offline", render(&error));
}

#[test]
fn what_the_archive_lists_and_does_not_have_is_told_for_each_file() {
    let bench = Bench::new();
    let files = all_files(&bench.resolve());
    let pool = bench.archive.dir.join("pool/main");
    fs::remove_file(pool.join("golang-a-dev_1.0-1_all.deb")).unwrap();
    fs::write(pool.join("golang-b-dev_2.0+ds-1_all.deb"), "damaged").unwrap();
    let error = bench.fetcher().all_of("tool", &files).unwrap_err();
    let text = render(&error);
    assert!(text.contains("2 of 5 files of tool could not be had"), "{text}");
    assert!(text.contains("golang-a-dev_1.0-1_all.deb") && text.contains("apt could not fetch file:"), "{text}");
    assert!(!text.contains("cargo xtask update"), "{text}");
    assert_right(&files[..3], &bench.with(&[], true).all_of("tool", &files[..3]).unwrap());
}

#[test]
fn what_cannot_be_resolved_is_said() {
    let mut bench = Bench::new();
    let resolve = |bench: &Bench, package: &str| {
        let error = bench.fetcher().resolve(&"bookworm".parse().unwrap(), &package.parse().unwrap()).unwrap_err();
        bench.shown(&format!("{} {}", exit_code(&error), render(&error)))
    };
    let mut answers = vec![resolve(&bench, "no-such-tool")];
    bench.archive.source("1.0-1", "1.0");
    bench.archive.publish();
    answers.push(resolve(&bench, "tool"));
    let offline = bench.with(&[], true).resolve(&"bookworm".parse().unwrap(), &"tool".parse().unwrap()).unwrap_err();
    answers.push(format!("{} {}", exit_code(&offline), render(&offline)));
    insta::assert_snapshot!(answers.join("\n"));
    // How apt words it depends on its version.
    bench.archive.source("1.0-1", "3.0 (quilt)");
    bench.archive.binaries.remove("golang-b-dev");
    bench.archive.publish();
    let told = resolve(&bench, "tool");
    assert!(told.starts_with("5 error: resolve tool in bookworm\n"), "{told}");
    assert!(told.contains("apt finds no way to install what tool 1.0-1 is built with:\n"), "{told}");
    assert!(told.contains("golang-b-dev"), "{told}");
}

// The command.

struct Update {
    space: Space,
    archive: Archive,
}

impl Update {
    fn new() -> Self {
        let space = Space::hello();
        let recipe = space.read("recipes/hello.toml");
        let source = "[release.\"1.0\".debian]\nsuite = \"bookworm\"\npackage = \"tool\"";
        let recipe = recipe.replace("[release.\"1.0\".tree]\npath = \"src/hello\"", source);
        space.write("recipes/tool.toml", &recipe);
        let archive = Archive::new(&space.cache().parent().unwrap().join("archive"));
        Self { space, archive }
    }

    /// Runs `cargo xtask update`; times are left out of what it printed.
    fn run(&self, args: &[&str]) -> String {
        let mut command = self.space.xtask(&[&["update", RECIPE], args].concat());
        let output = command.env("SLIPWAY_DEBIAN_MIRROR", self.archive.uri()).output().unwrap();
        let ran = Ran::of(output, self.space.cache().parent().unwrap());
        let untimed = |line: &str| {
            line.rsplit_once("  ").filter(|_| line.ends_with('s')).map_or(line, |(line, _)| line).to_owned()
        };
        let stderr: Vec<String> = ran.stderr.lines().map(untimed).collect();
        format!("{} {}{}\n", ran.status, ran.stdout, stderr.join("\n"))
    }
}

#[test]
fn a_lock_is_renewed() {
    let mut update = Update::new();
    let mut answers = vec![update.run(&["--unsigned", "--check"])];
    assert!(!update.space.exists(PATH), "--check writes nothing");
    answers.push(update.run(&["--unsigned"]));
    answers.push(update.run(&["--unsigned", "--check"]));
    let first = update.space.read(PATH);
    update.archive.library("golang-a-dev", "1.0-2", "Depends: golang-c-dev\n", "./usr/share/gocode/src/a/a.go");
    update.archive.source("1.0-2", "3.0 (quilt)");
    update.archive.publish();
    answers.push(update.run(&["--unsigned", "--check"]));
    assert_eq!(update.space.read(PATH), first);
    answers.push(update.run(&["--unsigned"]));
    answers.push(update.run(&["--unsigned"]));
    insta::assert_snapshot!(answers.join("\n"));
}

#[test]
fn lists_that_nobody_signed_are_not_believed() {
    let update = Update::new();
    insta::assert_snapshot!(update.run(&[]));
    assert!(!update.space.exists(PATH));
}

#[test]
fn a_lock_that_cannot_be_read_is_not_overwritten() {
    let update = Update::new();
    update.space.write(PATH, "<<<<<<< HEAD\n");
    let told = update.run(&["--unsigned"]);
    assert!(told.starts_with("4 ") && told.contains("it may be removed"), "{told}");
    assert_eq!(update.space.read(PATH), "<<<<<<< HEAD\n");
}

// Source packages.

/// The files of a source package in a folder, by the names they have in the archive.
fn written(dir: &Path, files: &[(&str, Vec<u8>)]) -> Vec<(String, PathBuf)> {
    let write = |(name, bytes): &(&str, Vec<u8>)| {
        fs::write(dir.join(name), bytes).unwrap();
        ((*name).to_owned(), dir.join(name))
    };
    files.iter().map(write).collect()
}

#[test]
fn a_source_package_is_put_together() {
    let bench = Bench::new();
    let lock = bench.resolve();
    let paths = bench.fetcher().all_of("tool source", &lock.source_files()).unwrap();
    let files: Vec<(String, PathBuf)> = lock.source.iter().map(|file| file.file.clone()).zip(paths).collect();
    let into = bench.path("tree");
    let series = assemble(&files, &into, MTIME).unwrap();
    assert_eq!(series, ["debian/patches/louder.patch", "debian/patches/sub/more.patch"]);
    apply_series(&into, &series, MTIME).unwrap();
    let mut there: Vec<String> =
        xtask::data::project::walk(&into).unwrap().iter().map(|p| p.display().to_string()).collect();
    there.retain(|path| !path.starts_with("debian/patches/"));
    assert_eq!(there, ["build", "cli/cli.go", "debian/changelog", "debian/license", "main.go"]);
    assert_eq!(fs::read_to_string(into.join("main.go")).unwrap(), "one\nTWO\nthree\nfour\n");
    assert_eq!(fs::read_to_string(into.join("debian/license")).unwrap(), "#!/bin/sh\n");
    for path in ["", "cli", "debian", "main.go", "debian/patches/series"] {
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(fs::metadata(into.join(path)).unwrap().mtime(), MTIME as i64, "{path}");
    }
}

#[test]
fn a_patch_that_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut package = source_package("1.0-1");
    package[0].1 = tarball(&[("tool-1.0/main.go", "one\nother\nthree\n")]);
    let names = ["tool_1.0.orig.tar.gz", "tool_1.0.orig-cli.tar.gz", "tool_1.0-1.debian.tar.gz"];
    let files: Vec<(&str, Vec<u8>)> = names.into_iter().zip(package.into_iter().map(|(_, bytes)| bytes)).collect();
    let into = dir.path().join("tree");
    let series = assemble(&written(dir.path(), &files), &into, MTIME).unwrap();
    let error = apply_series(&into, &series, MTIME).unwrap_err();
    let expected = "the patch debian/patches/louder.patch does not apply: main.go, hunk 1, line 2:";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn source_packages_that_are_wrong_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("tree");
    let upstream = || ("t_1.orig.tar.gz", tarball(&[("t/a", "a\n")]));
    let debian = || ("t_1-1.debian.tar.gz", tarball(&[("debian/rules", "x\n")]));
    let refused = |files: &[(&str, Vec<u8>)], why: &str| {
        let error = assemble(&written(dir.path(), files), &into, MTIME).expect_err("it was put together");
        assert!(format!("{error:#}").contains(why), "{error:#}");
        assert!(!into.exists());
    };
    assert!(assemble(&written(dir.path(), &[upstream(), debian()]), &into, MTIME).unwrap().is_empty());
    fs::remove_dir_all(&into).unwrap();
    refused(&[debian()], "has no upstream tarball");
    refused(&[upstream()], "has no part of Debian's own");
    refused(&[upstream(), ("t_2.orig.tar.gz", upstream().1), debian()], "two files of this kind");
    refused(&[upstream(), debian(), ("t_1-1.diff.gz", Vec::new())], "3.0 (quilt)");
    refused(&[upstream(), debian(), ("t_1.orig-a.b.tar.gz", upstream().1)], "3.0 (quilt)");
    let beside = ("t_1-1.debian.tar.gz", tarball(&[("debian/rules", "x\n"), ("evil", "x\n")]));
    refused(&[upstream(), beside], "holds something else than a folder `debian`");
    let leaves = ("t_1-1.debian.tar.gz", tarball(&[("debian/l -> ../../x", "")]));
    refused(&[upstream(), leaves], "leaves the folder");
    let two_tops = ("t_1.orig.tar.gz", tarball(&[("t/a", ""), ("u/a", "")]));
    refused(&[two_tops, debian()], "lies outside the archive's top folder");
    let series = ("t_1-1.debian.tar.gz", tarball(&[("debian/patches/series", "../../../x.patch\n")]));
    refused(&[upstream(), series], "debian/patches/series:1: ");
    // A component takes the place of a link, not of what the link leads to.
    let link = ("t_1.orig.tar.gz", tarball(&[("t/a/b", "stays\n"), ("t/cli -> a", "")]));
    let component = ("t_1.orig-cli.tar.gz", tarball(&[("c/c", "c\n")]));
    assemble(&written(dir.path(), &[link, component, debian()]), &into, MTIME).unwrap();
    assert_eq!(fs::read_to_string(into.join("a/b")).unwrap(), "stays\n");
    assert!(into.join("cli/c").is_file() && !into.join("cli").is_symlink());
}

#[test]
fn a_librarys_go_sources_are_taken_from_its_package() {
    let bench = Bench::new();
    let files = bench.resolve().library_files();
    let paths = bench.fetcher().all_of("tool libraries", &files).unwrap();
    let only = Some("usr/share/gocode/src".parse().unwrap());
    let options = Options { strip: Strip::None, only, mtime: MTIME, limits: Limits::default() };
    unpack(&paths[1], &bench.path("into"), &options).unwrap();
    let text = fs::read_to_string(bench.path("into/example.org/b/b.go")).unwrap();
    assert_eq!(text, "package 1:2.0+ds-1\n");
}
