//! From `[auth]` as written to what is in force. One function for each rule.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use super::prefix::Prefixes;
use super::{
    AuthConfig, AuthDoc, ConfigErrors, ConfigWarning, Delegate, DelegateDoc, Findings, JwtConfig,
    JwtDoc, KeyTimes, MtlsConfig, MtlsDoc, PeerConfig, PeerDoc, TokenRules, url,
};
use crate::jwt::Algorithm;
use crate::mtls::SubjectSource;
use crate::name::{GroupName, NameError, UserName};
use crate::pattern::Pattern;

/// Most issuers, delegates, and entries of a list.
const MAX_ENTRIES: usize = 256;
/// Longest claim name and audience, in bytes.
const MAX_TEXT: usize = 1024;
/// Most leeway, in seconds: clocks that are further apart need setting.
const MAX_LEEWAY: u64 = 300;
/// Longest age of a token and of keys, in seconds.
const MAX_AGE: u64 = 7 * 86_400;

impl AuthDoc {
    /// Checks the whole configuration; fields are named from `auth.` on.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every field that was refused.
    pub fn check(&self) -> Result<AuthConfig, ConfigErrors> {
        let mut found = Findings::default();
        let names = Names::new(self, &mut found);
        let peer = names.peer(&self.peer, &mut found);
        let jwt = self.issuers(&names, &mut found);
        let mtls = match &self.mtls {
            Some(doc) => names.mtls(doc, &mut found).map(Some),
            None => Some(None),
        };
        let delegates = self.delegates(&mut found);
        if !self.peer.enabled && self.jwt.is_empty() && self.mtls.is_none() {
            found.warn(ConfigWarning::NoAuthenticator);
        }
        let all = peer.zip(jwt).zip(mtls.zip(delegates));
        let (((peer, jwt), (mtls, delegates)), warnings) = found.finish(all)?;
        Ok(AuthConfig {
            peer,
            jwt,
            mtls,
            delegates,
            warnings,
        })
    }

    fn issuers(&self, names: &Names, found: &mut Findings) -> Option<Vec<JwtConfig>> {
        check_count("auth.jwt", self.jwt.len(), found);
        let mut seen = BTreeSet::new();
        let mut issuers = Vec::new();
        for (number, doc) in self.jwt.iter().enumerate() {
            if !seen.insert(&doc.issuer) {
                found.refuse(
                    &format!("auth.jwt[{number}].issuer"),
                    "the same issuer as before",
                    "give it one entry, with all its audiences",
                );
            }
            issuers.push(names.jwt(number, doc, found));
        }
        issuers.into_iter().collect()
    }

    fn delegates(&self, found: &mut Findings) -> Option<Vec<Delegate>> {
        check_count("auth.delegate", self.delegate.len(), found);
        let mut delegates = Vec::new();
        for (number, doc) in self.delegate.iter().enumerate() {
            delegates.push(delegate(&format!("auth.delegate[{number}]"), doc, found));
        }
        delegates.into_iter().collect()
    }
}

/// The places of the authenticators' prefixes.
struct Names {
    users: Prefixes,
    groups: Prefixes,
    peer: (usize, usize),
    jwt: Vec<(usize, usize)>,
    mtls: Option<usize>,
}

impl Names {
    fn new(doc: &AuthDoc, found: &mut Findings) -> Names {
        let (mut users, mut groups) = (Prefixes::default(), Prefixes::default());
        let mut add = |at: &str, user: &str, group: Option<&String>| {
            let group = group.map_or(user, String::as_str);
            let user = users.add(format!("{at}.user_prefix"), user, found);
            (user, groups.add(format!("{at}.group_prefix"), group, found))
        };
        // Also where peers are off: names of host accounts are in force as
        // administrators' and in identity rules.
        let peer = add(
            "auth.peer",
            &doc.peer.user_prefix,
            doc.peer.group_prefix.as_ref(),
        );
        let jwt = (doc.jwt.iter().enumerate())
            .map(|(number, jwt)| {
                let at = format!("auth.jwt[{number}]");
                add(&at, &jwt.user_prefix, jwt.group_prefix.as_ref())
            })
            .collect();
        let mtls = doc
            .mtls
            .as_ref()
            .map(|mtls| users.add("auth.mtls.user_prefix".to_owned(), &mtls.user_prefix, found));
        users.check(found);
        groups.check(found);
        Names {
            users,
            groups,
            peer,
            jwt,
            mtls,
        }
    }

    fn peer(&self, doc: &PeerDoc, found: &mut Findings) -> Option<PeerConfig> {
        let (users, groups) = (self.users.get(self.peer.0), self.groups.get(self.peer.1));
        let administrators = &doc.administrators;
        let remedy = "write the names of host accounts and groups";
        let administrator_users = list(
            "auth.peer.administrators.users",
            &administrators.users,
            |name| users.user(name),
            (remedy, found),
        );
        let administrator_groups = list(
            "auth.peer.administrators.groups",
            &administrators.groups,
            |name| groups.group(name),
            (remedy, found),
        );
        Some(PeerConfig {
            enabled: doc.enabled,
            administrator_users: administrator_users?.into_iter().collect(),
            administrator_groups: administrator_groups?.into_iter().collect(),
            users,
            groups,
        })
    }

    fn jwt(&self, number: usize, doc: &JwtDoc, found: &mut Findings) -> Option<JwtConfig> {
        let at = format!("auth.jwt[{number}]");
        let places = self.jwt.get(number)?;
        check_issuer(&at, doc, found);
        check_claim(&format!("{at}.user_claim"), &doc.user_claim, found);
        if let Some(claim) = &doc.groups_claim {
            check_claim(&format!("{at}.groups_claim"), claim, found);
        }
        let audiences = audiences(&format!("{at}.audiences"), &doc.audiences, found);
        let algorithms = algorithms(&format!("{at}.algorithms"), &doc.algorithms, found);
        let leeway = seconds(
            &format!("{at}.leeway_seconds"),
            doc.leeway_seconds,
            (0, MAX_LEEWAY),
            found,
        );
        let max_age = doc.max_token_age_seconds.map(|age| {
            seconds(
                &format!("{at}.max_token_age_seconds"),
                age,
                (1, MAX_AGE),
                found,
            )
        });
        let times = key_times(&at, doc, found);
        Some(JwtConfig {
            issuer: doc.issuer.clone(),
            rules: TokenRules {
                issuer: doc.issuer.clone(),
                audiences: audiences?,
                user_claim: doc.user_claim.clone(),
                groups_claim: doc.groups_claim.clone(),
                users: self.users.get(places.0),
                groups: self.groups.get(places.1),
                algorithms: algorithms?,
                leeway,
                max_age,
            },
            ca_file: doc.ca_file.as_ref().map(PathBuf::from),
            loopback: doc.allow_insecure_loopback,
            times,
        })
    }

    fn mtls(&self, doc: &MtlsDoc, found: &mut Findings) -> Option<MtlsConfig> {
        if doc.ca_file.is_empty() {
            let remedy = "write the path of a PEM file";
            found.refuse("auth.mtls.ca_file", "empty", remedy);
        }
        let remedy = "write san_uri, san_dns, san_email or cn; uri_prefix goes with san_uri alone";
        let subject = SubjectSource::parse(&doc.subject, doc.uri_prefix.as_deref());
        Some(MtlsConfig {
            ca_file: PathBuf::from(&doc.ca_file),
            subject: found.take("auth.mtls.subject", subject, remedy)?,
            users: self.users.get(self.mtls?),
        })
    }
}

fn check_count(field: &str, count: usize, found: &mut Findings) {
    if count > MAX_ENTRIES {
        let remedy = format!("write at most {MAX_ENTRIES}");
        found.refuse(field, format_args!("{count} entries"), &remedy);
    }
}

/// Each entry read, or a violation that names its place.
fn list<T, E: Display>(
    field: &str,
    entries: &[String],
    read: impl Fn(&str) -> Result<T, E>,
    (remedy, found): (&str, &mut Findings),
) -> Option<Vec<T>> {
    check_count(field, entries.len(), found);
    let mut read_all = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        read_all.push(found.take(&format!("{field}[{number}]"), read(entry), remedy));
    }
    read_all.into_iter().collect()
}

fn check_issuer(at: &str, doc: &JwtDoc, found: &mut Findings) {
    let checked = url::check(&doc.issuer, doc.allow_insecure_loopback, false);
    let plain = doc.issuer.starts_with("http:");
    let remedy = "write the https URL as it stands in the issuer's tokens; plain http only \
                  for an issuer on this host, with allow_insecure_loopback = true";
    if found
        .take(&format!("{at}.issuer"), checked, remedy)
        .is_some()
        && plain
    {
        found.warn(ConfigWarning::InsecureIssuer {
            issuer: doc.issuer.clone(),
        });
    }
    if doc.ca_file.as_ref().is_some_and(String::is_empty) {
        found.refuse(
            &format!("{at}.ca_file"),
            "empty",
            "write a path, or leave it out",
        );
    }
}

fn check_claim(field: &str, claim: &str, found: &mut Findings) {
    if claim.is_empty() || claim.len() > MAX_TEXT {
        found.refuse(
            field,
            "empty or too long",
            "write a claim's name, such as \"sub\"",
        );
    }
}

fn audiences(field: &str, audiences: &[String], found: &mut Findings) -> Option<Vec<String>> {
    if audiences.is_empty() {
        let remedy = "write what the issuer puts into aud for this manager";
        found.refuse(field, "empty: every token of the issuer would do", remedy);
    }
    let read = |text: &str| match text.len() {
        1..=MAX_TEXT => Ok(text.to_owned()),
        _ => Err("empty or too long"),
    };
    list(field, audiences, read, ("write an audience", found))
}

fn algorithms(field: &str, names: &[String], found: &mut Findings) -> Option<Vec<Algorithm>> {
    let remedy = "write some of RS256, RS384, RS512, PS256, ES256, ES384, EdDSA";
    if names.is_empty() {
        found.refuse(field, "empty: no token could be accepted", remedy);
    }
    let read = |name: &str| match Algorithm::from_name(name) {
        Some(algorithm) => Ok(algorithm),
        None if name.starts_with("HS") => Err("a shared secret, not a signature"),
        None if name.eq_ignore_ascii_case("none") => Err("no signature at all"),
        None => Err("not an algorithm that is known here"),
    };
    list(field, names, read, (remedy, found))
}

fn seconds(field: &str, value: u64, (least, most): (u64, u64), found: &mut Findings) -> Duration {
    if !(least..=most).contains(&value) {
        let remedy = format!("write {least} to {most} seconds");
        found.refuse(field, value, &remedy);
    }
    Duration::from_secs(value)
}

fn key_times(at: &str, doc: &JwtDoc, found: &mut Findings) -> KeyTimes {
    let mut read = |name: &str, value, range| seconds(&format!("{at}.{name}"), value, range, found);
    KeyTimes {
        max_age: read(
            "keys_max_age_seconds",
            doc.keys_max_age_seconds,
            (1, MAX_AGE),
        ),
        stale: read("keys_stale_seconds", doc.keys_stale_seconds, (0, MAX_AGE)),
        refresh: read("keys_refresh_seconds", doc.keys_refresh_seconds, (1, 3600)),
        timeout: read("timeout_seconds", doc.timeout_seconds, (1, 60)),
    }
}

fn delegate(at: &str, doc: &DelegateDoc, found: &mut Findings) -> Option<Delegate> {
    let remedy = "write a name with its authenticator's prefix";
    let actor = found.take(&format!("{at}.actor"), UserName::new(&doc.actor), remedy);
    let groups = list(
        &format!("{at}.groups"),
        &doc.groups,
        |name| -> Result<GroupName, NameError> { GroupName::new(name) },
        (remedy, found),
    );
    let remedy = "write names, or globs with * and ?";
    let users = list(
        &format!("{at}.users"),
        &doc.users,
        Pattern::glob,
        (remedy, found),
    );
    if doc.users.is_empty() && doc.groups.is_empty() {
        let remedy = "write users or groups for whom it may act";
        found.refuse(at, "neither users nor groups", remedy);
    }
    let (actor, users, groups) = (actor?, users?, groups?);
    if doc.administrators {
        let actor = actor.to_string();
        found.warn(ConfigWarning::DelegateAdministrators { actor });
    }
    if users.iter().any(Pattern::is_everything) {
        let actor = actor.to_string();
        found.warn(ConfigWarning::DelegateEveryone { actor });
    }
    Some(Delegate {
        actor,
        users,
        groups,
        administrators: doc.administrators,
    })
}
