//! What is wrong with a configuration, and what is weak in it.

use std::fmt;

/// A field that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, such as `auth.jwt[0].issuer`.
    pub field: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.cause, self.remedy)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Violation>);

impl ConfigErrors {
    /// The refused fields, in the document's order of kinds.
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, violation) in self.0.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A setting that is allowed and weakens something; shown and audited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigWarning {
    /// Keys come over plain HTTP.
    InsecureIssuer {
        /// The issuer.
        issuer: String,
    },
    /// An engine may act for administrators.
    DelegateAdministrators {
        /// The engine.
        actor: String,
    },
    /// An engine may act for every user.
    DelegateEveryone {
        /// The engine.
        actor: String,
    },
    /// Nobody can authenticate.
    NoAuthenticator,
    /// System accounts may own sandboxes.
    LowMinimumUid {
        /// The least user number.
        minimum: u32,
    },
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigWarning::InsecureIssuer { issuer } => write!(
                f,
                "keys of {issuer} come over plain HTTP: every process of this host that can \
                 take its port can sign for every user of it"
            ),
            ConfigWarning::DelegateAdministrators { actor } => {
                write!(f, "{actor} may act for administrators")
            }
            ConfigWarning::DelegateEveryone { actor } => {
                write!(f, "{actor} may act for every user")
            }
            ConfigWarning::NoAuthenticator => {
                f.write_str("no authenticator is configured: nobody can use this manager")
            }
            ConfigWarning::LowMinimumUid { minimum } => write!(
                f,
                "identity.minimum_uid is {minimum}: accounts of the system may own sandboxes"
            ),
        }
    }
}

/// Collects violations, so that all are reported together.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    violations: Vec<Violation>,
    warnings: Vec<ConfigWarning>,
}

impl Findings {
    pub(crate) fn refuse(&mut self, field: &str, cause: impl fmt::Display, remedy: &str) {
        self.violations.push(Violation {
            field: field.to_owned(),
            cause: cause.to_string(),
            remedy: remedy.to_owned(),
        });
    }

    /// The value, or a violation.
    pub(crate) fn take<T, E: fmt::Display>(
        &mut self,
        field: &str,
        result: Result<T, E>,
        remedy: &str,
    ) -> Option<T> {
        result
            .map_err(|error| self.refuse(field, error, remedy))
            .ok()
    }

    pub(crate) fn warn(&mut self, warning: ConfigWarning) {
        self.warnings.push(warning);
    }

    /// `value` with the warnings, if nothing was refused.
    pub(crate) fn finish<T>(
        self,
        value: Option<T>,
    ) -> Result<(T, Vec<ConfigWarning>), ConfigErrors> {
        match value {
            Some(value) if self.violations.is_empty() => Ok((value, self.warnings)),
            _ => Err(ConfigErrors(self.violations)),
        }
    }
}
