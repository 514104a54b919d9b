//! Where packages may come from.

use http::Uri;
use lakekeep_egress_rules::HostName;

use crate::error::BuildError;

/// Where everybody's packages are.
const PYPI: &str = "https://pypi.org/simple";

/// Indexes whose files are on another host, which they do not name before they are asked.
const FILES: [(&str, &str); 2] = [
    ("pypi.org", "files.pythonhosted.org"),
    ("test.pypi.org", "test-files.pythonhosted.org"),
];

/// One index (PEP 503).
#[derive(Clone, PartialEq, Eq)]
pub struct Index {
    url: String,
    scheme: Scheme,
    host: String,
    port: u16,
    /// Without user and password.
    shown: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Those that are asked, in this order: the first that has a name decides what it is, whatever
/// the others have under it (uv's `first-index`). So nobody takes a private package's place by
/// putting a higher version of its name on an index that comes later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexes(Vec<Index>);

// A user and a password may be in it.
impl std::fmt::Debug for Index {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.shown)
    }
}

impl Index {
    /// Reads an address.
    ///
    /// # Errors
    /// [`BuildError::Index`] for what is no address of a web server by name.
    pub fn parse(text: &str) -> Result<Index, BuildError> {
        let refused = |why| BuildError::Index {
            shown: without_user(text),
            why,
        };
        let uri: Uri = text
            .parse()
            .map_err(|_| refused("it is no URL; write https://HOST/simple"))?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(refused("only https:// and http:// indexes are asked")),
        };
        if text.contains(['?', '#', ' ']) || uri.query().is_some() {
            return Err(refused("a query or a fragment is no part of an index"));
        }
        let host = uri.host().unwrap_or_default();
        let name: HostName = host.parse().map_err(|_| {
            refused("its host is no name, and rules of egress are by name; write the host's name")
        })?;
        let usual = match scheme {
            Scheme::Https => 443,
            Scheme::Http => 80,
        };
        Ok(Index {
            url: text.to_owned(),
            scheme,
            host: name.to_string(),
            port: uri.port_u16().unwrap_or(usual),
            shown: without_user(text),
        })
    }

    /// Without user and password.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether what it says can be changed on the way.
    pub fn is_plain(&self) -> bool {
        self.scheme == Scheme::Http
    }

    fn rules(&self) -> Vec<String> {
        let protocol = match self.scheme {
            Scheme::Https => "tls",
            Scheme::Http => "http",
        };
        let mut rules = vec![format!("allow {protocol} {}:{}", self.host, self.port)];
        let files = FILES.iter().filter(|(index, _)| *index == self.host);
        rules.extend(files.map(|(_, files)| format!("allow tls {files}:443")));
        rules
    }
}

fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

impl Indexes {
    /// The first one, PyPI if none is named, and the others after it.
    ///
    /// # Errors
    /// As of [`Index::parse`].
    pub fn new(first: Option<&str>, others: &[String]) -> Result<Indexes, BuildError> {
        let texts = std::iter::once(first.unwrap_or(PYPI)).chain(others.iter().map(String::as_str));
        texts
            .map(Index::parse)
            .collect::<Result<_, _>>()
            .map(Indexes)
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &Index> {
        self.0.iter()
    }

    /// What must be let out to reach them, and the hosts that are known to have their files.
    pub fn rules(&self) -> Vec<String> {
        let mut rules: Vec<String> = self.0.iter().flat_map(Index::rules).collect();
        rules.sort();
        rules.dedup();
        rules
    }

    /// uv's variables. Not its arguments: a password may be in an address.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        // uv asks its default index last.
        let Some((last, before)) = self.0.split_last() else {
            return Vec::new();
        };
        let before: Vec<&str> = before.iter().map(|index| index.url.as_str()).collect();
        let mut variables = vec![
            ("UV_DEFAULT_INDEX", last.url.clone()),
            ("UV_INDEX_STRATEGY", "first-index".to_owned()),
        ];
        if !before.is_empty() {
            variables.push(("UV_INDEX", before.join(" ")));
        }
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_the_index_and_its_files() {
        let pypi = Indexes::new(None, &[]).unwrap();
        let expected = [
            "allow tls files.pythonhosted.org:443",
            "allow tls pypi.org:443",
        ];
        assert_eq!(pypi.rules(), expected);
        let others = ["http://u:secret@Other.example:8080/x".to_owned()];
        let two = Indexes::new(Some("https://index.example/simple/"), &others).unwrap();
        let expected = [
            "allow http other.example:8080",
            "allow tls index.example:443",
        ];
        assert_eq!(two.rules(), expected);
        assert!(!format!("{two:?}").contains("secret"));
        let variables = two.variables();
        // What comes first is asked first.
        assert!(variables.contains(&("UV_INDEX", "https://index.example/simple/".to_owned())));
        assert!(variables.contains(&("UV_DEFAULT_INDEX", others[0].clone())));
    }

    #[test]
    fn what_is_no_index_is_refused_without_its_password() {
        for text in [
            "",
            "index.example",
            "file:///srv/simple",
            "https://u:secret@127.0.0.1/simple",
            "https://u:secret@[::1]/simple",
            "https://u:secret@index.example/?a=b",
            "ftp://u:secret@index.example/",
            "https://",
        ] {
            let refused = Index::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
