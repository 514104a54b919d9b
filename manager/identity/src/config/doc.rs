//! `[auth]`, as written.

use serde::{Deserialize, Serialize};

/// `[auth]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthDoc {
    /// Peers of Unix sockets.
    pub peer: PeerDoc,
    /// Issuers of JWTs.
    pub jwt: Vec<JwtDoc>,
    /// Client certificates; none are taken if it is left out.
    pub mtls: Option<MtlsDoc>,
    /// Engines that may act for users.
    pub delegate: Vec<DelegateDoc>,
}

/// `[auth.peer]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerDoc {
    /// Whether peer credentials are accepted.
    pub enabled: bool,
    /// Host accounts that administrate the manager.
    pub administrators: AdministratorsDoc,
    /// Put before the names of host accounts.
    pub user_prefix: String,
    /// Put before the names of host groups; as `user_prefix` if left out.
    pub group_prefix: Option<String>,
}

impl Default for PeerDoc {
    fn default() -> PeerDoc {
        PeerDoc {
            enabled: true,
            administrators: AdministratorsDoc::default(),
            user_prefix: String::new(),
            group_prefix: None,
        }
    }
}

/// `[auth.peer.administrators]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdministratorsDoc {
    /// Names of host accounts, without prefix; `root` if left out.
    pub users: Vec<String>,
    /// Names of host groups, without prefix.
    pub groups: Vec<String>,
}

impl Default for AdministratorsDoc {
    fn default() -> AdministratorsDoc {
        AdministratorsDoc {
            users: vec!["root".to_owned()],
            groups: Vec::new(),
        }
    }
}

/// One of `[[auth.jwt]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtDoc {
    /// The issuer's URL, exactly as in its tokens.
    pub issuer: String,
    /// Audiences of which a token must name one.
    pub audiences: Vec<String>,
    /// The claim that names the user.
    #[serde(default = "sub")]
    pub user_claim: String,
    /// The claim that lists the groups; no groups if left out.
    #[serde(default)]
    pub groups_claim: Option<String>,
    /// Put before users' names.
    #[serde(default)]
    pub user_prefix: String,
    /// Put before groups' names; as `user_prefix` if left out.
    #[serde(default)]
    pub group_prefix: Option<String>,
    /// Signature algorithms that are accepted.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<String>,
    /// Difference of clocks that is forgiven, in seconds.
    #[serde(default = "leeway")]
    pub leeway_seconds: u64,
    /// Oldest token that is accepted, in seconds since it was issued.
    #[serde(default)]
    pub max_token_age_seconds: Option<u64>,
    /// Certificate authorities of the issuer, PEM; the system's if left out.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// Accepts plain HTTP from an issuer on this host.
    #[serde(default)]
    pub allow_insecure_loopback: bool,
    /// Age after which the issuer's keys are fetched again, in seconds.
    #[serde(default = "keys_max_age")]
    pub keys_max_age_seconds: u64,
    /// How long old keys serve on while the issuer cannot be reached, in seconds.
    #[serde(default = "keys_stale")]
    pub keys_stale_seconds: u64,
    /// Least time between two fetches, in seconds.
    #[serde(default = "keys_refresh")]
    pub keys_refresh_seconds: u64,
    /// Longest time that a fetch may take, in seconds.
    #[serde(default = "timeout")]
    pub timeout_seconds: u64,
}

fn sub() -> String {
    "sub".to_owned()
}

fn algorithms() -> Vec<String> {
    vec!["RS256".to_owned(), "ES256".to_owned()]
}

fn leeway() -> u64 {
    30
}

fn keys_max_age() -> u64 {
    600
}

fn keys_stale() -> u64 {
    3600
}

fn keys_refresh() -> u64 {
    30
}

fn timeout() -> u64 {
    5
}

/// `[auth.mtls]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MtlsDoc {
    /// Certificate authorities of clients, PEM.
    pub ca_file: String,
    /// Which part of a certificate names the user: `san_uri`, `san_dns`,
    /// `san_email`, `cn`.
    pub subject: String,
    /// With `san_uri`: what the URI begins with; the rest is the name.
    #[serde(default)]
    pub uri_prefix: Option<String>,
    /// Put before users' names.
    #[serde(default)]
    pub user_prefix: String,
}

/// One of `[[auth.delegate]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegateDoc {
    /// The engine's name, with its authenticator's prefix.
    pub actor: String,
    /// Users for whom it may act: names, or globs with `*` and `?`.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups for whose members it may act.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether it may act for administrators too.
    #[serde(default)]
    pub administrators: bool,
}
