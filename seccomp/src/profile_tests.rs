use super::*;

fn parse(text: &str) -> Result<Profile, ProfileError> {
    Profile::parse("p", text, |_| None)
}

fn refusal(rule: &str) -> String {
    parse(&format!(
        "{{\"rules\": [\n{{\"syscalls\": [\"read\"], \"action\": \"allow\"}},\n{rule}]}}"
    ))
    .unwrap_err()
    .to_string()
}

#[test]
fn own_rules_come_before_included_ones_in_order() {
    let text = r#"{"include": ["a", "b"], "rules": [{"syscalls": ["read"], "action": "allow"}]}"#;
    let resolve = |name: &str| {
        let call = if name == "a" { "write" } else { "open" };
        Some(format!(
            r#"{{"rules": [{{"syscalls": ["{call}"], "action": "allow"}}]}}"#
        ))
    };
    let profile = Profile::parse("p", text, resolve).unwrap();
    let order: Vec<_> = profile
        .rules()
        .iter()
        .map(|rule| rule.syscalls()[0])
        .collect();
    assert_eq!(order, ["read", "write", "open"]);
}

#[test]
fn includes_go_one_level_deep() {
    let resolve = |_: &str| Some(r#"{"include": ["c"], "rules": []}"#.to_owned());
    let nested = Profile::parse("p", r#"{"include": ["a"], "rules": []}"#, resolve);
    assert!(
        matches!(nested, Err(ProfileError::NestedInclude { document, include }) if document == "a" && include == "c")
    );
    let missing = parse(r#"{"include": ["a"], "rules": []}"#);
    assert!(matches!(missing, Err(ProfileError::MissingInclude { include, .. }) if include == "a"));
}

#[test]
fn a_bad_rule_is_named_with_its_line() {
    let place = "seccomp profile p, line 3, rule 1";
    let cases = [
        (r#"{"syscalls": ["raed"], "action": "allow"}"#, "\"raed\""),
        (r#"{"syscalls": [], "action": "allow"}"#, "`syscalls`"),
        (
            r#"{"syscalls": ["open"], "arch": ["aarch64"], "action": "allow"}"#,
            "`arch`",
        ),
        (
            r#"{"syscalls": ["dup", "dup"], "action": "allow"}"#,
            "listed twice",
        ),
        (
            r#"{"syscalls": ["dup"], "action": {"errno": "EWHAT"}}"#,
            "\"EWHAT\"",
        ),
    ];
    for (rule, named) in cases {
        let error = refusal(rule);
        assert!(error.starts_with(place) && error.contains(named), "{error}");
    }
}

#[test]
fn a_bad_condition_is_named() {
    let cases = [
        (r#"{"arg": 6, "op": "eq", "value": 0}"#, "`arg` is 6"),
        (r#"{"arg": 0, "op": "eq", "mask": 1, "value": 0}"#, "`mask`"),
        (r#"{"arg": 0, "op": "masked_eq", "value": 0}"#, "`mask`"),
        (
            r#"{"arg": 0, "op": "masked_eq", "mask": 1, "value": 2}"#,
            "`value` 0x2",
        ),
        (
            r#"{"arg": 0, "op": "lt", "bits": 32, "value": "0x100000000"}"#,
            "`value` 0x100000000",
        ),
        (
            r#"{"arg": 0, "op": "eq", "bits": 16, "value": 0}"#,
            "`bits` is 16",
        ),
    ];
    for (condition, named) in cases {
        let error = refusal(&format!(
            r#"{{"syscalls": ["dup"], "action": "allow", "when": [{condition}]}}"#
        ));
        assert!(
            error.contains("line 3, rule 1, condition 0") && error.contains(named),
            "{error}"
        );
    }
}

#[test]
fn an_unknown_profile_is_refused_with_the_known_ones() {
    let error = Profile::builtin("root").unwrap_err().to_string();
    assert!(
        Profile::BUILTIN.iter().all(|name| error.contains(name)),
        "{error}"
    );
}

#[test]
fn a_call_behind_an_unconditional_refusal_is_not_allowed() {
    let profile = parse(
        r#"{"rules": [
            {"syscalls": ["dup"], "action": {"errno": "EPERM"}},
            {"syscalls": ["dup", "read", "open"], "action": "allow"}]}"#,
    )
    .unwrap();
    assert_eq!(
        profile
            .allowed(Arch::X86_64)
            .into_iter()
            .collect::<Vec<_>>(),
        ["open", "read"]
    );
    assert_eq!(
        profile
            .allowed(Arch::Aarch64)
            .into_iter()
            .collect::<Vec<_>>(),
        ["read"]
    );
}
