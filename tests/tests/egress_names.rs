//! What leaves by name: the names that rules allow lead where the host's resolver says, if that
//! is a place that they may lead to, and to nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;

use lakekeep_tests::internet::{GREETING, Internet, WORDS, one_after_the_other, python};
use lakekeep_tests::{Finished, Place, Privilege, Run, for_each_privilege};

/// What the host's resolver answers.
const HOSTS: &str = "
93.184.216.34 pypi.example files.pypi.example index.example
2606:2800:220:1::1 six.example
10.0.0.1 inner.example
169.254.169.254 metadata.example
127.0.0.1 loopback.example
192.0.2.2 own.example
64:ff9b::a9fe:a9fe carried.example
";

/// Names are allowed that lead where none may.
const RULES: [&str; 8] = [
    "allow tcp pypi.example:80",
    "allow tls pypi.example:443",
    "allow tcp six.example:80",
    "allow tcp inner.example:80",
    "allow tcp metadata.example:80",
    "allow tcp loopback.example:9999",
    "allow tcp own.example:9999",
    "allow tcp carried.example:80",
];

/// Ways around them.
const ATTEMPTS: &[&str] = &[
    // Other names, and the allowed name's address without it.
    "tcp('index.example', 80)",
    "tcp('files.pypi.example', 80)",
    "tcp(SERVER, 80)",
    // The allowed name at another port, or with another protocol than the rule's.
    "tcp('pypi.example', 8080)",
    "tcp('pypi.example', 443)",
    "http('pypi.example', 'pypi.example', 443)",
    // Another name within the stream.
    "http('pypi.example', 'index.example')",
    "http('pypi.example', 'index.example:80')",
    "tls('pypi.example', 'index.example')",
    "tls('pypi.example', None)",
    "tls('pypi.example', 'index.example', 80)",
    // Where an allowed name must not lead.
    "tcp('inner.example', 80)",
    "tcp('metadata.example', 80)",
    "tcp('loopback.example', 9999)",
    "tcp('own.example', 9999)",
    "tcp6('carried.example', 80)",
];

/// Resolves to IPv6 alone, as `tcp` does to IPv4.
const MORE_WORDS: &str = "
def tcp6(name, port):
    return tcp(name, port, V6)
";

struct Named {
    internet: Internet,
    place: Place,
    hosts: PathBuf,
}

impl Named {
    fn make(test: &str) -> Option<Self> {
        let internet = Internet::make(test)?;
        let place = Place::new();
        let hosts = place.hosts(HOSTS);
        Some(Self {
            internet,
            place,
            hosts,
        })
    }

    fn run(&self, privilege: Privilege, script: &str) -> Finished {
        let flags = RULES.iter().flat_map(|rule| ["--egress", rule]);
        let run = Run::new(&self.place, privilege)
            .flags(flags)
            .command(python(&format!("{WORDS}{MORE_WORDS}\n{script}")));
        self.internet
            .on_host_with_names(&self.hosts, || run.finish())
    }
}

#[test]
fn every_attempt_arrives_without_the_firewall() {
    let Some(named) = Named::make("egress_names::outside") else {
        return;
    };
    for attempt in ATTEMPTS {
        let attempt = format!("{MORE_WORDS}\n{attempt}");
        named.internet.prove_with_names(&named.hosts, &attempt);
    }
}

#[test]
fn a_name_leads_to_its_host_and_to_no_other() {
    let Some(named) = Named::make("egress_names::attempts") else {
        return;
    };
    let script = format!(
        "{}\nprint(tcp('pypi.example', 80), end='')\n\
         print(http('pypi.example', 'pypi.example'), end='')\n\
         print(tcp6('six.example', 80), end='')",
        one_after_the_other(ATTEMPTS)
    );
    for_each_privilege("egress_names::attempts", |privilege| {
        let before = named.internet.arrived();
        let run = named.run(privilege, &script);
        run.assert_code(0);
        assert!(run.text().ends_with(&GREETING.repeat(3)), "{}", run.text());
        let after = named.internet.arrived();
        // A connection is made before the stream says for whom it is; no byte goes with it.
        let request = "GET / HTTP/1.1\r\nHost: pypi.example\r\n\r\n".len();
        let expected = 2 * "secret".len() + request;
        assert_eq!(after.1 - before.1, expected as u64, "{}", run.text());
        let receipt = run.receipt.as_ref().unwrap();
        let flows = receipt["traffic"]["receipts"].as_array().unwrap();
        let words: Vec<&str> = flows
            .iter()
            .filter_map(|flow| flow["words"].as_str())
            .collect();
        for said in [
            "denied egress to index.example: no rule of the user allows it",
            "denied egress to pypi.example:8080: no rule of the user allows it",
            "the HTTP request is for index.example",
            "the TLS server name is index.example",
            "TLS without a server name",
            "denied egress to inner.example:80: 10.0.0.1 is",
            "denied egress to metadata.example:80: 169.254.169.254 is",
            "denied egress to loopback.example:9999: 127.0.0.1 is",
            "denied egress to own.example:9999: 192.0.2.2 is",
        ] {
            assert!(
                words.iter().any(|words| words.contains(said)),
                "{said}: {words:#?}"
            );
        }
    });
}

#[test]
fn names_that_no_rule_allows_do_not_exist_and_are_asked_of_nobody() {
    let Some(named) = Named::make("egress_names::tunnel") else {
        return;
    };
    let script = "
import base64
for n in range(50):
    name = base64.b32encode(b'secret' * 5 + bytes([n])).decode().strip('=').lower() + '.tunnel.example'
    try: socket.getaddrinfo(name, 80)
    except socket.gaierror as e: found = e.errno
    else: raise SystemExit('resolved')
print(found == socket.EAI_NONAME, socket.gethostbyname('pypi.example').startswith('198.18.'))
";
    for_each_privilege("egress_names::tunnel", |privilege| {
        let before = named.internet.arrived();
        let run = named.run(privilege, script);
        run.assert_code(0);
        assert_eq!(run.text(), "True True\n");
        assert_eq!(named.internet.arrived(), before);
        let denied = &run.receipt.as_ref().unwrap()["traffic"]["denied"];
        assert_eq!(denied, 50);
    });
}
