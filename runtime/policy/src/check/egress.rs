//! What may leave.

use lakekeep_egress_rules::{EgressDoc, Level, Ruleset};

use crate::document::PolicyDoc;
use crate::policy::Egress;
use crate::preset::SeccompProfile;
use crate::show::quoted;
use crate::violation::Findings;

pub(super) fn check(
    doc: &PolicyDoc,
    seccomp: SeccompProfile,
    findings: &mut Findings<'_>,
) -> Option<Egress> {
    let egress = doc.egress.as_ref()?;
    no_sockets(seccomp, findings);
    let mut refuse = |why: String| {
        findings.add("egress", "", why, "correct it, or leave it out");
    };
    let rules = match Ruleset::check(Level::User, egress) {
        Ok(rules) => rules,
        Err(errors) => {
            let errors = errors.errors().iter();
            errors.for_each(|error| refuse(error.to_string()));
            return None;
        }
    };
    // A table of this document says no version, and a document of its own must.
    let whole = EgressDoc {
        version: Some(1),
        ..egress.clone()
    };
    match serde_json::to_string(&whole) {
        Ok(json) => Some(Egress::new(egress, json, &rules)),
        Err(error) => {
            refuse(error.to_string());
            None
        }
    }
}

/// Rules for a sandbox that can open no socket are a mistake that nothing else would tell.
fn no_sockets(seccomp: SeccompProfile, findings: &mut Findings<'_>) {
    if seccomp == SeccompProfile::Udf {
        findings.add(
            "egress",
            quoted(seccomp.as_str()),
            "this seccomp profile allows no sockets",
            "write seccomp.profile = \"notebook\", or leave [egress] out",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accept, refuse};
    use super::PolicyDoc;

    #[test]
    fn rules_are_part_of_the_policy_and_of_its_digest() {
        let without = accept("");
        assert!(without.egress().is_none());
        let policy = accept("[egress]\nrules = [\"allow tcp pypi.example:443\"]");
        assert_eq!(
            policy.egress().unwrap().rules(),
            ["allow tcp pypi.example:443"]
        );
        assert_ne!(policy.digest(), without.digest());
        let other = accept("[egress]\nrules = [\"allow tcp pypi.example:444\"]");
        assert_ne!(policy.digest(), other.digest());
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_place() {
        let found = refuse("[egress]\nrules = [\"allow tcp 0x7f.1:80\"]");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("rules[0]"), "{found:?}");
    }

    #[test]
    fn rules_for_a_sandbox_without_sockets_are_refused() {
        let found = refuse("preset = \"udf\"\n[egress]\nrules = []");
        assert_eq!(found, ["egress: this seccomp profile allows no sockets"]);
    }

    #[test]
    fn a_grant_of_a_service_is_part_of_the_policy_and_once_where_two_documents_write_it() {
        let grant = "[egress]\nservices = [\"identity\"]";
        let policy = accept(grant);
        assert_ne!(policy.digest(), accept("[egress]\nrules = []").digest());
        assert!(policy.egress().unwrap().json().contains("identity"));
        let read = || PolicyDoc::from_toml("t", &format!("version = 1\n{grant}")).unwrap();
        let both = read().overlay(read()).egress.unwrap();
        assert_eq!(both.services, ["identity"]);
        let found = refuse("[egress]\nservices = [\"credentials\"]");
        assert!(found[0].contains("write one of: identity"), "{found:?}");
    }

    #[test]
    fn a_grant_of_a_socket_is_a_name_and_a_path() {
        let policy = accept("[[egress.sockets]]\nname = \"db\"\npath = \"/run/db.sock\"");
        let other = accept("[[egress.sockets]]\nname = \"db\"\npath = \"/run/other.sock\"");
        assert!(policy.egress().is_some());
        assert_ne!(policy.digest(), other.digest());
        for (name, path) in [
            ("Db", "/run/db.sock"),
            ("-db", "/run/db.sock"),
            ("db", "db.sock"),
        ] {
            let grant = format!("[[egress.sockets]]\nname = \"{name}\"\npath = \"{path}\"");
            assert_eq!(refuse(&grant).len(), 1, "{grant}");
        }
    }
}
