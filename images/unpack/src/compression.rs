//! gzip, zstd or neither, told by the first bytes; bounded.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::UnpackError;
use crate::limits::Limits;

/// Bytes of a layer that are read at once.
const BUFFER: usize = 128 * 1024;

/// Bytes that zstd may look back: what `zstd --long` makes, and a bound on memory. (RFC 8878, 3.1.1.1.2:
/// a decoder may refuse more than 8 MiB.)
const WINDOW: u64 = 128 << 20;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// zstd's frames of anything, `0x184D2A50` to `…5F`, little-endian.
const SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// What comes out of a layer. Its errors hold an [`UnpackError`].
#[derive(Debug)]
pub struct Decompressed<R> {
    inner: Form<Counted<R>>,
    limits: Limits,
    out: u64,
}

#[derive(Debug)]
enum Form<R> {
    Plain(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<Zstd<BufReader<R>>>),
}

impl<R: Read> Decompressed<R> {
    /// Looks at the first bytes. What is neither gzip nor zstd is an archive as it is.
    ///
    /// # Errors
    /// [`UnpackError::Source`] if it cannot be read.
    pub fn new(layer: R, limits: Limits) -> Result<Decompressed<R>, UnpackError> {
        let counted = Counted {
            inner: layer,
            bytes: 0,
        };
        let mut source = BufReader::with_capacity(BUFFER, counted);
        let start = source.fill_buf().map_err(UnpackError::Source)?;
        let skippable = start.first().is_some_and(|byte| byte & 0xf0 == 0x50)
            && start
                .get(1..)
                .is_some_and(|rest| rest.starts_with(SKIPPABLE));
        let inner = if start.starts_with(GZIP) {
            Form::Gzip(Box::new(MultiGzDecoder::new(source)))
        } else if start.starts_with(ZSTD) || skippable {
            Form::Zstd(Box::new(Zstd::new(source)))
        } else {
            Form::Plain(source)
        };
        Ok(Decompressed {
            inner,
            limits,
            out: 0,
        })
    }

    fn compressed(&self) -> u64 {
        match &self.inner {
            Form::Plain(source) => source.get_ref().bytes,
            Form::Gzip(decoder) => decoder.get_ref().get_ref().bytes,
            Form::Zstd(decoder) => decoder.source.get_ref().bytes,
        }
    }

    fn check(&self) -> Result<(), UnpackError> {
        let Limits { bytes, ratio, .. } = self.limits;
        if self.out > bytes {
            return Err(UnpackError::TooLarge { most: bytes });
        }
        let bomb = self.out > self.compressed().saturating_mul(ratio);
        if self.out > Limits::RATIO_FROM && bomb {
            return Err(UnpackError::Ratio { ratio });
        }
        Ok(())
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.inner {
            Form::Plain(source) => source.read(buffer)?,
            Form::Gzip(decoder) => decoder
                .read(buffer)
                .map_err(|error| corrupt("gzip", error))?,
            Form::Zstd(decoder) => decoder
                .read(buffer)
                .map_err(|error| corrupt("zstd", error))?,
        };
        self.out += count as u64;
        self.check().map_err(io::Error::other)?;
        Ok(count)
    }
}

fn corrupt(format: &'static str, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    io::Error::other(UnpackError::Compression { format, error })
}

/// The error that a reader of ours wrapped, or the source's own.
pub fn from_io(error: io::Error) -> UnpackError {
    match error.downcast::<UnpackError>() {
        Ok(ours) => ours,
        Err(error) => UnpackError::Source(error),
    }
}

/// How many bytes of the layer itself were read.
#[derive(Debug)]
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// All frames of a zstd stream, one after the other; ruzstd's own reader ends after the first.
struct Zstd<R> {
    decoder: FrameDecoder,
    source: R,
    within: bool,
}

impl<R> std::fmt::Debug for Zstd<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zstd")
    }
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Zstd<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Zstd {
            decoder,
            source,
            within: false,
        }
    }

    /// Begins the next frame; `false`: there is none.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(u64::from(length))?,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        Ok(false)
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
        if skipped < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if !self.within {
                if !self.begin()? {
                    return Ok(0);
                }
                self.within = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let step = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.source, step);
                decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            self.within = false;
        }
        Ok(0)
    }
}
