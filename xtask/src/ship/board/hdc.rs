//! OpenHarmony's device connector, `hdc` (`hdc_std` in OpenHarmony 3.1).
//!
//! Its client exits 0 whatever happened and does not carry the exit status of what ran on the board, so
//! nothing but its words can be believed: `[Fail]` and `[Empty]` at the head of a line, `FileTransfer
//! finish` with the size after a file went through. Lines end in CR LF. The first call leaves a server behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use xshell::Shell;

use super::device::{Device, Key, State};
use super::inband::Framed;
use super::{Link, failure, run_client, usb};
use crate::data::board::Via;
use crate::error::{Context, Failure, Kind, Result};
use crate::run::process::{self, Spawn, tail};

/// Where its client comes from; there is no Debian package.
const WHERE: &str = "hdc comes with the OpenHarmony SDK, in the folder toolchains/: put that folder into PATH, \
                     or set HDC to the program";

/// How long a listing of devices may take, the start of the server included.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// The interface by which hdc's daemon shows itself on USB: class, subclass, protocol.
const USB: usb::Interface = [0xff, 0x50, 0x01];

/// A board at the other end of hdc.
#[derive(Debug)]
pub struct Hdc {
    program: PathBuf,
    key: Key,
}

/// The client: `HDC`, else `hdc`, else `hdc_std`.
pub fn program() -> Option<PathBuf> {
    match std::env::var_os("HDC").filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => ["hdc", "hdc_std"].into_iter().find_map(process::find),
    }
}

/// What to say when there is none.
pub fn missing() -> Failure {
    Failure::new(Kind::Host, "hdc is not on this machine").next(WHERE)
}

/// The devices that it knows.
pub fn devices() -> Result<Vec<Device>> {
    let program = program().ok_or_else(missing)?;
    let mut listed = list(&program)?;
    if listed.is_empty() {
        // A server that was just started has not looked at the bus yet.
        std::thread::sleep(Duration::from_secs(1));
        listed = list(&program)?;
    }
    if listed.is_empty() {
        listed = usb::closed(USB).into_iter().map(|found| Device::closed(Via::Hdc, &found)).collect();
    }
    Ok(listed)
}

fn list(program: &Path) -> Result<Vec<Device>> {
    let finished = spawn(program, &["list", "targets", "-v"])?.limit(LIST_LIMIT).output()?;
    let text = finished.text();
    if finished.timed_out || text.lines().any(|line| line.starts_with("[Fail]")) || text.contains("failed") {
        let what = format!("hdc cannot list its devices:\n{}", tail(text.trim(), 10));
        return Err(failure(what, vec!["hdc kill -r   (starts its server anew), then the same command".into()]).into());
    }
    Ok(text.lines().filter_map(listed).collect())
}

/// A line of `list targets -v`: key, USB or TCP, state, name; or the key alone.
fn listed(line: &str) -> Option<Device> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let key = words.first().filter(|key| !key.starts_with('['))?.parse().ok()?;
    let word = words.get(2).or(words.get(1)).copied().unwrap_or("Connected");
    let state = match word {
        "Connected" => State::Ready,
        "Unauthorized" => {
            State::unusable("unauthorized: allow this computer on the board's screen, then the same command")
        }
        "Offline" => State::unusable("offline: unplug it and plug it in again; `hdc kill -r` starts hdc's server anew"),
        "Ready" => {
            State::unusable("seen, but not connected yet: the same command again in a moment; `hdc kill -r` helps")
        }
        other => State::unusable(format!("in a state that Slipway does not know: {other}")),
    };
    Some(Device { via: Via::Hdc, key, state })
}

impl Hdc {
    pub fn new(key: Key) -> Result<Self> {
        Ok(Self { program: program().ok_or_else(missing)?, key })
    }

    fn spawn(&self, args: &[&str]) -> Result<Spawn> {
        spawn(&self.program, &[&["-t", self.key.as_str()], args].concat())
    }
}

impl Link for Hdc {
    fn name(&self) -> String {
        format!("hdc {}", self.key)
    }

    fn stream(&self, command: &str, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<i32> {
        let framed = Framed::new(command)?;
        let spawn = self.spawn(&["shell", &framed.command])?;
        run_client(&self.name(), &spawn, &framed, &advice, sink)
    }

    fn send(&self, local: &Path, remote: &str, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let size = fs_err::metadata(local)?.len();
        let local = local.to_str().filter(|path| !path.contains('"'));
        let local = local.context("hdc cannot send a file whose path holds a quote: set TMPDIR to a plainer folder")?;
        let text = self.spawn(&["file", "send", local, remote])?.output()?.text();
        match sent(&text) {
            Some(there) if there == size => {
                progress(size);
                Ok(())
            }
            Some(there) => {
                let what = format!("{}: {there} of {size} bytes of {remote} were sent", self.name());
                Err(failure(what, advice("")).into())
            }
            None => {
                let said = tail(text.trim(), 10);
                let what = format!("{}: {remote} was not sent:\n{said}", self.name());
                Err(failure(what, advice(&said)).into())
            }
        }
    }

    /// hdc starts the board's own shell only, and tells nothing of how it ended.
    fn interact(&self, _command: Option<&str>) -> Result<i32> {
        self.spawn(&["shell"])?.interact().map(|_| 0)
    }
}

/// The size in `FileTransfer finish, Size:1234, File count = 1, time:5ms rate:246.80kB/s`, unless a line says
/// that something failed.
fn sent(text: &str) -> Option<u64> {
    if text.lines().any(|line| line.starts_with("[Fail]")) {
        return None;
    }
    let (_, rest) = text.split_once("FileTransfer finish, Size:")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// What its messages mean. The words are those of its releases from 3.1 to 4.1.
fn advice(said: &str) -> Vec<String> {
    let again = "the same command again: what is on the board already is not sent again";
    let has = |words: &str| said.contains(words);
    if has("Not match target") || has("need connect-key") || has("Device not founded") {
        vec!["is it plugged in and switched on? `hdc list targets -v` tells what hdc sees".into(), again.into()]
    } else if has("Error opening file") && (has("no space") || has("denied") || has("read-only")) {
        vec!["`hdc shell` to look at that folder; hdc's daemon must run as root: `hdc smode`".into()]
    } else if has("Connect server failed") {
        vec!["hdc kill -r   (starts its server anew), then the same command".into()]
    } else {
        vec![
            again.into(),
            "`hdc kill -r` starts hdc's server anew; a cable that carries data, no hub in between".into(),
        ]
    }
}

fn spawn(program: &Path, args: &[&str]) -> Result<Spawn> {
    let shell = Shell::new()?;
    Ok(Spawn::host(shell.cmd(program).args(args)).lasting())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_in_the_forms_of_all_releases() {
        let text = "7001005458323933328a01bce6003900\t\tUSB\tConnected\tlocalhost\thdc\r\n\
                    192.168.1.5:8710\t\tTCP\tOffline\tlocalhost\thdc\r\nCOM5\t\tUART\tReady\tunknown...\n\
                    abc\tUnauthorized\nplain\n\n[Empty]\n";
        let found: Vec<Device> = text.lines().filter_map(listed).collect();
        let keys: Vec<&str> = found.iter().map(|device| device.key.as_str()).collect();
        assert_eq!(keys, ["7001005458323933328a01bce6003900", "192.168.1.5:8710", "COM5", "abc", "plain"]);
        let ready: Vec<bool> = found.iter().map(|device| device.state == State::Ready).collect();
        assert_eq!(ready, [true, false, false, false, true]);
    }

    #[test]
    fn only_the_words_of_success_are_success() {
        assert_eq!(sent("FileTransfer finish, Size:10, File count = 1, time:0ms rate:100kB/s\r\n"), Some(10));
        assert_eq!(sent("FileTransfer finish, Size:117440512 time:21212ms rate:5536.51kB/s\n"), Some(117_440_512));
        for text in
            ["", "[Fail]Transfer Stop at:5\n", "[Fail]x\nFileTransfer finish, Size:10 time", "FileTransfer finish"]
        {
            assert_eq!(sent(text), None, "{text}");
        }
    }
}
