//! Who may share a sandbox.

use crate::canonical::Canonical;

/// The components of a [`TrustKey`]; none may be empty.
#[derive(Clone, Copy, Debug)]
pub struct TrustKeyParts<'a> {
    /// The identity that the principal was mapped to.
    pub identity: &'a str,
    /// The profile (tenant) it acts in.
    pub profile: &'a str,
    /// Digest of the replicated environment.
    pub environment: &'a str,
    /// Digest of the egress policy.
    pub egress: &'a str,
    /// Digest of the set of secrets.
    pub secrets: &'a str,
    /// Who wrote the code that runs.
    pub code_owner: &'a str,
}

/// The key that two pieces of work must have in common to share a sandbox.
///
/// Equality compares the components themselves, not their digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustKey {
    identity: String,
    profile: String,
    environment: String,
    egress: String,
    secrets: String,
    code_owner: String,
}

/// A component of a trust key is empty.
///
/// Two unknown owners are not the same owner: an empty component would let
/// them share a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trust key: {component} is empty; name it, for example \"none\" where there is none")]
pub struct EmptyTrustKeyPart {
    /// The name of the component.
    pub component: &'static str,
}

impl TrustKey {
    /// Makes the key of its components.
    ///
    /// # Errors
    ///
    /// [`EmptyTrustKeyPart`] if a component is empty.
    pub fn new(parts: TrustKeyParts<'_>) -> Result<TrustKey, EmptyTrustKeyPart> {
        Ok(TrustKey {
            identity: named("identity", parts.identity)?,
            profile: named("profile", parts.profile)?,
            environment: named("environment", parts.environment)?,
            egress: named("egress", parts.egress)?,
            secrets: named("secrets", parts.secrets)?,
            code_owner: named("code_owner", parts.code_owner)?,
        })
    }

    /// BLAKE3 of the components, each with its length, in lower-case
    /// hexadecimal (64 characters).
    pub fn digest(&self) -> String {
        Canonical::new("lakekeep trust key v1")
            .text(&self.identity)
            .text(&self.profile)
            .text(&self.environment)
            .text(&self.egress)
            .text(&self.secrets)
            .text(&self.code_owner)
            .finish()
    }

    /// The components.
    pub fn parts(&self) -> TrustKeyParts<'_> {
        TrustKeyParts {
            identity: &self.identity,
            profile: &self.profile,
            environment: &self.environment,
            egress: &self.egress,
            secrets: &self.secrets,
            code_owner: &self.code_owner,
        }
    }
}

fn named(component: &'static str, value: &str) -> Result<String, EmptyTrustKeyPart> {
    if value.is_empty() {
        return Err(EmptyTrustKeyPart { component });
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: TrustKeyParts<'static> = TrustKeyParts {
        identity: "alice",
        profile: "research",
        environment: "e1",
        egress: "g1",
        secrets: "s1",
        code_owner: "alice",
    };

    /// A change of one component changes the key and its digest.
    fn assert_counts(changed: TrustKeyParts<'static>) {
        let (base, other) = (
            TrustKey::new(PARTS).unwrap(),
            TrustKey::new(changed).unwrap(),
        );
        assert_ne!(base, other);
        assert_ne!(base.digest(), other.digest());
    }

    #[test]
    fn equal_parts_make_equal_keys() {
        let (a, b) = (TrustKey::new(PARTS).unwrap(), TrustKey::new(PARTS).unwrap());
        assert_eq!(a, b);
        assert_eq!(a.digest(), b.digest());
        assert_eq!(a.digest().len(), 64);
    }

    #[test]
    fn identity_counts() {
        assert_counts(TrustKeyParts {
            identity: "bob",
            ..PARTS
        });
    }

    #[test]
    fn profile_counts() {
        assert_counts(TrustKeyParts {
            profile: "sales",
            ..PARTS
        });
    }

    #[test]
    fn environment_counts() {
        assert_counts(TrustKeyParts {
            environment: "e2",
            ..PARTS
        });
    }

    #[test]
    fn egress_counts() {
        assert_counts(TrustKeyParts {
            egress: "g2",
            ..PARTS
        });
    }

    #[test]
    fn secrets_count() {
        assert_counts(TrustKeyParts {
            secrets: "s2",
            ..PARTS
        });
    }

    #[test]
    fn code_owner_counts() {
        assert_counts(TrustKeyParts {
            code_owner: "bob",
            ..PARTS
        });
    }

    #[test]
    fn moving_a_letter_between_components_counts() {
        assert_counts(TrustKeyParts {
            identity: "alicer",
            profile: "esearch",
            ..PARTS
        });
    }

    #[test]
    fn an_empty_component_is_refused() {
        let error = TrustKey::new(TrustKeyParts {
            code_owner: "",
            ..PARTS
        })
        .unwrap_err();
        assert_eq!(error.component, "code_owner");
    }
}
