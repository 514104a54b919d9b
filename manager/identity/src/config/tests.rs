//! Every field of `[auth]` that is refused, and what is warned of.

use super::*;

const JWT: &str = "[[jwt]]\nissuer = \"https://a.example\"\naudiences = [\"lakekeep\"]\n";

fn check(text: &str) -> Result<AuthConfig, Vec<String>> {
    let doc: AuthDoc = toml::from_str(text).unwrap();
    doc.check().map_err(|errors| {
        let fields = errors.violations().iter();
        fields.map(|violation| violation.field.clone()).collect()
    })
}

fn refused(text: &str) -> Vec<String> {
    check(text).unwrap_err()
}

#[test]
fn nothing_written_means_peers_and_root() {
    let config = check("").unwrap();
    assert!(config.peer().enabled() && config.jwt().is_empty() && config.mtls().is_none());
    let root = UserName::new("root").unwrap();
    assert!(config.peer().lists_administrator(&root, &BTreeSet::new()));
    assert_eq!(config.warnings(), []);
}

#[test]
fn unknown_fields_are_refused() {
    for text in [
        "x = 1",
        "[peer]\nx = 1",
        "[peer.administrators]\nuser = []",
        "[mtls]\nx = 1",
    ] {
        assert!(toml::from_str::<AuthDoc>(text).is_err(), "{text}");
    }
    assert!(toml::from_str::<AuthDoc>(&format!("{JWT}x = 1")).is_err());
}

#[test]
fn an_issuer_needs_a_prefix_beside_peers() {
    assert_eq!(
        refused(JWT),
        ["auth.jwt[0].user_prefix", "auth.jwt[0].group_prefix"]
    );
    let config = check(&format!("{JWT}user_prefix = \"corp:\"")).unwrap();
    let rules = config.jwt()[0].rules();
    assert_eq!(rules.users.user("alice").unwrap().as_str(), "corp:alice");
    assert_eq!(rules.groups.group("eng").unwrap().as_str(), "corp:eng");
}

#[test]
fn prefixes_of_which_one_begins_with_another_are_refused() {
    let second = JWT.replace("a.example", "b.example");
    let text = format!("{JWT}user_prefix = \"a\"\n{second}user_prefix = \"ab:\"");
    let expected = ["auth.jwt[1].user_prefix", "auth.jwt[1].group_prefix"];
    assert_eq!(refused(&text), expected);
    for prefix in ["-a", " a", "a/", "a\\u0000", &"a".repeat(65)] {
        let fields = refused(&format!("{JWT}user_prefix = \"{prefix}\""));
        assert_eq!(fields[0], "auth.jwt[0].user_prefix", "{prefix}");
    }
}

#[test]
fn a_name_never_reaches_into_another_authenticators() {
    let text = format!("[peer]\nuser_prefix = \"host:\"\n{JWT}");
    let config = check(&text).unwrap();
    let rules = config.jwt()[0].rules();
    assert!(rules.users.user("alice").is_ok());
    assert!(matches!(
        rules.users.user("host:root"),
        Err(PrefixError::Foreign(_))
    ));
    assert!(rules.users.user("").is_err());
}

#[test]
fn shared_secrets_and_unsigned_tokens_are_no_algorithms() {
    for name in ["HS256", "none", "None", "RS1", "PS512", "rs256", ""] {
        let text = format!("{JWT}user_prefix = \"c:\"\nalgorithms = [\"ES256\", \"{name}\"]");
        assert_eq!(refused(&text), ["auth.jwt[0].algorithms[1]"], "{name}");
    }
    let text = format!("{JWT}user_prefix = \"c:\"\nalgorithms = []");
    assert_eq!(refused(&text), ["auth.jwt[0].algorithms"]);
}

#[test]
fn plain_http_needs_loopback_and_permission_and_warns() {
    let jwt = |url: &str, allow: bool| {
        check(&format!(
            "[[jwt]]\nissuer = \"{url}\"\naudiences = [\"x\"]\nuser_prefix = \"c:\"\n\
             allow_insecure_loopback = {allow}"
        ))
    };
    assert_eq!(
        jwt("http://127.0.0.1:1", false).unwrap_err(),
        ["auth.jwt[0].issuer"]
    );
    assert_eq!(
        jwt("http://a.example", true).unwrap_err(),
        ["auth.jwt[0].issuer"]
    );
    let config = jwt("http://127.0.0.1:1", true).unwrap();
    assert!(config.warnings()[0].to_string().contains("plain HTTP"));
    assert_eq!(jwt("https://a.example", true).unwrap().warnings(), []);
}

#[test]
fn numbers_and_lists_have_bounds() {
    for (line, field) in [
        ("leeway_seconds = 301", "leeway_seconds"),
        ("max_token_age_seconds = 0", "max_token_age_seconds"),
        ("keys_max_age_seconds = 0", "keys_max_age_seconds"),
        ("keys_stale_seconds = 9999999", "keys_stale_seconds"),
        ("keys_refresh_seconds = 0", "keys_refresh_seconds"),
        ("timeout_seconds = 61", "timeout_seconds"),
        ("user_claim = \"\"", "user_claim"),
        ("groups_claim = \"\"", "groups_claim"),
        ("ca_file = \"\"", "ca_file"),
    ] {
        let fields = refused(&format!("{JWT}user_prefix = \"c:\"\n{line}"));
        assert_eq!(fields, [format!("auth.jwt[0].{field}")], "{line}");
    }
    let empty = JWT.replace("\"lakekeep\"", "");
    assert_eq!(
        refused(&format!("{empty}user_prefix = \"c:\"")),
        ["auth.jwt[0].audiences"]
    );
    let twice = format!("{JWT}user_prefix = \"c:\"\n{JWT}user_prefix = \"d:\"");
    assert_eq!(refused(&twice), ["auth.jwt[1].issuer"]);
}

#[test]
fn certificates_need_an_authority_and_a_part() {
    let mtls = |lines: &str| check(&format!("[mtls]\nuser_prefix = \"m:\"\n{lines}"));
    assert!(mtls("ca_file = \"/ca\"\nsubject = \"cn\"").is_ok());
    assert!(mtls("ca_file = \"/ca\"\nsubject = \"san_uri\"\nuri_prefix = \"spiffe://a/\"").is_ok());
    for (lines, field) in [
        ("ca_file = \"\"\nsubject = \"cn\"", "auth.mtls.ca_file"),
        ("ca_file = \"/ca\"\nsubject = \"ou\"", "auth.mtls.subject"),
        (
            "ca_file = \"/ca\"\nsubject = \"san_uri\"",
            "auth.mtls.subject",
        ),
        (
            "ca_file = \"/ca\"\nsubject = \"cn\"\nuri_prefix = \"x\"",
            "auth.mtls.subject",
        ),
    ] {
        assert_eq!(mtls(lines).unwrap_err(), [field], "{lines}");
    }
}

#[test]
fn delegates_are_bounded_and_announced() {
    assert_eq!(
        refused("[[delegate]]\nactor = \"spark\""),
        ["auth.delegate[0]"]
    );
    assert_eq!(
        refused("[[delegate]]\nactor = \"a/b\"\nusers = [\"x\", \"\"]\ngroups = [\"/\"]"),
        [
            "auth.delegate[0].actor",
            "auth.delegate[0].groups[0]",
            "auth.delegate[0].users[1]"
        ]
    );
    let config = check("[[delegate]]\nactor = \"spark\"\nusers = [\"*\"]\nadministrators = true");
    let config = config.unwrap();
    let texts: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "spark may act for administrators",
            "spark may act for every user"
        ]
    );
}

#[test]
fn a_manager_that_nobody_can_use_is_warned_of() {
    let config = check("[peer]\nenabled = false").unwrap();
    assert_eq!(config.warnings(), [ConfigWarning::NoAuthenticator]);
}

#[test]
fn errors_say_what_to_do() {
    let doc: AuthDoc = toml::from_str(&format!("{JWT}algorithms = [\"HS256\"]")).unwrap();
    let text = doc.check().unwrap_err().to_string();
    assert!(
        text.contains("auth.jwt[0].algorithms[0]: a shared secret, not a signature; write"),
        "{text}"
    );
}
