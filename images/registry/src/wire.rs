//! Headers and small documents of registries, read from bytes that anybody may have sent. Pure.

use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

/// Longest header value that is looked at, in bytes.
const MAX_HEADER: usize = 8 << 10;

/// Longest word of a registry's that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// How a registry wants to know who asks (RFC 9110, 11.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request (RFC 7617).
    Basic,
    /// A token from elsewhere (distribution-spec's "Token Authentication").
    Bearer {
        /// Where tokens are given: a URL that is not checked yet.
        realm: String,
        /// For whom.
        service: Option<String>,
    },
}

/// What is wanted, of all that one `WWW-Authenticate` header offers: a token before a password. `None`: nothing that is
/// known here.
pub fn challenge(header: &str) -> Option<Challenge> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let offers = offers(header)?;
    let named = |name: &str| {
        let mut found = offers.iter();
        found.find(|offer| offer.scheme.eq_ignore_ascii_case(name))
    };
    let bearer = named("bearer").and_then(|offer| {
        Some(Challenge::Bearer {
            realm: offer.parameter("realm")?,
            service: offer.parameter("service"),
        })
    });
    bearer.or_else(|| named("basic").map(|_| Challenge::Basic))
}

/// One scheme with its parameters.
struct Offer {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Offer {
    fn parameter(&self, name: &str) -> Option<String> {
        let mut of_name = self
            .parameters
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let value = of_name.next()?.1.clone();
        // Twice: two readers would believe different ones.
        of_name.next().is_none().then_some(value)
    }
}

/// `scheme name=value, name="value", scheme …`; `None`: not of that form.
fn offers(header: &str) -> Option<Vec<Offer>> {
    let mut offers: Vec<Offer> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (word, after) = token(rest)?;
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = value_of(value.trim_start())?;
            let parameter = (word.to_owned(), value);
            offers.last_mut()?.parameters.push(parameter);
            rest = after;
        } else {
            offers.push(Offer {
                scheme: word.to_owned(),
                parameters: Vec::new(),
            });
            rest = after;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    Some(offers)
}

/// RFC 9110, 5.6.2.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_part(byte));
    let end = end.unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token, or a quoted text (RFC 9110, 5.6.4).
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Which bytes of how many an answer holds: `bytes 5-9/10`, or `bytes 5-9/*` (RFC 9110, 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// The last one; not before the first.
    pub last: u64,
    /// All bytes that there are, if that is told; more than the last.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads one; `None`: it is none, or contradicts itself.
    pub fn read(text: &str) -> Option<ContentRange> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let (first, last) = (number(first)?, number(last)?);
        let fits = first <= last && total.is_none_or(|total| last < total);
        fits.then_some(ContentRange { first, last, total })
    }
}

/// Digits alone: no sign, no blank.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// How long a registry asks to wait (RFC 9110, 10.2.3). Of a date in its place nothing is known: clocks differ.
pub fn retry_after(header: &str) -> Option<Duration> {
    number(header.trim()).map(Duration::from_secs)
}

/// A word of a document that is wiped when dropped.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Secret(pub Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }
}

/// A registry's answer where it gives tokens.
#[derive(Deserialize)]
struct RawToken {
    #[serde(default)]
    token: Secret,
    #[serde(default)]
    access_token: Secret,
}

/// The token in the answer of who gives tokens, for an `Authorization` header. `None`: there is none, or it would not
/// be one header.
pub fn token_answer(body: &[u8]) -> Option<Zeroizing<String>> {
    let raw: RawToken = serde_json::from_slice(body).ok()?;
    let token = match raw.token.0.is_empty() {
        true => raw.access_token.0,
        false => raw.token.0,
    };
    let plain = |byte: u8| byte.is_ascii_graphic();
    (!token.is_empty() && token.bytes().all(plain)).then_some(token)
}

#[derive(Deserialize)]
struct RawErrors {
    errors: Vec<RawError>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// The first error of a registry's answer, as one short line (distribution-spec, "Error Codes"); empty: there is
/// none that can be read.
pub fn told(body: &[u8]) -> String {
    let Ok(raw) = serde_json::from_slice::<RawErrors>(body) else {
        return String::new();
    };
    let Some(first) = raw.errors.into_iter().next() else {
        return String::new();
    };
    let message = first.message.unwrap_or_default();
    shown(format!("{} {message}", first.code).trim())
}

/// A stranger's word as it may be part of a message: short, and nothing but what is visible.
pub fn shown(text: &str) -> String {
    let visible =
        |letter: &char| *letter == ' ' || letter.is_alphanumeric() || letter.is_ascii_graphic();
    text.chars().filter(visible).take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_are_read() {
        for (header, wanted) in [
            ("Basic realm=\"r\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://a/token\",service=\"s\",scope=\"x:y\"",
                bearer("https://a/token", Some("s")),
            ),
            (
                "Basic realm=x, Bearer realm=\"https://a/t\"",
                bearer("https://a/t", None),
            ),
            ("BEARER REALM = \"q\\\"q\"", bearer("q\"q", None)),
        ] {
            assert_eq!(challenge(header), wanted, "{header}");
        }
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        let long = format!("Basic realm=\"{}\"", "x".repeat(9000));
        for header in [
            "",
            "Digest realm=x",
            "Bearer",
            "Bearer service=x",
            "Bearer realm=\"x",
            "Bearer realm=\"a\", realm=\"b\"",
            "realm=x",
            "Bearer realm=\"x\\",
            "\"\"",
            &long,
        ] {
            assert_eq!(challenge(header), None, "{header}");
        }
    }

    #[test]
    fn ranges_are_read_or_refused() {
        let read = |first, last, total| Some(ContentRange { first, last, total });
        for (text, wanted) in [
            ("bytes 5-9/10", read(5, 9, Some(10))),
            ("bytes 0-0/*", read(0, 0, None)),
            ("bytes 9-5/10", None),
            ("bytes 5-10/10", None),
            ("bytes +5-9/10", None),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes 5-9", None),
            ("bytes 5-99999999999999999999/*", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::read(text), wanted, "{text}");
        }
    }

    #[test]
    fn waits_are_seconds() {
        assert_eq!(retry_after(" 7"), Some(Duration::from_secs(7)));
        for other in ["-1", "1.5", "", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(other), None, "{other}");
        }
    }

    #[test]
    fn tokens_are_one_header() {
        let read = |text: &str| token_answer(text.as_bytes()).map(|token| token.to_string());
        assert_eq!(read(r#"{"token":"a.b"}"#), Some("a.b".to_owned()));
        assert_eq!(
            read(r#"{"token":"","access_token":"c"}"#),
            Some("c".to_owned())
        );
        for bad in [
            "{}",
            "[]",
            r#"{"token":""}"#,
            r#"{"token":"a\r\nX: y"}"#,
            "",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn words_of_strangers_are_short_and_plain() {
        let body = r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m\nway\u202e"}]}"#;
        assert_eq!(told(body.as_bytes()), "DENIED no[31mway");
        assert_eq!(told(b"<html>"), "");
        assert_eq!(shown(&"x".repeat(1000)).len(), 200);
    }
}
