//! What is encrypted: a value with where it belongs.
//!
//! `LKS1`, then scope, owner, name, version (8 bytes) and value, each with its
//! length before it in 4 bytes, little-endian; nothing after the value.

use zeroize::Zeroizing;

use crate::state::Scope;

const MAGIC: &[u8] = b"LKS1";
/// Longest value in bytes: half of what execve(2) takes in one string.
pub const LONGEST_SECRET: usize = 64 << 10;
/// Longest other field in bytes.
const LONGEST_FIELD: usize = 255;

/// A decrypted envelope, still in the buffer that is wiped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The word of the scope.
    pub scope: &'a str,
    /// The profile, project or user.
    pub owner: &'a str,
    /// The secret's name.
    pub name: &'a str,
    /// Its version.
    pub version: u64,
    /// Its value.
    pub value: &'a [u8],
}

/// Why bytes are not an envelope. Says nothing of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It begins otherwise.
    #[error("not an envelope of a secret")]
    Magic,
    /// A field is not there, too long, or not text.
    #[error("the {field} of the envelope is cut off, too long, or not text")]
    Field {
        /// Which one.
        field: &'static str,
    },
    /// There is something after the value.
    #[error("there is something after the envelope")]
    Trailing,
}

impl Envelope<'_> {
    /// The bytes of the envelope. No field is longer than 4 bytes can say.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let fields: [&[u8]; 5] = [
            self.scope.as_bytes(),
            self.owner.as_bytes(),
            self.name.as_bytes(),
            &self.version.to_le_bytes(),
            self.value,
        ];
        let len: usize = fields.iter().map(|field| field.len() + 4).sum();
        // Room for everything at once: a buffer that grows leaves copies.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAGIC.len() + len));
        bytes.extend_from_slice(MAGIC);
        for field in fields {
            let len = u32::try_from(field.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    pub(super) fn belongs_to(&self, (scope, owner): (Scope, &str), name: &str) -> bool {
        self.scope == scope.as_str() && self.owner == owner && self.name == name
    }
}

/// Reads a decrypted envelope. Pure.
///
/// # Errors
/// [`EnvelopeError`] says which part is wrong.
pub fn parse_envelope(bytes: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(EnvelopeError::Magic)?;
    let scope = text(&mut rest, "scope")?;
    let owner = text(&mut rest, "owner")?;
    let name = text(&mut rest, "name")?;
    let version = field(&mut rest, "version", 8)?;
    let wrong = EnvelopeError::Field { field: "version" };
    let version = u64::from_le_bytes(version.try_into().map_err(|_| wrong)?);
    let value = field(&mut rest, "value", LONGEST_SECRET)?;
    if !rest.is_empty() {
        return Err(EnvelopeError::Trailing);
    }
    Ok(Envelope {
        scope,
        owner,
        name,
        version,
        value,
    })
}

fn text<'a>(rest: &mut &'a [u8], name: &'static str) -> Result<&'a str, EnvelopeError> {
    let bytes = field(rest, name, LONGEST_FIELD)?;
    std::str::from_utf8(bytes).map_err(|_| EnvelopeError::Field { field: name })
}

fn field<'a>(
    rest: &mut &'a [u8],
    field: &'static str,
    most: usize,
) -> Result<&'a [u8], EnvelopeError> {
    let taken = rest.split_first_chunk::<4>().and_then(|(len, after)| {
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        after.split_at_checked(len).filter(|_| len <= most)
    });
    let (bytes, after) = taken.ok_or(EnvelopeError::Field { field })?;
    *rest = after;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: Envelope<'static> = Envelope {
        scope: "user",
        owner: "alice",
        name: "TOKEN",
        version: 7,
        value: b"hunter2",
    };

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        assert!(parse_envelope(&ENVELOPE.encode()) == Ok(ENVELOPE));
    }

    #[test]
    fn every_beginning_and_every_addition_is_refused() {
        let bytes = ENVELOPE.encode();
        for end in 0..bytes.len() {
            assert!(parse_envelope(&bytes[..end]).is_err());
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(parse_envelope(&longer) == Err(EnvelopeError::Trailing));
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        let mut bytes = ENVELOPE.encode().to_vec();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse_envelope(&bytes) == Err(EnvelopeError::Field { field: "scope" }));
    }
}
