//! Vectors with their lengths before them (RFC 8446, 3.4).

use crate::refusal::Refusal;

const SHORT: Refusal = Refusal::Tls("a length beyond the end");

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn number16(&mut self) -> Result<u16, Refusal> {
        match self.take(2)? {
            [high, low] => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(SHORT),
        }
    }

    /// A vector with a length of one byte.
    pub(super) fn vector8(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.take(1)?.first().copied().unwrap_or_default();
        self.take(length.into())
    }

    /// A vector with a length of two bytes.
    pub(super) fn vector16(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.number16()?;
        self.take(length.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn end(&self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Tls("bytes after the end"))
        }
    }
}
