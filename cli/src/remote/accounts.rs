//! Who one is, what one may do, and who may act for one.

use std::process::ExitCode;

use lakekeep_client::{Client, v1};
use serde_json::json;

use super::show;
use super::tell::{self, stamp};
use super::{Answer, print};
use crate::args::remote::{CanArgs, DelegateArgs, IdentityArgs, RevokeArgs, WhoamiArgs};
use crate::report::Messages;

/// `lakekeep whoami`
pub async fn whoami(client: Client, arguments: WhoamiArgs) -> Answer {
    let who = client.who_am_i(&arguments.project).await?;
    print(&match arguments.via.json {
        true => format!("{}\n", tell::caller(&who)),
        false => caller(&who),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn caller(who: &v1::WhoAmIResponse) -> String {
    let administrator = if who.administrator { "yes" } else { "" };
    let mut lines = vec![
        ("user", who.user.clone()),
        ("groups", who.groups.join(", ")),
        ("known by", who.authenticated_by.clone()),
        ("acted for by", who.actor.clone()),
        ("administrator", administrator.to_owned()),
        ("no identity", who.identity_error.clone()),
    ];
    lines.extend(who.identity.iter().flat_map(mapped));
    show::pairs(&lines)
}

fn mapped(identity: &v1::Identity) -> [(&'static str, String); 4] {
    let mut variables: Vec<String> = identity
        .variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    variables.sort();
    [
        ("identity", identity.name.clone()),
        ("uid, gid", format!("{}, {}", identity.uid, identity.gid)),
        ("rule", identity.rule.clone()),
        ("variables", variables.join(" ")),
    ]
}

/// `lakekeep identity test`; exits with 1 where no rule gives one.
pub async fn identity(client: Client, arguments: IdentityArgs) -> Answer {
    let found = client
        .test_identity(v1::TestIdentityRequest {
            user: arguments.user,
            project: arguments.project,
            ..v1::TestIdentityRequest::default()
        })
        .await?;
    print(&match arguments.via.json {
        true => {
            let identity = found.identity.as_ref().map(tell::identity);
            format!(
                "{}\n",
                json!({ "identity": identity, "tried": found.tried })
            )
        }
        false => {
            let tried = found.tried.iter();
            let tried: String = tried
                .map(|line| format!("{}\n", show::clean(line)))
                .collect();
            let found: Vec<_> = found.identity.iter().flat_map(mapped).collect();
            tried + &show::pairs(&found)
        }
    })?;
    Ok(yes_or_no(found.identity.is_some()))
}

/// 1 is an answer, not a failure of ours.
fn yes_or_no(yes: bool) -> ExitCode {
    match yes {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// `lakekeep can`
pub async fn can(client: Client, arguments: CanArgs) -> Answer {
    let decision = client
        .can(v1::CanRequest {
            user: arguments.user,
            action: arguments.action,
            profile: arguments.profile,
            ..v1::CanRequest::default()
        })
        .await?;
    print(&match arguments.via.json {
        true => {
            let line = json!({
                "allowed": decision.allowed,
                "reasons": decision.reasons,
                "remedy": decision.remedy,
            });
            format!("{line}\n")
        }
        false => decided(&decision),
    })?;
    Ok(yes_or_no(decision.allowed))
}

fn decided(decision: &v1::CanResponse) -> String {
    let mut text = String::from(if decision.allowed { "yes\n" } else { "no\n" });
    for reason in &decision.reasons {
        text += &format!("  {}\n", show::clean(reason));
    }
    if !decision.allowed && !decision.remedy.is_empty() {
        text += &format!("  needed: {}\n", show::clean(&decision.remedy));
    }
    text
}

/// `lakekeep delegate`: the token alone on standard output.
pub async fn delegate(client: Client, arguments: DelegateArgs) -> Answer {
    let given = client
        .delegate(&arguments.to, &arguments.profile, arguments.lifetime)
        .await?;
    let expires = stamp(given.expires.as_ref());
    if arguments.via.json {
        let line = json!({ "token": given.token, "id": given.id, "expires": expires });
        print(&format!("{line}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("{}\n", given.token))?;
    let id = &given.id;
    let text = format!("delegation {id} until {expires}; `lakekeep revoke {id}` takes it back");
    Messages { json: false }.say("info", &text);
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep revoke`
pub async fn revoke(client: Client, arguments: RevokeArgs) -> Answer {
    client.revoke(&arguments.id.unwrap_or_default()).await?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_without_an_identity_is_told_why() {
        let who = v1::WhoAmIResponse {
            user: "ann".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            authenticated_by: "peer".to_owned(),
            identity_error: "no rule matches".to_owned(),
            ..v1::WhoAmIResponse::default()
        };
        assert_eq!(
            caller(&who),
            "user         ann\ngroups       a, b\nknown by     peer\nno identity  no rule matches\n"
        );
    }

    #[test]
    fn a_refusal_says_what_is_needed() {
        let decision = v1::CanResponse {
            allowed: false,
            reasons: vec!["nothing allows it".to_owned()],
            remedy: "be an owner".to_owned(),
        };
        assert_eq!(
            decided(&decision),
            "no\n  nothing allows it\n  needed: be an owner\n"
        );
    }
}
