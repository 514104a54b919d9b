//! An archive as blocks of 512 bytes.

use std::io::{self, Read};

use crate::error::Refusal;
use crate::header::{BLOCK, Block};

/// Why there is no block.
#[derive(Debug)]
pub enum BlockError {
    /// The archive ends within one, or where one should be.
    Refused(Refusal),
    /// It cannot be read.
    Io(io::Error),
}

/// Fills a block; `None`: the archive ended before its first byte.
pub fn block(source: &mut dyn Read) -> Result<Option<Block>, BlockError> {
    let mut block = [0; BLOCK];
    match fill(source, &mut block)? {
        0 => Ok(None),
        BLOCK => Ok(Some(block)),
        _ => Err(BlockError::Refused(Refusal::Truncated)),
    }
}

/// Reads the content of a header that is for other entries, with the padding behind it.
pub fn content(source: &mut dyn Read, size: u64, most: u64) -> Result<Vec<u8>, BlockError> {
    if size > most {
        return Err(BlockError::Refused(Refusal::LongHeader(most)));
    }
    let mut content = Vec::new();
    source
        .take(padded(size))
        .read_to_end(&mut content)
        .map_err(BlockError::Io)?;
    if (content.len() as u64) < padded(size) {
        return Err(BlockError::Refused(Refusal::Truncated));
    }
    content.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    Ok(content)
}

/// Bytes with which content fills its blocks.
pub const fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64)
}

/// Reads until the buffer is full or the source at its end.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, BlockError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BlockError::Io(error)),
        }
    }
    Ok(filled)
}
