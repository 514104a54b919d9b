//! A service at an address that is a cloud's metadata service's: in a sandbox with the grant the
//! manager answers there, and the real one is never asked, by anybody inside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;

use lakekeep_api::v1;
use lakekeep_tests::internet::{GREETING, Internet, WORDS};
use lakekeep_tests::lakekeep;
use lakekeep_tests::manager::{Done, Manager, Setup, User, create, shared_profile};
use serde_json::Value;

/// Where every cloud's programs ask for credentials.
const METADATA: &str = "169.254.169.254";

/// What the administrator gives.
const SERVICES: &str = "[services.identity]\naddresses = [\"169.254.169.254\"]\n";

/// As much as rules can allow, and the grant.
const PROFILE: &str = "[egress]\nservices = [\"identity\"]\n\
                       rules = [\"allow tcp *\", \"allow tcp 0.0.0.0/0\", \"allow tcp ::/0\"]\n";

/// The same without the grant: a user's own document.
const RULES: &str = "version = 1\n[egress]\n\
                     rules = [\"allow tcp *\", \"allow tcp 0.0.0.0/0\", \"allow tcp ::/0\"]\n";

/// Whoever answers there says who it is.
const ASK: &str = r#"
def ask(host, port=80):
    with socket.create_connection((host, port), 5) as s:
        s.sendall(f"GET /v1/identity HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        s.shutdown(socket.SHUT_WR)
        print(b"".join(iter(lambda: s.recv(65536), b"")).decode())
"#;

/// A host from which the real metadata service is reached, and a manager there.
fn site(test: &str, tables: &str) -> Option<(Internet, Manager)> {
    let internet = Internet::make(test)?;
    let setup = Setup::new()
        .profile("net", &shared_profile("net", PROFILE))
        .tables(tables);
    let hosts = setup.place().hosts("");
    let manager = internet.on_host_with_names(&hosts, || setup.start(test))?;
    // The relay connects from there too.
    internet.prove(&format!("tcp({METADATA:?}, 80)"));
    Some((internet, manager))
}

fn sandbox(user: &User, policy: &str) -> String {
    let wanted = v1::CreateRequest {
        profile: "net".to_owned(),
        policy: policy.to_owned(),
        ..create()
    };
    user.sandbox(wanted).id
}

fn run(user: &User, sandbox: &str, script: &str) -> Done {
    let script = format!("{WORDS}{ASK}\n{script}");
    user.python(sandbox, &script).finish().unwrap()
}

/// What `egress test` says of the address in a live sandbox.
fn explained(manager: &Manager, sandbox: &str) -> Value {
    let mut test = Command::new(lakekeep());
    test.args(["egress", "test", "--json", "--sandbox", sandbox])
        .arg(format!("{METADATA}:80"))
        .env("LAKEKEEP_SOCKET", manager.socket());
    serde_json::from_slice(&test.output().unwrap().stdout).unwrap()
}

#[test]
fn a_fixed_address_is_the_managers_and_never_the_real_services() {
    let Some((internet, manager)) = site("fixed_addresses", SERVICES) else {
        return;
    };
    let alice = manager.alice();
    let (granted, other) = (sandbox(&alice, ""), sandbox(&alice, RULES));
    // What the rules allow is reached by both: they have a network.
    for id in [&granted, &other] {
        let said = run(&alice, id, "print(tcp(SERVER, 80), end='')").success();
        assert_eq!(said, GREETING.trim_end());
    }
    let before = internet.arrived().0;
    let script = format!("ask({METADATA:?})");
    let answer = run(&alice, &granted, &script).success();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains(&granted), "{answer}");
    // Another port of it is neither.
    let elsewhere = run(&alice, &granted, &format!("ask({METADATA:?}, 8080)"));
    assert_eq!(elsewhere.code, 1, "{}", elsewhere.text());
    let done = run(&alice, &other, &script);
    assert_eq!(done.code, 1, "{}", done.text());
    let explanation = done.outcome["verdict"]["explanation"].as_str().unwrap();
    assert!(
        explanation.contains("denied egress to 169.254.169.254:80"),
        "{explanation}"
    );
    assert_eq!(internet.arrived().0, before, "the real one was asked");

    let told = explained(&manager, &granted);
    assert_eq!(told["rule"], "[services] identity", "{told}");
    assert_eq!(told["passes"], true, "{told}");
    let told = explained(&manager, &other);
    assert_eq!(told["passes"], false, "{told}");
    let words = told["words"].as_str().unwrap();
    assert!(words.contains("is not granted by the user"), "{words}");
    manager.end();
}

/// The grant alone gives nobody the address.
#[test]
fn without_the_administrators_word_the_address_is_nobodys() {
    let Some((internet, manager)) = site("fixed_addresses_none", "") else {
        return;
    };
    let alice = manager.alice();
    let granted = sandbox(&alice, "");
    let by_name = "ask('identity.services.lakekeep.internal')";
    let answer = run(&alice, &granted, by_name).success();
    assert!(answer.contains(&granted), "{answer}");
    let before = internet.arrived().0;
    let done = run(&alice, &granted, &format!("ask({METADATA:?})"));
    assert_eq!(done.code, 1, "{}", done.text());
    assert_eq!(internet.arrived().0, before, "the real one was asked");
    assert_eq!(explained(&manager, &granted)["passes"], false);
    manager.end();
}
