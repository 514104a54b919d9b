//! Client certificates to principals.
//!
//! That the certificate is valid was verified by the TLS listener with the
//! configured authorities; here it is only asked whose it is.

use std::collections::BTreeSet;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::MtlsConfig;
use crate::principal::{Authenticator, Principal};
use crate::show::quoted;

/// Longest certificate that is read, in bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// Which part of a certificate names the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectSource {
    /// The one URI among the alternative names, without this beginning: a user
    /// name holds no slash.
    SanUri {
        /// What it must begin with.
        prefix: String,
    },
    /// The one DNS name among the alternative names.
    SanDns,
    /// The one e-mail address among the alternative names.
    SanEmail,
    /// The one common name of the subject.
    CommonName,
}

impl SubjectSource {
    pub(crate) fn parse(name: &str, prefix: Option<&str>) -> Result<SubjectSource, &'static str> {
        match (name, prefix) {
            ("san_uri", Some(prefix)) if prefix.contains("://") => Ok(SubjectSource::SanUri {
                prefix: prefix.to_owned(),
            }),
            ("san_uri", _) => Err("without a uri_prefix such as \"spiffe://example.org/user/\""),
            ("san_dns" | "san_email" | "cn", Some(_)) => Err("a uri_prefix, and no URI"),
            ("san_dns", None) => Ok(SubjectSource::SanDns),
            ("san_email", None) => Ok(SubjectSource::SanEmail),
            ("cn", None) => Ok(SubjectSource::CommonName),
            _ => Err("not a part of a certificate that is known here"),
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            SubjectSource::SanUri { .. } => "URI among the alternative names",
            SubjectSource::SanDns => "DNS name among the alternative names",
            SubjectSource::SanEmail => "e-mail address among the alternative names",
            SubjectSource::CommonName => "common name",
        }
    }
}

/// The part of a certificate that names its holder, before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSubject(String);

impl CertificateSubject {
    /// The text, as in the certificate; of a URI, without the beginning.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why the holder of a certificate is nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate.
    #[error("the client certificate cannot be read: {what}; have it issued again")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// An authority is no user.
    #[error("the client certificate is that of a certificate authority; use one that it issued")]
    Authority,
    /// None, or more than one, of the part that names the user.
    #[error(
        "the client certificate has {count} × {part}, and exactly one must name the user; have it issued so"
    )]
    Count {
        /// Which part.
        part: &'static str,
        /// How many.
        count: usize,
    },
    /// Another URI.
    #[error(
        "the client certificate's URI {uri} does not begin with {prefix}; use one of this domain"
    )]
    Domain {
        /// The URI, quoted.
        uri: String,
        /// What it must begin with.
        prefix: String,
    },
    /// The name is none that we take.
    #[error("the client certificate names a user that cannot be used: {cause}")]
    Name {
        /// What is wrong.
        cause: String,
    },
}

impl MtlsConfig {
    /// Who the holder of a verified client certificate is (DER).
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if the certificate does not name exactly one user.
    pub fn principal(&self, certificate: &[u8]) -> Result<Principal, CertificateError> {
        let subject = certificate_subject(certificate, &self.subject)?;
        let user = self.users.user(subject.as_str());
        let user = user.map_err(|error| CertificateError::Name {
            cause: error.to_string(),
        })?;
        Ok(Principal::new(Authenticator::Mtls, user, BTreeSet::new()))
    }
}

/// The part of a certificate (DER) that names its holder. Performs no I/O and
/// verifies nothing.
///
/// # Errors
///
/// [`CertificateError`]; two parts that could name the user are refused like
/// none, because nothing says which one the authority meant.
pub fn certificate_subject(
    der: &[u8],
    source: &SubjectSource,
) -> Result<CertificateSubject, CertificateError> {
    let malformed = |what| CertificateError::Malformed { what };
    if der.len() > MAX_CERTIFICATE {
        return Err(malformed("too long"));
    }
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| malformed("not an X.509 certificate"))?;
    if !rest.is_empty() {
        return Err(malformed("something follows it"));
    }
    let constraints = certificate.basic_constraints();
    let constraints = constraints.map_err(|_| malformed("its constraints stand twice"))?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(CertificateError::Authority);
    }
    let names = names(&certificate, source)?;
    let [name] = names.as_slice() else {
        return Err(CertificateError::Count {
            part: source.describe(),
            count: names.len(),
        });
    };
    strip(name, source).map(CertificateSubject)
}

fn names(
    certificate: &X509Certificate<'_>,
    source: &SubjectSource,
) -> Result<Vec<String>, CertificateError> {
    let malformed = |what| CertificateError::Malformed { what };
    if *source == SubjectSource::CommonName {
        return certificate
            .subject()
            .iter_common_name()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Result<_, _>>()
            .map_err(|_| malformed("its common name is not text"));
    }
    let found = certificate
        .subject_alternative_name()
        .map_err(|_| malformed("its alternative names stand twice or cannot be read"))?;
    let Some(found) = found else {
        return Ok(Vec::new());
    };
    let names = &found.value.general_names;
    if names
        .iter()
        .any(|name| matches!(name, GeneralName::Invalid(..)))
    {
        return Err(malformed("an alternative name cannot be read"));
    }
    let of_kind = names.iter().filter_map(|name| match (name, source) {
        (GeneralName::URI(text), SubjectSource::SanUri { .. })
        | (GeneralName::DNSName(text), SubjectSource::SanDns)
        | (GeneralName::RFC822Name(text), SubjectSource::SanEmail) => Some((*text).to_owned()),
        _ => None,
    });
    Ok(of_kind.collect())
}

fn strip(name: &str, source: &SubjectSource) -> Result<String, CertificateError> {
    let SubjectSource::SanUri { prefix } = source else {
        return Ok(name.to_owned());
    };
    let rest = name.strip_prefix(prefix.as_str());
    let rest = rest.ok_or_else(|| CertificateError::Domain {
        uri: quoted(name),
        prefix: prefix.clone(),
    })?;
    Ok(rest.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};

    use super::*;
    use crate::config::AuthDoc;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn config(lines: &str) -> MtlsConfig {
        let text = format!("[mtls]\nca_file = \"/ca\"\nuser_prefix = \"m:\"\n{lines}");
        let doc: AuthDoc = toml::from_str(&text).unwrap();
        doc.check().unwrap().mtls().unwrap().clone()
    }

    fn user(lines: &str, der: &[u8]) -> Result<String, CertificateError> {
        let principal = config(lines).principal(der)?;
        assert_eq!(*principal.authenticator(), Authenticator::Mtls);
        Ok(principal.user().to_string())
    }

    const URI: &str = "subject = \"san_uri\"\nuri_prefix = \"spiffe://a.example/user/\"";

    #[test]
    fn each_part_can_name_the_user() {
        let der = certificate(|params| {
            params.subject_alt_names = vec![
                uri("spiffe://a.example/user/alice"),
                SanType::DnsName("spark.a.example".try_into().unwrap()),
                SanType::Rfc822Name("alice@a.example".try_into().unwrap()),
            ];
            params.distinguished_name.push(DnType::CommonName, "Alice");
        });
        assert_eq!(user(URI, &der).unwrap(), "m:alice");
        assert_eq!(
            user("subject = \"san_dns\"", &der).unwrap(),
            "m:spark.a.example"
        );
        assert_eq!(
            user("subject = \"san_email\"", &der).unwrap(),
            "m:alice@a.example"
        );
        assert_eq!(user("subject = \"cn\"", &der).unwrap(), "m:Alice");
    }

    #[test]
    fn none_and_two_are_refused() {
        let none = certificate(|_| ());
        let two = certificate(|params| {
            params.subject_alt_names = vec![
                uri("spiffe://a.example/user/a"),
                uri("spiffe://a.example/user/b"),
            ];
        });
        for (der, count) in [(none, 0), (two, 2)] {
            let error = user(URI, &der).unwrap_err();
            let part = "URI among the alternative names";
            assert_eq!(error, CertificateError::Count { part, count });
        }
        let der = certificate(|_| ());
        assert!(matches!(
            user("subject = \"cn\"", &der),
            Err(CertificateError::Count { .. })
        ));
    }

    #[test]
    fn uris_of_other_domains_and_deeper_paths_are_refused() {
        let of = |text: &str| {
            let der = certificate(|params| params.subject_alt_names = vec![uri(text)]);
            user(URI, &der).unwrap_err()
        };
        assert!(matches!(
            of("spiffe://b.example/user/a"),
            CertificateError::Domain { .. }
        ));
        assert!(matches!(
            of("spiffe://a.example/user/a/b"),
            CertificateError::Name { .. }
        ));
        assert!(matches!(
            of("spiffe://a.example/user/"),
            CertificateError::Name { .. }
        ));
        assert!(matches!(
            of("spiffe://a.example/user/.."),
            CertificateError::Name { .. }
        ));
    }

    #[test]
    fn a_name_with_control_characters_is_refused() {
        let der = certificate(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "root\u{0}.a.example");
        });
        assert!(matches!(
            user("subject = \"cn\"", &der),
            Err(CertificateError::Name { .. })
        ));
    }

    #[test]
    fn an_authority_is_no_user() {
        let der = certificate(|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, "alice");
        });
        assert_eq!(
            user("subject = \"cn\"", &der),
            Err(CertificateError::Authority)
        );
    }

    #[test]
    fn broken_certificates_are_refused_at_every_length() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "alice");
        });
        for length in 0..der.len() {
            assert!(certificate_subject(&der[..length], &SubjectSource::CommonName).is_err());
        }
        let longer = [der.as_slice(), b"x"].concat();
        let what = "something follows it";
        assert_eq!(
            certificate_subject(&longer, &SubjectSource::CommonName),
            Err(CertificateError::Malformed { what })
        );
        assert!(certificate_subject(&vec![0x30; 70_000], &SubjectSource::SanDns).is_err());
    }
}
