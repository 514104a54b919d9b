//! The documents of a sandbox, as its relay is told of them.

use lakekeep_api::Reason;
use lakekeep_egress_rules::{EgressDoc, Level, Ruleset};
use lakekeep_plan::EgressPlan;
use lakekeep_profiles::{EgressBounds, EgressLevels};
use lakekeep_protocol::relay::{RuleDocument, RuleLevel};

use crate::fault::Fault;

/// The version of a document that stands by itself.
const VERSION: u32 = 1;

/// What a sandbox with these documents may send.
///
/// # Errors
/// `BadPolicy` for a document that is none.
pub fn plan(levels: &EgressLevels) -> Result<EgressPlan, Fault> {
    let ruleset = levels.ruleset();
    let ruleset = ruleset.map_err(|errors| Fault::new(Reason::BadPolicy, errors.to_string()))?;
    let mut documents = Vec::new();
    let mut narrowest = Vec::new();
    for (level, doc) in levels.documents() {
        documents.push(document(level, doc)?);
        narrowest.clone_from(&doc.rules);
    }
    Ok(EgressPlan {
        rules: narrowest,
        json: String::new(),
        digest: ruleset.digest(),
        levels: documents,
    })
}

/// The same for a sandbox that was made by `before`, with what its profile says now: the user's
/// own document stays. A profile that says nothing any more lets nothing out.
///
/// # Errors
/// For a user's document that is none any more.
pub fn again(before: &EgressPlan, bounds: Option<&EgressBounds>) -> Result<EgressPlan, Fault> {
    let user = before
        .levels
        .iter()
        .find(|document| document.level == RuleLevel::User);
    let user = user.map(|document| EgressDoc::from_json("egress", &document.json));
    let user = user
        .transpose()
        .map_err(|errors| Fault::internal("read a sandbox's own rules of egress", &errors))?;
    let nothing = EgressBounds::nothing();
    plan(&bounds.unwrap_or(&nothing).levels(user.as_ref()))
}

/// The rules that a sandbox was told, in force.
///
/// # Errors
/// For a document that is none any more.
pub fn ruleset(plan: &EgressPlan) -> Result<Ruleset, Fault> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Fault::internal("read a sandbox's rules of egress", error)
    };
    let nothing = Ruleset::check(Level::Owner, &EgressDoc::default());
    let mut all: Option<Ruleset> = None;
    for document in plan.documents() {
        let level = match document.level {
            RuleLevel::Administrator => Level::Administrator,
            RuleLevel::Owner => Level::Owner,
            RuleLevel::User => Level::User,
        };
        let doc = EgressDoc::from_json("egress", &document.json).map_err(|e| failed(&e))?;
        let one = Ruleset::check(level, &doc).map_err(|e| failed(&e))?;
        all = Some(match all {
            None => one,
            Some(others) => one.bounded_by(&others),
        });
    }
    all.map_or_else(|| nothing.map_err(|error| failed(&error)), Ok)
}

fn document(level: Level, doc: &EgressDoc) -> Result<RuleDocument, Fault> {
    let whole = EgressDoc {
        version: Some(VERSION),
        ..doc.clone()
    };
    let json = serde_json::to_string(&whole);
    Ok(RuleDocument {
        level: match level {
            Level::Administrator => RuleLevel::Administrator,
            Level::Owner => RuleLevel::Owner,
            Level::User => RuleLevel::User,
        },
        json: json.map_err(|error| Fault::internal("write rules of egress", &error))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakekeep_profiles::{Ceilings, Profile, ProfileDoc};

    fn bounds(rules: &str) -> EgressBounds {
        let text = format!(
            "version = 1\nname = \"a\"\nowner = \"ann\"\nimages = [\"/i\"]\n\
             presets = [\"general\"]\n[egress]\nrules = [{rules}]\n"
        );
        let doc = ProfileDoc::from_toml("a", &text).unwrap();
        let admin = EgressDoc::from_lines("", vec!["allow tcp *.example".to_owned()]);
        let ceilings = Ceilings::default().with_egress(Some(admin));
        let profile = Profile::check(&doc, &ceilings).unwrap();
        profile.egress().unwrap().clone()
    }

    fn user() -> EgressDoc {
        EgressDoc::from_lines("--egress", vec!["allow tls a.example:443".to_owned()])
    }

    #[test]
    fn each_level_has_its_document_and_the_users_stays() {
        let before = plan(&bounds("\"allow tls a.example\"").levels(Some(&user()))).unwrap();
        let levels: Vec<_> = before.levels.iter().map(|one| one.level).collect();
        let all = [RuleLevel::Administrator, RuleLevel::Owner, RuleLevel::User];
        assert_eq!(levels, all);
        assert_eq!(before.rules, user().rules);
        assert_eq!(ruleset(&before).unwrap().digest(), before.digest);
        let after = again(&before, Some(&bounds("\"allow tls b.example\""))).unwrap();
        assert_ne!(after.digest, before.digest);
        assert_eq!(after.levels.last(), before.levels.last());
        let same = again(&after, Some(&bounds("\"allow tls a.example\""))).unwrap();
        assert_eq!(same, before);
    }

    #[test]
    fn without_a_profile_nothing_leaves() {
        let before = plan(&bounds("\"allow tls a.example\"").levels(None)).unwrap();
        let after = again(&before, None).unwrap();
        assert_eq!(after.levels.len(), 1);
        assert!(after.rules.is_empty());
    }
}
