//! Rules for environment variables. Their values are never repeated.
//!
//! `LD_PRELOAD` and the like are allowed: they act inside the sandbox, on
//! programs that its user runs anyway, and the runtime's own programs are
//! static.

use crate::document::EnvDoc;
use crate::show::quoted;
use crate::violation::Findings;

/// Names that start so are the runtime's own.
const RESERVED_PREFIX: &str = "LAKEKEEP_";

/// The kernel's `MAX_ARG_STRLEN`: 32 pages of 4096 bytes, for `NAME=value` and
/// its terminating NUL.
const LONGEST: usize = 32 * 4096;

pub(super) fn check(env: &EnvDoc, findings: &mut Findings<'_>) {
    for (name, value) in &env.0 {
        let faults = [bad_name(name), reserved(name), bad_value(name, value)];
        for (why, remedy) in faults.into_iter().flatten() {
            findings.add(&format!("env.{name}"), "", why, remedy);
        }
    }
}

type Fault = Option<(String, &'static str)>;

fn bad_name(name: &str) -> Fault {
    let why = if name.is_empty() {
        "the name is empty".to_owned()
    } else if name.contains('=') {
        format!("the name {} holds \"=\", which ends a name", quoted(name))
    } else if name.contains('\0') {
        format!("the name {} holds a NUL byte", quoted(name))
    } else {
        return None;
    };
    Some((why, "use letters, digits and \"_\""))
}

fn reserved(name: &str) -> Fault {
    name.starts_with(RESERVED_PREFIX).then(|| {
        let why = format!("names that start with {RESERVED_PREFIX} are set by the runtime");
        (why, "choose another name")
    })
}

fn bad_value(name: &str, value: &str) -> Fault {
    if value.contains('\0') {
        return Some((
            "the value holds a NUL byte".to_owned(),
            "remove the NUL byte",
        ));
    }
    if name.len() + value.len() + "=\0".len() > LONGEST {
        let why = format!("name and value are longer than the {LONGEST} bytes the kernel takes");
        return Some((why, "pass the value in a file that is mounted"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accept, refuse, refuse_doc};
    use super::*;
    use crate::document::PolicyDoc;

    #[test]
    fn ordinary_names_are_accepted() {
        let policy =
            accept("[env]\nPATH = \"/bin\"\nLD_PRELOAD = \"/data/x.so\"\n\"a.b-c\" = \"\"");
        assert_eq!(policy.env().len(), 3);
        assert_eq!(policy.env()["PATH"], "/bin");
    }

    #[test]
    fn bad_names_are_refused() {
        for (name, why) in [
            ("", "the name is empty"),
            ("A=B", "which ends a name"),
            ("A\\u0000", "holds a NUL byte"),
            ("LAKEKEEP_TASK", "are set by the runtime"),
        ] {
            let found = refuse(&format!("[env]\n\"{name}\" = \"v\""));
            assert!(found[0].contains(why), "{found:?}");
        }
    }

    #[test]
    fn bad_values_are_refused_and_never_shown() {
        let mut doc = PolicyDoc::default();
        doc.env.0.insert("A".into(), "hunter2\0".into());
        doc.env.0.insert("B".into(), "hunter2".repeat(20_000));
        let found = refuse_doc(doc);
        assert_eq!(found.len(), 2);
        assert!(!found.concat().contains("hunter2"));
    }

    #[test]
    fn the_longest_value_is_accepted() {
        let mut doc = PolicyDoc::default();
        doc.env.0.insert("A".into(), "x".repeat(LONGEST - 3));
        assert!(crate::Policy::check(doc.clone()).is_ok());
        doc.env.0.insert("A".into(), "x".repeat(LONGEST - 2));
        assert_eq!(refuse_doc(doc).len(), 1);
    }
}
