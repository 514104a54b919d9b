//! What a relay says first on a connection to its manager's socket for services: in whose
//! sandbox it began, and for which service it is. Everything after it is the sandbox's.
//!
//! ```text
//! byte 0   version of this format
//! byte 1   length of the sandbox's identifier, 1 to MAX_WORD
//! byte 2   length of the service's name, 1 to MAX_WORD
//! ...      the identifier, then the name: a-z, 0-9 and -
//! ```
//!
//! The lengths come first so that its reader takes not a byte of what follows it.

/// The version of the format.
pub const PREAMBLE_VERSION: u8 = 1;

/// Length of what tells how long the rest is, bytes.
pub const HEADER: usize = 3;

/// Longest identifier, and longest name, bytes: as launchers take them, and a label of a name
/// (RFC 1035, 2.3.4).
pub const MAX_WORD: usize = 64;

/// Whose connection it is, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    sandbox: String,
    service: String,
}

/// Why bytes are no preamble, or words make none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// The other side is of another build.
    #[error(
        "a preamble of version {0}, and not {PREAMBLE_VERSION}; install lakekeep's binaries together"
    )]
    Version(u8),
    /// A word that is empty or too long.
    #[error("a word of {0} bytes in a preamble, and not of 1 to {MAX_WORD}")]
    Length(usize),
    /// Fewer or more bytes than its header says.
    #[error("{found} bytes after a preamble's header, which says {said}")]
    Cut {
        /// Bytes that came.
        found: usize,
        /// Bytes that were to come.
        said: usize,
    },
    /// A word of other letters.
    #[error("a word in a preamble is not of a-z, 0-9 and -")]
    Letters,
}

impl Preamble {
    /// For a connection of this sandbox's to this service.
    ///
    /// # Errors
    /// `Length` or `Letters` for words that no preamble holds.
    pub fn new(sandbox: &str, service: &str) -> Result<Self, PreambleError> {
        Ok(Self {
            sandbox: word(sandbox.as_bytes())?,
            service: word(service.as_bytes())?,
        })
    }

    /// The sandbox's identifier.
    #[must_use]
    pub fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// As it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Neither is longer than `MAX_WORD`.
        let mut bytes = vec![
            PREAMBLE_VERSION,
            self.sandbox.len() as u8,
            self.service.len() as u8,
        ];
        bytes.extend_from_slice(self.sandbox.as_bytes());
        bytes.extend_from_slice(self.service.as_bytes());
        bytes
    }

    /// How many bytes follow this header; at most twice [`MAX_WORD`].
    ///
    /// # Errors
    /// `Version`, `Length`.
    pub fn rest(header: [u8; HEADER]) -> Result<usize, PreambleError> {
        let [version, sandbox, service] = header;
        if version != PREAMBLE_VERSION {
            return Err(PreambleError::Version(version));
        }
        Ok(length(sandbox.into())? + length(service.into())?)
    }

    /// What a header and the bytes after it say.
    ///
    /// # Errors
    /// [`PreambleError`].
    pub fn read(header: [u8; HEADER], rest: &[u8]) -> Result<Self, PreambleError> {
        let cut = PreambleError::Cut {
            found: rest.len(),
            said: Self::rest(header)?,
        };
        let [_, first, second] = header.map(usize::from);
        let (sandbox, service) = rest.split_at_checked(first).ok_or(cut)?;
        if service.len() != second {
            return Err(cut);
        }
        Ok(Self {
            sandbox: word(sandbox)?,
            service: word(service)?,
        })
    }
}

fn length(length: usize) -> Result<usize, PreambleError> {
    match length {
        1..=MAX_WORD => Ok(length),
        other => Err(PreambleError::Length(other)),
    }
}

fn word(bytes: &[u8]) -> Result<String, PreambleError> {
    length(bytes.len())?;
    let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(plain) => Ok(text.to_owned()),
        _ => Err(PreambleError::Letters),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Preamble, PreambleError> {
        let (header, rest) = bytes.split_first_chunk().unwrap();
        Preamble::read(*header, rest)
    }

    #[test]
    fn what_was_written_reads_back() {
        let longest = "a".repeat(MAX_WORD);
        for (sandbox, service) in [("00ff", "identity"), ("a", "b"), (&longest, &longest)] {
            let written = Preamble::new(sandbox, service).unwrap();
            let bytes = written.to_bytes();
            assert_eq!(
                Preamble::rest([bytes[0], bytes[1], bytes[2]]),
                Ok(bytes.len() - HEADER)
            );
            let read = read(&bytes).unwrap();
            assert_eq!((read.sandbox(), read.service()), (sandbox, service));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        // A request of the sandbox's own is a version that there never was.
        assert_eq!(read(b"GET /"), Err(PreambleError::Version(b'G')));
        assert_eq!(read(b"\x01\x00\x01a"), Err(PreambleError::Length(0)));
        assert_eq!(read(b"\x01\x01\x41"), Err(PreambleError::Length(65)));
        let cut = |found, said| Err(PreambleError::Cut { found, said });
        assert_eq!(read(b"\x01\x02\x01a"), cut(1, 3));
        assert_eq!(read(b"\x01\x01\x01a"), cut(1, 2));
        assert_eq!(read(b"\x01\x01\x01abc"), cut(3, 2));
        for words in [["../a", "b"], ["a", "B"], ["a\n", "b"], ["\u{e9}", "b"]] {
            let [sandbox, service] = words;
            assert_eq!(
                Preamble::new(sandbox, service),
                Err(PreambleError::Letters),
                "{words:?}"
            );
        }
        assert_eq!(Preamble::new("", "b"), Err(PreambleError::Length(0)));
    }
}
