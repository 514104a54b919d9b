//! What leaves a sandbox: what its rules say, and not a byte more. Each attempt to get around
//! them first proves, from the host itself, that it would arrive.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_tests::internet::{GREETING, HOST_PORT, Internet, WORDS, one_after_the_other, python};
use lakekeep_tests::{Finished, Place, Privilege, Run, for_each_privilege};

/// The one thing that is allowed.
const RULE: &str = "allow tcp 93.184.216.34:80";

/// Ways around it.
const ATTEMPTS: &[&str] = &[
    // Another port of the allowed host.
    "tcp(SERVER, 22)",
    "tcp(SERVER, 443)",
    "tcp(SERVER, 853)",
    "tcp(SERVER, 5432)",
    "tcp(SERVER, 8080)",
    "tcp(SERVER, 65535)",
    "tcp(SERVER, 53)",
    "fast_open(SERVER, 443)",
    "tcp(SERVER, 443, protocol=262)", // MPTCP
    // Another host.
    "tcp('93.184.216.35', 80)",
    "tcp('1.1.1.1', 443)",
    "tcp('8.8.8.8', 53)",
    "tcp('8.8.8.8', 853)",
    "fast_open('1.1.1.1', 80)",
    // Addresses that are special, in every encoding that a program takes.
    "tcp('169.254.169.254', 80)",
    "tcp('2852039166', 80)",
    "tcp('0xa9fea9fe', 80)",
    "tcp('0251.0376.0251.0376', 80)",
    "tcp('169.254.43518', 80)",
    "tcp('0xa9.254.0251.254', 80)",
    "tcp('10.0.0.1', 80)",
    "tcp('172.16.0.1', 80)",
    "tcp('192.168.0.1', 80)",
    "tcp('100.64.0.1', 80)",
    "tcp('198.18.0.1', 80)",
    "tcp('240.0.0.1', 80)",
    // IPv6, and what carries IPv4 in it.
    "tcp('2606:2800:220:1::1', 80, V6)",
    "tcp('::ffff:169.254.169.254', 80, V6)",
    "tcp('::ffff:1.1.1.1', 80, V6)",
    "tcp('64:ff9b::5db8:d822', 80, V6)",
    "tcp('64:ff9b::a9fe:a9fe', 80, V6)",
    "tcp('2002:5db8:d822::1', 80, V6)",
    "tcp('2001:0:5db8:d822::1', 80, V6)",
    "tcp('fd00:ec2::254', 80, V6)",
    "tcp('fec0::1', 80, V6)",
    // No TCP.
    "udp(SERVER, 443)",
    "udp(SERVER, 123)",
    "udp(SERVER, 8125)",
    "udp('8.8.8.8', 53)",
    "udp('2001:4860:4860::8888', 53, V6)",
    "udp('2606:2800:220:1::1', 443, V6)",
    "echo(SERVER)",
    "echo('1.1.1.1')",
    "echo6('2606:2800:220:1::1')",
    "raw(SERVER)",
    // The host itself.
    "tcp('127.0.0.1', 9999)",
    "tcp('127.1.2.3', 9999)",
    "tcp('0.0.0.0', 9999)",
    "tcp('::1', 9999, V6)",
    "tcp('192.0.2.2', 9999)",
    "tcp('2001:db8::2', 9999, V6)",
    "abstract()",
];

/// Every attempt, whatever becomes of the others; then what is allowed.
fn all_attempts() -> String {
    format!(
        "{WORDS}\n{}\nprint(tcp(SERVER, 80), end='')\n",
        one_after_the_other(ATTEMPTS)
    )
}

fn run(internet: &Internet, privilege: Privilege, flags: &[&str], script: &str) -> Finished {
    internet.on_host(|| {
        let place = Place::new();
        Run::new(&place, privilege)
            .flags(flags)
            .command(python(script))
            .finish()
    })
}

#[test]
fn every_attempt_arrives_without_the_firewall() {
    let Some(internet) = Internet::make("egress::attempts_outside") else {
        return;
    };
    assert_eq!(HOST_PORT, 9999);
    for attempt in ATTEMPTS {
        internet.prove(attempt);
    }
}

#[test]
fn what_a_rule_allows_arrives_and_nothing_else() {
    let Some(internet) = Internet::make("egress::attempts") else {
        return;
    };
    for_each_privilege("egress::attempts", |privilege| {
        let before = internet.arrived();
        let run = run(&internet, privilege, &["--egress", RULE], &all_attempts());
        run.assert_code(0);
        assert!(run.text().ends_with(GREETING), "{}", run.text());
        let after = internet.arrived();
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (1, "secret".len() as u64),
            "{}",
            run.text()
        );
        let receipt = run.receipt.as_ref().unwrap();
        let network = receipt["receipt"]["network"].as_str().unwrap();
        assert!(network.starts_with("relay: 1 rules, "), "{network}");
        let traffic = &receipt["traffic"];
        assert_eq!(traffic["sent"], "secret".len());
        assert_eq!(traffic["received"], GREETING.len());
        assert!(traffic["denied"].as_u64().unwrap() >= 20, "{traffic:#}");
        let denial = "denied egress to 93.184.216.34:22: no rule of the user allows it";
        let first = traffic["first_denial"].as_str().unwrap();
        assert!(first.starts_with(denial), "{first}");
        assert!(run.stderr.contains(denial), "{}", run.stderr);
    });
}

#[test]
fn without_rules_nothing_leaves_and_nothing_listens() {
    let Some(internet) = Internet::make("egress::none") else {
        return;
    };
    let script = format!(
        "{}\n",
        all_attempts().replace("print(tcp(SERVER, 80), end='')", "tcp(SERVER, 80)")
    );
    for_each_privilege("egress::none", |privilege| {
        let before = internet.arrived();
        let attempts = run(&internet, privilege, &[], &script);
        attempts.assert_code(1);
        assert!(
            attempts.stderr.contains("Network is unreachable"),
            "{}",
            attempts.stderr
        );
        assert_eq!(internet.arrived(), before);
        let receipt = attempts.receipt.as_ref().unwrap();
        assert_eq!(receipt["receipt"]["network"], "none");
        assert!(receipt["traffic"].is_null());
        let files = "print(open('/etc/resolv.conf').read(), end='')";
        assert_eq!(
            run(&internet, privilege, &[], files).text(),
            "# no network\n"
        );
    });
}

#[test]
fn a_verdict_names_what_was_not_let_out() {
    let Some(internet) = Internet::make("egress::verdict") else {
        return;
    };
    for_each_privilege("egress::verdict", |privilege| {
        let script = format!("{WORDS}\ntcp('1.1.1.1', 443)");
        let run = run(&internet, privilege, &["--egress", RULE], &script);
        run.assert_code(1).assert_verdict("exit");
        let explanation = run.verdict_field("explanation").unwrap().as_str().unwrap();
        assert!(
            explanation.contains("denied egress to 1.1.1.1:443")
                && explanation.contains("allow tcp 1.1.1.1:443"),
            "{explanation}"
        );
    });
}

#[test]
fn a_sandbox_keeps_its_own_loopback() {
    let Some(internet) = Internet::make("egress::loopback") else {
        return;
    };
    let script = format!(
        "{WORDS}\nimport threading\nl = socket.create_server(('127.0.0.1', 0))\n\
         def serve():\n    c, _ = l.accept()\n    c.recv(100)\n    c.sendall(b'own')\n    c.close()\n\
         threading.Thread(target=serve).start()\nprint(tcp('127.0.0.1', l.getsockname()[1]))"
    );
    for_each_privilege("egress::loopback", |privilege| {
        let run = run(&internet, privilege, &["--egress", RULE], &script);
        run.assert_code(0);
        assert_eq!(run.text(), "own\n");
    });
}
