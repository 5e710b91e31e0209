//! Patches that apply, and patches that must not.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use fs_err as fs;
use tempfile::TempDir;
use xtask::error::{Kind, exit_code};
use xtask::run::patch::apply;

const MTIME: u64 = 1_600_000_000;

/// A tree with these files.
fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn read(dir: &TempDir, file: &str) -> Vec<u8> {
    fs::read(dir.path().join(file)).unwrap()
}

/// Asserts that the patch is refused for `why`, and gives the whole message.
#[track_caller]
fn refused(dir: &TempDir, patch: impl AsRef<[u8]>, why: &str) -> String {
    let error = apply("0001-x.patch", patch, dir.path(), MTIME).expect_err("the patch was applied");
    let text = format!("{error:#}");
    assert!(text.contains("0001-x.patch") && text.contains(why), "{text}");
    assert_eq!(exit_code(&error), Kind::Data.exit_code());
    text
}

const POEM: &[u8] = b"one\ntwo\nthree\nfour\nfive\nsix\nseven\n";

const CHANGE: &str = "\
--- a/poem
+++ b/poem
@@ -2,3 +2,3 @@
 two
-three
+THREE
 four
";

#[test]
fn a_patch_applies() {
    let dir = tree(&[("poem", POEM)]);
    fs::set_permissions(dir.path().join("poem"), PermissionsExt::from_mode(0o755)).unwrap();
    let header = format!("Why: it must be loud.\nOrigin: upstream\n\n{CHANGE}");
    assert_eq!(apply("p", header, dir.path(), MTIME).unwrap(), ["poem"]);
    assert_eq!(read(&dir, "poem"), b"one\ntwo\nTHREE\nfour\nfive\nsix\nseven\n");
    let metadata = fs::metadata(dir.path().join("poem")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o755);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (MTIME as i64, 0));
    assert_eq!(fs::metadata(dir.path()).unwrap().mtime(), MTIME as i64);
}

#[test]
fn moved_lines_are_found() {
    let dir = tree(&[("poem", &[b"zero\n".repeat(9).as_slice(), POEM].concat())]);
    apply("p", CHANGE, dir.path(), MTIME).unwrap();
    assert!(read(&dir, "poem").ends_with(b"two\nTHREE\nfour\nfive\nsix\nseven\n"));
}

#[test]
fn changed_lines_are_not() {
    let dir = tree(&[("poem", b"one\ntwo\nthree\nFOUR\nfive\n")]);
    let text = refused(&dir, CHANGE, "poem, hunk 1, line 4:");
    assert!(text.contains("expected `four`\n  found    `FOUR`"), "{text}");
    let dir = tree(&[("poem", b"one\ntwo\n")]);
    let text = refused(&dir, CHANGE, "poem, hunk 1, line 3:");
    assert!(text.contains("found    the end of the file"), "{text}");
    // Applied twice, the second time there is nothing left to change.
    let dir = tree(&[("poem", POEM)]);
    apply("p", CHANGE, dir.path(), MTIME).unwrap();
    refused(&dir, CHANGE, "expected `three`");
    // The second hunk is named, not the first.
    let two = format!("{CHANGE}@@ -6,2 +6,2 @@\n six\n-eight\n+EIGHT\n");
    refused(&tree(&[("poem", POEM)]), two, "poem, hunk 2, line 7:");
}

const GIT: &str = "\
From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
From: Somebody <somebody@example.org>
Subject: [PATCH] Change, add, delete

A text with
--- a line that looks like a header
---
 poem | 2 +-
 3 files changed

diff --git a/gone b/gone
deleted file mode 100644
index 1111111..0000000
--- a/gone
+++ /dev/null
@@ -1,2 +0,0 @@
-one
-two
diff --git a/new/deep/run b/new/deep/run
new file mode 100755
index 0000000..1111111
--- /dev/null
+++ b/new/deep/run
@@ -0,0 +1,2 @@
+#!/bin/sh
+exit
diff --git a/old.sh b/old.sh
old mode 100644
new mode 100755
diff --git a/poem b/poem
index 1111111..2222222 100644
--- a/poem
+++ b/poem
@@ -6,2 +6,2 @@ five
 six
-seven
+SEVEN
-- 
2.39.0

";

#[test]
fn git_patches_change_many_files() {
    let dir = tree(&[("poem", POEM), ("gone", b"one\ntwo\n"), ("old.sh", b"exit\n")]);
    assert_eq!(apply("p", GIT, dir.path(), MTIME).unwrap(), ["gone", "new/deep/run", "old.sh", "poem"]);
    assert!(!dir.path().join("gone").exists());
    assert_eq!(read(&dir, "new/deep/run"), b"#!/bin/sh\nexit\n");
    for file in ["new/deep/run", "old.sh"] {
        assert_eq!(fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o7777, 0o755, "{file}");
    }
    assert!(read(&dir, "poem").ends_with(b"SEVEN\n"));
}

#[test]
fn all_or_nothing() {
    let dir = tree(&[("poem", b"other\n"), ("gone", b"one\ntwo\n"), ("old.sh", b"exit\n")]);
    refused(&dir, GIT, "poem, hunk 1, line 6");
    assert!(dir.path().join("gone").exists() && !dir.path().join("new").exists());
    let dir = tree(&[("poem", POEM), ("gone", b"one\ntwo\nmore\n"), ("old.sh", b"exit\n")]);
    refused(&dir, GIT, "it deletes gone, which has 1 lines that the patch does not know");
    assert_eq!(read(&dir, "poem"), POEM);
}

#[test]
fn diffs_without_git_make_files_too() {
    let dir = tree(&[]);
    let new = "--- a/x/new\t1970-01-01 00:00:00.000000000 +0000\n+++ b/x/new\t2020-01-01 00:00:00 +0000\n@@ -0,0 +1 @@\n+hi\n";
    assert_eq!(apply("p", new, dir.path(), MTIME).unwrap(), ["x/new"]);
    refused(&dir, new, "x/new, hunk 1: it has no lines of context");
    let null = new.replace("a/x/new", "/dev/null");
    refused(&dir, null, "it makes a new file x/new, which is there already");
    let gone = "--- a/x/new\n+++ b/x/new\n@@ -1 +0,0 @@\n-hi\n";
    refused(&dir, gone, "it leaves nothing in x/new");
    apply("p", gone.replace("+++ b/x/new", "+++ /dev/null"), dir.path(), MTIME).unwrap();
    assert!(!dir.path().join("x/new").exists());
}

#[test]
fn paths_that_leave_are_refused() {
    let dir = tree(&[("tree/poem", POEM), ("poem", POEM)]);
    let inner = dir.path().join("tree");
    for path in ["../poem", "x/../../poem", "/etc/passwd", "./poem"] {
        let patch = CHANGE.replace("a/poem", &format!("a/{path}")).replace("b/poem", &format!("b/{path}"));
        let error = apply("p", patch, &inner, MTIME).unwrap_err();
        assert!(error.to_string().contains("is not a path inside the tree"), "{error}");
    }
    refused(&dir, CHANGE.replace("a/poem", "poem").replace("b/poem", "poem"), "a path begins with `a/` or `b/`");
    refused(&dir, CHANGE.replace("b/poem", "b/other"), "it names two files for one change: poem and other");
    assert_eq!(read(&dir, "poem"), POEM);
}

#[test]
fn symlinks_are_refused() {
    let dir = tree(&[("real/poem", POEM)]);
    fs::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
    fs::os::unix::fs::symlink("real/poem", dir.path().join("poem")).unwrap();
    refused(&dir, CHANGE, "it changes poem, but poem is a symlink");
    refused(&dir, CHANGE.replace("poem", "link/poem"), "it changes link/poem, but link is a symlink");
    let new = "--- /dev/null\n+++ b/link/new\n@@ -0,0 +1 @@\n+hi\n";
    refused(&dir, new, "link is a symlink");
    let link = "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n";
    refused(&dir, link, "a symlink or submodule");
    assert_eq!(read(&dir, "real/poem"), POEM);
}

#[test]
fn what_cannot_be_done_is_said() {
    let dir = tree(&[("poem", POEM), ("dir/x", b"")]);
    refused(&dir, CHANGE.replace("poem", "missing"), "it changes missing, which is not there");
    refused(&dir, CHANGE.replace("poem", "dir"), "it changes dir, which is not a file");
    refused(&dir, "just a text\n", "it cannot be read");
    refused(&dir, "", "it cannot be read");
    refused(&dir, CHANGE.replace("@@ -2,3", "@@ -2,4"), "it cannot be read");
    refused(&dir, "diff --git a/poem b/p\nrename from poem\nrename to p\n", "it renames or copies poem to p");
    refused(&dir, "diff --git a/b b/b\nindex 1..2 100644\nBinary files a/b and b/b differ\n", "binary");
    // A hunk that the parser would pass over without a word.
    refused(&dir, format!("{CHANGE}\nnoise\n@@ -6 +6 @@\n-six\n+SIX\n"), "it has 2 hunks");
    let mixed = format!("{CHANGE}diff --git a/dir/x b/dir/x\nold mode 100644\nnew mode 100755\n");
    refused(&dir, mixed, "it has 1 hunks (lines that begin with `@@ -`), but only 0 belong to a file");
    assert_eq!(read(&dir, "poem"), POEM);
}

#[test]
fn bytes_stay_bytes() {
    let dir = tree(&[("latin", b"caf\xe9\r\nth\xe9\r\n"), ("end", b"a\nb")]);
    let patch = b"--- a/latin\n+++ b/latin\n@@ -1,2 +1,2 @@\n caf\xe9\r\n-th\xe9\r\n+t\xea\r\n\
                  --- a/end\n+++ b/end\n@@ -1,2 +1,3 @@\n a\n-b\n\\ No newline at end of file\n+b\n+c\n";
    assert_eq!(apply("p", patch, dir.path(), MTIME).unwrap(), ["end", "latin"]);
    assert_eq!(read(&dir, "latin"), b"caf\xe9\r\nt\xea\r\n");
    assert_eq!(read(&dir, "end"), b"a\nb\nc\n");
    // Without its carriage returns the context is another.
    let dir = tree(&[("latin", b"caf\xe9\nth\xe9\n")]);
    refused(&dir, &patch[..], "expected `caf\u{fffd}\\r`");
}

#[test]
fn one_file_can_be_changed_twice() {
    let dir = tree(&[("poem", POEM)]);
    let again = CHANGE.replace("three", "x").replace("THREE", "three").replace("-x", "-THREE").replace("three", "3");
    apply("p", format!("{CHANGE}{again}"), dir.path(), MTIME).unwrap();
    assert_eq!(read(&dir, "poem"), b"one\ntwo\n3\nfour\nfive\nsix\nseven\n");
}
