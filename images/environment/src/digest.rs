//! Names by content.

use std::fmt;
use std::str::FromStr;

/// A BLAKE3 hash of 32 bytes: the name of a file's content, or of a whole environment (the
/// hash of its manifest's text). Shown in lower-case hexadecimal (64 characters).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text is not a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: 64 lower-case hexadecimal digits are needed, after an optional \"blake3:\"")]
pub struct DigestError;

impl Digest {
    /// The digest that these bytes are.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Digest {
        Digest(*blake3::hash(content).as_bytes())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Exactly 64 lower-case digits: a second spelling would be a second name.
pub(crate) fn from_hex(text: &str) -> Result<Digest, DigestError> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return Err(DigestError);
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = match pair {
            [high, low] => nibble(*high)? << 4 | nibble(*low)?,
            _ => return Err(DigestError),
        };
    }
    Ok(Digest(bytes))
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError),
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        from_hex(text.strip_prefix("blake3:").unwrap_or(text))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_with_and_without_its_algorithm() {
        let digest = Digest::of(b"x");
        let text = digest.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(format!("blake3:{text}").parse(), Ok(digest));
    }

    #[test]
    fn other_spellings_are_refused() {
        let text = Digest::of(b"x").to_string();
        let upper = text.to_uppercase();
        for bad in [
            "",
            "00",
            &upper,
            &text[1..],
            &format!("{text}0"),
            &format!("sha256:{text}"),
        ] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError), "{bad}");
        }
    }
}
