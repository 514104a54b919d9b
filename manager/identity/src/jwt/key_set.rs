//! An issuer's public keys (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, KeyType};
use crate::strict_json;

/// Most keys of an issuer.
const MAX_KEYS: usize = 64;
/// Shortest and longest RSA modulus, in bytes: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Why a document is not a key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not one JSON object with each key once.
    #[error("not a JSON object in which each key stands once")]
    NotJson,
    /// No list of keys.
    #[error("it has no list named keys")]
    NoKeys,
    /// More keys than an issuer has.
    #[error("it lists {count} keys, more than {MAX_KEYS}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Nothing in it can verify a signature.
    #[error("none of its {count} keys is a public signature key of a known kind")]
    NoneUsable {
        /// How many there are.
        count: usize,
    },
}

/// The keys of an issuer that can verify signatures.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A public key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    id: Option<String>,
    /// If the issuer binds it to one algorithm.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Point { kind: KeyType, octets: Vec<u8> },
}

impl KeySet {
    /// Reads a JWKS document. Keys for encryption, of unknown kinds and with
    /// values out of range are left out, as RFC 7517 says. Performs no I/O.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] if no key is left.
    pub fn parse(bytes: &[u8]) -> Result<KeySet, KeySetError> {
        let document = strict_json::object(bytes).map_err(|_| KeySetError::NotJson)?;
        let Some(Value::Array(list)) = document.get("keys") else {
            return Err(KeySetError::NoKeys);
        };
        let count = list.len();
        if count > MAX_KEYS {
            return Err(KeySetError::TooMany { count });
        }
        let keys: Vec<Key> = list
            .iter()
            .filter_map(|key| Key::read(key.as_object()?))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable { count });
        }
        Ok(KeySet { keys })
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none; never so.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a token that names this key, or none, may find it here.
    pub(crate) fn may_hold(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.keys.iter().any(|key| key.id.as_deref() == Some(id)))
    }

    /// The keys with this name, or all for a token that names none, that fit the
    /// algorithm.
    pub(crate) fn fitting(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Key> {
        self.keys
            .iter()
            .filter(move |key| id.is_none() || key.id.as_deref() == id)
            .filter(move |key| key.fits(algorithm))
    }
}

impl Key {
    fn read(fields: &Map<String, Value>) -> Option<Key> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        // A key for signatures, where it says what for.
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        if let Some(Value::Array(operations)) = fields.get("key_ops")
            && !operations.iter().any(|one| one == "verify")
        {
            return None;
        }
        let algorithm = match text("alg") {
            // Bound to an algorithm that is not known here: for nothing else.
            Some(name) => Some(Algorithm::from_name(name)?),
            None => None,
        };
        let material = Material::read(&text)?;
        Some(Key {
            id: text("kid").map(str::to_owned),
            algorithm,
            material,
        })
    }

    /// Whether a signature of this algorithm can be this key's: by its kind, and
    /// by what the issuer says of it. An RSA key is never a shared secret, and a
    /// key of one curve never of another.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match &self.material {
            Material::Rsa { .. } => KeyType::Rsa,
            Material::Point { kind, .. } => *kind,
        };
        kind == algorithm.key_type() && self.algorithm.is_none_or(|bound| bound == algorithm)
    }

    /// Whether it made this signature.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        match (&self.material, algorithm.of_rsa(), algorithm.of_point()) {
            (Material::Rsa { modulus, exponent }, Some(rsa), _) => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(rsa, message, signature).is_ok()
            }
            (Material::Point { octets, .. }, _, Some(curve)) => {
                UnparsedPublicKey::new(curve, octets)
                    .verify(message, signature)
                    .is_ok()
            }
            _ => false,
        }
    }
}

impl Material {
    fn read<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> Option<Material> {
        let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (modulus, exponent) = (number("n")?, number("e")?);
                let plain = modulus.first() != Some(&0) && exponent.first() != Some(&0);
                let sized = RSA_BYTES.contains(&modulus.len()) && (1..=8).contains(&exponent.len());
                (plain && sized).then_some(Material::Rsa { modulus, exponent })
            }
            ("EC", Some("P-256")) => point(KeyType::P256, &number("x")?, &number("y")?, 32),
            ("EC", Some("P-384")) => point(KeyType::P384, &number("x")?, &number("y")?, 48),
            ("OKP", Some("Ed25519")) => {
                let octets = number("x")?;
                let kind = KeyType::Ed25519;
                (octets.len() == 32).then_some(Material::Point { kind, octets })
            }
            _ => None,
        }
    }
}

/// An uncompressed point; whether it is on the curve is checked with each use.
fn point(kind: KeyType, x: &[u8], y: &[u8], size: usize) -> Option<Material> {
    if x.len() != size || y.len() != size {
        return None;
    }
    let octets = [&[4], x, y].concat();
    Some(Material::Point { kind, octets })
}
