//! The audit log.

use std::process::ExitCode;
use std::time::SystemTime;

use lakekeep_client::{Client, v1};
use lakekeep_policy::parse_duration;
use serde_json::{Value, json};

use super::error::RemoteError;
use super::show::clean;
use super::{Answer, parse, print};
use crate::args::remote::{Decision, QueryArgs, VerifyArgs};
use crate::report::Messages;

/// `lakekeep audit query`
pub async fn query(client: Client, arguments: QueryArgs) -> Answer {
    let now = SystemTime::now();
    let time = |text: Option<&String>| text.map(|text| moment(text, now)).transpose();
    let outcome = match arguments.outcome {
        None => "",
        Some(Decision::Allowed) => "allowed",
        Some(Decision::Denied) => "denied",
        Some(Decision::Error) => "error",
    };
    let mut events = client
        .audit(v1::QueryAuditRequest {
            since: time(arguments.since.as_ref())?,
            until: time(arguments.until.as_ref())?,
            who: arguments.who,
            action: arguments.action,
            profile: arguments.profile,
            sandbox: arguments.sandbox,
            outcome: outcome.to_owned(),
            limit: arguments.limit,
        })
        .await?;
    while let Some(text) = events.next().await? {
        let event = parse("audit event", &text)?;
        print(&match arguments.via.json {
            // As it is in the log: its hash covers the bytes.
            true => format!("{text}\n"),
            false => line(&event),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// RFC 3339, or how long before `now`.
pub(super) fn moment(text: &str, now: SystemTime) -> Result<prost_types::Timestamp, RemoteError> {
    let ago = parse_duration(text)
        .ok()
        .and_then(|span| now.checked_sub(span));
    let time = match ago {
        Some(time) => Ok(time),
        None => humantime::parse_rfc3339_weak(text),
    };
    let time = time.map_err(|_| RemoteError::Time(text.to_owned()))?;
    Ok(prost_types::Timestamp::from(time))
}

fn line(event: &Value) -> String {
    let word = |name: &str| event[name].as_str().unwrap_or_default();
    let mut text = format!(
        "{}  {:<7}  {}  {}",
        word("time"),
        word("outcome"),
        word("who"),
        word("action")
    );
    let rest = [
        "actor", "as_whom", "profile", "sandbox", "reason", "verdict",
    ];
    for name in rest.iter().filter(|name| !word(name).is_empty()) {
        text += &format!("  {name}={}", word(name));
    }
    for (name, value) in event["extra"].as_object().into_iter().flatten() {
        text += &format!("  {name}={}", value.as_str().unwrap_or_default());
    }
    format!("{}\n", clean(&text))
}

/// `lakekeep audit verify`; exits with 1 where something is wrong.
pub async fn verify(client: Client, arguments: VerifyArgs) -> Answer {
    let report = client.verify_audit().await?;
    if arguments.via.json {
        let line = json!({
            "whole": report.whole,
            "events": report.events,
            "problem": report.problem,
        });
        print(&format!("{line}\n"))?;
    } else if report.whole {
        print(&format!("whole: {} events\n", report.events))?;
    } else {
        let text = format!(
            "the audit log is not whole after {} events: {}",
            report.events,
            clean(&report.problem)
        );
        Messages { json: false }.say("error", &text);
    }
    Ok(match report.whole {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_a_date_or_how_long_ago() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        assert_eq!(moment("1h", now).unwrap().seconds, 6400);
        assert_eq!(moment("1970-01-01T00:01:00Z", now).unwrap().seconds, 60);
        assert!(matches!(moment("soon", now), Err(RemoteError::Time(_))));
    }

    #[test]
    fn an_event_is_one_line() {
        let event = json!({
            "seq": 4, "time": "2026-01-01T00:00:00.000000Z", "who": "ann", "action": "exec",
            "outcome": "denied", "sandbox": "0a1b", "reason": "not\nyours",
            "extra": { "program": "ls" }, "prev": "x",
        });
        assert_eq!(
            line(&event),
            "2026-01-01T00:00:00.000000Z  denied   ann  exec  sandbox=0a1b  reason=not\\nyours  program=ls\n"
        );
    }
}
