//! Files into a board's `incoming/`: in pieces, under temporary names, hashed there, then renamed.
//!
//! A piece at a time gives every way progress, and lets a transfer that was cut go on where it was: what has
//! arrived is hashed on the board and compared with the same length of the file here. Nothing that a way
//! says about a transfer is believed; the board's copy is hashed by the busybox that was sent first, which
//! hashes itself.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use fs_err as fs;
use sha2::Digest;

use super::{Link, failure};
use crate::data::types::Sha256;
use crate::error::{Context, Result};
use crate::interrupt;
use crate::run::process::quote;
use crate::ui::{self, Ui};

/// How much goes in one piece: some seconds over the slowest way.
pub const PIECE: u64 = 8 << 20;

/// The busybox in `incoming/`.
const BUSYBOX: &str = "busybox";

/// A board's `incoming/`.
pub struct Upload<'a> {
    link: &'a dyn Link,
    ui: &'a Ui,
    dir: String,
    /// What is there: name → hash and size, by the busybox that is there.
    there: BTreeMap<String, (Sha256, u64)>,
    piece: u64,
}

impl<'a> Upload<'a> {
    /// Makes the folder, looks what it holds of these files, and removes tarballs of other bundles.
    pub fn open(link: &'a dyn Link, ui: &'a Ui, board_dir: &str, small: &[&str], large: &str) -> Result<Self> {
        let dir = format!("{board_dir}/incoming");
        let made = format!(
            "umask 077; mkdir -p {dir} && chmod 755 {board} && chmod 700 {dir} && for f in {dir}/*.tar.gz {dir}/*.part; \
             do case $f in */{large}*) ;; *) rm -f \"$f\" ;; esac; done",
            dir = quote(&dir),
            board = quote(board_dir),
            large = quote(large),
        );
        run(link, &made, || format!("make the folder {dir}"))?;
        let mut upload = Self { link, ui, dir, there: BTreeMap::new(), piece: PIECE };
        upload.there = upload.look(&[small, &[large]].concat())?;
        Ok(upload)
    }

    /// Sends pieces of another size: tests have small files.
    pub fn piece(mut self, bytes: u64) -> Self {
        self.piece = bytes;
        self
    }

    /// The path of a file of that name on the board.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    /// Hashes of those files, and of what of them was begun. Without a busybox that works nothing is known.
    fn look(&self, names: &[&str]) -> Result<BTreeMap<String, (Sha256, u64)>> {
        let names: Vec<String> = names.iter().flat_map(|name| [quote(name), quote(&format!("{name}.part"))]).collect();
        let each = format!(
            "for f in {}; do if [ -f \"$f\" ]; then echo \"$(wc -c <\"$f\") $(./{BUSYBOX} sha256sum \"$f\" 2>/dev/null)\"; fi; done",
            names.join(" ")
        );
        let answer = self.link.shell(&format!("cd {} && {each}", quote(&self.dir)))?;
        let entry = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [size, hash, name] = words[..] else { return None };
            Some((name.to_owned(), (hash.parse().ok()?, size.parse().ok()?)))
        };
        Ok(answer.output.lines().filter_map(entry).collect())
    }

    /// True if the file is there already, whole.
    pub fn has(&self, name: &str, sha256: &Sha256) -> bool {
        self.there.get(name).is_some_and(|(there, _)| there == sha256)
    }

    /// Sends the busybox, which then hashes everything else.
    pub fn busybox(&self, bytes: &[u8]) -> Result<()> {
        self.bytes(BUSYBOX, bytes, &format!("{BUSYBOX}.part"))
    }

    /// Sends a small file.
    pub fn small(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.bytes(name, bytes, BUSYBOX)
    }

    fn bytes(&self, name: &str, bytes: &[u8], hasher: &str) -> Result<()> {
        let sha256 = Sha256::of(bytes);
        if self.has(name, &sha256) {
            return Ok(());
        }
        let mut local = piece_file()?;
        local.write_all(bytes).context("write a temporary file")?;
        self.tell(name, bytes.len() as u64, 0, |progress| {
            self.link.send(local.path(), &self.path(&format!("{name}.part")), progress)
        })?;
        self.finish(name, &sha256, hasher)
    }

    /// Sends a large file, going on after what is there of it.
    pub fn large(&self, name: &str, local: &Path, sha256: &Sha256, size: u64) -> Result<()> {
        if self.has(name, sha256) {
            return Ok(());
        }
        let begun = self.begun(name, local)?;
        if begun == 0 {
            let clear = format!("cd {} && ./{BUSYBOX} rm -f {}", quote(&self.dir), quote(&format!("{name}.part")));
            run(self.link, &clear, || format!("remove an unfinished {name}"))?;
        } else {
            self.ui.note("resume", &format!("{} of {name} are on the board already", ui::size(begun)));
        }
        self.tell(name, size, begun, |progress| {
            let mut file = fs::File::open(local)?;
            file.seek(SeekFrom::Start(begun))?;
            let mut at = begun;
            while at < size {
                interrupt::check()?;
                let piece = copy_piece(&mut file, self.piece)?;
                let count = piece.as_file().metadata()?.len();
                if count == 0 {
                    return Err(failure(format!("{} became shorter while it was sent", local.display()), vec![]).into());
                }
                self.link.send(piece.path(), &self.path("piece"), progress)?;
                at += count;
                self.append(name, at)?;
            }
            Ok(())
        })?;
        self.finish(name, sha256, BUSYBOX)
    }

    /// How many bytes of the file are on the board, if they are its first ones.
    fn begun(&self, name: &str, local: &Path) -> Result<u64> {
        let Some((there, size)) = self.there.get(&format!("{name}.part")) else { return Ok(0) };
        let mut hasher = sha2::Sha256::new();
        let copied = std::io::copy(&mut fs::File::open(local)?.take(*size), &mut Hash(&mut hasher))?;
        Ok(if copied == *size && Sha256::from_digest(&hasher.finalize()) == *there { *size } else { 0 })
    }

    /// Adds the piece to what is there, which then has `size` bytes.
    fn append(&self, name: &str, size: u64) -> Result<()> {
        let part = quote(&format!("{name}.part"));
        let command = format!(
            "cd {} && ./{BUSYBOX} cat piece >>{part} && ./{BUSYBOX} rm -f piece && [ $(./{BUSYBOX} wc -c <{part}) = {size} ]",
            quote(&self.dir)
        );
        run(self.link, &command, || format!("add a piece to {name}, {} so far", ui::size(size)))
    }

    /// Compares the board's hash with ours; only then the file has its name.
    fn finish(&self, name: &str, sha256: &Sha256, hasher: &str) -> Result<()> {
        let (part, whole) = (quote(&format!("{name}.part")), quote(name));
        let command = format!(
            "cd {dir} && chmod 700 {part} && h=$(./{hasher} sha256sum {part}) && echo \"${{h%% *}}\" && \
             if [ \"${{h%% *}}\" = {sha256} ]; then ./{hasher} mv -f {part} {whole}; else rm -f {part}; exit 3; fi",
            dir = quote(&self.dir)
        );
        let answer = self.link.shell(&command)?;
        if answer.success() {
            return Ok(());
        }
        let (what, next) = match answer.status {
            3 => (
                format!(
                    "{name} arrived damaged, and was removed\n  expected {sha256}\n  found    {}",
                    answer.output.trim()
                ),
                "the same command again; if it happens often: another cable, another port, no hub",
            ),
            _ if name == BUSYBOX => (
                format!("the board cannot run the busybox of the bundle:\n{}", answer.output.trim()),
                "is the bundle made for this processor, and may programs be started from this folder?",
            ),
            _ => {
                (format!("{name} cannot be checked on the board:\n{}", answer.output.trim()), "the same command again")
            }
        };
        Err(failure(what, vec![next.into()]).into())
    }

    /// Shows the transfer of one file as one line of work, with its rate.
    fn tell(
        &self,
        name: &str,
        size: u64,
        begun: u64,
        send: impl FnOnce(&mut dyn FnMut(u64)) -> Result<()>,
    ) -> Result<()> {
        let task = self.ui.task("send", name);
        task.bytes(begun, Some(size));
        let started = Instant::now();
        let sent = send(&mut |count| task.advance(count));
        let detail = match started.elapsed().as_secs_f64() {
            seconds if seconds > 0.5 => {
                let rate = ((size - begun) as f64 / seconds) as u64;
                format!("{}, {}/s", ui::size(size), ui::size(rate))
            }
            _ => ui::size(size),
        };
        match &sent {
            Ok(()) => task.done(&detail),
            Err(_) => task.failed(""),
        }
        sent
    }
}

/// A temporary file whose name every client takes.
fn piece_file() -> Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix("slipway-").tempfile().context("make a temporary file")
}

fn copy_piece(file: &mut fs::File, size: u64) -> Result<tempfile::NamedTempFile> {
    let mut piece = piece_file()?;
    std::io::copy(&mut file.take(size), &mut piece).context("write a temporary file")?;
    Ok(piece)
}

/// Runs a command that is expected to succeed and to say nothing.
pub fn run(link: &dyn Link, command: &str, doing: impl Fn() -> String) -> Result<()> {
    let answer = link.shell(command)?;
    match answer.success() {
        true => Ok(()),
        false => {
            let said = answer.output.trim();
            let gap = if said.is_empty() { "" } else { ":\n" };
            let what = format!("the board did not {} (exit status {}){gap}{said}", doing(), answer.status);
            Err(failure(what, vec![]).into())
        }
    }
}

struct Hash<'a>(&'a mut sha2::Sha256);

impl Write for Hash<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
