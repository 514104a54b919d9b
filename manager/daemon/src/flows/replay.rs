//! The log of flows, held against other rules.

use std::collections::{BTreeMap, BTreeSet};

use lakekeep_api::{Reason, v1};
use lakekeep_egress_rules::{
    Change, Decision, EgressDoc, Guard, Level, PastFlow, Ruleset, Then, replay as changed,
};
use lakekeep_store::Timestamp;
use lakekeep_store::flows::{Filter, FlowLog, FlowRow, FlowVerdict, LONGEST_FLOW_PAGE};

use super::{gaps, unread};
use crate::fault::Fault;
use crate::moments;

/// Most findings of one answer, so that it fits a message.
const MOST: usize = 1000;

/// Most queries that a finding names.
const QUERIES: usize = 8;

/// What flows have in common that change alike: change, user, profile, destination.
type Key = (&'static str, String, String, String);

/// Flows that change alike.
#[derive(Debug, Default)]
struct Finding {
    queries: BTreeSet<String>,
    flows: u64,
    last: Option<Timestamp>,
    words: String,
}

/// What is found.
#[derive(Debug, Default)]
struct Findings {
    found: BTreeMap<Key, Finding>,
    flows: u64,
    /// Flows that change and of whose kind no finding has room.
    more: u64,
}

/// Holds all flows that fit against a document.
///
/// # Errors
/// `BadPolicy` with every line that is wrong in the document; `Internal`.
pub fn replay(
    log: &FlowLog,
    filter: &Filter,
    document: &str,
) -> Result<v1::ReplayFlowsResponse, Fault> {
    let bad = |message: String| Fault::new(Reason::BadPolicy, message);
    let doc = EgressDoc::from_toml("policy", document).map_err(|error| bad(error.to_string()))?;
    // An owner's, for it may have a total: whose it is to be changes no decision.
    let rules = Ruleset::check(Level::Owner, &doc).map_err(|errors| bad(errors.to_string()))?;
    let own = lakekeep_sys::net::own_addresses()
        .map_err(|error| Fault::internal("read this host's own addresses", &error))?;
    let guard = Guard::new(own);
    let mut findings = Findings::default();
    let mut after = None;
    loop {
        let page = log
            .query(filter, after, LONGEST_FLOW_PAGE)
            .map_err(|error| unread(&error))?;
        for row in &page.rows {
            findings.add(row, changed(&past(row), &rules, &guard));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(v1::ReplayFlowsResponse {
        gaps: gaps(log, filter)?,
        flows: findings.flows,
        more: findings.more,
        findings: findings.shown(),
    })
}

fn past(row: &FlowRow) -> PastFlow {
    let then = match row.verdict {
        FlowVerdict::Allowed | FlowVerdict::WouldBeDenied => Then::Passed,
        FlowVerdict::Failed => Then::Failed,
        FlowVerdict::Denied => Then::Denied,
    };
    let to = (row.name.as_deref(), row.address, row.port);
    PastFlow::of_log(to, then, row.rule.as_deref())
}

impl Findings {
    fn add(&mut self, row: &FlowRow, change: Change) {
        self.flows += 1;
        let (word, decision): (&'static str, Decision) = match change {
            Change::None => return,
            Change::Breaks(decision) => ("breaks", decision),
            Change::Narrows(decision) => ("narrows", decision),
            Change::Opens(decision) => ("opens", decision),
        };
        let to = decision.destination.to_string();
        let key = (word, row.principal.clone(), row.profile.clone(), to);
        if self.found.len() >= MOST && !self.found.contains_key(&key) {
            self.more += 1;
            return;
        }
        let finding = self.found.entry(key).or_default();
        finding.flows += 1;
        finding.last = finding.last.max(Some(row.at));
        if finding.queries.len() < QUERIES {
            finding.queries.extend(row.query.clone());
        }
        if finding.words.is_empty() {
            finding.words = match word {
                "narrows" => format!("may pass: {}", decision.streams),
                _ => decision.to_string(),
            };
        }
    }

    fn shown(self) -> Vec<v1::ReplayFinding> {
        let shown =
            |((change, user, profile, destination), finding): (Key, Finding)| v1::ReplayFinding {
                change: change.to_owned(),
                user,
                profile,
                destination,
                queries: finding.queries.into_iter().collect(),
                flows: finding.flows,
                last: finding.last.and_then(moments::told),
                words: finding.words,
            };
        self.found.into_iter().map(shown).collect()
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;
    use lakekeep_store::flows::{FlowKind, FlowMode, Retention};

    fn row(user: &str, name: &str, verdict: FlowVerdict, query: &str) -> FlowRow {
        FlowRow {
            at: crate::gate::now(),
            principal: user.to_owned(),
            identity: user.to_owned(),
            profile: "research".to_owned(),
            sandbox: "0a".to_owned(),
            task: None,
            query: Some(query.to_owned()),
            kind: FlowKind::Connection,
            name: Some(name.to_owned()),
            address: Some("1.1.1.1".parse().unwrap()),
            port: Some(443),
            rule: None,
            mode: FlowMode::Enforce,
            verdict,
            words: String::new(),
            sent: 0,
            received: 0,
            duration_us: 0,
        }
    }

    fn log(folder: &tempfile::TempDir, rows: Vec<FlowRow>) -> FlowLog {
        let log = FlowLog::open(&folder.path().join("flows.db"), Retention::default()).unwrap();
        rows.into_iter().for_each(|row| log.note(row));
        log.flush().unwrap();
        log
    }

    #[test]
    fn users_and_queries_that_break_are_told_and_what_opens() {
        let folder = tempfile::tempdir().unwrap();
        let rows = vec![
            row("ann", "a.example", FlowVerdict::Allowed, "q1"),
            row("ann", "a.example", FlowVerdict::Allowed, "q2"),
            row("bob", "b.example", FlowVerdict::Allowed, "q3"),
            row("bob", "c.example", FlowVerdict::Denied, "q4"),
            row("bob", "d.example", FlowVerdict::WouldBeDenied, "q5"),
        ];
        let log = log(&folder, rows);
        let document = "version = 1\nrules = [\"allow tcp b.example\", \"allow tcp c.example\"]\n";
        let answer = replay(&log, &Filter::default(), document).unwrap();
        assert_eq!((answer.flows, answer.more), (5, 0));
        let told: Vec<_> = answer
            .findings
            .iter()
            .map(|one| {
                (
                    one.change.as_str(),
                    one.user.as_str(),
                    one.destination.as_str(),
                    one.flows,
                )
            })
            .collect();
        let expected = [
            ("breaks", "ann", "a.example:443", 2),
            ("breaks", "bob", "d.example:443", 1),
            ("opens", "bob", "c.example:443", 1),
        ];
        assert_eq!(told, expected);
        assert_eq!(answer.findings[0].queries, ["q1", "q2"]);
        let own = Filter {
            principal: Some("bob".to_owned()),
            ..Filter::default()
        };
        assert_eq!(replay(&log, &own, document).unwrap().flows, 3);
    }

    #[test]
    fn a_document_that_is_none_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, Vec::new());
        let refused = replay(
            &log,
            &Filter::default(),
            "version = 1\nrules = [\"allow all\"]\n",
        );
        let words = refused.unwrap_err().to_string();
        assert!(words.starts_with("policy:2: rules[0]"), "{words}");
    }

    #[test]
    fn findings_are_bounded_and_the_rest_is_counted() {
        let mut findings = Findings::default();
        let rules = Ruleset::check(Level::User, &EgressDoc::default()).unwrap();
        for number in 0..MOST + 5 {
            let row = row(
                "ann",
                &format!("n{number}.example"),
                FlowVerdict::Allowed,
                "q",
            );
            let change = changed(&past(&row), &rules, &Guard::default());
            findings.add(&row, change);
        }
        assert_eq!((findings.found.len(), findings.more), (MOST, 5));
    }
}
