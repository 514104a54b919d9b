//! Documents as their authors write them, and the words in which they are refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_egress_rules::{EgressDoc, Level, MAX_DOCUMENT_BYTES, MAX_RULES, Rule, Ruleset};

const TOML: &str = r#"version = 1
mode = "dry-run"
rules = [
    "allow tls pypi.example:443", # the index
    "deny tcp *.ads.example",
]
[limits]
connections = 64
bytes_per_second = 1048576
[total]
new_per_second = 20
[[sockets]]
name = "spark"
path = "/run/spark.sock"
"#;

const JSON: &str = r#"{"version": 1, "mode": "dry-run",
 "rules": ["allow tls pypi.example:443", "deny tcp *.ads.example"],
 "limits": {"connections": 64, "bytes_per_second": 1048576},
 "total": {"new_per_second": 20},
 "sockets": [{"name": "spark", "path": "/run/spark.sock"}]}"#;

fn refused(text: &str) -> String {
    let read = match text.starts_with('{') {
        true => EgressDoc::from_json("e.json", text),
        false => EgressDoc::from_toml("e.toml", text),
    };
    let checked = read.and_then(|doc| Ruleset::check(Level::Owner, &doc));
    checked.unwrap_err().to_string()
}

#[test]
fn toml_and_json_mean_the_same() {
    let toml = EgressDoc::from_toml("e.toml", TOML).unwrap();
    let json = EgressDoc::from_json("e.json", JSON).unwrap();
    let [a, b] = [toml, json].map(|doc| Ruleset::check(Level::Owner, &doc).unwrap());
    assert_eq!(a.digest(), b.digest());
    let places: Vec<String> = a
        .rules()
        .map(|(_, placed)| placed.place.to_string())
        .collect();
    assert_eq!(places, ["e.toml:4: rules[0]", "e.toml:5: rules[1]"]);
}

/// (document, its refusal's start, what else it says)
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "version = 1\nmod = \"off\"\n",
        "e.toml:2: mod: unknown field",
        "`mode`",
    ),
    (
        "version = 1\n[limits]\nconections = 1\n",
        "e.toml:3: limits.conections: unknown field",
        "connections",
    ),
    (
        "version = 1\nmode = \"on\"\n",
        "e.toml:2: mode: unknown variant",
        "enforce",
    ),
    (
        "version = 1\nrules = [1]\n",
        "e.toml:2: rules[0]: invalid type",
        "string",
    ),
    ("version = 1\nrules = [\n", "e.toml:", "not valid TOML"),
    ("rules = []\n", "e.toml:1: version: missing", "version = 1"),
    (
        "version = 2\n",
        "e.toml:1: version: there is no version 2",
        "version = 1",
    ),
    (
        "version = 1\nrules = [\n\"allow tcp a.example\",\n\"alow tcp a\"]\n",
        "e.toml:4: rules[1]: column 1: \"alow\"",
        "allow",
    ),
    (
        "version = 1\n[limits]\nconnections = 0\n",
        "e.toml: limits.connections: 0 is out of range",
        "1 to 65536",
    ),
    (
        "version = 1\n[total]\nidle_seconds = 1\n",
        "e.toml:3: total.idle_seconds: unknown field",
        "connections",
    ),
    (
        "version = 1\n[total]\nbytes_per_second = 1023\n",
        "e.toml: total.bytes_per_second: 1023 is out of range",
        "at least 1024",
    ),
    (
        "{\"version\": 1, \"total\": {\"connections\": 65537}}",
        "e.json: total.connections: 65537 is out of range",
        "1 to 65536",
    ),
    (
        "version = 1\n[[sockets]]\nname = \"S\"\npath = \"/run/s\"\n",
        "e.toml: sockets[0].name: \"S\"",
        "a-z",
    ),
    (
        "version = 1\n[[sockets]]\nname = \"s\"\npath = \"run/s\"\n",
        "e.toml: sockets[0].path: \"run/s\"",
        "absolute",
    ),
    (
        "version = 1\n[[sockets]]\nname = \"s\"\npath = \"/run/../s\"\n",
        "e.toml: sockets[0].path",
        "absolute",
    ),
    (
        "version = 1\n[[sockets]]\nname = \"s\"\nmode = 1\n",
        "e.toml:4: sockets[0].mode: unknown field",
        "path",
    ),
    (
        "version = 1\nservices = [\"identity\", \"Identity\"]\n",
        "e.toml: services[1]: \"Identity\" is no service",
        "write one of: identity",
    ),
    (
        "version = 1\nservices = [\"identity\", \"identity\"]\n",
        "e.toml: services[1]: \"identity\" is granted twice",
        "once",
    ),
    (
        "{\"version\": 1,\n\"mod\": 1}",
        "e.json:2: mod: unknown field",
        "mode",
    ),
    (
        "{\"version\": 1,\n\"rules\": [1]}",
        "e.json:2: rules[0]: invalid type",
        "string",
    ),
    ("{\"version\": 1", "e.json:1: not valid JSON", "EOF"),
    (
        "{\"version\": 1} {}",
        "e.json:1: not valid JSON",
        "trailing",
    ),
    (
        "{\"version\": 1, \"rules\": [\"allow udp a.example:53\"]}",
        "e.json: rules[0]: column 7: \"udp\"",
        "TCP",
    ),
];

#[test]
fn a_refusal_has_a_line_a_field_a_cause_and_a_remedy() {
    for (text, starts, says) in REFUSED {
        let told = refused(text);
        assert!(
            told.starts_with(starts) && told.contains(says),
            "{text:?}: {told}"
        );
        assert!(told.contains("; "), "{told}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let told = refused(
        "version = 1\nrules = [\"x\", \"allow tcp a.example\", \"allow tcp a.example:0\"]\n[limits]\nnames = 0\n",
    );
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn a_document_of_one_sandbox_has_no_total() {
    let text = "version = 1\n[total]\nconnections = 1\nbytes_per_second = 1024\n";
    let doc = EgressDoc::from_toml("e.toml", text).unwrap();
    let refused = Ruleset::check(Level::User, &doc).unwrap_err();
    let told: Vec<String> = refused.errors().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2);
    assert_eq!(
        told[0],
        "e.toml: total.connections: a user's document is of one sandbox, which has no total with \
         others; write limits.connections, or have the profile's owner write the total"
    );
    for level in [Level::Owner, Level::Administrator] {
        let total = Ruleset::check(level, &doc).unwrap().total(level);
        assert_eq!(
            (
                total.connections,
                total.new_per_second,
                total.bytes_per_second
            ),
            (Some(1), None, Some(1024))
        );
    }
    // A document without one is written as it always was.
    let none = serde_json::to_value(EgressDoc::default()).unwrap();
    assert!(none.get("total").is_none(), "{none}");
}

#[test]
fn sizes_are_bounded() {
    assert!(refused(&" ".repeat(MAX_DOCUMENT_BYTES + 1)).contains("bytes"));
    let rules = vec!["deny tcp a.example".to_owned(); MAX_RULES + 1];
    let told = Ruleset::check(Level::User, &EgressDoc::from_lines("--egress", rules))
        .unwrap_err()
        .to_string();
    assert!(told.starts_with("--egress[20000]: 20001 rules"), "{told}");
}

/// (rule, column, what else is said)
const RULES: &[(&str, usize, &str)] = &[
    ("", 1, "neither allow nor deny"),
    ("allow", 6, "not a protocol"),
    ("allow tcp", 10, "there is no target"),
    ("permit tcp a.example:443", 1, "neither allow nor deny"),
    ("Allow tcp a.example:443", 1, "neither allow nor deny"),
    ("allow tcp a.example:443 b.example", 25, "three words"),
    ("allow  udp a.example:53", 8, "nothing but TCP"),
    ("allow ssh a.example:22", 7, "not a protocol"),
    ("allow tcp a.example:0", 21, "no port 0"),
    ("allow tcp a.example:65536", 21, "not a port"),
    ("allow tcp a.example:", 21, "not a port"),
    ("allow tcp a.example:0443", 21, "not a port"),
    ("allow tcp a.example:+443", 21, "not a port"),
    ("allow tcp a.example:443-80", 21, "write 80-443"),
    ("allow tcp a..example:443", 11, "empty label"),
    ("allow tcp .example:443", 11, "empty label"),
    ("allow tcp a_b.exa mple:443", 19, "three words"),
    ("allow tcp exa/mple:443", 11, "not an address"),
    ("allow tcp ex@mple:443", 13, "in no host's name"),
    ("allow tcp bücher.example:443", 11, "xn--"),
    ("allow tcp -a.example:443", 11, "hyphen"),
    ("allow tcp a*.example:443", 11, "star"),
    ("allow tcp *.*.example:443", 13, "in no host's name"),
    ("allow tcp *.:443", 13, "no name"),
    ("allow tcp a.example.:x", 22, "not a port"),
    ("allow tls 1.1.1.1:443", 11, "held to a name"),
    ("allow http [2606:4700::1]:80", 12, "held to a name"),
    ("deny tls a.example", 10, "a denial is of all streams"),
    ("allow tcp\ta.example", 7, "not a protocol"),
    ("allow tcp a.example:443\u{202e}", 21, "not a port"),
];

#[test]
fn a_rule_is_refused_at_its_column() {
    for (text, column, says) in RULES {
        let error = text.parse::<Rule>().unwrap_err();
        assert_eq!(error.column, *column, "{text:?}: {error}");
        let told = error.to_string();
        assert!(told.contains(says), "{text:?}: {told}");
        assert!(
            !told.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{told:?}"
        );
    }
}

#[test]
fn a_rule_reads_back_as_it_is_shown() {
    for text in [
        "allow tls pypi.example:443",
        "allow opaque *.example",
        "deny tcp *:1-1023",
        "allow tcp 10.0.0.0/8:5432",
        "allow tcp [2606:4700::/32]:53",
        "allow tcp [2606:4700::1]",
        "deny tcp 1.2.3.4",
        "allow http *:8000-8999",
    ] {
        let rule: Rule = text.parse().unwrap();
        assert_eq!(rule.to_string(), text);
    }
    let mapped: Rule = "allow tcp [::ffff:1.2.3.4]:1".parse().unwrap();
    assert_eq!(mapped.to_string(), "allow tcp 1.2.3.4:1");
    let long = format!("allow tcp {}", "a".repeat(500));
    assert!(
        long.parse::<Rule>()
            .unwrap_err()
            .to_string()
            .contains("bytes")
    );
}
