//! Who one is to a registry: HTTP's Basic, or a token from where the registry says (distribution-spec's
//! token authentication, RFC 6749 for identity tokens).

use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::credentials::Credentials;
use crate::error::{CredentialsError, RequestError};
use crate::location::Location;
use crate::mirrors::Site;
use crate::session::{AGENT, Session, refusal};
use crate::wire::{self, Challenge};

/// Bytes of a token's answer.
const MAX_TOKEN: usize = 256 << 10;

/// What is known of one registry.
#[derive(Default)]
pub struct Known {
    /// The header that it took last, or will be tried next.
    header: Option<HeaderValue>,
    /// Looked for once; `Some(None)`: there are none.
    credentials: Option<Option<Credentials>>,
}

fn known(site: &Site) -> MutexGuard<'_, Known> {
    // Whoever panicked did so between two whole values.
    site.known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a request to the registry itself carries.
pub fn header(site: &Site) -> Option<HeaderValue> {
    known(site).header.clone()
}

/// Whether it was told who one is.
pub fn has_credentials(site: &Site) -> bool {
    matches!(known(site).credentials, Some(Some(_)))
}

/// Of all that a registry offers the one that is used: a token before a password.
///
/// # Errors
/// [`RequestError::Challenge`] if nothing of it is known.
pub fn choose<'a>(offers: impl Iterator<Item = &'a str>) -> Result<Challenge, RequestError> {
    let mut first = String::new();
    let mut basic = None;
    // A hostile registry may send many.
    for offer in offers.take(16) {
        match wire::challenge(offer) {
            Some(Challenge::Basic) => basic = Some(Challenge::Basic),
            Some(bearer) => return Ok(bearer),
            None if first.is_empty() => first = wire::shown(offer),
            None => {}
        }
    }
    basic.ok_or(RequestError::Challenge { found: first })
}

/// Makes a new header, if `used` is still the present one: another thread may have made one meanwhile.
///
/// # Errors
/// [`RequestError`]: no credentials, no token.
pub fn renew(
    session: &Session<'_>,
    site: &Site,
    challenge: &Challenge,
    used: Option<&HeaderValue>,
) -> Result<(), RequestError> {
    let mut known = known(site);
    if known.header.as_ref() != used {
        return Ok(());
    }
    let credentials = match &known.credentials {
        Some(credentials) => credentials.clone(),
        None => {
            let found = session.shared.keychain.find(site.endpoint.key())?;
            known.credentials = Some(found.clone());
            found
        }
    };
    let header = match challenge {
        Challenge::Basic => basic(site, credentials.as_ref())?,
        Challenge::Bearer { realm, service } => {
            let ask = TokenAsk {
                session,
                site,
                realm: Location::realm(&site.endpoint.origin(), realm)?,
                service: service.as_deref().unwrap_or_default(),
            };
            bearer(&ask, credentials.as_ref())?
        }
    };
    if Some(&header) == used {
        return Err(RequestError::Unauthorized { given: true });
    }
    known.header = Some(header);
    Ok(())
}

fn basic(site: &Site, credentials: Option<&Credentials>) -> Result<HeaderValue, RequestError> {
    let Some(credentials) = credentials else {
        return Err(RequestError::Unauthorized { given: false });
    };
    credentials.basic().ok_or_else(|| {
        let registry = site.endpoint.key().to_owned();
        CredentialsError::Password { registry }.into()
    })
}

/// Whom to ask for a token.
struct TokenAsk<'a> {
    session: &'a Session<'a>,
    site: &'a Site,
    realm: Location,
    service: &'a str,
}

fn bearer(
    ask: &TokenAsk<'_>,
    credentials: Option<&Credentials>,
) -> Result<HeaderValue, RequestError> {
    let request = match credentials {
        Some(Credentials::Identity(token)) => ask.by_identity(token),
        Some(credentials) => ask.by_password(Some(basic(ask.site, Some(credentials))?)),
        None => ask.by_password(None),
    };
    let request = request.map_err(|error| ask.failed(&error.to_string()))?;
    let mut answer = ask.session.client.ask(request)?;
    match answer.status() {
        200 => {}
        401 | 403 => {
            let given = credentials.is_some();
            return Err(RequestError::Unauthorized { given });
        }
        300..=399 => {
            return Err(ask.failed("it sends elsewhere, and credentials are not sent after"));
        }
        _ => {
            let refused = refusal(answer);
            return Err(match refused.is_passing() {
                true => refused,
                false => ask.failed(&refused.to_string()),
            });
        }
    }
    let body = answer.whole(MAX_TOKEN)?;
    let body = Zeroizing::new(body.ok_or_else(|| ask.failed("it answers with more than 256 KiB"))?);
    let token = wire::token_answer(&body).ok_or_else(|| ask.failed("its answer holds none"))?;
    let header = Zeroizing::new(format!("Bearer {}", token.as_str()));
    let header = HeaderValue::from_str(&header);
    let mut header = header.map_err(|_| ask.failed("its token is not one of a header"))?;
    header.set_sensitive(true);
    Ok(header)
}

impl TokenAsk<'_> {
    fn failed(&self, cause: &str) -> RequestError {
        RequestError::Token {
            realm: self.realm.origin().to_string(),
            cause: cause.to_owned(),
        }
    }

    /// For reading this repository, and nothing else: what the registry itself asks for could be more.
    fn query(&self) -> String {
        let scope = format!("repository:{}:pull", self.session.shared.image.repository);
        format!(
            "service={}&scope={}",
            encoded(self.service),
            encoded(&scope)
        )
    }

    fn by_password(
        &self,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let uri = self.realm.uri().to_string();
        let joint = if uri.contains('?') { '&' } else { '?' };
        let mut request =
            Request::get(format!("{uri}{joint}{}", self.query())).header(USER_AGENT, AGENT);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::default())
    }

    fn by_identity(&self, token: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        let body = format!(
            "grant_type=refresh_token&client_id=lakekeep&{}&refresh_token={}",
            self.query(),
            encoded(token)
        );
        Request::post(self.realm.uri())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(body))
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_before_a_password() {
        let bearer = "Bearer realm=\"https://a/t\"";
        let chosen = choose(["Basic realm=x", "Digest x=y", bearer].into_iter()).unwrap();
        assert!(matches!(chosen, Challenge::Bearer { .. }));
        assert_eq!(choose(["Basic"].into_iter()).unwrap(), Challenge::Basic);
    }

    #[test]
    fn what_is_not_known_is_told() {
        let told = choose(["Negotiate abc\u{7}"].into_iter()).unwrap_err();
        assert!(told.to_string().contains("\"Negotiate abc\""), "{told}");
        assert!(choose(std::iter::empty()).is_err());
    }
}
