//! Which board: the devices of all ways, and the one that is meant.

use std::fmt;
use std::str::FromStr;

use super::adb::Adb;
use super::hdc::Hdc;
use super::ssh::Ssh;
use super::usb::Closed;
use super::{Link, adb, failure, hdc, ssh};
use crate::data::board::Via;
use crate::data::types::Invalid;
use crate::error::{Failure, Kind, Result, bail};

/// What a device is called: a serial number, an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Key {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = |c: char| c.is_ascii_graphic() && !"\"'`$\\".contains(c);
        match !text.is_empty() && text.len() <= 255 && !text.starts_with('-') && text.chars().all(plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(Invalid(format!("{text:?} is no device: a serial number, HOST:PORT or USER@HOST"))),
        }
    }
}

/// A device as a client lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub via: Via,
    pub key: Key,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Ready,
    /// Why not, and what to do.
    Unusable(String),
}

impl State {
    pub fn unusable(why: impl Into<String>) -> Self {
        Self::Unusable(why.into())
    }
}

impl Device {
    /// One that is plugged in but that this user may not open.
    pub fn closed(via: Via, found: &Closed) -> Self {
        let key = found.serial.as_deref().and_then(|serial| serial.parse().ok());
        let key = key.unwrap_or_else(|| Key(format!("{}:{}", found.vendor, found.product)));
        let rule = "/etc/udev/rules.d/51-slipway.rules";
        let why = format!(
            "this user may not open {}. As root, write this line to {rule},\n\
             run `udevadm control --reload`, and plug the board in again; `{via} kill` if it still is not listed:\n{}",
            found.node.display(),
            found.rule(),
            via = if via == Via::Adb { "adb kill-server; adb" } else { via.as_str() },
        );
        Self { via, key, state: State::Unusable(why) }
    }
}

/// Connects to the board that is meant, of those that can be reached by `ways`.
pub fn connect(ways: &[Via], via: Option<Via>, key: Option<&Key>) -> Result<Box<dyn Link>> {
    let ways = via.map_or_else(|| ways.to_vec(), |via| vec![via]);
    // Nobody lists what can be reached by ssh.
    let by_ssh = key.filter(|key| ways.contains(&Via::Ssh) && (key.as_str().contains('@') || ways == [Via::Ssh]));
    if let Some(key) = by_ssh {
        return Ok(Box::new(Ssh::connect(key)?));
    }
    if ways == [Via::Ssh] {
        let what = "ssh lists no boards: say which is meant";
        return Err(failure(what, vec!["--device root@ADDRESS, or root@ADDRESS:PORT".into()]).into());
    }
    let device = choose(&listed(&ways)?, &ways, key)?;
    match device.via {
        Via::Hdc => Ok(Box::new(Hdc::new(device.key)?)),
        Via::Adb => Ok(Box::new(Adb::new(device.key)?)),
        Via::Ssh => Ok(Box::new(Ssh::connect(&device.key)?)),
        Via::Emulator => bail!("an emulated board is no device: it is reached by its target"),
    }
}

/// All devices of those ways whose client is on this machine. It is a failure if none is.
fn listed(ways: &[Via]) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    let mut missing = Vec::new();
    let mut asked = false;
    for via in ways {
        let there = match via {
            Via::Hdc if hdc::program().is_none() => Err(hdc::missing()),
            Via::Adb if adb::program().is_none() => Err(adb::missing()),
            Via::Hdc => Ok(hdc::devices()?),
            Via::Adb => Ok(adb::devices()?),
            Via::Ssh | Via::Emulator => continue,
        };
        asked |= there.is_ok();
        match there {
            Ok(there) => devices.extend(there),
            Err(lacks) => missing.push(lacks),
        }
    }
    if asked {
        return Ok(devices);
    }
    let what: Vec<&str> = missing.iter().map(|failure| failure.message.as_str()).collect();
    let failure = Failure::new(Kind::Host, format!("no way to a board: {}", what.join("; ")));
    let next = missing.iter().flat_map(|failure| failure.next.clone());
    let failure = next.fold(failure, Failure::next);
    Err(match ways.contains(&Via::Ssh) && ssh::program().is_some() {
        true => failure.next("--device root@ADDRESS reaches a board with a secure shell server"),
        false => failure,
    }
    .into())
}

/// The one device that is meant: the one of that name, or the only one that is ready.
fn choose(devices: &[Device], ways: &[Via], key: Option<&Key>) -> Result<Device> {
    let meant: Vec<&Device> = devices.iter().filter(|device| key.is_none_or(|key| *key == device.key)).collect();
    let ready: Vec<&Device> = meant.iter().copied().filter(|device| device.state == State::Ready).collect();
    let table =
        |devices: &[&Device]| -> String { devices.iter().map(|device| format!("\n  {}", line(device))).collect() };
    let all: Vec<&Device> = devices.iter().collect();
    match (ready.as_slice(), meant.as_slice(), key) {
        ([only], ..) => Ok((*only).clone()),
        ([_, ..], _, Some(_)) => {
            let what = format!("the device is there twice:{}", table(&ready));
            Err(failure(what, vec!["--via says which way to take".into()]).into())
        }
        ([_, ..], _, None) => {
            let what = format!("there is more than one device:{}", table(&meant));
            Err(failure(what, vec![format!("--device {}", ready[0].key)]).into())
        }
        ([], [], Some(key)) => {
            let what = match all.is_empty() {
                true => format!("no device {key} can be seen: none at all can"),
                false => format!("no device {key} can be seen, only:{}", table(&all)),
            };
            Err(failure(what, none_next(ways)).into())
        }
        ([], [], None) => Err(failure(format!("no device can be seen by {}", words(ways)), none_next(ways)).into()),
        ([], [_, ..], _) => Err(failure(format!("no device is ready:{}", table(&meant)), vec![]).into()),
    }
}

fn line(device: &Device) -> String {
    let state = match &device.state {
        State::Ready => "ready".to_owned(),
        State::Unusable(why) => why.replace('\n', "\n      "),
    };
    format!("{} {}  {state}", device.via, device.key)
}

fn none_next(ways: &[Via]) -> Vec<String> {
    let mut next =
        vec!["is the board switched on, plugged in by a cable that carries data, and past its start?".to_owned()];
    if ways.contains(&Via::Hdc) {
        next.push("over the network: hdc tconn ADDRESS:PORT, then the same command".into());
    }
    if ways.contains(&Via::Adb) {
        next.push("over the network: adb connect ADDRESS:PORT, then the same command".into());
    }
    if ways.contains(&Via::Ssh) {
        next.push("--device root@ADDRESS reaches a board with a secure shell server".into());
    }
    next
}

fn words(ways: &[Via]) -> String {
    let listers: Vec<&str> = ways.iter().filter(|via| **via != Via::Ssh).map(|via| via.as_str()).collect();
    listers.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_and_no_shell_code() {
        for wrong in ["", "-t", "a b", "a\n", "$(x)", "`x`", "a\"b", "ä"] {
            assert!(wrong.parse::<Key>().is_err(), "{wrong:?}");
        }
        for right in ["7001005458323933328a01bce6003900", "192.168.1.5:5555", "root@[fe80::1]:22", "COM5,921600"] {
            assert!(right.parse::<Key>().is_ok(), "{right:?}");
        }
    }
}
