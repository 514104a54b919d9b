//! Every cell of the table of roles and actions.

#[cfg(test)]
mod tests {
    use lakekeep_profiles::{
        Action, Authorizer, Ceilings, Decision, Effect, Profile, ProfileDoc, Resource, Subject,
    };

    fn profile(admin: &str) -> Profile {
        let text = format!(
            "version = 1\nname = \"team\"\nowner = \"owner\"\nimages = [\"/i\"]\n\
             presets = [\"udf\"]\n\
             [contributors]\nusers = [\"contributor\"]\ngroups = [\"makers\"]\n\
             [viewers]\nusers = [\"viewer\"]\ngroups = [\"lookers\"]\n\
             [[volume]]\nname = \"data\"\nsource = \"/srv/data\"\ntarget = \"/data\"\n\
             [admin]\n{admin}\n"
        );
        let doc = ProfileDoc::from_toml("team.toml", &text).unwrap();
        Profile::check(&doc, &Ceilings::default()).unwrap()
    }

    fn subject(role: &str) -> Subject {
        let groups: &[&str] = match role {
            "maker" => &["makers"],
            "looker" => &["lookers"],
            "stranger" => &["others", "owner", "contributor"],
            _ => &[],
        };
        Subject {
            user: role.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            administrator: role == "administrator",
        }
    }

    const ROLES: [&str; 8] = [
        "stranger",
        "viewer",
        "looker",
        "contributor",
        "maker",
        "owner",
        "administrator",
        "delegate",
    ];

    /// Where the action is tried, and which roles may: the letters are of
    /// viewer and looker (v), contributor and maker (c), owner (o),
    /// administrator (a), delegate (d).
    const MATRIX: [(Action, &str, &str); 37] = [
        (Action::CreateSandbox, "profile", "co"),
        (Action::List, "profile", "vcoa"),
        (Action::ViewProfile, "profile", "vcoa"),
        (Action::EditProfile, "profile", "oa"),
        (Action::DeleteProfile, "profile", "oa"),
        (Action::SetOwnVariables, "profile", "co"),
        (Action::SetProfileVariables, "profile", "oa"),
        (Action::SetProfileSecrets, "profile", "o"),
        (Action::Delegate, "profile", "d"),
        (Action::ReadAudit, "profile", "oa"),
        (Action::ReadAudit, "manager", "a"),
        (Action::Administer, "manager", "a"),
        (Action::UseVolume, "volume", "co"),
        (Action::Exec, "own", "co"),
        (Action::Attach, "own", "co"),
        (Action::ReadOutput, "own", "co"),
        (Action::ReadFiles, "own", "co"),
        (Action::WriteFiles, "own", "co"),
        (Action::Signal, "own", "co"),
        (Action::Freeze, "own", "coa"),
        (Action::Kill, "own", "coa"),
        (Action::Inspect, "own", "coa"),
        (Action::ReadReceipt, "own", "vcoa"),
        (Action::Exec, "other's", ""),
        (Action::Attach, "other's", ""),
        (Action::ReadOutput, "other's", ""),
        (Action::ReadFiles, "other's", ""),
        (Action::WriteFiles, "other's", ""),
        (Action::Signal, "other's", ""),
        (Action::Freeze, "other's", "a"),
        (Action::Kill, "other's", "oa"),
        (Action::Inspect, "other's", "oa"),
        (Action::ReadReceipt, "other's", "vcoa"),
        // Asked of the wrong thing, nobody may.
        (Action::Exec, "profile", ""),
        (Action::EditProfile, "own", ""),
        (Action::Administer, "profile", ""),
        (Action::UseVolume, "profile", ""),
    ];

    fn letter(role: &str) -> char {
        match role {
            "viewer" | "looker" => 'v',
            "contributor" | "maker" => 'c',
            "owner" => 'o',
            "administrator" => 'a',
            "delegate" => 'd',
            _ => '-',
        }
    }

    fn decide(
        authorizer: &Authorizer,
        profile: &Profile,
        role: &str,
        on: &str,
        action: Action,
    ) -> Decision {
        let resource = match on {
            "profile" => Resource::Profile(profile),
            "manager" => Resource::Manager,
            "volume" => Resource::Volume {
                profile,
                name: "data",
            },
            "own" => Resource::Sandbox {
                profile,
                user: role,
                id: "s1",
            },
            _ => Resource::Sandbox {
                profile,
                user: "somebody",
                id: "s2",
            },
        };
        let decision = authorizer.decide(&subject(role), action, resource);
        // The second answer may be a remembered one.
        for _ in 0..2 {
            let permitted = authorizer.permits(&subject(role), action, resource);
            assert_eq!(permitted, decision.allowed, "{role} {action} {on}");
        }
        decision
    }

    #[test]
    fn every_role_may_do_what_the_table_says_and_nothing_else() {
        let authorizer = Authorizer::new().unwrap();
        let profile = profile("allow_delegation = true\ndelegates = [\"delegate\"]");
        for action in Action::ALL {
            assert!(
                MATRIX.iter().any(|(known, _, _)| known == action),
                "{action}"
            );
        }
        for (action, on, may) in MATRIX {
            for role in ROLES {
                let decision = decide(&authorizer, &profile, role, on, action);
                let cell = format!("{role} {action} {on}: {decision}");
                assert_eq!(decision.allowed, may.contains(letter(role)), "{cell}");
                if decision.allowed {
                    assert!(
                        decision.would_need.is_empty() && decision.errors.is_empty(),
                        "{cell}"
                    );
                    assert!(
                        decision.reasons.iter().all(|reason| {
                            reason.effect == Effect::Permit && !reason.sentence.is_empty()
                        }),
                        "{cell}"
                    );
                    assert!(!decision.reasons.is_empty(), "{cell}");
                } else {
                    assert!(!decision.would_need.is_empty(), "{cell}");
                    // Nothing that is to be filled in is left.
                    assert!(!decision.to_string().contains(['{', '}']), "{cell}");
                }
            }
        }
    }

    #[test]
    fn what_was_permitted_is_not_after_the_profile_changed() {
        let authorizer = Authorizer::new().unwrap();
        let open = profile("owner_reads_output = true");
        let closed = profile("");
        let may = |profile: &Profile| {
            let resource = Resource::Sandbox {
                profile,
                user: "contributor",
                id: "s1",
            };
            authorizer.permits(&subject("owner"), Action::ReadOutput, resource)
        };
        assert!(may(&open));
        assert!(!may(&closed));
        assert!(may(&open));
    }

    #[test]
    fn of_the_manager_it_is_said_what_opens_the_manager() {
        let authorizer = Authorizer::new().unwrap();
        let profile = profile("");
        let refused = decide(&authorizer, &profile, "owner", "manager", Action::ReadAudit);
        assert!(!refused.allowed);
        assert_eq!(refused.would_need, ["be an administrator"]);
    }

    #[test]
    fn administrators_alone_open_others_output_and_files_to_the_owner() {
        let authorizer = Authorizer::new().unwrap();
        let output = profile("owner_reads_output = true");
        let files = profile("owner_reads_files = true");
        for (profile, action, may) in [
            (&output, Action::ReadOutput, true),
            (&output, Action::ReadFiles, false),
            (&files, Action::ReadFiles, true),
            (&files, Action::ReadOutput, false),
            (&files, Action::WriteFiles, false),
        ] {
            assert_eq!(
                decide(&authorizer, profile, "owner", "other's", action).allowed,
                may
            );
            assert!(!decide(&authorizer, profile, "administrator", "other's", action).allowed);
        }
    }

    #[test]
    fn without_delegation_nobody_is_a_delegate() {
        let authorizer = Authorizer::new().unwrap();
        for role in ROLES {
            assert!(!decide(&authorizer, &profile(""), role, "profile", Action::Delegate).allowed);
        }
    }

    #[test]
    fn denials_say_what_would_help() {
        let authorizer = Authorizer::new().unwrap();
        let decision = decide(
            &authorizer,
            &profile(""),
            "viewer",
            "profile",
            Action::CreateSandbox,
        );
        assert_eq!(
            decision.to_string(),
            "no: nothing permits it\n  \
             to be allowed: be a contributor of team: owner adds you to contributors.users\n  \
             to be allowed: be the owner of team, who is owner"
        );
    }

    #[test]
    fn names_of_users_are_data() {
        let authorizer = Authorizer::new().unwrap();
        let profile = profile("");
        for user in [
            "owner\"",
            "User::\"owner\"",
            "owner\0",
            "",
            "OWNER",
            "owner ",
        ] {
            let subject = Subject {
                user: user.to_owned(),
                ..subject("x")
            };
            let decision = authorizer.decide(
                &subject,
                Action::Kill,
                Resource::Sandbox {
                    profile: &profile,
                    user: "somebody",
                    id: "\" || true",
                },
            );
            assert!(!decision.allowed && decision.errors.is_empty(), "{user:?}");
        }
    }

    #[test]
    fn actions_are_found_by_name() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse::<Action>().as_ref(), Ok(action));
        }
        let error = "exek".parse::<Action>().unwrap_err().to_string();
        assert_eq!(error, "\"exek\" is not an action; did you mean \"exec\"?");
    }

    fn site(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("site.cedar"), text).unwrap();
        folder
    }

    #[test]
    fn site_policies_forbid_what_defaults_permit() {
        let folder = site(
            "@id(\"no-makers\") @reason(\"makers are on leave\") @needs(\"come back\")\n\
             forbid (principal in Group::\"makers\", action, resource);",
        );
        let authorizer = Authorizer::load(folder.path()).unwrap();
        let profile = profile("");
        let decision = decide(
            &authorizer,
            &profile,
            "maker",
            "profile",
            Action::CreateSandbox,
        );
        assert!(!decision.allowed);
        assert_eq!(decision.reasons[0].policy, "no-makers");
        assert_eq!(decision.reasons[0].effect, Effect::Forbid);
        assert_eq!(decision.would_need, ["come back"]);
        let other = decide(
            &authorizer,
            &profile,
            "contributor",
            "profile",
            Action::CreateSandbox,
        );
        assert!(other.allowed);
    }

    #[test]
    fn a_policy_that_cannot_be_evaluated_is_a_denial() {
        let folder = site(
            "@id(\"overflow\") @reason(\"x\")\n\
             forbid (principal, action, resource)\n\
             when { 9223372036854775807 + 1 == 0 };",
        );
        let authorizer = Authorizer::load(folder.path()).unwrap();
        let decision = decide(&authorizer, &profile(""), "owner", "profile", Action::List);
        assert!(!decision.allowed);
        assert_eq!(decision.errors.len(), 1);
        assert!(
            decision.to_string().contains("could not be decided"),
            "{decision}"
        );
    }

    #[test]
    fn a_broken_site_policy_is_refused_with_its_place_and_the_old_ones_stay() {
        let good = site("@id(\"closed\") @reason(\"x\")\nforbid (principal, action, resource);");
        let authorizer = Authorizer::load(good.path()).unwrap();
        let before = authorizer.policies();
        assert!(before.contains(&"closed".to_owned()));
        for (text, why) in [
            (
                "@id(\"a\") @reason(\"x\")\npermit (principal, action resource);",
                ":2:",
            ),
            (
                "@id(\"a\") @reason(\"x\")\npermit (principal, action == Action::\"fly\", resource);",
                ":",
            ),
            (
                "@id(\"a\") @reason(\"x\")\npermit (principal, action, resource) when { principal.age > 3 };",
                ":2:",
            ),
            (
                "@reason(\"x\")\npermit (principal, action, resource);",
                "without a name",
            ),
            (
                "@id(\"a\")\npermit (principal, action, resource);",
                "gives no reason",
            ),
            (
                "@id(\"owner-manages-profile\") @reason(\"x\")\nforbid (principal, action, resource);",
                "exists already",
            ),
            (
                "@id(\"a\") @reason(\"x\")\npermit (principal == ?principal, action, resource);",
                "template",
            ),
        ] {
            let errors = authorizer.reload(site(text).path()).unwrap_err();
            let shown = errors[0].to_string();
            assert!(
                shown.contains("site.cedar") && shown.contains(why),
                "{shown}"
            );
        }
        assert!(
            authorizer
                .reload(std::path::Path::new("/nonexistent"))
                .is_err()
        );
        assert_eq!(authorizer.policies(), before);
        authorizer.reload(site("").path()).unwrap();
        assert!(!authorizer.policies().contains(&"closed".to_owned()));
    }
}
