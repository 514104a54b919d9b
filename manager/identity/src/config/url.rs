//! URLs of issuers and of their keys.

use std::net::IpAddr;

use http::Uri;

/// Longest URL, in bytes.
const MAX_URL: usize = 2048;

/// Why a URL is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("not an absolute URL of at most {MAX_URL} bytes")]
    Malformed,
    #[error("a URL with a user name, a query or a fragment")]
    Parts,
    #[error("plain HTTP to another host")]
    PlainRemote,
    #[error("plain HTTP, which nothing allows")]
    PlainLoopback,
    #[error("neither https nor http")]
    Scheme,
}

/// Checks where keys may come from: HTTPS, or plain HTTP on this host if that is
/// allowed. A query is taken only if `query` says so.
pub(crate) fn check(text: &str, loopback: bool, query: bool) -> Result<Uri, UrlError> {
    if text.len() > MAX_URL || text.contains('#') {
        return Err(UrlError::Malformed);
    }
    let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
    let host = uri.host().filter(|host| !host.is_empty());
    let (Some(scheme), Some(host), Some(authority)) = (uri.scheme_str(), host, uri.authority())
    else {
        return Err(UrlError::Malformed);
    };
    if authority.as_str().contains('@') || (uri.query().is_some() && !query) {
        return Err(UrlError::Parts);
    }
    match scheme {
        "https" => Ok(uri),
        "http" if !is_loopback(host) => Err(UrlError::PlainRemote),
        "http" if !loopback => Err(UrlError::PlainLoopback),
        "http" => Ok(uri),
        _ => Err(UrlError::Scheme),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_allowed_loopback_are_asked() {
        for url in [
            "https://a.example",
            "https://a.example:8443/x/",
            "https://[::1]/x",
        ] {
            assert!(check(url, false, false).is_ok(), "{url}");
        }
        for url in [
            "http://127.0.0.1:8080",
            "http://[::1]:1/x",
            "http://localhost/x",
        ] {
            assert_eq!(
                check(url, false, false),
                Err(UrlError::PlainLoopback),
                "{url}"
            );
            assert!(check(url, true, false).is_ok(), "{url}");
        }
        for url in [
            "http://a.example",
            "http://127.0.0.1.example",
            "http://10.0.0.1/",
            "http://localhost.example",
            "http://0.0.0.0/",
        ] {
            assert_eq!(check(url, true, false), Err(UrlError::PlainRemote), "{url}");
        }
        for url in [
            "",
            "a.example",
            "/x",
            "https://",
            "https:///x",
            "https://a#b",
            "https://a b",
        ] {
            assert_eq!(check(url, true, false), Err(UrlError::Malformed), "{url}");
        }
        assert_eq!(check("ftp://a.example", true, false), Err(UrlError::Scheme));
        assert_eq!(
            check("https://u@a.example", true, true),
            Err(UrlError::Parts)
        );
        assert_eq!(
            check("https://a.example?x", true, false),
            Err(UrlError::Parts)
        );
        assert!(check("https://a.example/keys?x=1", false, true).is_ok());
    }
}
