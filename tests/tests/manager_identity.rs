//! Who calls, by the kernel's word, a client certificate or a token; and whom they are
//! mapped to, by ordered rules.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1;
use lakekeep_tests::manager::{
    ALICE, Authority, BOB, CAROL, Issuer, Refusals, Setup, User, account, create, shared_profile,
    shell,
};
use serde_json::json;

fn me(user: &User) -> v1::WhoAmIResponse {
    user.who_am_i(v1::WhoAmIRequest::default()).unwrap()
}

/// One of each kind; the first that matches counts.
const RULES: &str = r#"
[[identity.rule]]
name = "project"
project = "apollo"
shared = { uid = 700001, gid = 700001, name = "apollo" }
variables = { HADOOP_PROXY_USER = "${user}", PGROLE = "${project}" }
[[identity.rule]]
name = "one"
user = "lkt-alice"
account = "${user}"
[[identity.rule]]
name = "captured"
user = "idp:*@example.org"
account = "lkt-$1"
variables = { HADOOP_PROXY_USER = "$1" }
[[identity.rule]]
name = "range"
user = "lkt-*"
managed = { first = 710000, last = 710009 }
"#;

#[test]
fn the_first_rule_that_matches_counts() {
    let issuer = Issuer::start();
    let setup = Setup::new()
        .identity(RULES)
        .tables(&issuer.table())
        .profile("apollo", &shared_profile("apollo", "project = \"apollo\""));
    let Some(manager) = setup.start("rules") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let token = issuer.token(&issuer.claims("carol@example.org"));
    let carol = bob.with("authorization", &format!("Bearer {token}"));
    let mapped = |user: &User, project: &str| {
        let asked = v1::WhoAmIRequest {
            project: project.to_owned(),
        };
        let answer = user.who_am_i(asked).unwrap();
        let identity = answer.identity.unwrap();
        (identity.rule, identity.name, identity.uid)
    };
    let rule = |text: &str| text.to_owned();
    let own = account(ALICE).uid;
    assert_eq!(mapped(&alice, ""), (rule("rule 2 (one)"), rule(ALICE), own));
    let captured = account(CAROL).uid;
    assert_eq!(
        mapped(&carol, ""),
        (rule("rule 3 (captured)"), rule(CAROL), captured)
    );
    let (by, name, uid) = mapped(&bob, "");
    assert_eq!((by, name), (rule("rule 4 (range)"), format!("lk{uid}")));
    assert!((710_000..=710_009).contains(&uid));
    for user in [&alice, &bob, &carol] {
        let shared = (rule("rule 1 (project)"), rule("apollo"), 700_001);
        assert_eq!(mapped(user, "apollo"), shared);
    }
    // The same number again, also of another manager.
    manager.kill_manager();
    assert_eq!(mapped(&manager.bob(), "").2, uid);
    // What engines call the user comes into the task, and nobody can say otherwise.
    let sandbox = manager.bob().sandbox(v1::CreateRequest {
        profile: "apollo".to_owned(),
        ..create()
    });
    let mut start = shell(&sandbox.id, "echo $HADOOP_PROXY_USER $PGROLE");
    start.environment = [("HADOOP_PROXY_USER".to_owned(), "root".to_owned())].into();
    let done = manager
        .bob()
        .exec(start)
        .and_then(lakekeep_tests::manager::Talk::finish);
    assert_eq!(done.unwrap().success(), format!("{BOB} apollo"));
    manager.end();
}

#[test]
fn who_is_nobody_hears_which_rules_were_tried() {
    let rules = "[[identity.rule]]\nname = \"hers\"\nuser = \"lkt-alice\"\naccount = \"${user}\"\n\
                 [[identity.rule]]\nname = \"staff\"\ngroups = [\"lkt-carol\"]\naccount = \"lkt-carol\"\n";
    let Some(manager) = Setup::new().identity(rules).start("no_rule") else {
        return;
    };
    let (bob, root) = (manager.bob(), manager.root());
    let me = me(&bob);
    assert!(me.identity.is_none());
    for word in ["hers", "staff", "the user is not", "in none of the groups"] {
        assert!(me.identity_error.contains(word), "{}", me.identity_error);
    }
    let mut all = Refusals::new(&manager);
    all.attempt("a sandbox", BOB, "NO_IDENTITY", || bob.create(create()));
    all.finish(1);
    let tested = |user: &str| {
        root.test_identity(v1::TestIdentityRequest {
            user: user.to_owned(),
            ..v1::TestIdentityRequest::default()
        })
        .unwrap()
    };
    let alices = tested(ALICE);
    assert_eq!(alices.identity.unwrap().uid, account(ALICE).uid);
    assert!(alices.tried[0].contains("matched"), "{:?}", alices.tried);
    let bobs = tested(BOB);
    assert!(bobs.identity.is_none());
    assert!(
        bobs.tried.iter().any(|line| line.contains("staff")),
        "{:?}",
        bobs.tried
    );
    manager.end();
}

#[test]
fn over_tls_a_certificate_or_a_token_says_who() {
    let authority = Authority::new();
    let issuer = Issuer::start();
    let setup = Setup::new();
    let port = lakekeep_tests::manager::free_port();
    let tables = authority.tables(setup.place(), port) + &issuer.table();
    let identity = "[[identity.rule]]\nname = \"certificates\"\nuser = \"m:*\"\naccount = \"$1\"\n\
                    [[identity.rule]]\nname = \"tokens\"\nuser = \"idp:*\"\naccount = \"$1\"\n";
    let Some(manager) = setup.identity(identity).tables(&tables).start("tls") else {
        return;
    };
    let shown = me(&authority
        .user(port, Some(&authority.client(ALICE)))
        .unwrap());
    assert_eq!(shown.user, format!("m:{ALICE}"));
    assert_eq!(
        (shown.authenticated_by.as_str(), shown.administrator),
        ("mtls", false)
    );
    assert_eq!(shown.identity.unwrap().uid, account(ALICE).uid);
    // A name of root's in a certificate is not the host's root.
    let root = me(&authority
        .user(port, Some(&authority.client("root")))
        .unwrap());
    assert!(!root.administrator && root.identity.is_none());
    // A token outranks the certificate, and needs none.
    let nobody = authority.user(port, None).unwrap();
    let token = issuer.token(&issuer.claims(BOB));
    let by_token = nobody.with("authorization", &format!("Bearer {token}"));
    assert_eq!(me(&by_token).user, format!("idp:{BOB}"));
    let sandbox = by_token.sandbox(create());
    assert_eq!(by_token.run(&sandbox.id, "echo well").success(), "well");
    let mut all = Refusals::new(&manager);
    all.attempt("neither", "?", "UNAUTHENTICATED", || {
        nobody.who_am_i(v1::WhoAmIRequest::default())
    });
    let holder = authority
        .user(port, Some(&authority.client(ALICE)))
        .unwrap();
    let forged = issuer.forged(&issuer.claims(BOB));
    let forged = holder.with("authorization", &format!("Bearer {forged}"));
    // Who showed it is what the certificate says.
    all.attempt(
        "a forged token",
        &format!("m:{ALICE}"),
        "UNAUTHENTICATED",
        || forged.who_am_i(v1::WhoAmIRequest::default()),
    );
    // Another authority's certificate comes to no request, and is noted all the same.
    let stranger = Authority::new().client(ALICE);
    let seen = authority.user(port, Some(&stranger)).map(|user| {
        let answer = user.who_am_i(v1::WhoAmIRequest::default());
        answer.unwrap_err()
    });
    eprintln!("what the stranger hears: {seen:?}");
    let log = all.log();
    let noted = log
        .iter()
        .find(|event| event["action"] == "connect")
        .unwrap();
    assert_eq!(
        (&noted["who"], &noted["outcome"]),
        (&json!("?"), &json!("denied"))
    );
    assert_eq!(noted["extra"]["from"], "127.0.0.1");
    all.finish(2);
    manager.end();
}
