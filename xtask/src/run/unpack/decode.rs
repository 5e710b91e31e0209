//! From an archive's bytes to a tar's: what kind it is, its decompression, and how much may come out.
//!
//! Knows no entries.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::deb;
use crate::error::{Context, Result};
use crate::ui;

/// What an archive's first bytes say it is.
pub(super) enum Format {
    Zip,
    /// A Debian package: an ar archive with a tar in it.
    Deb,
    Tar(Codec),
}

/// How a tar is compressed.
#[derive(Clone, Copy)]
pub(super) enum Codec {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Format {
    pub fn of(head: &[u8]) -> Option<Self> {
        let codec = match head {
            [b'P', b'K', 3, 4, ..] => return Some(Self::Zip),
            _ if head.starts_with(deb::MAGIC) => return Some(Self::Deb),
            [0x1f, 0x8b, ..] => Codec::Gzip,
            [b'B', b'Z', b'h', ..] => Codec::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Codec::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Codec::Zstd,
            // A skippable frame: parallel compressors begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Codec::Zstd,
            _ if head.get(257..262) == Some(b"ustar") => Codec::Plain,
            _ => return None,
        };
        Some(Self::Tar(codec))
    }
}

impl Codec {
    /// All that is compressed in `file`: every member, stream or frame, one behind the other.
    pub fn reader(self, file: impl Read + 'static) -> Result<Box<dyn Read>> {
        let file = BufReader::with_capacity(128 * 1024, file);
        Ok(match self {
            Self::Plain => Box::new(file),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
            Self::Xz => Box::new(liblzma::bufread::XzDecoder::new_stream(file, xz_stream()?)),
            Self::Zstd => Box::new(Zstd { source: file, decoder: FrameDecoder::new(), in_frame: false }),
        })
    }
}

fn xz_stream() -> Result<liblzma::stream::Stream> {
    /// `xz -9` needs 65 MiB; a header can ask for 4 GiB.
    const MEMORY: u64 = 1 << 30;
    liblzma::stream::Stream::new_stream_decoder(MEMORY, liblzma::stream::CONCATENATED).context("start the xz decoder")
}

/// Reads all the frames of a zstd file; ruzstd's own reader stops after the first.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn begin_frame(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.source) {
            Ok(()) => self.in_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let length = u64::from(length);
                if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(())
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(stored), Some(real)) if stored != real => Err(io::Error::other("a zstd frame's checksum is wrong")),
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame {
                if self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin_frame()?;
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            self.end_frame()?;
        }
    }
}

/// How many bytes may still come out of a decoder: in all, and until somebody says more.
#[derive(Clone)]
pub(super) struct Budget {
    total: u64,
    left: Rc<Cell<u64>>,
    now: Rc<Cell<u64>>,
    ended: Rc<Cell<bool>>,
}

impl Budget {
    pub fn new(total: u64) -> Self {
        Self { total, left: Rc::new(Cell::new(total)), now: Rc::default(), ended: Rc::default() }
    }

    /// From here on `bytes` may be read, as long as the total lasts.
    pub fn allow(&self, bytes: u64) {
        self.now.set(bytes.min(self.left.get()));
    }

    /// True once the reader has met its end.
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    pub fn meter<R: Read>(&self, reader: R) -> Meter<R> {
        Meter { reader, budget: self.clone() }
    }

    fn spend(&self, count: u64) -> io::Result<()> {
        let (left, now) = (self.left.get().checked_sub(count), self.now.get().checked_sub(count));
        match (left, now) {
            (Some(left), Some(now)) => {
                self.left.set(left);
                self.now.set(now);
                Ok(())
            }
            (None, _) => Err(io::Error::other(TooMuch(too_much(self.total)))),
            (_, None) if self.now.get() == self.left.get() => Err(io::Error::other(TooMuch(too_much(self.total)))),
            (_, None) => Err(io::Error::other(TooMuch("has a header of absurd size".to_owned()))),
        }
    }
}

/// A reader that keeps to its budget.
pub(super) struct Meter<R> {
    reader: R,
    budget: Budget,
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.budget.ended.set(true);
        }
        self.budget.spend(count as u64)?;
        Ok(count)
    }
}

pub(super) fn too_much(total: u64) -> String {
    format!("unpacks to more than the {} that an archive of its size may", ui::size(total))
}

/// The error of a spent budget, told from damage by its type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TooMuch(String);

impl TooMuch {
    pub fn within(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}
