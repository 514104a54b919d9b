//! Where a registry, or a mirror of it, answers.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Docker Hub's name in images' names, and where it answers.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Under which credentials for Docker Hub are kept, for history's sake.
const HUB_KEY: &str = "index.docker.io";

/// A registry's address: `[https://|http://]HOST[:PORT][/PREFIX]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    plain: bool,
    authority: String,
    prefix: String,
}

/// A text is no address of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no address of a registry: write [https://]HOST[:PORT][/PREFIX]; http:// is for loopback, or with --plain-http"
)]
pub struct NotAnEndpoint {
    /// The text.
    pub text: String,
}

impl Endpoint {
    /// Where the registry of an image's name answers.
    pub fn of_registry(registry: &str, plain: bool) -> Endpoint {
        let authority = if registry == HUB.0 { HUB.1 } else { registry };
        Endpoint {
            plain,
            authority: authority.to_ascii_lowercase(),
            prefix: String::new(),
        }
    }

    /// The same without TLS; `None`: it is not on this machine, or without TLS already.
    pub fn plain_on_loopback(&self) -> Option<Endpoint> {
        let plain = Endpoint {
            plain: true,
            ..self.clone()
        };
        (!self.plain && self.is_loopback()).then_some(plain)
    }

    /// Whether it speaks HTTP without TLS.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(host(&self.authority))
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> Origin {
        Origin::new(self.plain, &self.authority)
    }

    /// `HOST[:PORT]`: under which its credentials are kept.
    pub fn key(&self) -> &str {
        if self.authority == HUB.1 {
            HUB_KEY
        } else {
            &self.authority
        }
    }

    /// The URL of what is at `path`, which begins with `/v2/`.
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.plain { "http" } else { "https" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Endpoint, NotAnEndpoint> {
        let refused = || NotAnEndpoint {
            text: text.chars().take(200).collect(),
        };
        let (plain, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => (false, text),
        };
        let (authority, prefix) = match rest.split_once('/') {
            Some((authority, prefix)) => (authority, format!("/{}", prefix.trim_end_matches('/'))),
            None => (rest, String::new()),
        };
        let prefix = prefix.trim_end_matches('/').to_owned();
        let in_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
        let dots = |part: &str| part == "." || part == "..";
        let strange = !prefix.bytes().all(in_prefix) || prefix.split('/').any(dots);
        if !is_authority(authority) || strange || rest.len() > 1024 {
            return Err(refused());
        }
        Ok(Endpoint {
            plain,
            authority: authority.to_ascii_lowercase(),
            prefix,
        })
    }
}

/// Who is spoken to: credentials for one are not told to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    plain: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Of an authority as [`is_authority`] takes it.
    pub fn new(plain: bool, authority: &str) -> Origin {
        let host = host(authority);
        let port = authority
            .get(host.len()..)
            .and_then(|rest| rest.strip_prefix(':'))
            .and_then(|port| port.parse().ok());
        let usual = if plain { 80 } else { 443 };
        Origin {
            plain,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(usual),
        }
    }

    /// Whether it speaks HTTP without TLS.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.plain { "http" } else { "https" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// A host, or an address of version 6 in brackets, and perhaps a port; nothing before it.
pub(crate) fn is_authority(text: &str) -> bool {
    let host = host(text);
    let port = text.get(host.len()..).unwrap_or_default();
    let port_fits = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+')
        });
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= 253 && host.bytes().all(name),
    };
    host_fits && port_fits
}

fn host(authority: &str) -> &str {
    let end = match authority.find(']') {
        Some(end) => end + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    authority.get(..end).unwrap_or(authority)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, shown) in [
            ("m.example", "https://m.example"),
            ("https://M.example:5000/a/b/", "https://m.example:5000/a/b"),
            ("http://localhost:5000", "http://localhost:5000"),
            ("http://[::1]:5000/", "http://[::1]:5000"),
        ] {
            let read: Endpoint = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(shown.parse::<Endpoint>().unwrap(), read);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "ftp://m.example",
            "https://",
            "https://u:p@m.example",
            "https://m.example:0",
            "https://m.example:99999",
            "https://m.example/../x",
            "https://m.example/a?b",
            "https://m.example/a#b",
            "m.example/ü",
            "m .example",
            "[::1",
            "[x]:1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_is_on_this_machine_may_do_without_tls() {
        for (registry, loopback) in [
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
            ("quay.io", false),
        ] {
            let endpoint = Endpoint::of_registry(registry, false);
            assert_eq!(
                endpoint.plain_on_loopback().is_some(),
                loopback,
                "{registry}"
            );
        }
    }

    #[test]
    fn the_hub_answers_elsewhere_and_its_credentials_have_an_old_name() {
        let hub = Endpoint::of_registry("docker.io", false);
        assert_eq!(hub.to_string(), "https://registry-1.docker.io");
        assert_eq!(hub.key(), "index.docker.io");
    }

    #[test]
    fn an_origin_has_its_usual_port() {
        assert_eq!(Origin::new(false, "a.b"), Origin::new(false, "A.b:443"));
        assert_ne!(Origin::new(false, "a.b"), Origin::new(true, "a.b:443"));
        assert_ne!(Origin::new(false, "a.b"), Origin::new(false, "a.b:444"));
    }
}
