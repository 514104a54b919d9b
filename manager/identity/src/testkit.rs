//! Keys and tokens made by tests.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use num_bigint::BigUint;
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::config::{AuthDoc, TokenRules};

pub(crate) const ISSUER: &str = "https://issuer.example";
/// The present of the tests, in seconds since the epoch.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key that signs tokens.
pub(crate) enum Signer {
    Rsa(&'static RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn rsa() -> Signer {
        static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
        Signer::Rsa(KEY.get_or_init(rsa_key))
    }

    pub(crate) fn p256() -> Signer {
        Signer::P256(ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING))
    }

    pub(crate) fn p384() -> Signer {
        Signer::P384(ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING))
    }

    pub(crate) fn ed() -> Signer {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    /// The public key as JWK, named `kid`.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Signer::Rsa(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "kid": kid, "n": b64(public.n), "e": b64(public.e)})
            }
            Signer::P256(key) => ec_jwk(key, kid, ("P-256", 32)),
            Signer::P384(key) => ec_jwk(key, kid, ("P-384", 48)),
            Signer::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(key.public_key())})
            }
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Rsa(key) => {
                let padding: &dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message, &mut out).unwrap();
                out
            }
            Signer::P256(key) | Signer::P384(key) => {
                key.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Signer::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let algorithm = header["alg"].as_str().unwrap_or_default();
        self.token_of_text(algorithm, &header.to_string(), &claims.to_string())
    }

    pub(crate) fn token_of_text(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }
}

fn ecdsa(algorithm: &'static signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
}

fn ec_jwk(key: &EcdsaKeyPair, kid: &str, (curve, size): (&str, usize)) -> Value {
    let point = &key.public_key().as_ref()[1..];
    let (x, y) = point.split_at(size);
    json!({"kty": "EC", "crv": curve, "kid": kid, "x": b64(x), "y": b64(y)})
}

/// An RSA key of 2048 bits, which ring cannot make itself.
fn rsa_key() -> RsaKeyPair {
    let (one, e) = (BigUint::from(1_u32), BigUint::from(65_537_u32));
    let (mut p, mut q) = (prime(&e), prime(&e));
    if p < q {
        std::mem::swap(&mut p, &mut q);
    }
    let (p1, q1) = (&p - &one, &q - &one);
    let d = e.modinv(&(&p1 * &q1)).unwrap();
    let bytes = |number: BigUint| number.to_bytes_be();
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: bytes(&p * &q),
            e: bytes(e),
        },
        dP: bytes(&d % &p1),
        dQ: bytes(&d % &q1),
        qInv: bytes(q.modinv(&p).unwrap()),
        d: bytes(d),
        p: bytes(p),
        q: bytes(q),
    };
    RsaKeyPair::from_components(&components).unwrap()
}

/// A prime of 1024 bits with the two highest set, of which `e` is no factor of
/// the number before. Fermat's test is enough for a test's key.
fn prime(e: &BigUint) -> BigUint {
    let one = BigUint::from(1_u32);
    loop {
        let mut bytes = [0; 128];
        SystemRandom::new().fill(&mut bytes).unwrap();
        bytes[0] |= 0xc0;
        bytes[127] |= 1;
        let candidate = BigUint::from_bytes_be(&bytes);
        let small = [3_u32, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47];
        let divided = |by: &u32| &candidate % by == BigUint::ZERO;
        if small.iter().any(divided) || (&candidate - &one) % e == BigUint::ZERO {
            continue;
        }
        let less = &candidate - &one;
        if BigUint::from(2_u32).modpow(&less, &candidate) == one {
            return candidate;
        }
    }
}

/// A key set document.
pub(crate) fn jwks(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// Claims of `alice` that are good at [`NOW`].
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "lakekeep", "sub": "alice",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 60,
        "groups": ["eng", "ops"],
    })
}

/// The rules of one issuer, with further lines.
pub(crate) fn rules(lines: &str) -> TokenRules {
    let text = format!(
        "[[jwt]]\nissuer = \"{ISSUER}\"\naudiences = [\"lakekeep\", \"other\"]\n\
         user_prefix = \"corp:\"\ngroups_claim = \"groups\"\nleeway_seconds = 5\n{lines}"
    );
    let doc: AuthDoc = toml::from_str(&text).unwrap();
    doc.check().unwrap().jwt()[0].rules().clone()
}

pub(crate) const EVERY_ALGORITHM: &str =
    "algorithms = [\"RS256\", \"RS384\", \"RS512\", \"PS256\", \"ES256\", \"ES384\", \"EdDSA\"]";
