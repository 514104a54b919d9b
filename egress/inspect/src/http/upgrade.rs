//! The server's answer to an upgrade (RFC 9110, 7.8).

/// Longest status line that is waited for.
const MAX_LINE: usize = 1 << 10;
/// Longest interim response before it.
const MAX_INTERIM: usize = 32 << 10;

/// What the server has said so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    held: Vec<u8>,
    accepted: Option<bool>,
}

impl Answer {
    /// Whether the server changed the protocol; `None` until it has said so or not.
    pub(super) fn accepted(&self) -> Option<bool> {
        self.accepted
    }

    /// Takes bytes of the server's. What is not an answer is a refusal: the client's bytes
    /// are then requests, as before.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        if self.accepted.is_some() {
            return;
        }
        self.held.extend_from_slice(bytes);
        self.accepted = self.read();
    }

    fn read(&mut self) -> Option<bool> {
        loop {
            let Some(end) = self.held.windows(2).position(|two| two == b"\r\n") else {
                return (self.held.len() > MAX_LINE).then_some(false);
            };
            let status = status(self.held.get(..end).unwrap_or_default());
            match status {
                Some(101) => return Some(true),
                // Interim responses (100, 103) come before it.
                Some(100..=199) => {}
                _ => return Some(false),
            }
            let Some(end) = self.held.windows(4).position(|four| four == b"\r\n\r\n") else {
                return (self.held.len() > MAX_INTERIM).then_some(false);
            };
            self.held.drain(..end + 4);
        }
    }
}

/// The number of `HTTP/1.1 101 …`.
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ")?;
    let number = std::str::from_utf8(rest.get(..3)?).ok()?;
    let ends = rest.get(3).is_none_or(|byte| *byte == b' ');
    number.parse().ok().filter(|_| ends)
}
