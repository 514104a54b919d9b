//! What several targets of identities need: an issuer with a key, and its users.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lakekeep_identity::{
    AccountError, AccountName, AuthConfig, AuthDoc, DelegationKey, HostAccount, HostAccounts,
    Identity, IdentityDoc, JwtConfig, KeySet, MemoryManagedIds, PeerCredentials, Principal,
    SystemAccounts, UnixTime, World, parse_token, read_toml, verify_token,
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

/// The key of a manager, and the only one who could show a token of it.
pub static MANAGER: LazyLock<(DelegationKey, Principal)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = DelegationKey::load_or_create(&folder.path().join("key"), "manager").expect("a key");
    let auth = auth("[peer]\nenabled = true");
    let root = auth
        .peer()
        .principal(PeerCredentials { uid: 0 }, &SystemAccounts);
    (key, root.expect("root has an account"))
});

/// A host on which every account exists, with a number that its name gives: the worst
/// that a rule can meet.
pub struct Everybody;

impl HostAccounts for Everybody {
    fn by_uid(&self, _: u32) -> Result<Option<HostAccount>, AccountError> {
        Ok(None)
    }

    fn by_name(&self, name: &AccountName) -> Result<Option<HostAccount>, AccountError> {
        let sum: u32 = name.as_str().bytes().map(u32::from).sum();
        let number = if name.as_str() == "root" { 0 } else { sum * 7 };
        Ok(Some(HostAccount {
            name: name.clone(),
            uid: number,
            gid: number,
            groups: BTreeSet::new(),
        }))
    }
}

/// A user of the issuer's with an account of the host.
pub static ALICE: LazyLock<Identity> = LazyLock::new(|| {
    let text = "[[rule]]\nname = \"own\"\nuser = \"corp:*\"\naccount = \"$1\"\n";
    let document = read_toml::<IdentityDoc>("identity", text).expect("a good document");
    let map = document.value().check().expect("good rules");
    let world = World {
        accounts: &Everybody,
        ids: &MemoryManagedIds::default(),
    };
    let alice = principal("alice").expect("a user's name");
    map.map(&alice, None, world).expect("an account")
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
