//! `lakekeep egress`

use std::io::Write;
use std::process::ExitCode;

use lakekeep_egress_rules::{
    Decision, Destination, EgressDoc, Guard, Host, Level, RuleError, Ruleset, Transport,
    parse_destination,
};
use lakekeep_policy::PolicyDoc;
use lakekeep_sandbox::chain;
use rustix::io::Errno;
use serde_json::json;

use crate::args::egress::{TestArgs, Verb};
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
    #[error(transparent)]
    Rules(#[from] lakekeep_egress_rules::DocumentErrors),
    #[error("this host's own addresses cannot be read")]
    OwnAddresses(#[source] Errno),
}

/// Does what was asked.
pub fn answer(verb: &Verb) -> ExitCode {
    match verb {
        Verb::Test(arguments) => test(arguments),
    }
}

fn test(arguments: &TestArgs) -> ExitCode {
    let decision = match decide(arguments) {
        Ok(decision) => decision,
        Err(error) => {
            let messages = Messages {
                json: arguments.json,
            };
            messages.say("error", &chain(&error));
            return ExitCode::from(OWN_FAILURE);
        }
    };
    let text = match arguments.json {
        true => json!({
            "destination": decision.destination.to_string(),
            "passes": decision.passes(),
            "rule": decision.rule.as_ref().map(|rule| rule.rule.to_string()),
            "words": decision.to_string(),
        })
        .to_string(),
        false => decision.to_string(),
    };
    match (writeln!(std::io::stdout(), "{text}"), decision.passes()) {
        (Ok(()), true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn decide(arguments: &TestArgs) -> Result<Decision, EgressError> {
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
    Ok(rules(arguments)?.decide(&destination, &Guard::new(own)))
}

/// The policy's rules and the flags'; without any nothing may leave.
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
    Ok(Ruleset::check(Level::User, &doc)?)
}
