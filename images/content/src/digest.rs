//! Digests with their algorithm, written `sha256:` and 64 hexadecimal digits.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

/// Bytes of a digest of either algorithm.
const BYTES: usize = 32;

/// How a digest is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// What OCI content is addressed by (image-spec, "Digests").
    Sha256,
    /// What this project's own content is addressed by.
    Blake3,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Blake3];

    /// The word before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Blake3 => "blake3",
        }
    }
}

/// The digest of some content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; BYTES],
}

/// A text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: write sha256: or blake3: and 64 lower-case hexadecimal digits")]
pub struct NotADigest;

impl Digest {
    /// A digest that was made elsewhere.
    pub const fn from_bytes(algorithm: Algorithm, bytes: [u8; BYTES]) -> Digest {
        Digest { algorithm, bytes }
    }

    /// The digest of `content`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// How it is made.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.bytes
    }

    /// Its bytes as 64 lower-case hexadecimal digits: a file's name.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.bytes).to_hex().to_string()
    }

    /// Reads what [`Digest::hex`] wrote.
    pub(crate) fn from_hex(algorithm: Algorithm, hex: &str) -> Result<Digest, NotADigest> {
        // One digest has one text.
        if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotADigest);
        }
        let hash = blake3::Hash::from_hex(hex).map_err(|_| NotADigest)?;
        Ok(Digest::from_bytes(algorithm, *hash.as_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    /// Upper case and other algorithms are refused.
    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        let (name, hex) = text.split_once(':').ok_or(NotADigest)?;
        let mut known = Algorithm::ALL.into_iter();
        let algorithm = known.find(|one| one.name() == name).ok_or(NotADigest)?;
        Digest::from_hex(algorithm, hex)
    }
}

/// Makes a digest of bytes as they come.
pub struct Hasher(State);

enum State {
    Sha256(Box<ring::digest::Context>),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Of nothing yet.
    pub fn new(algorithm: Algorithm) -> Hasher {
        Hasher(match algorithm {
            Algorithm::Sha256 => {
                let context = ring::digest::Context::new(&ring::digest::SHA256);
                State::Sha256(Box::new(context))
            }
            Algorithm::Blake3 => State::Blake3(Box::default()),
        })
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(context) => context.update(bytes),
            State::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// The digest of all that was taken.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(context) => {
                let mut bytes = [0; BYTES];
                // SHA-256 has as many bytes as there is room for.
                for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
                    *to = *from;
                }
                Digest::from_bytes(Algorithm::Sha256, bytes)
            }
            State::Blake3(hasher) => {
                Digest::from_bytes(Algorithm::Blake3, *hasher.finalize().as_bytes())
            }
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// Passes bytes on and makes their digest.
#[derive(Debug)]
pub struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    /// Around `inner`.
    pub fn new(inner: R, algorithm: Algorithm) -> Hashing<R> {
        Hashing {
            inner,
            hasher: Hasher::new(algorithm),
            bytes: 0,
        }
    }

    /// How many bytes went by.
    pub fn count(&self) -> u64 {
        self.bytes
    }

    /// The digest of what went by, and how many bytes that were.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        // FIPS 180-2, B.1.
        assert_eq!(
            Digest::of(Algorithm::Sha256, b"abc").to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        // BLAKE3's test vectors, input_len 0.
        assert_eq!(
            Digest::of(Algorithm::Blake3, b"").to_string(),
            "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn a_digest_has_one_text() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let hex = "ab".repeat(32);
        for text in [
            String::new(),
            "sha256".to_owned(),
            "sha256:".to_owned(),
            hex.clone(),
            format!("sha512:{hex}"),
            format!("SHA256:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha256:{}", &hex[2..]),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256: {}", &hex[1..]),
            format!("sha256:{hex}\n"),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(NotADigest), "{text:?}");
        }
    }

    #[test]
    fn bytes_that_pass_are_counted_and_hashed() {
        let mut hashing = Hashing::new(&b"abc"[..], Algorithm::Sha256);
        io::copy(&mut hashing, &mut io::sink()).unwrap();
        assert_eq!(hashing.finish(), (Digest::of(Algorithm::Sha256, b"abc"), 3));
    }
}
