//! What must hold for every policy document that could be read, and for the
//! error of every one that could not.

use lakekeep_policy::{DocumentError, Policy, PolicyDoc};

/// Stands for the value of each variable: no output may hold it.
const SECRET: &str = "cAnArY-hunter2-cAnArY";

/// A document that was read, or why it was not.
pub fn outcome(text: &str, read: Result<PolicyDoc, DocumentError>) {
    match read {
        Ok(doc) => document(doc),
        Err(error) => refusal(text, &error),
    }
}

fn refusal(text: &str, error: &DocumentError) {
    assert!(error.line() > 0 && error.line() <= text.lines().count() + 1);
    assert!(!error.cause().is_empty() && !error.remedy().is_empty());
    // One line: its texts cannot forge another.
    let shown = error.to_string();
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

/// Lines of text that cannot move a terminal's cursor.
fn printable(shown: &str) {
    assert!(
        !shown.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}"
    );
}

fn document(doc: PolicyDoc) {
    secrets_stay_secret(&doc);
    let overlaid = doc.clone().overlay(PolicyDoc::default());
    let same = json_again(&doc);
    match Policy::check(doc) {
        Ok(policy) => {
            text_again(&policy);
            for other in [overlaid, same] {
                let other = Policy::check(other).expect("the same document");
                assert_eq!(other.digest(), policy.digest());
            }
        }
        Err(errors) => {
            assert!(!errors.violations().is_empty());
            printable(&errors.to_string());
            for other in [overlaid, same] {
                let others = Policy::check(other).expect_err("the same document");
                assert_eq!(others.violations().len(), errors.violations().len());
            }
        }
    }
}

/// What was read, written as JSON and read again.
fn json_again(doc: &PolicyDoc) -> PolicyDoc {
    let text = serde_json::to_string(doc).expect("a document is plain data");
    PolicyDoc::from_json("again", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The text form leaves out the values of variables and nothing else.
fn text_again(policy: &Policy) {
    let text = policy.to_text();
    let mut doc =
        PolicyDoc::from_toml("again", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    doc.env = policy.env().clone().into();
    let again = Policy::check(doc).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(again.digest(), policy.digest(), "{text}");
    assert_eq!(again.to_text(), text);
    assert!(again == *policy);
    for warning in policy.warnings() {
        printable(&warning.to_string());
    }
}

fn secrets_stay_secret(doc: &PolicyDoc) {
    let mut doc = doc.clone();
    for value in doc.env.0.values_mut() {
        *value = SECRET.to_owned();
    }
    assert!(!format!("{doc:?}").contains(SECRET));
    match Policy::check(doc) {
        Ok(policy) => {
            let shown = format!("{policy:?}{policy}{:?}", policy.warnings());
            assert!(!shown.contains(SECRET), "{shown}");
        }
        Err(errors) => assert!(!format!("{errors:?}{errors}").contains(SECRET), "{errors}"),
    }
}
