//! Reading a token, before anything of it is believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::error::TokenError;
use crate::show::quoted;
use crate::strict_json;

/// Longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A token that was read and not verified. Its claims choose whose keys to try;
/// they prove nothing.
#[derive(Clone, Debug)]
pub struct UnverifiedToken {
    pub(crate) algorithm: String,
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// `header.payload`.
    pub(crate) signed: String,
    pub(crate) signature: Vec<u8>,
}

impl UnverifiedToken {
    /// Who says to have signed it.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Which key it says to be signed with.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The algorithm's name, quoted for an error.
    pub(crate) fn algorithm_shown(&self) -> String {
        quoted(&self.algorithm.chars().take(16).collect::<String>())
    }
}

/// Reads a token: three parts of strict base64url, the first two JSON objects in
/// which every key stands once. Performs no I/O and verifies nothing.
///
/// # Errors
///
/// [`TokenError::TooLong`] and [`TokenError::Malformed`].
pub fn parse_token(text: &str) -> Result<UnverifiedToken, TokenError> {
    if text.len() > MAX_TOKEN_BYTES {
        let length = text.len();
        return Err(TokenError::TooLong { length });
    }
    let parts: Vec<&str> = text.splitn(4, '.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return Err(malformed("not three parts with dots between"));
    };
    let fields = object(header)?;
    let claims = object(payload)?;
    let signature = decode(signature)?;
    if signature.is_empty() {
        return Err(malformed("no signature"));
    }
    Ok(UnverifiedToken {
        algorithm: check_header(&fields)?,
        key_id: text_field(&fields, "kid")?,
        claims,
        signed: format!("{header}.{payload}"),
        signature,
    })
}

pub(crate) fn malformed(what: &'static str) -> TokenError {
    TokenError::Malformed { what }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| malformed("a part is not base64url"))
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    // serde_json's message may quote a value.
    strict_json::object(&decode(part)?)
        .map_err(|_| malformed("a part is not one JSON object with each key once"))
}

fn text_field(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, TokenError> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(malformed("a header field is not text")),
    }
}

/// The algorithm's name, of a header that asks for nothing else. `jku`, `x5u`,
/// `jwk` and `x5c`, by which a token would bring its own key, are never looked at.
fn check_header(fields: &Map<String, Value>) -> Result<String, TokenError> {
    // RFC 7515, 4.1.11: who does not understand what `crit` lists must refuse.
    if fields.contains_key("crit") {
        return Err(malformed("its header lists critical extensions"));
    }
    if let Some(kind) = text_field(fields, "typ")? {
        // RFC 8725, 3.11: another kind of token, such as a logout token, that
        // the same issuer signed must not pass for one that grants access.
        let kind = kind.to_ascii_lowercase();
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        if !matches!(kind, "jwt" | "at+jwt") {
            return Err(malformed(
                "its header names another type than JWT or at+jwt",
            ));
        }
    }
    text_field(fields, "alg")?.ok_or_else(|| malformed("its header names no algorithm"))
}
