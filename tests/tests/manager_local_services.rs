//! Services that a manager answers inside of sandboxes: each sandbox is told of itself alone,
//! whatever it says, and nobody else is answered.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use lakekeep_api::v1;
use lakekeep_tests::internet::python;
use lakekeep_tests::manager::{
    ALICE, Account, BOB, Done, Manager, SERVICE, Setup, Talk, User, account, command, create, kill,
    of, scrape, shared_profile, try_connect, value,
};
use lakekeep_tests::{eventually, lakekeep};
use serde_json::Value;

/// What the profile grants.
const GRANT: &str = "[egress]\nservices = [\"identity\"]\n";

/// Whom root's relay becomes.
const NOBODY: u32 = 65_534;

/// How code inside asks; what is not answered is an `OSError`.
const WORDS: &str = r#"
import json, socket, time
NAME = "identity.services.lakekeep.internal"
def said(request, to=NAME, port=80):
    with socket.create_connection((to, port), 10) as s:
        s.sendall(request)
        s.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    if not answer:
        raise OSError("closed without an answer")
    return answer.decode()
def get(host=NAME, path="/v1/identity"):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
def identity():
    head, body = said(get()).split("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 "), head
    return json.loads(body)
"#;

fn start(test: &str, rules: &str) -> Option<Manager> {
    let profile = shared_profile("net", rules);
    Setup::new().profile("net", &profile).start(test)
}

fn wanted(policy: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        profile: "net".to_owned(),
        policy: policy.to_owned(),
        ..create()
    }
}

fn begin(user: &User, sandbox: &str, script: &str) -> Talk {
    user.python(sandbox, &format!("{WORDS}\n{script}"))
}

fn run(user: &User, sandbox: &str, script: &str) -> Done {
    begin(user, sandbox, script).finish().unwrap()
}

#[track_caller]
fn identity(user: &User, sandbox: &str) -> Value {
    let told = run(user, sandbox, "print(json.dumps(identity()))").success();
    serde_json::from_str(&told).unwrap()
}

/// The log of flows, as its lines.
fn log(manager: &Manager) -> Vec<Value> {
    let mut read = Command::new(lakekeep());
    read.args(["egress", "log", "--json"])
        .env("LAKEKEEP_SOCKET", manager.socket());
    let read = read.output().unwrap();
    let lines = String::from_utf8(read.stdout).unwrap();
    let lines = lines.lines().map(serde_json::from_str);
    lines.map(Result::unwrap).collect()
}

/// The next flow of the log in whose words this stands.
fn logged(manager: &Manager, words: &str) -> Value {
    let says = |flow: &Value| flow["words"].as_str().is_some_and(|it| it.contains(words));
    eventually(words, || log(manager).into_iter().find(says))
}

#[test]
fn each_sandbox_is_told_of_itself() {
    let Some(manager) = start("local_services_each", GRANT) else {
        return;
    };
    for user in [manager.alice(), manager.bob()] {
        let sandbox = user.sandbox(wanted(""));
        let told = identity(&user, &sandbox.id);
        assert_eq!(told["sandbox"], sandbox.id);
        assert_eq!(told["user"], user.name());
        assert_eq!(told["profile"], "net");
        assert!(told["task"].is_u64(), "{told}");
        // Of two tasks nobody can tell which one asks.
        let mut other = begin(&user, &sandbox.id, "print('runs', flush=True); input()");
        other.prints("runs");
        assert!(identity(&user, &sandbox.id)["task"].is_null());
        other.end_input();
        other.finish().unwrap();
    }
    let flow = logged(&manager, "closed");
    assert_eq!(flow["rule"], "[services] identity");
    assert_eq!(flow["verdict"], "allowed");
    manager.end();
}

/// What the first user's sandbox uses leads nowhere in the other one's.
#[test]
fn who_was_not_granted_it_does_not_have_it() {
    let Some(manager) = start("local_services_grant", GRANT) else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let hers = alice.sandbox(wanted(""));
    let his = bob.sandbox(wanted("version = 1\n[egress]\nrules = []\n"));
    assert_eq!(identity(&alice, &hers.id)["user"], ALICE);
    let address = run(&alice, &hers.id, "print(socket.gethostbyname(NAME))").success();
    let script = format!("said(get(), {address:?})");
    assert_eq!(run(&alice, &hers.id, &script).code, 0);
    let done = run(&bob, &his.id, "identity()");
    assert_eq!(done.code, 1, "{}", done.text());
    let explanation = done.outcome["verdict"]["explanation"].as_str().unwrap();
    let denied = "the service identity is not granted by the user; add it to services";
    assert!(explanation.contains(denied), "{explanation}");
    let done = run(&bob, &his.id, &script);
    assert_eq!(done.code, 1, "{}", done.text());
    manager.end();
}

#[test]
fn every_level_must_grant_it() {
    let test = "local_services_levels";
    let setup = Setup::new()
        .profile("net", &shared_profile("net", GRANT))
        .tables("[egress]\nrules = [\"allow tcp a.example\"]\n");
    let Some(manager) = setup.start(test) else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    assert_eq!(run(&alice, &sandbox.id, "identity()").code, 1);
    let log = manager.log();
    assert!(
        log.contains("egress.services: identity: without effect"),
        "{log}"
    );
    let policy = |names: &str| format!("version = 1\n[egress]\nservices = [{names}]\n");
    let refused = alice.create(wanted(&policy("\"identity\""))).unwrap_err();
    assert_eq!(refused.reason, "BAD_POLICY");
    let message = refused.message;
    assert!(message.contains("egress.services"), "{message}");
    let unknown = alice
        .create(wanted(&policy("\"credentials\"")))
        .unwrap_err();
    let message = unknown.message;
    assert!(message.contains("write one of: identity"), "{message}");
    manager.end();
}

/// What `egress test` says beforehand is what then happens.
#[test]
fn a_grant_is_explained_as_it_is_carried_out() {
    let Some(manager) = start("local_services_explained", GRANT) else {
        return;
    };
    let alice = manager.alice();
    let granted = alice.sandbox(wanted(""));
    let other = alice.sandbox(wanted("version = 1\n[egress]\nrules = []\n"));
    let explained = |sandbox: &str, port: u16| {
        let mut test = Command::new(lakekeep());
        test.args(["egress", "test", "--json", "--sandbox", sandbox])
            .arg(format!("identity.services.lakekeep.internal:{port}"))
            .env("LAKEKEEP_SOCKET", manager.socket());
        let test = test.output().unwrap();
        let told: Value = serde_json::from_slice(&test.stdout).unwrap();
        let passes = told["passes"].as_bool().unwrap();
        assert_eq!(test.status.code(), Some(i32::from(!passes)), "{told}");
        (passes, told)
    };
    let reached = |sandbox: &str, port: u16| {
        let script = format!("said(get(), port={port})");
        run(&alice, sandbox, &script).code == 0
    };
    for (sandbox, port, words) in [
        (&granted.id, 80, "granted: the service identity as "),
        (&granted.id, 8080, "the service identity is at port 80"),
        (
            &other.id,
            80,
            "the service identity is not granted by the user",
        ),
    ] {
        let (passes, told) = explained(sandbox, port);
        assert_eq!(passes, reached(sandbox, port), "{told}");
        assert!(told["words"].as_str().unwrap().contains(words), "{told}");
    }
    let (_, told) = explained(&granted.id, 80);
    assert_eq!(told["rule"], "[services] identity");
    manager.end();
}

/// Ways to be taken for another, each of them bytes that the sandbox sends.
#[test]
fn nothing_that_a_sandbox_says_makes_it_another() {
    let Some(manager) = start("local_services_forged", GRANT) else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let (hers, his) = (alice.sandbox(wanted("")), bob.sandbox(wanted("")));
    // Who speaks to the socket itself, as only the relay can, is believed.
    let forged = preamble(&hers.id);
    let direct = said(manager_socket(&manager), &forged);
    assert!(direct.contains(ALICE), "{direct}");
    for script in [
        format!("print(said({} + get()))", bytes(&forged)),
        format!("print(said(get({:?})))", hers.id),
        format!(
            "print(said(get().replace(b'\\r\\n\\r\\n', b'\\r\\nX-Sandbox: {}\\r\\nForwarded: for={}\\r\\n\\r\\n')))",
            hers.id, hers.id
        ),
        "print(said(get('evil.example')))".to_owned(),
        "print(said(get(path='http://evil.example/v1/identity')))".to_owned(),
        "print(said(get('169.254.170.2')))".to_owned(),
    ] {
        let done = run(&bob, &his.id, &script);
        assert!(!done.text().contains(ALICE), "{script}: {}", done.text());
        let own = script.contains("X-Sandbox");
        assert_eq!(done.text().contains(BOB), own, "{script}: {}", done.text());
        let status = if own { "HTTP/1.1 200" } else { "HTTP/1.1 4" };
        assert!(done.text().contains(status), "{script}: {}", done.text());
    }
    manager.end();
}

/// The preamble of a connection of that sandbox's (protocol/src/preamble.rs).
fn preamble(sandbox: &str) -> Vec<u8> {
    lakekeep_protocol::Preamble::new(sandbox, "identity")
        .unwrap()
        .to_bytes()
}

/// As Python writes them.
fn bytes(bytes: &[u8]) -> String {
    let each = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
    format!("b'{}'", each.collect::<String>())
}

fn socket(manager: &Manager) -> PathBuf {
    manager.runtime().join("services/relay/services.sock")
}

/// A connection of root's, which passes every folder.
fn manager_socket(manager: &Manager) -> UnixStream {
    UnixStream::connect(socket(manager)).unwrap()
}

/// What is answered to these bytes and a request behind them.
fn said(mut stream: UnixStream, first: &[u8]) -> String {
    let request = "GET /v1/identity HTTP/1.1\r\nHost: identity.services.lakekeep.internal\r\n\r\n";
    let mut answer = String::new();
    // A connection that is closed at once may be so before it is written to.
    let written = stream.write_all(&[first, request.as_bytes()].concat());
    let read = written.and_then(|()| {
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_string(&mut answer)
    });
    match read {
        Ok(_) => answer,
        Err(_) => String::new(),
    }
}

#[test]
fn a_process_on_the_host_cannot_speak_for_a_sandbox() {
    let Some(manager) = start("local_services_host", GRANT) else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let (path, outer) = (socket(&manager), manager.runtime().join("services"));
    let nobody = Account {
        name: "nobody".to_owned(),
        uid: NOBODY,
        gid: NOBODY,
    };
    for other in [account(BOB), account(ALICE), nobody.clone()] {
        try_connect(&path, &other).unwrap_err();
    }
    // The same where the folder is open: the path leads there.
    mode(&outer, 0o755);
    let forged = preamble(&sandbox.id);
    let bobs = try_connect(&path, &account(BOB)).unwrap();
    let relays = try_connect(&path, &nobody).unwrap();
    mode(&outer, 0o700);
    assert!(said(relays, &forged).contains(ALICE), "the attack works");
    // By the kernel's word for who connected, it does not even there.
    assert_eq!(said(bobs, &forged), "");
    let log = manager.log();
    assert!(log.contains("only the relay speaks for sandboxes"), "{log}");
    // Its own account is the manager's, whom nothing is kept from.
    assert!(try_connect(&path, &account(SERVICE)).is_ok());
    for forged in [preamble("0000000000000000"), b"GET".to_vec(), Vec::new()] {
        assert_eq!(said(manager_socket(&manager), &forged), "");
    }
    manager.end();
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Asks again and again, over a connection each, and says how that went.
const ASK_ON: &str = "
while True:
    try:
        print(identity()['sandbox'], flush=True)
    except OSError as e:
        print('reset', type(e).__name__, flush=True)
    time.sleep(0.01)
";

#[test]
fn while_no_manager_runs_nobody_is_answered_and_the_next_one_answers() {
    let Some(manager) = start("local_services_killed", GRANT) else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let mut asking = command(&sandbox.id, &[]);
    asking.arguments = python(&format!("{WORDS}\n{ASK_ON}"))
        .map(String::into_bytes)
        .to_vec();
    asking.detach = true;
    alice.exec(asking).unwrap().prints(&sandbox.id);
    kill(manager.pid().unwrap());
    manager.answers();
    let flow = logged(&manager, "no manager answers it now");
    assert_eq!(flow["verdict"], "failed");
    assert_eq!(flow["rule"], "[services] identity");
    assert_eq!(flow["received"], 0);
    let told = identity(&manager.alice(), &sandbox.id);
    assert_eq!(told["sandbox"], sandbox.id);
    assert_eq!(told["user"], ALICE);
    manager.end();
}

#[test]
fn a_grant_that_is_taken_back_ends_what_was_open() {
    let Some(manager) = start("local_services_revoked", GRANT) else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let mut held = begin(
        &alice,
        &sandbox.id,
        "
with socket.create_connection((NAME, 80), 60) as s:
    s.sendall(get())
    print(s.recv(65536).decode()[:12], flush=True)
    try: print('ended', s.recv(1), flush=True)
    except OSError as e: print('ended', type(e).__name__, flush=True)
",
    );
    held.prints("HTTP/1.1 200");
    let path = manager.profiles().join("net.toml");
    std::fs::write(path, shared_profile("net", "[egress]\nrules = []\n")).unwrap();
    held.prints("ended");
    held.finish().unwrap();
    logged(&manager, "the service identity is granted no more");
    let now = alice.get(of(&sandbox.id)).unwrap();
    assert_ne!(now.egress, sandbox.egress);
    assert_eq!(run(&alice, &sandbox.id, "identity()").code, 1);
    manager.end();
}

/// Connections that begin a request and never end it: how many were closed at once, and when
/// the last of the others was.
const SLOW: &str = "
import select
held = [socket.create_connection((NAME, 80), 60) for _ in range(40)]
for s in held:
    s.sendall(b'GET /v1/identity HTTP/1.1\\r\\nHost: ')
since, closed = time.monotonic(), []
while len(closed) < 24 and time.monotonic() - since < 5:
    closed = select.select(held, [], [], 0.1)[0]
print('closed', len(closed), flush=True)
print(said(get()).split('\\r\\n\\r\\n')[0], flush=True)
for s in held:
    try:
        while s.recv(100): pass
    except ConnectionError: pass
print('all closed', flush=True)
";

#[test]
fn slow_clients_of_one_sandbox_keep_no_other_one_waiting() {
    let setup = Setup::new().profile("net", &shared_profile("net", GRANT));
    let numbers = setup.place().path().join("m/run/metrics/m.sock");
    let setup = setup.tables(&format!("[metrics]\nsocket = {numbers:?}\n"));
    let Some(manager) = setup.start("local_services_slow") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let (hers, his) = (alice.sandbox(wanted("")), bob.sandbox(wanted("")));
    let mut slow = begin(&alice, &hers.id, SLOW);
    // All above the sixteen that one sandbox may have.
    slow.prints("closed 24\n");
    // Who comes then and says what it wants is told to come again.
    slow.prints("HTTP/1.1 503 ");
    slow.prints("retry-after: 1");
    assert_eq!(identity(&bob, &his.id)["user"], BOB);
    assert!(!slow.text().contains("all closed"), "{}", slow.text());
    slow.prints("all closed");
    assert_eq!(slow.finish().unwrap().code, 0);
    // Their places are free again.
    assert_eq!(identity(&alice, &hers.id)["user"], ALICE);
    let text = scrape(&numbers).unwrap();
    let ended = |result: &str| {
        let label = format!("result=\"{result}\"");
        let name = "lakekeep_service_connections_total";
        value(&text, name, &["service=\"identity\"", &label])
    };
    assert!(
        ended("told_to_wait") >= 1.0 && ended("closed") >= 1.0,
        "{text}"
    );
    let above = ended("told_to_wait") + ended("closed");
    assert_eq!((above, ended("answered")), (25.0, 18.0), "{text}");
    manager.end();
}
