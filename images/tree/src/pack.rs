//! Contents on their way: one after the other, compressed together.
//!
//! A pack is one zstd frame (RFC 8878). What comes out of it are the contents that were asked for,
//! in the order in which they were asked for, without anything between them: both sides know each
//! length from the manifest. There are no names, paths or lengths in it that could lie; more or fewer
//! bytes than were asked for are refused, and so is a content that is not what its digest says. What
//! it unpacks to is bounded by what was asked for.

use std::io::{self, Read, Write};

use lakekeep_environment::FileNode;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, FrameCompressor};

use crate::error::TreeError;
use crate::make::Contents;

/// Bytes that a frame may look back (its decoder's memory). A decoder need not take more
/// (RFC 8878, 3.1.1.1.2), and [`send`] uses less.
const WINDOW: u64 = 8 << 20;

/// Reads the contents of `wanted` from a pack, and gives each to `take`, with exactly its length.
/// When this fails, those that were taken before are whole.
///
/// # Errors
/// [`TreeError::Pack`] for what is no pack or not the one that was asked for; what `take` says.
pub fn receive(
    pack: &mut dyn Read,
    wanted: &[FileNode],
    take: &mut dyn FnMut(&FileNode, &mut dyn Read) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    let mut decoder = StreamingDecoder::new_with_max_window_size(pack, WINDOW)
        .map_err(|error| refused(io::Error::other(error)))?;
    for file in wanted {
        let mut content = (&mut decoder).take(file.size);
        take(file, &mut content).map_err(of_pack)?;
        if content.limit() > 0 {
            return Err(refused(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let more = |source: &mut dyn Read| source.read(&mut [0]).map_err(refused);
    if more(&mut decoder)? > 0 || more(decoder.get_mut())? > 0 {
        let text = "it holds more than was asked for";
        return Err(refused(io::Error::other(text)));
    }
    Ok(())
}

/// A content that cannot be read: it comes from the pack.
fn of_pack(error: TreeError) -> TreeError {
    match error {
        TreeError::Read { error, .. } => refused(error),
        other => other,
    }
}

fn refused(error: io::Error) -> TreeError {
    TreeError::Pack { error }
}

/// Writes the contents of `wanted` as a pack. What has changed since it was captured is noticed by
/// whoever receives it.
///
/// # Errors
/// [`TreeError::NoContent`] and [`TreeError::Read`]; [`TreeError::Pack`] when `out` takes no more.
pub fn send(
    wanted: &[FileNode],
    contents: &dyn Contents,
    out: &mut dyn Write,
) -> Result<(), TreeError> {
    let mut source = Source {
        rest: wanted.iter(),
        contents,
        open: None,
        failed: None,
    };
    let mut drain = Drain { out, failed: None };
    // It panics where source or drain fail: they do not, and keep why.
    let mut compressor = FrameCompressor::new(CompressionLevel::Fastest);
    compressor.set_source(&mut source);
    compressor.set_drain(&mut drain);
    compressor.compress();
    match (source.failed, drain.failed) {
        (Some(error), _) => Err(error),
        (None, Some(error)) => Err(refused(error)),
        (None, None) => Ok(()),
    }
}

/// The contents, end to end. After a failure it has ended.
struct Source<'a> {
    rest: std::slice::Iter<'a, FileNode>,
    contents: &'a dyn Contents,
    open: Option<(&'a FileNode, io::Take<Box<dyn Read>>)>,
    failed: Option<TreeError>,
}

impl Source<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, TreeError> {
        loop {
            if let Some((file, content)) = &mut self.open {
                let shown = || file.digest.to_string();
                let failed = |error| TreeError::Read {
                    path: shown(),
                    error,
                };
                match content.read(buffer) {
                    Ok(0) if content.limit() > 0 => {
                        return Err(TreeError::Changed { path: shown() });
                    }
                    Ok(0) => {}
                    Ok(count) => return Ok(count),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(failed(error)),
                }
            }
            let Some(file) = self.rest.next() else {
                self.open = None;
                return Ok(0);
            };
            let path = file.digest.to_string();
            let opened = self.contents.open(file);
            let opened = opened.map_err(|error| TreeError::Read {
                path: path.clone(),
                error,
            })?;
            let opened = opened.ok_or(TreeError::NoContent { path })?;
            self.open = Some((file, opened.take(file.size)));
        }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed.is_some() || buffer.is_empty() {
            return Ok(0);
        }
        match self.next(buffer) {
            Ok(count) => Ok(count),
            Err(error) => {
                self.failed = Some(error);
                Ok(0)
            }
        }
    }
}

struct Drain<'a> {
    out: &'a mut dyn Write,
    failed: Option<io::Error>,
}

impl Write for Drain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_none() {
            self.failed = self.out.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
