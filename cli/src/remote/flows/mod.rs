//! What left sandboxes, what was refused, and what other rules would change.

mod arrow;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use lakekeep_client::{Client, v1};
use serde_json::{Value, json};

use super::audit::moment;
use super::error::RemoteError;
use super::show::{clean, clean_lines, size};
use super::tell::stamp;
use super::{Answer, print};
use crate::args::egress::{FlowArgs, LogArgs, ReplayArgs, TestArgs};
use crate::egress;
use crate::report::Messages;
use crate::request;

/// `lakekeep egress test`; exits with 1 where nothing may leave.
pub async fn test(client: Client, arguments: TestArgs) -> Answer {
    let policy = request::write(egress::policy(&arguments)?)?;
    let at = arguments.at;
    let answer = client
        .explain_egress(v1::ExplainEgressRequest {
            destination: arguments.destination,
            sandbox: at.sandbox,
            user: at.user,
            profile: at.profile,
            policy,
        })
        .await?;
    let answer = egress::Answer {
        passes: answer.passes,
        destination: answer.destination,
        rule: answer.rule,
        words: answer.words,
        remedy: answer.remedy,
        explained: answer.explained,
    };
    let told = answer.told(arguments.via.json);
    print(&format!("{}\n", clean_lines(&told)))?;
    Ok(answer.code())
}

/// `lakekeep egress log`
pub async fn log(client: Client, arguments: LogArgs) -> Answer {
    let verdicts: &[&str] = match arguments.denied {
        true => &["denied", "would_be_denied"],
        false => &[],
    };
    let request = v1::ReadFlowsRequest {
        filter: Some(filter(arguments.flows, verdicts)?),
        limit: arguments.limit,
    };
    let messages = Messages {
        json: arguments.via.json,
    };
    let table = arguments.arrow.as_deref().map(arrow::Table::create);
    let mut table = table.transpose()?;
    let mut flows = client.flows(request).await?;
    while let Some(chunk) = flows.next().await? {
        tell_gaps(messages, &chunk.gaps);
        match &mut table {
            Some(table) => table.write(&chunk.flows)?,
            None => print(&lines(&chunk.flows, messages.json))?,
        }
    }
    if let Some(table) = table {
        table.finish()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep egress replay`; exits with 1 where something breaks.
pub async fn replay(client: Client, arguments: ReplayArgs) -> Answer {
    let path = &arguments.policy;
    let document = std::fs::read_to_string(path).map_err(|error| RemoteError::File {
        path: path.display().to_string(),
        done: "read",
        error,
    })?;
    let request = v1::ReplayFlowsRequest {
        filter: Some(filter(arguments.flows, &[])?),
        document,
    };
    let answer = client.replay_flows(request).await?;
    let messages = Messages {
        json: arguments.via.json,
    };
    tell_gaps(messages, &answer.gaps);
    print(&match messages.json {
        true => answer
            .findings
            .iter()
            .map(|one| format!("{}\n", finding_json(one)))
            .collect(),
        false => told(&answer),
    })?;
    if answer.more > 0 {
        let text = format!("{} flows more change; narrow the question", answer.more);
        messages.say("warning", &text);
    }
    let breaks = answer.findings.iter().any(|one| one.change == "breaks");
    Ok(match breaks || answer.more > 0 {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn filter(arguments: FlowArgs, verdicts: &[&str]) -> Result<v1::FlowFilter, RemoteError> {
    let now = SystemTime::now();
    let time = |text: Option<&String>| text.map(|text| moment(text, now)).transpose();
    Ok(v1::FlowFilter {
        since: time(arguments.since.as_ref())?,
        until: time(arguments.until.as_ref())?,
        user: arguments.user,
        profile: arguments.profile,
        sandbox: arguments.sandbox,
        name: arguments.name,
        verdicts: verdicts.iter().map(|word| (*word).to_owned()).collect(),
    })
}

fn tell_gaps(messages: Messages, gaps: &[v1::FlowGap]) {
    for gap in gaps {
        messages.say("warning", &format!("warning: {}", gap.words));
    }
}

fn lines(flows: &[v1::Flow], json: bool) -> String {
    let line = |flow: &v1::Flow| match json {
        true => format!("{}\n", flow_json(flow)),
        false => line(flow),
    };
    flows.iter().map(line).collect()
}

/// `2026-…  denied  ann  research  0a1b#3  index.example:443  no rule of …`
fn line(flow: &v1::Flow) -> String {
    let task = flow
        .task
        .map_or_else(String::new, |task| format!("#{task}"));
    let mut text = format!(
        "{}  {:<15}  {}  {}  {}{task}  {}",
        stamp(flow.time.as_ref()),
        flow.verdict,
        flow.user,
        flow.profile,
        flow.sandbox,
        destination(flow),
    );
    if flow.kind == "name" {
        text += "  (asked for)";
    }
    if flow.sent > 0 || flow.received > 0 {
        let (sent, received) = (size(flow.sent), size(flow.received));
        let took = Duration::from_millis(flow.duration_us / 1000);
        let took = humantime::format_duration(took);
        text += &format!("  sent {sent}, received {received} in {took}");
    }
    if flow.verdict == "allowed" {
        let rule = flow.rule.iter();
        rule.for_each(|rule| text += &format!("  by {rule}"));
    }
    if flow.verdict != "allowed" || flow.rule.is_none() {
        text += &format!("  {}", flow.words);
    }
    format!("{}\n", clean(&text))
}

/// `pypi.example:443 (192.0.2.7)`
fn destination(flow: &v1::Flow) -> String {
    let port = flow
        .port
        .map_or_else(String::new, |port| format!(":{port}"));
    match (&flow.name, &flow.address) {
        (Some(name), Some(address)) if flow.verdict != "denied" => {
            format!("{name}{port} ({address})")
        }
        (Some(name), _) => format!("{name}{port}"),
        (None, Some(address)) if address.contains(':') => format!("[{address}]{port}"),
        (None, Some(address)) => format!("{address}{port}"),
        (None, None) => format!("*{port}"),
    }
}

fn flow_json(flow: &v1::Flow) -> Value {
    json!({
        "time": stamp(flow.time.as_ref()),
        "user": flow.user,
        "identity": flow.identity,
        "profile": flow.profile,
        "sandbox": flow.sandbox,
        "task": flow.task,
        "query": flow.query,
        "kind": flow.kind,
        "name": flow.name,
        "address": flow.address,
        "port": flow.port,
        "rule": flow.rule,
        "mode": flow.mode,
        "verdict": flow.verdict,
        "words": flow.words,
        "sent": flow.sent,
        "received": flow.received,
        "duration_us": flow.duration_us,
    })
}

fn finding_json(one: &v1::ReplayFinding) -> Value {
    json!({
        "change": one.change,
        "user": one.user,
        "profile": one.profile,
        "destination": one.destination,
        "queries": one.queries,
        "flows": one.flows,
        "last": stamp(one.last.as_ref()),
        "words": one.words,
    })
}

/// A line for each finding, what breaks first, and what all of it comes to.
fn told(answer: &v1::ReplayFlowsResponse) -> String {
    let mut text = String::new();
    for (change, heading) in [
        ("breaks", "would be refused now"),
        ("narrows", "would pass only if of fewer protocols"),
        ("opens", "would be let out now"),
    ] {
        let found = answer.findings.iter().filter(|one| one.change == change);
        let found: Vec<&v1::ReplayFinding> = found.collect();
        if !found.is_empty() {
            text += &format!("{heading}:\n");
        }
        found.iter().for_each(|one| text += &finding(one));
    }
    let flows: u64 = answer
        .findings
        .iter()
        .filter(|one| one.change == "breaks")
        .map(|one| one.flows)
        .sum();
    text + &format!("{flows} of {} flows break\n", answer.flows)
}

fn finding(one: &v1::ReplayFinding) -> String {
    let queries = match one.queries.as_slice() {
        [] => String::new(),
        some => format!("  queries {}", some.join(", ")),
    };
    let text = format!(
        "  {}  {}  {}  {} flows, last {}{queries}  {}",
        one.user,
        one.profile,
        one.destination,
        one.flows,
        stamp(one.last.as_ref()),
        one.words,
    );
    format!("{}\n", clean(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> v1::Flow {
        v1::Flow {
            time: Some(prost_types::Timestamp {
                seconds: 1_767_225_600,
                nanos: 0,
            }),
            user: "ann".to_owned(),
            profile: "research".to_owned(),
            sandbox: "0a1b".to_owned(),
            task: Some(3),
            kind: "connection".to_owned(),
            name: Some("index.example".to_owned()),
            address: Some("192.0.2.7".to_owned()),
            port: Some(443),
            verdict: "allowed".to_owned(),
            rule: Some("allow tls *.example:443".to_owned()),
            words: "closed".to_owned(),
            sent: 517,
            received: 2048,
            duration_us: 1_500_000,
            ..v1::Flow::default()
        }
    }

    #[test]
    fn a_flow_is_one_line() {
        assert_eq!(
            line(&flow()),
            "2026-01-01T00:00:00.000Z  allowed          ann  research  0a1b#3  index.example:443 \
             (192.0.2.7)  sent 517 B, received 2.0 KiB in 1s 500ms  by allow tls *.example:443\n"
        );
        let denied = v1::Flow {
            verdict: "denied".to_owned(),
            rule: None,
            words: "no rule\nof the user allows it".to_owned(),
            sent: 0,
            received: 0,
            ..flow()
        };
        assert_eq!(
            line(&denied),
            "2026-01-01T00:00:00.000Z  denied           ann  research  0a1b#3  index.example:443  \
             no rule\\nof the user allows it\n"
        );
    }

    #[test]
    fn a_destination_is_a_name_or_an_address() {
        let of = |name: Option<&str>, address: Option<&str>| {
            destination(&v1::Flow {
                name: name.map(str::to_owned),
                address: address.map(str::to_owned),
                ..flow()
            })
        };
        assert_eq!(of(None, Some("2001:db8::1")), "[2001:db8::1]:443");
        assert_eq!(of(None, Some("192.0.2.7")), "192.0.2.7:443");
        assert_eq!(of(None, None), "*:443");
    }

    #[test]
    fn what_breaks_is_told_first_with_its_queries() {
        let one = |change: &str, flows| v1::ReplayFinding {
            change: change.to_owned(),
            user: "ann".to_owned(),
            profile: "research".to_owned(),
            destination: "a.example:443".to_owned(),
            queries: vec!["q1".to_owned()],
            flows,
            last: None,
            words: "why".to_owned(),
        };
        let text = told(&v1::ReplayFlowsResponse {
            findings: vec![one("opens", 1), one("breaks", 2)],
            flows: 9,
            ..v1::ReplayFlowsResponse::default()
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "would be refused now:");
        assert_eq!(
            lines[1],
            "  ann  research  a.example:443  2 flows, last   queries q1  why"
        );
        assert_eq!(lines[2], "would be let out now:");
        assert_eq!(lines[4], "2 of 9 flows break");
    }
}
