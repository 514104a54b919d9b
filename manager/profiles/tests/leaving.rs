//! What may leave: the administrator's rules, the owner's within them, the user's within both.

#[cfg(test)]
mod tests {
    use lakekeep_egress_rules::{EgressDoc, Level};
    use lakekeep_policy::{Policy, PolicyDoc};
    use lakekeep_profiles::{
        Asker, Ceilings, CeilingsDoc, Profile, ProfileDoc, ProfileWriteError, Profiles, Refusal,
        Resolved, Writer, resolve,
    };

    const RULES: &str =
        "[egress]\nrules = [\"allow tls *.example:443\", \"allow tcp db.test:5432\"]\n";

    fn text(more: &str) -> String {
        format!(
            "version = 1\nname = \"team\"\nowner = \"ann\"\nimages = [\"/i\"]\n\
             presets = [\"general\", \"udf\"]\n{more}"
        )
    }

    fn admin(rule: &str) -> EgressDoc {
        EgressDoc::from_lines("rules", vec![rule.to_owned()])
    }

    fn profile(more: &str, bound: Option<EgressDoc>) -> Profile {
        let doc = ProfileDoc::from_toml("team.toml", &text(more)).unwrap();
        Profile::check(&doc, &Ceilings::default().with_egress(bound)).unwrap()
    }

    fn ask(profile: &Profile, request: &str) -> Result<Resolved, Vec<Refusal>> {
        let doc = PolicyDoc::from_toml("t", &format!("version = 1\n{request}")).unwrap();
        resolve(profile, doc, Asker::default())
    }

    fn levels(resolved: &Resolved) -> Vec<Level> {
        let levels = resolved.egress.as_ref().unwrap();
        levels.documents().map(|(level, _)| level).collect()
    }

    #[test]
    fn without_a_wish_the_profiles_rules_hold_within_the_administrators() {
        let profile = profile(RULES, Some(admin("allow tcp *.example")));
        let resolved = ask(&profile, "").unwrap();
        assert_eq!(levels(&resolved), [Level::Administrator, Level::Owner]);
        let rules = resolved.egress.as_ref().unwrap().ruleset().unwrap();
        assert_eq!(rules.idle_rules().len(), 1);
        let policy = Policy::check(resolved.policy).unwrap();
        assert_eq!(policy.egress().unwrap().rules().len(), 2);
        let warnings = profile.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("egress.rules[1]"), "{warnings:?}");
    }

    #[test]
    fn a_users_rules_are_within_the_profiles_or_refused() {
        let profile = profile(RULES, None);
        let resolved = ask(&profile, "[egress]\nrules = [\"allow tls a.example:443\"]").unwrap();
        assert_eq!(levels(&resolved), [Level::Owner, Level::User]);
        let policy = Policy::check(resolved.policy).unwrap();
        assert_eq!(
            policy.egress().unwrap().rules(),
            ["allow tls a.example:443"]
        );
        let wide = "[egress]\nrules = [\"allow tls a.example:443\", \"allow tcp a.test:1\"]";
        let refusals = ask(&profile, wide).unwrap_err();
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].field, "egress.rules[1]");
        assert!(refusals[0].to_string().contains("ann"), "{}", refusals[0]);
    }

    #[test]
    fn a_total_is_the_profiles_and_no_users() {
        let total = format!("{RULES}[egress.total]\nconnections = 8\n");
        let owned = profile(&total, None);
        let resolved = ask(&owned, "").unwrap();
        let rules = resolved.egress.as_ref().unwrap().ruleset().unwrap();
        assert_eq!(rules.total(Level::Owner).connections, Some(8));
        assert!(Policy::check(resolved.policy).is_ok());
        let own = "[egress]\nrules = []\n[egress.total]\nconnections = 4";
        let resolved = ask(&owned, own).unwrap();
        let refused = Policy::check(resolved.policy).unwrap_err().to_string();
        assert!(
            refused.contains("total.connections") && refused.contains("one sandbox"),
            "{refused}"
        );
        let wrong = "[egress]\nrules = []\n[egress.total]\nbytes_per_second = 1\n";
        let refused = put(Some(admin("allow tcp *")), wrong).unwrap_err();
        assert!(
            refused.contains(":9: egress.total.bytes_per_second: 1 is out of range"),
            "{refused}"
        );
    }

    const GRANT: &str = "[egress]\nservices = [\"identity\"]\n";

    #[test]
    fn a_service_is_granted_by_every_level_or_by_none() {
        let bound = || {
            let services = vec!["identity".to_owned()];
            Some(EgressDoc {
                services,
                ..EgressDoc::default()
            })
        };
        let granted = |resolved: &Resolved| {
            let rules = resolved.egress.as_ref().unwrap().ruleset().unwrap();
            rules.services().count()
        };
        let both = profile(GRANT, bound());
        assert_eq!(granted(&ask(&both, "").unwrap()), 1);
        assert_eq!(granted(&ask(&both, GRANT).unwrap()), 1);
        assert_eq!(granted(&ask(&both, "[egress]\nrules = []").unwrap()), 0);
        let owner = profile(GRANT, Some(admin("allow tcp *.example")));
        assert_eq!(granted(&ask(&owner, "").unwrap()), 0);
        let warnings = owner.warnings();
        assert!(
            warnings[0].contains("egress.services: identity: without effect"),
            "{warnings:?}"
        );
        for profile in [owner, profile("[egress]\nrules = []\n", bound())] {
            let refusals = ask(&profile, GRANT).unwrap_err();
            assert_eq!(refusals.len(), 1);
            assert_eq!(refusals[0].field, "egress.services");
        }
        let refused = put(Some(admin("allow tcp *.example")), GRANT).unwrap_err();
        assert!(
            refused.contains("egress.services: \"identity\""),
            "{refused}"
        );
        put(bound(), GRANT).unwrap();
    }

    #[test]
    fn a_profile_that_says_nothing_lets_nothing_out() {
        let profile = profile("", Some(admin("allow tcp *.example")));
        assert!(ask(&profile, "").unwrap().egress.is_none());
        let refusals = ask(&profile, "[egress]\nrules = []").unwrap_err();
        assert_eq!(refusals[0].field, "egress");
    }

    #[test]
    fn who_opens_no_sockets_has_no_way_out() {
        let profile = profile(RULES, None);
        let resolved = ask(&profile, "preset = \"udf\"").unwrap();
        assert!(resolved.egress.is_none());
        assert!(Policy::check(resolved.policy).unwrap().egress().is_none());
    }

    fn put(bound: Option<EgressDoc>, more: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let (declared, owned) = (folder.path().join("d"), folder.path().join("o"));
        std::fs::create_dir(&declared).unwrap();
        std::fs::create_dir(&owned).unwrap();
        let ceilings = "images = [\"/i\"]\nusers_may_create = true\n";
        let ceilings = CeilingsDoc::from_toml("ceilings", ceilings).unwrap();
        let ceilings = Ceilings::check(ceilings).unwrap().with_egress(bound);
        let profiles = Profiles::open(&declared, Some(&owned), ceilings).unwrap();
        let ann = Writer {
            user: "ann".to_owned(),
            administrator: false,
        };
        match profiles.put(&text(more), &ann, None) {
            Ok(_) => Ok(()),
            Err(ProfileWriteError::Refused(errors)) => Err(errors.to_string()),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn owners_let_out_what_the_administrator_does_and_no_more() {
        let refused = put(None, RULES).unwrap_err();
        assert!(
            refused.contains("egress: the administrator has set no rules"),
            "{refused}"
        );
        let bound = || Some(admin("allow tcp *.example"));
        let refused = put(bound(), RULES).unwrap_err();
        assert!(
            refused.contains("egress.rules[1]: \"allow tcp db.test:5432\""),
            "{refused}"
        );
        assert_eq!(refused.lines().count(), 1);
        put(bound(), "[egress]\nrules = [\"allow tls a.example:443\"]\n").unwrap();
        put(bound(), "").unwrap();
    }

    #[test]
    fn what_must_be_enforced_is_no_dry_run() {
        let more = "[egress]\nmode = \"dry-run\"\n[admin]\nrequire = [\"egress\"]\n";
        let doc = ProfileDoc::from_toml("team.toml", &text(more)).unwrap();
        let errors = Profile::check(&doc, &Ceilings::default()).unwrap_err();
        assert!(errors.to_string().contains("egress.mode"), "{errors}");
    }
}
