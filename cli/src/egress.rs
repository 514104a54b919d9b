//! `lakekeep egress`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use lakekeep_egress_rules::{
    Decision, Destination, EgressDoc, Guard, Host, Level, RuleError, Ruleset, Transport,
    parse_destination,
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
        Verb::Test(arguments) => test(&arguments),
        Verb::Log(arguments) => remote::egress_log(arguments),
        Verb::Replay(arguments) => remote::egress_replay(arguments),
    }
}

/// What the rules say of a destination.
struct Answer {
    decision: Decision,
    /// A line for each level, and the decision.
    explained: String,
}

fn test(arguments: &TestArgs) -> ExitCode {
    let answer = match decide(arguments) {
        Ok(answer) => answer,
        Err(error) => {
            let messages = Messages {
                json: arguments.json,
            };
            messages.say("error", &chain(&error));
            return ExitCode::from(OWN_FAILURE);
        }
    };
    let passes = answer.decision.passes();
    let text = match arguments.json {
        true => answer.json().to_string(),
        false => answer.explained,
    };
    match (writeln!(std::io::stdout(), "{text}"), passes) {
        (Ok(()), true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

impl Answer {
    fn json(&self) -> Value {
        let decision = &self.decision;
        json!({
            "destination": decision.destination.to_string(),
            "passes": decision.passes(),
            "rule": decision.rule.as_ref().map(|rule| rule.rule.to_string()),
            "words": decision.to_string(),
            "remedy": decision.remedy(),
            "explained": self.explained.lines().collect::<Vec<_>>(),
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
    Ok(Answer {
        decision: rules.decide(&destination, &guard),
        explained: rules.explain(&destination, &guard),
    })
}

/// The policy's rules and the flags', without any of which nothing may leave, within those of
/// the owner and the administrator.
fn rules(arguments: &TestArgs) -> Result<Ruleset, EgressError> {
    let policy = match &arguments.policy {
        Some(path) => read_policy(path)?,
        None => PolicyDoc::default(),
    };
    let flags = PolicyDoc {
        egress: Some(EgressDoc::from_lines("--egress", arguments.egress.clone())),
        ..PolicyDoc::default()
    };
    let doc = policy.overlay(flags).egress.unwrap_or_default();
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

    fn asked(folder: &Path, destination: &str) -> Answer {
        decide(&TestArgs {
            destination: destination.to_owned(),
            policy: None,
            egress: vec!["allow tls *.example:443".to_owned()],
            owner: Some(folder.join("owner.json")),
            administrator: Some(folder.join("administrator.toml")),
            json: false,
        })
        .unwrap()
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
        assert!(allowed.decision.passes());
        let lines: Vec<&str> = allowed.explained.lines().collect();
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
        assert!(
            denied
                .explained
                .starts_with("the administrator: a rule denies it")
        );
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
