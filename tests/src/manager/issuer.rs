//! An issuer of tokens: just enough of OpenID Connect, on a loopback address.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::fail;

/// An issuer whose keys can be fetched while the test runs.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    key: EcdsaKeyPair,
}

/// The name of the one key.
const KEY: &str = "k1";

impl Issuer {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot listen, or make a key.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0");
        let listener = listener.unwrap_or_else(|e| fail(format_args!("an issuer: {e}")));
        let address = listener
            .local_addr()
            .unwrap_or_else(|e| fail(format_args!("an issuer: {e}")));
        let url = format!("http://{address}");
        let key = new_key();
        let point = key.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(32);
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": KEY, "alg": "ES256", "use": "sig",
            "x": b64(x), "y": b64(y),
        }]});
        let about = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = answer(stream, &about, &keys) {
                    eprintln!("issuer: {error}");
                }
            }
        });
        Self { url, key }
    }

    /// The table of a manager's configuration that trusts it.
    #[must_use]
    pub fn table(&self) -> String {
        format!(
            "[[auth.jwt]]\nissuer = \"{}\"\naudiences = [\"lakekeep\"]\n\
             user_prefix = \"idp:\"\nleeway_seconds = 0\nallow_insecure_loopback = true\n",
            self.url
        )
    }

    /// Claims that are good.
    #[must_use]
    pub fn claims(&self, user: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        json!({
            "iss": self.url, "aud": "lakekeep", "sub": user,
            "iat": now - 10, "nbf": now - 10, "exp": now + 600,
        })
    }

    /// A token with these claims, signed.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        sign(&self.key, claims)
    }

    /// The same by a key that is not the issuer's.
    #[must_use]
    pub fn forged(&self, claims: &Value) -> String {
        sign(&new_key(), claims)
    }

    /// The same with the algorithm `none` and no signature.
    #[must_use]
    pub fn unsigned(&self, claims: &Value) -> String {
        let header = json!({"alg": "none", "typ": "JWT", "kid": KEY});
        format!("{}.{}.", b64(header.to_string()), b64(claims.to_string()))
    }
}

fn new_key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::generate_pkcs8(algorithm, &random)
        .ok()
        .and_then(|key| EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).ok())
        .unwrap_or_else(|| fail(format_args!("no key")))
}

fn sign(key: &EcdsaKeyPair, claims: &Value) -> String {
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": KEY});
    let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), text.as_bytes());
    let signature = signature.unwrap_or_else(|_| fail(format_args!("no signature")));
    format!("{text}.{}", b64(signature))
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn answer(stream: TcpStream, about: &Value, keys: &Value) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let body = match first.split(' ').nth(1) {
        Some("/keys") => keys.to_string(),
        _ => about.to_string(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    (&stream).write_all(format!("{head}{body}").as_bytes())
}
