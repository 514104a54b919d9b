//! Indexes, manifests and configurations from a registry: small, read whole, proven before they are parsed.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, Method};
use lakekeep_content::{Algorithm, Digest};
use lakekeep_oci::{Descriptor, MAX_DOCUMENT, MediaType, Version};
use serde::Deserialize;

use crate::client::Answer;
use crate::error::RequestError;
use crate::mirrors::Site;
use crate::session::{Session, Wanted};
use crate::wire::shown;

/// What is understood, OCI's and Docker's.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What a registry calls a manifest's digest (distribution-spec, "Pulling manifests").
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Of which document a message is about.
const DOCUMENT: &str = "registry's answer";

/// What a name leads to at the moment.
pub struct Resolved {
    pub descriptor: Descriptor,
    /// Its content, where the registry could not tell without sending it.
    pub content: Option<Vec<u8>>,
}

/// The kind of a document, as it says it itself.
#[derive(Deserialize)]
struct SaysItself {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
}

/// Asks what the image's name leads to; without fetching it, where the registry tells.
pub fn resolve(session: &Session<'_>, site: &Site) -> Result<Resolved, RequestError> {
    let (version, known) = match &session.shared.image.version {
        Version::Tag(tag) => (tag.clone(), None),
        Version::Digest(digest) if digest.algorithm() != Algorithm::Sha256 => {
            return Err(RequestError::protocol("images have SHA-256 digests"));
        }
        Version::Digest(digest) => (digest.to_string(), Some(*digest)),
    };
    let path = format!("manifests/{version}");
    let wanted = |method| Wanted {
        method,
        path: &path,
        accept: ACCEPT,
        from: 0,
    };
    match session.ask(site, wanted(&Method::HEAD)) {
        Ok(answer) => {
            if let Some(descriptor) = described(&answer, known)? {
                let content = None;
                return Ok(Resolved {
                    descriptor,
                    content,
                });
            }
        }
        // It does not know that method.
        Err(RequestError::Status {
            code: 405 | 501, ..
        }) => {}
        Err(error) => return Err(error),
    }
    let mut answer = session.ask(site, wanted(&Method::GET))?;
    let content = read(&mut answer, MAX_DOCUMENT)?;
    let digest = Digest::of(Algorithm::Sha256, &content);
    if let Some(said) = said_digest(&answer)?.or(known) {
        matches(&said, &digest)?;
    }
    let descriptor = Descriptor {
        media_type: kind(&answer)?.ok_or_else(|| no_header("Content-Type"))?,
        digest,
        size: content.len() as u64,
        platform: None,
        name: None,
    };
    says_the_same(&answer, &content)?;
    Ok(Resolved {
        descriptor,
        content: Some(content),
    })
}

/// An index or a manifest.
pub fn manifest(
    session: &Session<'_>,
    site: &Site,
    wanted: &Descriptor,
) -> Result<Vec<u8>, RequestError> {
    let path = format!("manifests/{}", wanted.digest);
    let mut answer = get(session, site, &path, ACCEPT)?;
    if let Some(found) = kind(&answer)?
        && found != wanted.media_type
    {
        let why = "its Content-Type is that of another kind of document";
        return Err(RequestError::protocol(why));
    }
    let content = proven(&mut answer, wanted)?;
    says_the_same(&answer, &content)?;
    Ok(content)
}

/// A configuration.
pub fn config(
    session: &Session<'_>,
    site: &Site,
    wanted: &Descriptor,
) -> Result<Vec<u8>, RequestError> {
    let path = format!("blobs/{}", wanted.digest);
    let mut answer = get(session, site, &path, "")?;
    proven(&mut answer, wanted)
}

fn get<'s>(
    session: &'s Session<'_>,
    site: &Site,
    path: &str,
    accept: &str,
) -> Result<Answer<'s>, RequestError> {
    let method = &Method::GET;
    let from = 0;
    session.ask(
        site,
        Wanted {
            method,
            path,
            accept,
            from,
        },
    )
}

/// What the head of an answer tells; `None`: not enough.
fn described(
    answer: &Answer<'_>,
    known: Option<Digest>,
) -> Result<Option<Descriptor>, RequestError> {
    let said = said_digest(answer)?;
    if let (Some(known), Some(said)) = (&known, &said) {
        matches(known, said)?;
    }
    let (Some(digest), Some(media_type), Some(size)) = (said, kind(answer)?, length(answer)?)
    else {
        return Ok(None);
    };
    if size > MAX_DOCUMENT {
        return Err(too_long(MAX_DOCUMENT));
    }
    Ok(Some(Descriptor {
        media_type,
        digest,
        size,
        platform: None,
        name: None,
    }))
}

/// The digest that the registry names: SHA-256, or it is refused: another could be a weak one.
fn said_digest(answer: &Answer<'_>) -> Result<Option<Digest>, RequestError> {
    let Some(text) = answer.header(DIGEST) else {
        return Ok(None);
    };
    let digest = text.parse::<Digest>().ok();
    let digest = digest.filter(|digest| digest.algorithm() == Algorithm::Sha256);
    let why = || {
        RequestError::protocol(format!(
            "it names a digest that is no SHA-256 one: {:?}",
            shown(text)
        ))
    };
    digest.ok_or_else(why).map(Some)
}

fn kind(answer: &Answer<'_>) -> Result<Option<MediaType>, RequestError> {
    match media_type(answer) {
        Some(text) => Ok(Some(MediaType::read(text, DOCUMENT)?)),
        None => Ok(None),
    }
}

/// Without parameters such as a character set.
fn media_type<'a>(answer: &'a Answer<'_>) -> Option<&'a str> {
    let text = answer.header(CONTENT_TYPE)?;
    text.split(';').next().map(str::trim)
}

pub fn length(answer: &Answer<'_>) -> Result<Option<u64>, RequestError> {
    match answer.header(CONTENT_LENGTH) {
        Some(text) => {
            let length = text.parse().ok();
            let why = || RequestError::protocol("its Content-Length is no number");
            length.ok_or_else(why).map(Some)
        }
        None => Ok(None),
    }
}

/// Which says itself that it is something else than what it was sent as can be read as two things (CVE-2021-41190).
fn says_the_same(answer: &Answer<'_>, content: &[u8]) -> Result<(), RequestError> {
    let itself = serde_json::from_slice::<SaysItself>(content).ok();
    let itself = itself.and_then(|document| document.media_type);
    match (media_type(answer), itself) {
        (Some(header), Some(itself)) if header != itself => {
            let (header, itself) = (shown(header), shown(&itself));
            let why = format!("it is sent as {header:?} and says that it is {itself:?}");
            Err(RequestError::protocol(why))
        }
        _ => Ok(()),
    }
}

/// The content of an answer: as long as its descriptor says, and what its digest says.
fn proven(answer: &mut Answer<'_>, wanted: &Descriptor) -> Result<Vec<u8>, RequestError> {
    let size = |found: String| RequestError::Size {
        found,
        wanted: wanted.size,
    };
    if let Some(length) = length(answer)?.filter(|length| *length != wanted.size) {
        return Err(size(length.to_string()));
    }
    let content = read(answer, wanted.size)?;
    if content.len() as u64 != wanted.size {
        return Err(size(content.len().to_string()));
    }
    matches(&wanted.digest, &Digest::of(Algorithm::Sha256, &content))?;
    Ok(content)
}

fn read(answer: &mut Answer<'_>, most: u64) -> Result<Vec<u8>, RequestError> {
    let most_here = usize::try_from(most).unwrap_or(usize::MAX);
    answer.whole(most_here)?.ok_or_else(|| too_long(most))
}

fn too_long(most: u64) -> RequestError {
    RequestError::Size {
        found: "more".to_owned(),
        wanted: most,
    }
}

fn no_header(name: &str) -> RequestError {
    RequestError::protocol(format!("it has no {name}"))
}

fn matches(wanted: &Digest, found: &Digest) -> Result<(), RequestError> {
    if wanted == found {
        return Ok(());
    }
    Err(RequestError::Mismatch {
        wanted: *wanted,
        found: *found,
    })
}
