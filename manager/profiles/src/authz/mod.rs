//! Who may do what: cedar policies over entities made from a profile and from
//! what authentication said of the subject. Denied unless permitted; an error
//! while deciding is a denial that is reported.

mod decide;
mod entities;
mod known;
mod policies;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{PolicySet, Schema, Validator};

pub use policies::{PolicyFileError, SCHEMA_TEXT};

use crate::profile::Profile;
use crate::show::{quoted, suggestion};

/// Somebody who asks, as authenticated; never as a workload or an
/// unauthenticated client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The user's name.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// Whether the manager's configuration makes this user an administrator.
    pub administrator: bool,
}

/// What is acted upon.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A profile.
    Profile(&'a Profile),
    /// A sandbox of a profile.
    Sandbox {
        /// Its profile.
        profile: &'a Profile,
        /// The user it was made for.
        user: &'a str,
        /// Its id, for site policies and messages; may be empty in a question
        /// about any sandbox of that user's.
        id: &'a str,
    },
    /// A volume of a profile.
    Volume {
        /// Its profile.
        profile: &'a Profile,
        /// Its name.
        name: &'a str,
    },
    /// The manager.
    Manager,
}

macro_rules! actions {
    ($($variant:ident = $name:literal, $on:literal, $doc:literal;)+) => {
        /// What can be done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $( #[doc = $doc] $variant, )+ }

        impl Action {
            /// Every action, in the order of the documentation.
            pub const ALL: &'static [Action] = &[$( Action::$variant, )+];

            /// The name in policies and commands.
            pub const fn as_str(self) -> &'static str {
                match self { $( Action::$variant => $name, )+ }
            }

            /// What it is done to: `profile`, `sandbox`, `volume`, `manager`,
            /// or `profile or manager`.
            pub const fn acts_on(self) -> &'static str {
                match self { $( Action::$variant => $on, )+ }
            }

            /// One line of help.
            pub const fn describe(self) -> &'static str {
                match self { $( Action::$variant => $doc, )+ }
            }
        }
    };
}

actions! {
    CreateSandbox = "create_sandbox", "profile", "Make a sandbox.";
    Exec = "exec", "sandbox", "Run a command in a sandbox.";
    Attach = "attach", "sandbox", "Take over the streams of a running command.";
    ReadOutput = "read_output", "sandbox", "Read what a command printed.";
    ReadFiles = "read_files", "sandbox", "Read files of a sandbox.";
    WriteFiles = "write_files", "sandbox", "Write files of a sandbox.";
    Signal = "signal", "sandbox", "Send a signal to a command.";
    Freeze = "freeze", "sandbox", "Freeze and thaw a sandbox.";
    Kill = "kill", "sandbox", "End a sandbox.";
    Inspect = "inspect", "sandbox", "See the policy, limits and usage of a sandbox.";
    List = "list", "profile", "See which sandboxes there are, and whose.";
    ReadReceipt = "read_receipt", "sandbox", "Read what was enforced for a sandbox.";
    ViewProfile = "view_profile", "profile", "See a profile.";
    EditProfile = "edit_profile", "profile", "Change a profile.";
    DeleteProfile = "delete_profile", "profile", "Delete a profile.";
    UseVolume = "use_volume", "volume", "Have a volume in a sandbox.";
    SetOwnVariables = "set_own_variables", "profile", "Set variables of the own sandboxes.";
    SetProfileVariables = "set_profile_variables", "profile", "Set variables of every sandbox.";
    SetProfileSecrets = "set_profile_secrets", "profile", "Set secrets of the profile; nobody reads them.";
    Delegate = "delegate", "profile", "Act for the profile's users.";
    ReadAudit = "read_audit", "profile or manager", "Read the audit log.";
    Administer = "administer", "manager", "Change the manager's own state.";
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an action; {remedy}", quoted(.given))]
pub struct UnknownAction {
    given: String,
    remedy: String,
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Action, UnknownAction> {
        let found = Action::ALL.iter().find(|action| action.as_str() == text);
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
            UnknownAction {
                given: text.to_owned(),
                remedy: suggestion(text, &known),
            }
        })
    }
}

/// What a policy does when it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It permits.
    Permit,
    /// It forbids, whatever else permits.
    Forbid,
}

/// A policy that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its name: the annotation `@id`.
    pub policy: String,
    /// What it does.
    pub effect: Effect,
    /// Why, for people: the annotation `@reason`.
    pub sentence: String,
}

/// What was decided, and why. Feeds the audit log and `lakekeep can`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// The policies that decided, by name. Empty if nothing permits it.
    pub reasons: Vec<Reason>,
    /// What would make it allowed; each one is enough. Empty if it is allowed.
    pub would_need: Vec<String>,
    /// What went wrong while deciding. If there is any, the decision is no.
    pub errors: Vec<String>,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "yes" } else { "no" })?;
        if !self.allowed && self.reasons.is_empty() && self.errors.is_empty() {
            f.write_str(": nothing permits it")?;
        }
        for Reason {
            policy, sentence, ..
        } in &self.reasons
        {
            write!(f, "\n  {sentence} ({policy})")?;
        }
        for error in &self.errors {
            write!(f, "\n  could not be decided: {error}")?;
        }
        for need in &self.would_need {
            write!(f, "\n  to be allowed: {need}")?;
        }
        Ok(())
    }
}

/// The policies in force: the default ones, and the site's.
pub struct Authorizer {
    schema: Schema,
    validator: Validator,
    /// The default policies, checked when it was made.
    defaults: PolicySet,
    policies: RwLock<Arc<PolicySet>>,
    known: known::Known,
}

impl Authorizer {
    /// The default policies alone.
    ///
    /// # Errors
    ///
    /// [`PolicyFileError`]s if the built-in policies do not fit their schema,
    /// which a test excludes.
    pub fn new() -> Result<Authorizer, Vec<PolicyFileError>> {
        let schema = policies::schema()?;
        let validator = Validator::new(schema.clone());
        let defaults = policies::defaults(&validator)?;
        Ok(Authorizer {
            schema,
            validator,
            policies: RwLock::new(Arc::new(defaults.clone())),
            defaults,
            known: known::Known::default(),
        })
    }

    /// The default policies and those in the `*.cedar` files of `folder`.
    ///
    /// # Errors
    ///
    /// Every [`PolicyFileError`].
    pub fn load(folder: &Path) -> Result<Authorizer, Vec<PolicyFileError>> {
        let authorizer = Authorizer::new()?;
        authorizer.reload(folder)?;
        Ok(authorizer)
    }

    /// Reads the site's policies again, and puts all of them in force, or none:
    /// after an error the old ones stay.
    ///
    /// # Errors
    ///
    /// Every [`PolicyFileError`].
    pub fn reload(&self, folder: &Path) -> Result<(), Vec<PolicyFileError>> {
        let fresh = policies::with_site(&self.defaults, &self.validator, folder)?;
        *self
            .policies
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// The names of all policies in force.
    pub fn policies(&self) -> Vec<String> {
        let set = self.in_force();
        let mut names: Vec<String> = set
            .policies()
            .map(|policy| policy.id().to_string())
            .collect();
        names.sort();
        names
    }

    fn in_force(&self) -> Arc<PolicySet> {
        self.policies
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether `subject` may do `action` to `resource`: what [`Authorizer::decide`] says,
    /// and at once where it was asked before.
    pub fn permits(&self, subject: &Subject, action: Action, resource: Resource<'_>) -> bool {
        let policies = self.in_force();
        let question = known::question(subject, action, resource);
        if self.known.has(&policies, &question) {
            return true;
        }
        let decision = decide::decide(&self.schema, &policies, (subject, action, resource));
        if decision.allowed {
            self.known.keep(&policies, question);
        }
        decision.allowed
    }

    /// Whether `subject` may do `action` to `resource`, and why.
    pub fn decide(&self, subject: &Subject, action: Action, resource: Resource<'_>) -> Decision {
        decide::decide(&self.schema, &self.in_force(), (subject, action, resource))
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer")
            .field("policies", &self.policies())
            .finish_non_exhaustive()
    }
}
