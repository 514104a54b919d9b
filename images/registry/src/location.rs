//! Where a registry sends to: redirects and the realms of tokens. Pure.

use http::Uri;

use crate::endpoint::{Origin, is_authority};
use crate::wire::shown;

/// Longest address that is followed, in bytes: signed addresses of object stores have some 2 KiB.
const MAX_ADDRESS: usize = 8 << 10;

/// An address that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    uri: Uri,
    origin: Origin,
}

/// An address that is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It is no address.
    #[error("it sends to {found:?}, which is no address of a web server")]
    NotAnAddress {
        /// Its beginning.
        found: String,
    },
    /// It has a user name or a password in it.
    #[error("it sends to an address with a user name in it")]
    User,
    /// It leads from TLS, or from one host to another, over HTTP without TLS.
    #[error("it sends to {to}, where everybody on the way could read and change what is said")]
    Plain {
        /// Whereto.
        to: String,
    },
    /// Nowhere.
    #[error("it sends elsewhere and does not say where")]
    Missing,
}

impl Location {
    /// Reads an absolute address.
    ///
    /// # Errors
    /// [`LocationError`], but not [`LocationError::Plain`].
    pub fn absolute(text: &str) -> Result<Location, LocationError> {
        let refused = || LocationError::NotAnAddress { found: shown(text) };
        if text.len() > MAX_ADDRESS {
            return Err(refused());
        }
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(refused()),
        };
        let authority = uri.authority().ok_or_else(refused)?.as_str();
        if authority.contains('@') {
            return Err(LocationError::User);
        }
        if !is_authority(authority) {
            return Err(refused());
        }
        let origin = Origin::new(plain, authority);
        Ok(Location { uri, origin })
    }

    /// Where a redirect from here leads: to an absolute address, or to another path of the same host.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn redirect(&self, header: &str) -> Result<Location, LocationError> {
        let next = if header.starts_with('/') && !header.starts_with("//") {
            Location::absolute(&format!("{}{header}", self.origin))
        } else {
            Location::absolute(header)
        }?;
        // Without TLS is as good as before only where nothing but this machine is on the way, or nothing changes.
        let same = self.origin == next.origin;
        let local = self.origin.is_plain() && next.origin.is_loopback();
        if next.origin.is_plain() && !same && !local {
            let to = next.origin.to_string();
            return Err(LocationError::Plain { to });
        }
        Ok(next)
    }

    /// Where tokens for `registry` are given. A password is sent there.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn realm(registry: &Origin, text: &str) -> Result<Location, LocationError> {
        let realm = Location::absolute(text)?;
        let same = *registry == realm.origin;
        let local = registry.is_plain() && registry.is_loopback() && realm.origin.is_loopback();
        if realm.origin.is_plain() && !same && !local {
            let to = realm.origin.to_string();
            return Err(LocationError::Plain { to });
        }
        Ok(realm)
    }

    /// Who is asked.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What is asked for.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(from: &str, header: &str) -> String {
        let from = Location::absolute(from).unwrap();
        from.redirect(header).unwrap_err().to_string()
    }

    #[test]
    fn redirects_lead_on() {
        for (from, header, to) in [
            (
                "https://r.example/v2/",
                "/b?c=d",
                "https://r.example:443/b?c=d",
            ),
            (
                "https://r.example/v2/",
                "https://cdn.example/x",
                "https://cdn.example/x",
            ),
            (
                "http://localhost:5000/",
                "https://cdn.example/x",
                "https://cdn.example/x",
            ),
            (
                "http://localhost:5000/",
                "http://127.0.0.1:9/x",
                "http://127.0.0.1:9/x",
            ),
            ("http://r.example:5000/", "/x", "http://r.example:5000/x"),
        ] {
            let from = Location::absolute(from).unwrap();
            assert_eq!(from.redirect(header).unwrap().uri().to_string(), to);
        }
    }

    #[test]
    fn redirects_to_elsewhere_are_refused() {
        let long = format!("https://a/{}", "x".repeat(9000));
        for (header, word) in [
            ("http://r.example/v2/", "everybody on the way"),
            ("http://127.0.0.1/", "everybody on the way"),
            ("file:///etc/passwd", "no address"),
            ("//cdn.example/x", "no address"),
            ("ftp://cdn.example/x", "no address"),
            ("gopher:x", "no address"),
            ("https://u:p@cdn.example/x", "user name"),
            ("https://r.example@evil.example/", "user name"),
            ("x", "no address"),
            ("", "no address"),
            ("https://", "no address"),
            ("https://a b/", "no address"),
            (&long, "no address"),
        ] {
            let told = refused("https://r.example/v2/", header);
            assert!(told.contains(word), "{header}: {told}");
        }
        let told = refused("http://r.example:5000/", "http://other.example/");
        assert!(told.contains("everybody"), "{told}");
    }

    #[test]
    fn passwords_go_to_realms_with_tls() {
        let tls = Origin::new(false, "r.example");
        let plain = Origin::new(true, "localhost:5000");
        let insecure = Origin::new(true, "r.example:5000");
        for (registry, realm, taken) in [
            (&tls, "https://auth.example/token", true),
            (&tls, "http://auth.example/token", false),
            (&tls, "http://localhost/token", false),
            (&plain, "http://127.0.0.1:7/token", true),
            (&plain, "http://auth.example/token", false),
            (&insecure, "http://r.example:5000/token", true),
            (&insecure, "http://r.example/token", false),
            (&insecure, "http://localhost/token", false),
            (&tls, "file:///token", false),
        ] {
            assert_eq!(Location::realm(registry, realm).is_ok(), taken, "{realm}");
        }
    }
}
