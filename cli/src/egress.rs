//! `lakekeep egress`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use lakekeep_egress_rules::{
    Destination, EgressDoc, Explanation, FixedAddresses, Grant, Guard, Host, Level, RuleError,
    Ruleset, Transport, parse_destination,
};
use lakekeep_policy::PolicyDoc;
use lakekeep_sandbox::chain;
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::args::egress::{TestArgs, Verb};
use crate::remote;
use crate::report::Messages;
use crate::request::{RequestError, read_policy};
use crate::run::OWN_FAILURE;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum EgressError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{0:?} is no destination")]
    Destination(String, #[source] RuleError),
    #[error("{path} cannot be read; check the path and its permissions")]
    Read {
        path: String,
        #[source]
        error: std::io::Error,
    },
    #[error(transparent)]
    Rules(#[from] lakekeep_egress_rules::DocumentErrors),
    #[error("this host's own addresses cannot be read")]
    OwnAddresses(#[source] Errno),
}

/// Does what was asked.
pub fn answer(verb: Verb) -> ExitCode {
    match verb {
        Verb::Test(arguments) => test(arguments),
        Verb::Log(arguments) => remote::egress_log(arguments),
        Verb::Replay(arguments) => remote::egress_replay(arguments),
    }
}

/// What the rules say of a destination.
#[derive(Debug)]
pub struct Answer {
    /// Something may leave.
    pub passes: bool,
    /// As it was understood.
    pub destination: String,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The decision.
    pub words: String,
    /// What to do about a denial.
    pub remedy: String,
    /// A line for each level, and the decision.
    pub explained: Vec<String>,
}

fn test(arguments: TestArgs) -> ExitCode {
    if asks_a_manager(&arguments) {
        return remote::egress_test(arguments);
    }
    let answer = match decide(&arguments) {
        Ok(answer) => answer,
        Err(error) => {
            let messages = Messages {
                json: arguments.via.json,
            };
            messages.say("error", &chain(&error));
            return ExitCode::from(OWN_FAILURE);
        }
    };
    match writeln!(std::io::stdout(), "{}", answer.told(arguments.via.json)) {
        Ok(()) => answer.code(),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Files of the owner's and the administrator's are for whoever has no manager at hand.
fn asks_a_manager(arguments: &TestArgs) -> bool {
    let at = &arguments.at;
    let named = [&at.user, &at.profile, &at.sandbox];
    let files = arguments.owner.is_some() || arguments.administrator.is_some();
    named.iter().any(|name| !name.is_empty()) || (remote::is_named() && !files)
}

impl Answer {
    fn without_manager(mut explanation: Explanation) -> Self {
        if let Some(Grant::Service(_)) = explanation.grant {
            let who = "a manager answers it: without one nothing is run with this grant";
            explanation.lines.push(who.to_owned());
        }
        Self {
            passes: explanation.passes,
            destination: explanation.destination,
            rule: explanation.rule,
            words: explanation.words,
            remedy: explanation.remedy,
            explained: explanation.lines,
        }
    }

    /// As it is printed.
    pub fn told(&self, json: bool) -> String {
        match json {
            true => self.json().to_string(),
            false => self.explained.join("\n"),
        }
    }

    /// 0 if something may leave, else 1.
    pub fn code(&self) -> ExitCode {
        match self.passes {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }

    fn json(&self) -> Value {
        json!({
            "destination": self.destination,
            "passes": self.passes,
            "rule": self.rule,
            "words": self.words,
            "remedy": self.remedy,
            "explained": self.explained,
        })
    }
}

fn decide(arguments: &TestArgs) -> Result<Answer, EgressError> {
    let (host, port) = parse_destination(&arguments.destination)
        .map_err(|error| EgressError::Destination(arguments.destination.clone(), error))?;
    let (name, address) = match host {
        Host::Name(name) => (Some(name), None),
        Host::Address(address) => (None, Some(address)),
    };
    let own = lakekeep_sys::net::own_addresses().map_err(EgressError::OwnAddresses)?;
    let destination = Destination {
        name,
        address,
        port: Some(port),
        transport: Transport::Tcp,
    };
    let (rules, guard) = (rules(arguments)?, Guard::new(own));
    // Which addresses services have as their own, a manager knows.
    let explanation = rules.explain(&destination, &guard, &FixedAddresses::new());
    Ok(Answer::without_manager(explanation))
}

/// The policy with the flags laid over it.
///
/// # Errors
/// [`RequestError`] for a policy that is none.
pub fn policy(arguments: &TestArgs) -> Result<PolicyDoc, RequestError> {
    let policy = match &arguments.policy {
        Some(path) => read_policy(path)?,
        None => PolicyDoc::default(),
    };
    if arguments.egress.is_empty() {
        return Ok(policy);
    }
    let rules = arguments.egress.clone();
    Ok(policy.overlay(PolicyDoc {
        egress: Some(EgressDoc::from_lines("--egress", rules)),
        ..PolicyDoc::default()
    }))
}

/// The policy's rules and the flags', without any of which nothing may leave, within those of
/// the owner and the administrator.
fn rules(arguments: &TestArgs) -> Result<Ruleset, EgressError> {
    let doc = policy(arguments)?.egress.unwrap_or_default();
    let mut rules = Ruleset::check(Level::User, &doc)?;
    for (level, path) in [
        (Level::Owner, &arguments.owner),
        (Level::Administrator, &arguments.administrator),
    ] {
        if let Some(path) = path {
            rules = rules.bounded_by(&Ruleset::check(level, &document(path)?)?);
        }
    }
    Ok(rules)
}

/// A document of egress, TOML or JSON.
fn document(path: &Path) -> Result<EgressDoc, EgressError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| EgressError::Read {
        path: name.clone(),
        error,
    })?;
    let read = match path.extension().is_some_and(|kind| kind == "json") {
        true => EgressDoc::from_json(&name, &text),
        false => EgressDoc::from_toml(&name, &text),
    };
    Ok(read?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::egress::TestAt;
    use crate::args::remote::Via;

    fn asked(folder: &Path, destination: &str) -> Answer {
        decide(&arguments(folder, destination)).unwrap()
    }

    fn arguments(folder: &Path, destination: &str) -> TestArgs {
        TestArgs {
            destination: destination.to_owned(),
            policy: None,
            egress: vec!["allow tls *.example:443".to_owned()],
            owner: Some(folder.join("owner.json")),
            administrator: Some(folder.join("administrator.toml")),
            at: TestAt::default(),
            via: Via {
                json: false,
                on_behalf_of: None,
            },
        }
    }

    #[test]
    fn each_level_says_its_part_and_the_administrators_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "owner.json",
            r#"{"version": 1, "rules": ["allow tcp *.example"]}"#,
        );
        let bound = "version = 1\nrules = [\"allow tcp *\", \"deny tcp bad.example\"]\n";
        write("administrator.toml", bound);
        let allowed = asked(folder.path(), "good.example:443");
        assert!(allowed.passes);
        let lines = &allowed.explained;
        for (line, level) in lines
            .iter()
            .zip(["the administrator", "the owner", "the user"])
        {
            assert!(
                line.starts_with(&format!("{level}: allowed: ")),
                "{lines:?}"
            );
        }
        assert_eq!(lines[4], "may pass: TLS for the name");
        let denied = asked(folder.path(), "bad.example:443");
        assert_eq!(denied.json()["passes"], false);
        assert_eq!(denied.json()["rule"], "deny tcp bad.example");
        assert!(denied.explained[0].starts_with("the administrator: a rule denies it"));
    }

    #[test]
    fn what_is_granted_is_told_with_its_document() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let grant = "services = [\"identity\"]\n[[sockets]]\nname = \"db\"\npath = \"/run/db\"\n";
        write("administrator.toml", &format!("version = 1\n{grant}"));
        write(
            "policy.toml",
            &format!("version = 1\n[egress]\n{grant}").replace("[[sockets", "[[egress.sockets"),
        );
        let asked = |destination: &str| {
            let arguments = TestArgs {
                policy: Some(folder.path().join("policy.toml")),
                egress: Vec::new(),
                owner: None,
                ..arguments(folder.path(), destination)
            };
            decide(&arguments).unwrap()
        };
        let socket = asked("db.sockets.lakekeep.internal:1");
        assert!(socket.passes);
        assert_eq!(socket.json()["rule"], "[[sockets]] /run/db");
        let granted = "granted: Unix socket /run/db as db.sockets.lakekeep.internal:1";
        assert_eq!(socket.json()["words"], granted);
        assert!(socket.explained[0].contains("administrator.toml: sockets"));
        let other = asked("db.sockets.lakekeep.internal:5432");
        assert!(!other.passes);
        assert_eq!(other.remedy, "connect to db.sockets.lakekeep.internal:1");
        let service = asked("identity.services.lakekeep.internal:80");
        assert!(service.passes);
        assert_eq!(service.rule.as_deref(), Some("[services] identity"));
        let last = service.explained.last().unwrap();
        assert!(last.starts_with("a manager answers it"), "{last}");
    }

    #[test]
    fn a_document_that_is_none_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner.toml");
        std::fs::write(&path, "version = 1\nrules = [\"allow everything\"]\n").unwrap();
        let refused = document(&path).and_then(|doc| Ok(Ruleset::check(Level::Owner, &doc)?));
        let words = chain(&refused.unwrap_err());
        assert!(words.contains("owner.toml:2: rules[0]"), "{words}");
    }
}
