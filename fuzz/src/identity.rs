//! What several targets of identities need: an issuer with a key, and its users.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lakekeep_identity::{
    AuthConfig, AuthDoc, JwtConfig, KeySet, Principal, UnixTime, parse_token, read_toml,
    verify_token,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

/// Tokens are looked at in this second.
pub const NOW: UnixTime = UnixTime::new(1_800_000_000);

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes"));

/// The issuer's public key.
pub static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let point = URL_SAFE_NO_PAD.encode(KEY.public_key());
    let keys = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": point},
    ]});
    KeySet::parse(keys.to_string().as_bytes()).expect("one good key")
});

static AUTH: LazyLock<AuthConfig> = LazyLock::new(|| {
    auth(
        "[[jwt]]\nissuer = \"https://issuer.example\"\naudiences = [\"lakekeep\"]\n\
         user_prefix = \"corp:\"\ngroups_claim = \"groups\"\nleeway_seconds = 5\n\
         algorithms = [\"EdDSA\", \"ES256\", \"RS256\"]\n",
    )
});

/// Text that cannot move a terminal's cursor, nor forge another line.
pub fn printable(shown: &str) {
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

/// `[auth]`, checked.
pub fn auth(text: &str) -> AuthConfig {
    let document = read_toml::<AuthDoc>("auth", text).expect("a good document");
    document.value().check().expect("a good configuration")
}

/// What a token must satisfy.
pub fn issuer() -> &'static JwtConfig {
    AUTH.jwt().first().expect("one issuer")
}

/// A token that the issuer signed, whatever it says.
pub fn signed(header: &[u8], claims: &[u8]) -> String {
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = KEY.sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The header of the issuer's own tokens.
pub const HEADER: &[u8] = br#"{"alg":"EdDSA","typ":"JWT","kid":"k"}"#;

/// Whom the issuer calls by this name; nobody, if it is none.
pub fn principal(name: &str) -> Option<Principal> {
    let claims = json!({
        "iss": "https://issuer.example", "aud": "lakekeep", "sub": name,
        "exp": NOW.seconds() + 60, "groups": ["eng", "ops"],
    });
    let token = parse_token(&signed(HEADER, claims.to_string().as_bytes())).ok()?;
    let verified = verify_token(&token, &KEYS, issuer().rules(), NOW).ok()?;
    Some(verified.into_principal())
}
