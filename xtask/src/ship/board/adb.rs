//! Android's debug bridge, `adb`.
//!
//! Newer pairs of client and board carry the exit status of what ran on the board, older ones do not, and
//! put carriage returns into its output: both are read in-band. The first call leaves a server behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use xshell::Shell;

use super::device::{Device, Key, State};
use super::inband::Framed;
use super::{Link, failure, run_client, usb};
use crate::data::board::Via;
use crate::error::{Failure, Kind, Result};
use crate::run::process::{self, Spawn, quote, tail};

/// How long a listing of devices may take, the start of the server included.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// The interface by which adb's daemon shows itself on USB: class, subclass, protocol.
const USB: usb::Interface = [0xff, 0x42, 0x01];

/// A board at the other end of adb.
#[derive(Debug)]
pub struct Adb {
    program: PathBuf,
    key: Key,
}

/// The client.
pub fn program() -> Option<PathBuf> {
    process::find("adb")
}

/// What to say when there is none.
pub fn missing() -> Failure {
    Failure::new(Kind::Host, "adb is not on this machine").next("apt-get install adb")
}

/// The devices that it knows.
pub fn devices() -> Result<Vec<Device>> {
    let finished = spawn(&program().ok_or_else(missing)?, &["devices"])?.limit(LIST_LIMIT).output()?;
    let text = finished.text();
    if !finished.success() {
        let what = format!("adb cannot list its devices:\n{}", tail(text.trim(), 10));
        return Err(failure(what, vec!["adb kill-server; adb start-server".into()]).into());
    }
    let listed = text.lines().skip_while(|line| !line.starts_with("List of devices")).skip(1).filter_map(listed);
    let mut devices: Vec<Device> = listed.collect();
    if devices.is_empty() {
        devices = usb::closed(USB).into_iter().map(|found| Device::closed(Via::Adb, &found)).collect();
    }
    Ok(devices)
}

/// A line of `devices`: key, tab, state, which may be several words.
fn listed(line: &str) -> Option<Device> {
    let (key, word) = line.split_once(char::is_whitespace)?;
    let word = word.trim();
    let state = match word {
        "device" | "recovery" => State::Ready,
        "unauthorized" => {
            State::unusable("unauthorized: allow this computer on the board's screen, then the same command")
        }
        "offline" => State::unusable("offline: unplug it and plug it in again; `adb reconnect offline`"),
        _ if word.starts_with("no permissions") => State::unusable(format!(
            "{word}: this user may not open the USB device; a udev rule mends it, see docs/push.md"
        )),
        other => State::unusable(format!("in a state that Slipway does not know: {other}")),
    };
    Some(Device { via: Via::Adb, key: key.parse().ok()?, state })
}

impl Adb {
    pub fn new(key: Key) -> Result<Self> {
        Ok(Self { program: program().ok_or_else(missing)?, key })
    }

    fn spawn(&self, args: &[&str]) -> Result<Spawn> {
        spawn(&self.program, &[&["-s", self.key.as_str()], args].concat())
    }
}

impl Link for Adb {
    fn name(&self) -> String {
        format!("adb {}", self.key)
    }

    fn stream(&self, command: &str, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<i32> {
        let framed = Framed::new(command)?;
        let spawn = self.spawn(&["shell", &framed.command])?;
        run_client(&self.name(), &spawn, &framed, &advice, sink)
    }

    fn send(&self, local: &Path, remote: &str, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let size = fs_err::metadata(local)?.len();
        let finished = self.spawn(&["push", &local.to_string_lossy(), remote])?.output()?;
        if !finished.success() {
            let said = tail(finished.text().trim(), 10);
            let what = format!("{}: {remote} was not sent:\n{said}", self.name());
            return Err(failure(what, advice(&said)).into());
        }
        progress(size);
        Ok(())
    }

    fn interact(&self, command: Option<&str>) -> Result<i32> {
        let shell = command.map(|command| format!("exec sh -c {}", quote(command)));
        let args: Vec<&str> = ["shell", "-t"].into_iter().chain(shell.as_deref()).collect();
        Ok(self.spawn(&args)?.interact()?.code().unwrap_or(1))
    }
}

/// What its messages mean.
fn advice(said: &str) -> Vec<String> {
    let has = |words: &str| said.contains(words);
    if has("not found") || has("no devices") || has("offline") || has("closed") {
        vec!["is it plugged in and switched on? `adb devices` tells what adb sees".into()]
    } else if has("unauthorized") {
        vec!["allow this computer on the board's screen, then the same command".into()]
    } else if has("denied") || has("Read-only") {
        vec!["`adb root` lets adb's daemon run as root, on a board that allows it".into()]
    } else {
        vec!["the same command again: what is on the board already is not sent again".into()]
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
    fn devices_are_read() {
        let text = "emulator-5554\tdevice\n0123456789\tno permissions (missing udev rules? user is in the plugdev group); \
                    see [x]\nab\tunauthorized\ncd\toffline\n\n";
        let found: Vec<Device> = text.lines().filter_map(listed).collect();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].state, State::Ready);
        assert!(matches!(&found[1].state, State::Unusable(why) if why.contains("udev rule")));
    }
}
