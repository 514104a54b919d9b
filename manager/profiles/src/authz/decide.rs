//! One decision.

use std::collections::BTreeSet;

use cedar_policy::{
    ActionConstraint, Authorizer as Cedar, Context, Decision as Answer, Effect as CedarEffect,
    EntityTypeName, EntityUid, Policy, PolicySet, Request, ResourceConstraint, Response, Schema,
};

use super::entities::{self, Wrong, uid};
use super::{Action, Decision, Effect, Reason, Resource, Subject};
use crate::profile::Profile;

/// What is done, and to what kind of thing.
struct Asked {
    action: EntityUid,
    kind: EntityTypeName,
}

/// Who does what to what.
pub(super) type Question<'a> = (&'a Subject, Action, Resource<'a>);

pub(super) fn decide(schema: &Schema, policies: &PolicySet, question: Question<'_>) -> Decision {
    match ask(schema, policies, question) {
        Ok((asked, response)) => explain(policies, &response, &asked, question),
        Err(error) => Decision {
            allowed: false,
            reasons: Vec::new(),
            would_need: vec![misfit(question)],
            errors: vec![error],
        },
    }
}

/// The usual cause of a question that cannot be asked.
fn misfit((_, action, _): Question<'_>) -> String {
    format!(
        "\"{action}\" is done to a {}: ask about one",
        action.acts_on()
    )
}

fn ask(
    schema: &Schema,
    policies: &PolicySet,
    (subject, action, resource): Question<'_>,
) -> Result<(Asked, Response), Wrong> {
    let action = uid("Action", action.as_str())?;
    let (target, entities) = entities::of(schema, subject, resource)?;
    let principal = uid("User", &subject.user)?;
    let asked = Asked {
        action: action.clone(),
        kind: target.type_name().clone(),
    };
    let request = Request::new(principal, action, target, Context::empty(), Some(schema))
        .map_err(|error| error.to_string())?;
    Ok((
        asked,
        Cedar::new().is_authorized(&request, policies, &entities),
    ))
}

/// cedar passes over a policy that cannot be evaluated, a forbidding one too;
/// here such an error is a denial.
fn explain(
    policies: &PolicySet,
    response: &Response,
    asked: &Asked,
    question: Question<'_>,
) -> Decision {
    let diagnostics = response.diagnostics();
    let errors: Vec<String> = diagnostics.errors().map(ToString::to_string).collect();
    let allowed = response.decision() == Answer::Allow && errors.is_empty();
    let decided = diagnostics.reason().filter_map(|id| policies.policy(id));
    let decided: Vec<&Policy> = decided.collect();
    let mut reasons: Vec<Reason> = decided.iter().map(|policy| reason(policy)).collect();
    reasons.sort_by(|a, b| a.policy.cmp(&b.policy));
    let would_need = if allowed {
        Vec::new()
    } else {
        needs(policies, &decided, asked, question)
    };
    Decision {
        allowed,
        reasons,
        would_need,
        errors,
    }
}

fn reason(policy: &Policy) -> Reason {
    Reason {
        policy: policy.id().to_string(),
        effect: match policy.effect() {
            CedarEffect::Permit => Effect::Permit,
            CedarEffect::Forbid => Effect::Forbid,
        },
        sentence: policy.annotation("reason").unwrap_or_default().to_owned(),
    }
}

/// If policies forbid it, what these say; else what each policy says that could
/// permit the action.
fn needs(
    policies: &PolicySet,
    decided: &[&Policy],
    asked: &Asked,
    (_, _, resource): Question<'_>,
) -> Vec<String> {
    let forbids = decided
        .iter()
        .filter(|policy| policy.effect() == CedarEffect::Forbid);
    let forbidden: BTreeSet<String> = forbids
        .map(|policy| match policy.annotation("needs") {
            Some(needs) => fill(needs, resource),
            None => format!(
                "have an administrator change the policy \"{}\"",
                policy.id()
            ),
        })
        .collect();
    if !forbidden.is_empty() {
        return forbidden.into_iter().collect();
    }
    let permits = policies
        .policies()
        .filter(|policy| policy.effect() == CedarEffect::Permit && is_about(policy, asked));
    let needs: BTreeSet<String> = permits
        .filter_map(|policy| policy.annotation("needs"))
        .map(|needs| fill(needs, resource))
        .collect();
    needs.into_iter().collect()
}

fn is_about(policy: &Policy, asked: &Asked) -> bool {
    let action = match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(actions) => actions.contains(&asked.action),
        ActionConstraint::Eq(only) => only == asked.action,
    };
    // What would open a profile to somebody opens no manager.
    action
        && match policy.resource_constraint() {
            ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => kind == asked.kind,
            ResourceConstraint::Any | ResourceConstraint::In(_) | ResourceConstraint::Eq(_) => true,
        }
}

/// Puts the profile's name and owner in; of the manager, which has neither, the words.
fn fill(needs: &str, resource: Resource<'_>) -> String {
    let profile: Option<&Profile> = match resource {
        Resource::Profile(profile)
        | Resource::Sandbox { profile, .. }
        | Resource::Volume { profile, .. } => Some(profile),
        Resource::Manager => None,
    };
    let (name, owner) = match profile {
        Some(profile) => (profile.name().as_str(), crate::show::shown(profile.owner())),
        None => ("the profile", "its owner".to_owned()),
    };
    needs.replace("{profile}", name).replace("{owner}", &owner)
}
