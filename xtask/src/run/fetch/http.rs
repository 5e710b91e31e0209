//! The only place that opens sockets: one file over HTTP, cut connections and lying servers included.
//!
//! Knows nothing of mirrors or recipes. It hands over bytes and their digest; whether they are the
//! wanted ones is for the caller to judge, except that bytes pieced together are asked for once more
//! as a whole before they are called wrong.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use fs_err as fs;
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::answer::{Answer, Candidate};
use crate::data::types::Sha256;
use crate::error::{Context, Failure, Kind, Result};
use crate::interrupt;
use crate::run::store;
use crate::ui::Task;

/// How long to wait and how often to try. Tests use short ones.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For a connection to be made.
    pub connect: Duration,
    /// Without a single byte.
    pub stall: Duration,
    /// At one address, in a row, without a good part of the file coming in between.
    pub attempts: u32,
    /// Before the second attempt; doubled for each one after it.
    pub backoff: Duration,
    /// However long a server asks us to wait.
    pub longest_wait: Duration,
    /// No source is larger, whatever a server says.
    pub size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            attempts: 4,
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
            size: 4_000_000_000,
        }
    }
}

/// A part of the file that is worth further attempts: a slow line may be cut more often than `attempts`.
const PROGRESS: u64 = 1 << 20;

/// The HTTP client, and what it learnt about hosts in this run.
pub(super) struct Http {
    limits: Limits,
    client: OnceLock<Client>,
    /// Hosts (with ports) that cannot be reached, and why: each is waited for once a run, not once a file.
    unreachable: Mutex<BTreeMap<String, String>>,
}

/// One file to get.
pub(super) struct Wanted<'a> {
    pub url: &'a str,
    /// Where the bytes go, and stay if they stop coming. The caller holds a lock on it.
    pub partial: &'a Path,
    /// To know when bytes that were pieced together must be asked for again.
    pub expected: Option<&'a Sha256>,
    pub task: &'a Task,
}

/// How one request ended.
enum Turn {
    Whole(Whole),
    /// This address will not give the file.
    Final(String),
    /// This host cannot be reached.
    Unreachable(String),
    /// The rest of a file that we have in part cannot be had.
    StartOver(String),
    /// It may work in a moment. `connected` tells a bad line from a host that is not there.
    Again {
        why: String,
        wait: Option<Duration>,
        connected: bool,
    },
}

struct Whole {
    sha256: Sha256,
    size: u64,
    resumed: bool,
    /// The server said beforehand how many bytes there are.
    announced: bool,
}

impl Http {
    pub fn new(limits: Limits) -> Self {
        Self { limits, client: OnceLock::new(), unreachable: Mutex::default() }
    }

    /// Gets one file, however often it takes, within the limits.
    pub fn get(&self, wanted: &Wanted) -> Result<Answer> {
        let (host, authority) = (host(wanted.url), authority(wanted.url));
        if let Some(why) = self.known_unreachable(&authority) {
            return Ok(Answer::Miss(format!("{why} (found out earlier in this run)")));
        }
        let (mut attempts, mut best, mut restarted) = (0, 0, false);
        loop {
            match self.request(wanted)? {
                // What was pieced together may be the old file's head with the new file's tail.
                Turn::Whole(whole) if whole.resumed && !restarted && differs(wanted, &whole) => {
                    discard(wanted.partial)?;
                    restarted = true;
                }
                Turn::StartOver(_) if !restarted => {
                    discard(wanted.partial)?;
                    restarted = true;
                }
                Turn::Whole(whole) => return Ok(Answer::File(candidate(wanted.partial, whole)?)),
                Turn::Final(why) | Turn::StartOver(why) => return Ok(Answer::Miss(why)),
                Turn::Unreachable(why) => return Ok(self.give_up(authority, why)),
                Turn::Again { why, wait, connected } => {
                    let length = length(wanted.partial);
                    attempts = if length >= best + PROGRESS { 1 } else { attempts + 1 };
                    best = best.max(length);
                    if attempts >= self.limits.attempts {
                        let why = format!("{why} ({attempts} attempts)");
                        return Ok(if connected { Answer::Miss(why) } else { self.give_up(authority, why) });
                    }
                    wanted.task.now(&format!("{host}: {why}, trying again"));
                    let backoff = self.limits.backoff * 2_u32.saturating_pow(attempts - 1);
                    pause(wait.unwrap_or(backoff).min(self.limits.longest_wait))?;
                }
            }
        }
    }

    fn known_unreachable(&self, authority: &str) -> Option<String> {
        self.unreachable.lock().unwrap_or_else(PoisonError::into_inner).get(authority).cloned()
    }

    fn give_up(&self, authority: String, why: String) -> Answer {
        self.unreachable.lock().unwrap_or_else(PoisonError::into_inner).insert(authority, why.clone());
        Answer::Miss(why)
    }

    fn request(&self, wanted: &Wanted) -> Result<Turn> {
        interrupt::check()?;
        let have = Have::read(wanted)?;
        let events = self.send(wanted.url, &have)?;
        let head = match next(&events)? {
            Event::Head(head) => head,
            Event::Failed(turn) => return Ok(turn),
            Event::Chunk(_) | Event::End => return Ok(again("an answer without a head")),
        };
        match head.status {
            200 => self.receive(wanted, &events, &head, 0),
            206 if have.length > 0 && head.starts_at == Some(have.length) => {
                self.receive(wanted, &events, &head, have.length)
            }
            206 | 416 => Ok(Turn::StartOver(format!("{}, for a part that was not asked for", head.status_line))),
            408 | 429 | 500..=599 => Ok(Turn::Again { why: head.status_line, wait: head.retry_after, connected: true }),
            _ => Ok(Turn::Final(head.status_line)),
        }
    }

    /// Sends the request from a thread of its own: this one must stay awake for Ctrl-C.
    fn send(&self, url: &str, have: &Have) -> Result<Receiver<Event>> {
        let mut request = self.client()?.get(url).header(ACCEPT_ENCODING, "identity");
        if have.length > 0 {
            request = request.header(RANGE, format!("bytes={}-", have.length));
            if let Some(validator) = &have.validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        let (events, received) = sync_channel(8);
        let limits = self.limits.clone();
        std::thread::spawn(move || talk(request, &events, &limits));
        Ok(received)
    }

    /// Writes a body behind the `offset` bytes that are there already.
    fn receive(&self, wanted: &Wanted, events: &Receiver<Event>, head: &Head, offset: u64) -> Result<Turn> {
        let total = head.length.map(|length| offset + length);
        if total.is_some_and(|total| total > self.limits.size) {
            return Ok(self.too_large(total));
        }
        let (mut file, mut hasher) = open_partial(wanted, head, offset)?;
        let mut length = offset;
        wanted.task.bytes(offset, total);
        loop {
            match next(events)? {
                Event::Chunk(bytes) => {
                    length += bytes.len() as u64;
                    if length > self.limits.size {
                        discard(wanted.partial)?;
                        return Ok(self.too_large(None));
                    }
                    hasher.update(&bytes);
                    file.write_all(&bytes)?;
                    wanted.task.advance(bytes.len() as u64);
                }
                Event::End if total.is_none_or(|total| total == length) => break,
                Event::End => return Ok(cut(length, total, "the connection was closed")),
                Event::Failed(Turn::Again { why, .. }) => return Ok(cut(length, total, &why)),
                Event::Failed(turn) => return Ok(turn),
                Event::Head(_) => return Ok(again("a second head")),
            }
        }
        let sha256 = Sha256::from_digest(&hasher.finalize());
        Ok(Turn::Whole(Whole { sha256, size: length, resumed: offset > 0, announced: total.is_some() }))
    }

    fn too_large(&self, announced: Option<u64>) -> Turn {
        let limit = format!("the {} that any source may have", crate::ui::size(self.limits.size));
        Turn::Final(match announced {
            Some(bytes) => format!("{bytes} bytes are announced, more than {limit}"),
            None => format!("it goes on and on, beyond {limit}"),
        })
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Fails if another thread was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::limited(10))
            .connect_timeout(self.limits.connect)
            // For the blocking client: up to the head, and then for each read of the body.
            .timeout(self.limits.stall)
            // A kept connection saves little here, and one that died in the meantime costs an attempt.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| {
                Failure::new(Kind::Host, format!("start the HTTP client: {}", root(&error)))
                    .next("install the system's CA certificates (Debian: apt-get install ca-certificates)")
            })?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// What the talking thread tells.
enum Event {
    Head(Head),
    Chunk(Vec<u8>),
    End,
    Failed(Turn),
}

struct Head {
    status: u16,
    /// `404 Not Found`.
    status_line: String,
    /// Of the body that follows, which may be a part of the file.
    length: Option<u64>,
    /// Where in the file the body starts.
    starts_at: Option<u64>,
    validator: Option<String>,
    retry_after: Option<Duration>,
}

impl Head {
    fn of(response: &Response) -> Self {
        let headers = response.headers();
        Self {
            status: response.status().as_u16(),
            status_line: response.status().to_string(),
            length: response.content_length(),
            starts_at: text(headers, CONTENT_RANGE).and_then(range_start),
            validator: validator(headers),
            retry_after: text(headers, RETRY_AFTER)
                .and_then(|value| value.trim().parse().ok())
                .map(Duration::from_secs),
        }
    }
}

/// Runs one request to its end. Stops when nobody listens any more.
fn talk(request: reqwest::blocking::RequestBuilder, events: &SyncSender<Event>, limits: &Limits) {
    let mut response = match request.send() {
        Ok(response) => response,
        Err(error) => {
            let _ = events.send(Event::Failed(trouble(&error, limits)));
            return;
        }
    };
    if events.send(Event::Head(Head::of(&response))).is_err() {
        return;
    }
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let event = match response.read(&mut buffer) {
            Ok(0) => Event::End,
            Ok(count) => Event::Chunk(buffer[..count].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Event::Failed(again(&read_trouble(&error, limits))),
        };
        let last = !matches!(event, Event::Chunk(_));
        if events.send(event).is_err() || last {
            return;
        }
    }
}

/// The next event, with an eye on Ctrl-C.
fn next(events: &Receiver<Event>) -> Result<Event> {
    loop {
        match events.recv_timeout(Duration::from_millis(100)) {
            Ok(event) => return Ok(event),
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(Event::Failed(again("the connection was closed"))),
        }
    }
}

/// Why no answer came, and whether it is worth asking again.
fn trouble(error: &reqwest::Error, limits: &Limits) -> Turn {
    let why = root(error);
    if error.is_redirect() {
        return Turn::Final(format!("redirected in vain: {why}"));
    }
    if error.is_builder() {
        return Turn::Final(format!("not an address that can be asked: {why}"));
    }
    if chain(error).any(|link| link.to_string() == "dns error") {
        return Turn::Unreachable(format!("no such host: {why}"));
    }
    if error.is_connect() && error.is_timeout() {
        // Whoever drops packets drops the next ones too.
        return Turn::Unreachable(format!("no connection within {:?}", limits.connect));
    }
    if why.contains("certificate") {
        return Turn::Final(format!("its identity cannot be checked: {why}"));
    }
    if error.is_connect() {
        let text = format!("no connection: {why}");
        let nowhere = why.contains("Network is unreachable") || why.contains("No route to host");
        return if nowhere { Turn::Unreachable(text) } else { Turn::Again { why: text, wait: None, connected: false } };
    }
    again(&if error.is_timeout() { format!("no answer within {:?}", limits.stall) } else { why })
}

fn read_trouble(error: &std::io::Error, limits: &Limits) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>()) {
        Some(inner) if inner.is_timeout() => format!("no byte came for {:?}", limits.stall),
        Some(inner) => root(inner),
        None => error.to_string(),
    }
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |link| link.source())
}

/// The innermost reason: the outer ones repeat the address and say "error".
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn again(why: &str) -> Turn {
    Turn::Again { why: why.to_owned(), wait: None, connected: true }
}

fn cut(length: u64, total: Option<u64>, why: &str) -> Turn {
    let of = total.map_or(String::new(), |total| format!(" of {total}"));
    again(&format!("cut after {length}{of} bytes: {why}"))
}

fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What tells whether the file changed under us: a strong `ETag`, or the date.
fn validator(headers: &HeaderMap) -> Option<String> {
    let strong = text(headers, ETAG).filter(|etag| !etag.starts_with("W/"));
    strong.or_else(|| text(headers, LAST_MODIFIED)).map(ToOwned::to_owned)
}

/// `bytes 100-199/200` starts at 100.
fn range_start(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// A part of the file that an earlier attempt or run left, if it came from this very address.
struct Have {
    length: u64,
    validator: Option<String>,
}

/// The file beside a partial file: where it comes from, and what tells whether it changed there.
#[derive(Serialize, Deserialize)]
struct Note {
    url: String,
    validator: Option<String>,
}

impl Have {
    fn read(wanted: &Wanted) -> Result<Self> {
        let nothing = Self { length: 0, validator: None };
        let Ok(note) = fs::read(note_path(wanted.partial)) else { return Ok(nothing) };
        Ok(match serde_json::from_slice::<Note>(&note) {
            Ok(note) if note.url == wanted.url => Self { length: length(wanted.partial), validator: note.validator },
            _ => nothing,
        })
    }
}

/// The partial file, positioned behind its first `offset` bytes, and a hasher that has seen them. What
/// another address left is only overwritten now, when this one really sends something.
fn open_partial(wanted: &Wanted, head: &Head, offset: u64) -> Result<(fs::File, sha2::Sha256)> {
    let mut file = fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(wanted.partial)?;
    let mut hasher = sha2::Sha256::new();
    if offset == 0 {
        // In this order: a crash in between leaves an empty file, never one with a wrong note.
        file.file().set_len(0).with_context(|| format!("empty {}", wanted.partial.display()))?;
        let note = Note { url: wanted.url.to_owned(), validator: head.validator.clone() };
        store::write_atomic(&note_path(wanted.partial), &serde_json::to_vec(&note)?)?;
        return Ok((file, hasher));
    }
    let mut buffer = vec![0; 256 * 1024];
    loop {
        interrupt::check()?;
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    file.seek(SeekFrom::Start(offset))?;
    Ok((file, hasher))
}

fn candidate(partial: &Path, whole: Whole) -> Result<Candidate> {
    remove_if_there(&note_path(partial))?;
    let remark = "the server did not say how long the file is: it may have been cut";
    Ok(Candidate {
        path: partial.to_owned(),
        sha256: whole.sha256,
        size: whole.size,
        remark: (!whole.announced).then_some(remark),
        _temp: None,
    })
}

fn differs(wanted: &Wanted, whole: &Whole) -> bool {
    wanted.expected.is_some_and(|expected| *expected != whole.sha256)
}

/// Forgets what was downloaded so far.
pub(super) fn discard(partial: &Path) -> Result<()> {
    remove_if_there(&note_path(partial))?;
    remove_if_there(partial)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn note_path(partial: &Path) -> PathBuf {
    partial.with_extension("json")
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Waits, but not for Ctrl-C.
fn pause(wait: Duration) -> Result<()> {
    const SLICE: Duration = Duration::from_millis(50);
    let mut left = wait;
    while !left.is_zero() {
        interrupt::check()?;
        std::thread::sleep(left.min(SLICE));
        left = left.saturating_sub(SLICE);
    }
    Ok(())
}

/// Who is connected to: two ports of one host are two servers.
fn authority(url: &str) -> String {
    let port = reqwest::Url::parse(url).ok().and_then(|url| url.port_or_known_default());
    format!("{}:{}", host(url), port.unwrap_or_default())
}

/// The host of an address, as a person names the place.
pub(super) fn host(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    parsed.as_ref().and_then(|url| url.host_str()).unwrap_or(url).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        assert_eq!(range_start("bytes 100-199/200"), Some(100));
        assert_eq!(range_start("bytes */200"), None);
        let mut headers = HeaderMap::new();
        headers.insert(LAST_MODIFIED, "Tue, 15 Nov 1994 12:45:26 GMT".parse().unwrap());
        headers.insert(ETAG, "W/\"weak\"".parse().unwrap());
        // A weak tag promises the same meaning, not the same bytes.
        assert_eq!(validator(&headers).as_deref(), Some("Tue, 15 Nov 1994 12:45:26 GMT"));
        headers.insert(ETAG, "\"strong\"".parse().unwrap());
        assert_eq!(validator(&headers).as_deref(), Some("\"strong\""));
    }
}
