//! Ctrl-C in the middle of a download. Alone in its file: the signal is for the whole process.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use rustix::process::{Signal, getpid, kill_process};
use xtask::data::source::{Origin, Pinned};
use xtask::data::types::Sha256;
use xtask::error::{exit_code, is_interrupt};
use xtask::run::fetch::Fetcher;
use xtask::run::store::Store;
use xtask::ui::Ui;

#[test]
fn what_has_come_stays_for_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let sha256 = Sha256::of("the whole file");
    let partial = store.path(format!("partial/{sha256}"));
    let url = half_a_file_then_a_signal(partial.clone());
    let pinned = Pinned { file: "a.tar".to_owned(), sha256, origins: vec![Origin::Url(url.parse().unwrap())] };
    xtask::interrupt::install().unwrap();
    let error = Fetcher::new(store, Vec::new(), false, Ui::silent()).unwrap().file(&pinned).unwrap_err();
    assert!(is_interrupt(&error), "{error:?}");
    assert_eq!(exit_code(&error), 130);
    assert_eq!(fs_err::read_to_string(&partial).unwrap(), "the who");
    let note = fs_err::read_to_string(partial.with_extension("json")).unwrap();
    assert_eq!(note, format!(r#"{{"url":"{url}","validator":"\"one\""}}"#));
}

/// Serves one request: the first half, and once that has been written down, Ctrl-C.
fn half_a_file_then_a_signal(partial: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.tar", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(&stream).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.is_empty()), "the request has an end");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\nETag: \"one\"\r\n\r\nthe who").unwrap();
        while fs_err::metadata(&partial).map_or(0, |file| file.len()) < 7 {
            std::thread::yield_now();
        }
        kill_process(getpid(), Signal::INT).unwrap();
        // Keeps the connection open until the other side ends it.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    url
}
