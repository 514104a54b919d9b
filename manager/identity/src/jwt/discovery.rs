//! What an issuer says about itself (OpenID Connect Discovery 1.0).

use serde_json::Value;

use crate::config::url;
use crate::show::quoted;
use crate::strict_json;

/// Why an issuer's description was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// Not one JSON object with each key once.
    #[error("not a JSON object in which each key stands once")]
    NotJson,
    /// The description is another issuer's.
    #[error(
        "it is the description of issuer {found}; write exactly that as issuer, if you trust it"
    )]
    Issuer {
        /// Whose, quoted.
        found: String,
    },
    /// No place of the keys.
    #[error("it has no text named {name}")]
    Missing {
        /// The field.
        name: &'static str,
    },
    /// A place that may not be asked.
    #[error("its jwks_uri is {cause}")]
    KeysUrl {
        /// Why.
        cause: String,
    },
}

/// Where an issuer describes itself.
pub(crate) fn discovery_url(issuer: &str) -> String {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    format!("{issuer}/.well-known/openid-configuration")
}

/// The URL of an issuer's keys, from its description. `loopback` allows plain
/// HTTP on this host. Performs no I/O.
///
/// # Errors
///
/// [`DiscoveryError`]; in particular if the description does not name `issuer`
/// itself, character for character.
pub fn parse_discovery(
    bytes: &[u8],
    issuer: &str,
    loopback: bool,
) -> Result<String, DiscoveryError> {
    let document = strict_json::object(bytes).map_err(|_| DiscoveryError::NotJson)?;
    let text = |name| {
        let value = document.get(name).and_then(Value::as_str);
        value.ok_or(DiscoveryError::Missing { name })
    };
    let found = text("issuer")?;
    if found != issuer {
        let found = quoted(found);
        return Err(DiscoveryError::Issuer { found });
    }
    let keys = text("jwks_uri")?;
    // An issuer on HTTPS does not send us to plain HTTP, whatever is allowed.
    let loopback = loopback && issuer.starts_with("http:");
    url::check(keys, loopback, true).map_err(|error| DiscoveryError::KeysUrl {
        cause: error.to_string(),
    })?;
    Ok(keys.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://a.example";

    fn read(text: &str) -> Result<String, DiscoveryError> {
        parse_discovery(text.as_bytes(), ISSUER, true)
    }

    #[test]
    fn the_place_of_the_keys_is_read() {
        let text =
            r#"{"issuer":"https://a.example","jwks_uri":"https://keys.example/k?v=1","x":[]}"#;
        assert_eq!(read(text).unwrap(), "https://keys.example/k?v=1");
        assert_eq!(
            discovery_url("https://a.example/t/"),
            "https://a.example/t/.well-known/openid-configuration"
        );
    }

    #[test]
    fn another_issuers_description_is_refused() {
        for found in [
            "https://a.example/",
            "https://A.example",
            "https://b.example",
            "",
        ] {
            let text = format!(r#"{{"issuer":"{found}","jwks_uri":"https://a.example/k"}}"#);
            assert!(
                matches!(read(&text), Err(DiscoveryError::Issuer { .. })),
                "{found}"
            );
        }
    }

    #[test]
    fn keys_in_other_places_are_refused() {
        for keys in [
            "http://a.example/k",
            "http://127.0.0.1/k",
            "file:///etc/passwd",
            "",
            "/k",
        ] {
            let text = format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{keys}"}}"#);
            assert!(
                matches!(read(&text), Err(DiscoveryError::KeysUrl { .. })),
                "{keys}"
            );
        }
    }

    #[test]
    fn other_documents_are_refused() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"issuer":"a","issuer":"https://a.example"}"#,
        ] {
            assert_eq!(read(text), Err(DiscoveryError::NotJson), "{text}");
        }
        assert_eq!(read("{}"), Err(DiscoveryError::Missing { name: "issuer" }));
        let text = format!(r#"{{"issuer":"{ISSUER}","jwks_uri":1}}"#);
        assert_eq!(
            read(&text),
            Err(DiscoveryError::Missing { name: "jwks_uri" })
        );
    }
}
