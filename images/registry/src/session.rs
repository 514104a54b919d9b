//! Asking a registry: with credentials where they belong, and through redirects that are allowed.

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, LOCATION, RANGE, RETRY_AFTER,
    USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;

use crate::auth;
use crate::client::{Answer, Client};
use crate::error::RequestError;
use crate::location::{Location, LocationError};
use crate::mirrors::{Shared, Site};
use crate::wire;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;

/// Bytes of an answer that is no success.
const MAX_REFUSAL: usize = 16 << 10;

/// How this program calls itself.
pub const AGENT: &str = concat!("lakekeep/", env!("CARGO_PKG_VERSION"));

/// One thread's way to registries.
pub struct Session<'p> {
    pub client: Client,
    pub shared: &'p Shared<'p>,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub method: &'a Method,
    /// Below `/v2/REPOSITORY/`.
    pub path: &'a str,
    /// Media types; empty: any.
    pub accept: &'a str,
    /// From which byte on.
    pub from: u64,
}

impl Session<'_> {
    /// Asks once, and gives the answer if it is a success.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn ask(&self, site: &Site, wanted: Wanted<'_>) -> Result<Answer<'_>, RequestError> {
        let repository = &self.shared.image.repository;
        let url = site
            .endpoint
            .url(&format!("/v2/{repository}/{}", wanted.path));
        let home = site.endpoint.origin();
        let mut location = Location::absolute(&url)?;
        let mut asked_for_credentials = false;
        let mut redirects = 0;
        loop {
            // Credentials are for the registry alone: a redirect to another host goes without.
            let at_home = *location.origin() == home;
            let header = if at_home { auth::header(site) } else { None };
            let request = request(&location, wanted, header.clone())?;
            let mut answer = self.client.ask(request)?;
            match answer.status() {
                200 | 206 => return encoded_as_asked(answer),
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    if redirects > MAX_REDIRECTS {
                        let most = MAX_REDIRECTS;
                        return Err(RequestError::Redirects { most });
                    }
                    let next = answer.header(LOCATION).ok_or(LocationError::Missing)?;
                    location = location.redirect(next)?;
                    drain(&mut answer);
                }
                // Once: a token may be over. A second time it is a refusal.
                401 if at_home && !asked_for_credentials => {
                    asked_for_credentials = true;
                    let offers = answer.headers(WWW_AUTHENTICATE);
                    let challenge = auth::choose(offers)?;
                    drain(&mut answer);
                    auth::renew(self, site, &challenge, header.as_ref())?;
                }
                401 if at_home => {
                    let given = auth::has_credentials(site);
                    return Err(RequestError::Unauthorized { given });
                }
                _ => return Err(refusal(answer)),
            }
        }
    }
}

fn request(
    location: &Location,
    wanted: Wanted<'_>,
    authorization: Option<HeaderValue>,
) -> Result<Request<Full<Bytes>>, RequestError> {
    let mut request = Request::builder()
        .method(wanted.method)
        .uri(location.uri())
        .header(USER_AGENT, AGENT)
        // Content has the digest of what is stored, not of what a server makes of it on the way.
        .header(ACCEPT_ENCODING, "identity");
    if !wanted.accept.is_empty() {
        request = request.header(ACCEPT, wanted.accept);
    }
    // No If-Range: what has a digest does not change, and all of it is proven at the end.
    if wanted.from > 0 {
        request = request.header(RANGE, format!("bytes={}-", wanted.from));
    }
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Full::default());
    request.map_err(|error| RequestError::protocol(format!("it leads to no request ({error})")))
}

fn encoded_as_asked(answer: Answer<'_>) -> Result<Answer<'_>, RequestError> {
    match answer.header(CONTENT_ENCODING) {
        None | Some("identity") => Ok(answer),
        Some(other) => {
            let other = wire::shown(other);
            let why = format!("it is encoded ({other}), which was not asked for");
            Err(RequestError::protocol(why))
        }
    }
}

/// What is left of an answer that is not needed, so that its connection can be used again.
fn drain(answer: &mut Answer<'_>) {
    // If that fails, or there is more, the connection ends with the answer.
    answer.whole(MAX_REFUSAL).ok();
}

/// An answer that is no success, with the registry's own word.
pub fn refusal(mut answer: Answer<'_>) -> RequestError {
    let wait = answer.header(RETRY_AFTER).and_then(wire::retry_after);
    let code = answer.status();
    let body = answer.whole(MAX_REFUSAL).ok().flatten().unwrap_or_default();
    let told = wire::told(&body);
    RequestError::Status { code, told, wait }
}
