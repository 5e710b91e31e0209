//! Ctrl-C while apt fetches many files. Alone in its file: the signal is for the whole process.

use std::path::Path;
use std::process::Command;

use xtask::data::source::{DebianBinary, Origin, Pinned};
use xtask::data::types::{Arch, Sha256};
use xtask::error::{is_interrupt, render};
use xtask::run::fetch::Fetcher;
use xtask::run::store::Store;
use xtask::ui::Ui;

const SIZE: usize = 8;

/// A library whose package holds its own name, eight letters.
fn library(name: &str) -> Pinned {
    assert_eq!(name.len(), SIZE);
    let (suite, package, version) = ("bookworm".parse().unwrap(), name.parse().unwrap(), "1.0-1".parse().unwrap());
    let origin = Origin::Deb(DebianBinary { suite, arch: Arch::X86_64, package, version });
    Pinned { file: format!("{name}_1.0-1_all.deb"), sha256: Sha256::of(name), origins: vec![origin] }
}

/// Through a shell: a descriptor of ours that is open for writing could be inherited by a child.
fn program(path: &Path, script: &str) {
    let write = "mkdir -p \"${2%/*}\" && printf '%s\\n' '#!/bin/sh' \"$1\" >\"$2\" && chmod 755 \"$2\"";
    assert!(Command::new("sh").args(["-c", write, "sh", script]).arg(path).status().unwrap().success());
}

#[test]
fn what_has_come_whole_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (bin, store) = (dir.path().join("bin"), dir.path().join("store"));
    let files: Vec<Pinned> = ["golang-a", "golang-b", "golang-c"].map(library).to_vec();
    let (mut described, mut addresses) = (String::new(), String::new());
    for Pinned { file, sha256, .. } in &files {
        let name = &file[..SIZE];
        described +=
            &format!("Package: {name}\nVersion: 1.0-1\nFilename: pool/{file}\nSize: {SIZE}\nSHA256: {sha256}\n\n");
        addresses += &format!("'http://m.example/{file}' {file} {SIZE} SHA256:{sha256}\n");
    }
    program(&bin.join("apt-config"), "true");
    program(&bin.join("apt-cache"), &format!("cat <<'END'\n{described}END"));
    program(&bin.join("apt-get"), &format!("case \"$*\" in *update) ;; *) cat <<'END'\n{addresses}END\n;; esac"));
    // The first file whole, the second half; then Ctrl-C, and no end of it.
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let helper = "printf golang-a >\"$3\"; echo Get:2; printf gola >\"$6\"; echo Get:3\n\
                  while ! [ -e @A ]; do :; done; kill -s INT $PPID; cat @FIFO";
    let a = store.join("sources").join(files[0].sha256.as_str()).join(&files[0].file);
    let helper = helper.replace("@A", &a.display().to_string()).replace("@FIFO", &fifo.display().to_string());
    program(&bin.join("apt-helper"), &helper);

    xtask::interrupt::install().unwrap();
    let fetcher = || {
        let fetcher = Fetcher::new(Store::open(&store).unwrap(), Vec::new(), false, Ui::silent()).unwrap();
        fetcher.with_clients(&bin, Some("http://m.example/debian".to_owned()))
    };
    let error = fetcher().all_of("libraries", &files).unwrap_err();
    assert!(is_interrupt(&error), "{}", render(&error));
    assert_eq!(fs_err::read_to_string(&a).unwrap(), "golang-a");
    let sources = fs_err::read_dir(store.join("sources")).unwrap().count();
    assert_eq!(sources, 1, "only what was whole is kept");
    assert_eq!(fs_err::read_dir(store.join("tmp")).unwrap().count(), 0);
}
