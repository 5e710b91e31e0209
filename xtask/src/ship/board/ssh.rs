//! A secure shell server on the board, reached by OpenSSH's client.
//!
//! One connection is made and shared by all commands: it is where a person may be asked for a password or
//! about a host key, and only if there is a terminal to ask at. Files go through `cat`: dropbear and small
//! servers have neither scp nor sftp.

use std::ffi::OsString;
use std::path::Path;

use xshell::Shell;

use super::device::Key;
use super::inband::Framed;
use super::{Link, failure, run_client};
use crate::data::board::Via;
use crate::data::types::Invalid;
use crate::error::{Context, Failure, Kind, Result};
use crate::run::process::{self, Spawn, quote, tail};

/// A connection to a board, closed when dropped.
#[derive(Debug)]
pub struct Ssh {
    address: Address,
    /// Holds the socket by which the connection is shared.
    dir: tempfile::TempDir,
}

/// `user@host`, `user@host:2222`, `user@[fe80::1]:2222`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    destination: String,
    port: Option<u16>,
}

impl std::str::FromStr for Address {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid(format!("{text:?} is no place to reach by ssh: USER@HOST or USER@HOST:PORT"));
        let (user, place) = text.split_once('@').ok_or_else(wrong)?;
        let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            None => match place.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (place, None),
            },
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        let good = |word: &str| !word.is_empty() && !word.starts_with('-') && word.chars().all(plain);
        if !good(user) || !good(host) {
            return Err(wrong());
        }
        let port = port.map(str::parse).transpose().map_err(|_| wrong())?;
        Ok(Self { destination: format!("{user}@{host}"), port })
    }
}

/// The client.
pub fn program() -> Option<std::path::PathBuf> {
    process::find("ssh")
}

/// What to say when there is none.
pub fn missing() -> Failure {
    Failure::new(Kind::Host, "ssh is not on this machine").next("apt-get install openssh-client")
}

impl Ssh {
    /// Connects. Without a terminal nothing is asked: an unknown host key or a missing login is an error.
    pub fn connect(key: &Key) -> Result<Self> {
        program().ok_or_else(missing)?;
        let address = key.as_str().parse().map_err(|Invalid(why)| failure(why, vec![]))?;
        let dir = tempfile::Builder::new().prefix("slipway-").tempdir().context("make a folder for ssh's socket")?;
        let ssh = Self { address, dir };
        let master = ["-M", "-N", "-f", "-o", "ControlPersist=60", "-o", "ConnectTimeout=15"];
        if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            let status = ssh.spawn(&master, None)?.interact()?;
            // What went wrong stands on the terminal already.
            return if status.success() { Ok(ssh) } else { Err(ssh.refused("")) };
        }
        let finished = ssh.spawn(&[&master[..], &["-o", "BatchMode=yes"]].concat(), None)?.output()?;
        if finished.success() { Ok(ssh) } else { Err(ssh.refused(&finished.text())) }
    }

    fn refused(&self, said: &str) -> anyhow::Error {
        let said = tail(said.trim(), 10);
        let gap = if said.is_empty() { "" } else { ":\n" };
        failure(format!("{}: no connection{gap}{said}", self.name()), self.advice(&said)).into()
    }

    /// `ssh` over the shared connection, with these options, running this on the board.
    fn spawn(&self, options: &[&str], remote: Option<&str>) -> Result<Spawn> {
        let mut socket = OsString::from("ControlPath=");
        socket.push(self.dir.path().join("socket"));
        let shell = Shell::new()?;
        let mut command = shell.cmd("ssh").arg("-o").arg(socket).args(["-o", "ServerAliveInterval=15"]).args(options);
        if let Some(port) = self.address.port {
            command = command.args(["-p", &port.to_string()]);
        }
        command = command.args(["--", &self.address.destination]);
        // The login shell may be any: a POSIX one is started.
        Ok(Spawn::host(command.args(remote.map(|remote| format!("exec sh -c {}", quote(remote))))).lasting())
    }

    /// What its messages mean.
    fn advice(&self, said: &str) -> Vec<String> {
        let Address { destination, port } = &self.address;
        let port = port.map_or_else(String::new, |port| format!("-p {port} "));
        let by_hand = format!("ssh {port}{destination}");
        let has = |words: &str| said.contains(words);
        if has("IDENTIFICATION HAS CHANGED") {
            let known = self.address.known_as();
            vec![format!(
                "the board's key is another than before: a new system on it, or another machine at this address.\n\
                 If you know which, ssh-keygen -R {} forgets the old key",
                quote(&known)
            )]
        } else if has("Host key verification failed") {
            vec![format!("{by_hand}   once by hand: it shows the board's key, and asks whether to trust it")]
        } else if has("Permission denied") {
            vec![
                format!("ssh-copy-id {port}{destination}   puts your key on the board"),
                "the same command at a terminal, where ssh can ask for the password".into(),
            ]
        } else if has("Connection refused") {
            vec!["is a server (sshd, dropbear) running on the board, on this port?".into()]
        } else if has("Could not resolve") || has("No route") || has("timed out") {
            vec![format!("is the board switched on and on this network? `ping` it; {by_hand}")]
        } else {
            vec![format!("{by_hand}   by hand tells more")]
        }
    }
}

impl Address {
    /// As `known_hosts` names it.
    fn known_as(&self) -> String {
        let host = self.destination.split_once('@').map_or("", |(_, host)| host);
        match self.port {
            Some(port) if port != 22 => format!("[{host}]:{port}"),
            _ => host.to_owned(),
        }
    }
}

impl Link for Ssh {
    fn name(&self) -> String {
        let port = self.address.port.map_or_else(String::new, |port| format!(":{port}"));
        format!("{} {}{port}", Via::Ssh, self.address.destination)
    }

    fn stream(&self, command: &str, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<i32> {
        let framed = Framed::new(command)?;
        let spawn = self.spawn(&["-T", "-o", "BatchMode=yes"], Some(&framed.command))?;
        run_client(&self.name(), &spawn, &framed, &|said| self.advice(said), sink)
    }

    fn send(&self, local: &Path, remote: &str, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let size = fs_err::metadata(local)?.len();
        let framed = Framed::new(&format!("umask 077; cat >{}", quote(remote)))?;
        let spawn = self.spawn(&["-T", "-o", "BatchMode=yes"], Some(&framed.command))?.input(local);
        let mut said = Vec::new();
        let status = run_client(&self.name(), &spawn, &framed, &|said| self.advice(said), &mut |line| {
            said.extend_from_slice(line);
            Ok(())
        })?;
        if status != 0 {
            let said = String::from_utf8_lossy(&said);
            let what = format!("{}: {remote} was not sent:\n{}", self.name(), tail(said.trim(), 10));
            return Err(failure(what, vec![]).into());
        }
        progress(size);
        Ok(())
    }

    fn interact(&self, command: Option<&str>) -> Result<i32> {
        Ok(self.spawn(&["-t", "-o", "BatchMode=yes"], command)?.interact()?.code().unwrap_or(1))
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // Nobody is left to tell if it fails; the connection then ends by itself after a minute.
        let _ = self.spawn(&["-O", "exit", "-o", "BatchMode=yes"], None).and_then(|spawn| spawn.output());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parsed = |text: &str| text.parse::<Address>().map(|it| (it.destination, it.port));
        assert_eq!(parsed("root@board"), Ok(("root@board".into(), None)));
        assert_eq!(parsed("root@127.0.0.1:2222"), Ok(("root@127.0.0.1".into(), Some(2222))));
        assert_eq!(parsed("root@[fe80::1%eth0]:22"), Ok(("root@fe80::1%eth0".into(), Some(22))));
        assert_eq!(parsed("root@fe80::1"), Ok(("root@fe80::1".into(), None)));
        for wrong in [
            "board",
            "@board",
            "root@",
            "-oProxyCommand=x@y",
            "root@-oProxyCommand=x",
            "root@a b",
            "root@a:x",
            "root@a:70000",
            "root@[::1]x",
            "r;x@a",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
