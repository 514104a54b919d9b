//! DNS over TCP: each message with its length before it (RFC 1035, 4.2.2).

use crate::query::MAX_QUERY_BYTES;

/// Messages out of a stream that arrives in pieces.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
}

/// Why a stream of messages ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No question is shorter than its header or longer than is taken.
    #[error("a DNS message of {0} bytes; send one of 12 to 4096")]
    Length(usize),
}

impl Frames {
    /// Takes what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until there is one. Call it until then after each
    /// [`Frames::push`]: what is kept is then less than one message.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the length is no question's; the stream is then useless.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let [high, low, ..] = self.held[..] else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(12..=MAX_QUERY_BYTES).contains(&length) {
            return Err(FrameError::Length(length));
        }
        if self.held.len() < 2 + length {
            return Ok(None);
        }
        let rest = self.held.split_off(2 + length);
        let message = std::mem::replace(&mut self.held, rest).split_off(2);
        Ok(Some(message))
    }
}

/// A message with its length before it; `None` if it is longer than a length can say.
pub fn framed(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    Some([&length.to_be_bytes(), message].concat())
}
