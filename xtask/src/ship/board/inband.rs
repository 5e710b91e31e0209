//! The exit status of a command on a board, carried in its output.
//!
//! hdc always says 0, an old adb too, and a serial console says nothing. So the command's own shell prints
//! the status behind a mark that is new for each call, and [`Reader`] takes it out again. The output comes
//! through unchanged, but for carriage returns that a terminal on the way put before newlines.

use std::fmt::Write as _;
use std::io::Read;

use fs_err as fs;

use crate::error::{Context, Result, bail};

/// What a line with a status begins with; the call's own number follows.
const MARK: &str = "slipway-status-";

/// A command that tells its exit status, and the reader of what it prints.
#[derive(Debug)]
pub struct Framed {
    /// One line for a POSIX shell. The mark never stands in it as a whole, so that an echo of the command
    /// is not taken for the answer.
    pub command: String,
    mark: String,
}

impl Framed {
    /// Frames `command`, which is one line: not every way carries more.
    pub fn new(command: &str) -> Result<Self> {
        if command.contains(['\n', '\r', '\0']) {
            bail!("a command for a board is one line, and this one is not: {}", command.escape_debug());
        }
        Ok(Self::with(command, &random()?))
    }

    fn with(command: &str, random: &str) -> Self {
        // `echo` is part of every shell; `printf` of some is not.
        let command = format!("( {command} ) 2>&1; s=$?; echo; echo \"{MARK}\"{random}=$s");
        Self { command, mark: format!("{MARK}{random}=") }
    }

    /// A reader for one run.
    pub fn reader(&self) -> Reader<'_> {
        Reader { mark: self.mark.as_bytes(), held: Vec::new(), status: None }
    }
}

/// Takes the status out of the output.
#[derive(Debug)]
pub struct Reader<'a> {
    mark: &'a [u8],
    /// The end of the last line: it belongs to the output only if another line follows that is not the mark.
    held: Vec<u8>,
    status: Option<i32>,
}

impl Reader<'_> {
    /// Takes a line (or a piece of a long one, without its newline) and gives on what is output.
    pub fn line(&mut self, line: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.status.is_some() {
            return Ok(()); // Behind the mark nothing is the command's.
        }
        let (text, end): (&[u8], &[u8]) = match line {
            [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => (text, b"\n"),
            text => (text, b""),
        };
        if let Some(status) = text.strip_prefix(self.mark) {
            self.status = std::str::from_utf8(status).ok().and_then(|status| status.trim_end().parse().ok());
            if self.status.is_some() {
                return Ok(());
            }
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(text);
        self.held.extend_from_slice(end);
        sink(&whole)
    }

    /// The status, if the mark has come. Without it, the command did not run, or not to its end.
    pub fn status(&self) -> Option<i32> {
        self.status
    }
}

/// Sixteen hexadecimal digits that no earlier call had.
pub fn random() -> Result<String> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes).context("read /dev/urandom")?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> (String, Option<i32>) {
        let framed = Framed::with("true", "0123");
        let mut reader = framed.reader();
        let mut text = Vec::new();
        for line in output.split_inclusive('\n') {
            reader
                .line(line.as_bytes(), &mut |line| {
                    text.extend_from_slice(line);
                    Ok(())
                })
                .unwrap();
        }
        (String::from_utf8(text).unwrap(), reader.status())
    }

    #[test]
    fn output_comes_through_unchanged() {
        for output in ["", "one", "one\n", "one\n\n", "\n", "a\nb", "=\nslipway-status-=1\n"] {
            let answer = format!("{output}\nslipway-status-0123=7\nlate\n");
            assert_eq!(read(&answer), (output.to_owned(), Some(7)));
            assert_eq!(read(&answer.replace('\n', "\r\n")), (output.to_owned(), Some(7)), "with carriage returns");
        }
    }

    #[test]
    fn without_the_mark_nothing_is_known() {
        assert_eq!(read("[Fail]Device not founded or connected\r\n").1, None);
        assert_eq!(read("\nslipway-status-9999=0\n").1, None, "another call's mark");
        assert_eq!(read("\nslipway-status-0123=").1, None, "cut");
        let echoed = format!("{}\n", Framed::with("true", "0123").command);
        assert_eq!(read(&echoed).1, None, "an echo of the command");
    }

    #[test]
    fn no_two_calls_have_the_same_mark() {
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
