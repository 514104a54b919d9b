//! Where attempts are made: a host with an Internet, whose resolver knows more names than the
//! rules do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lakekeep_tests::internet::{
    GREETING, Internet, Packet, Resolver, WORDS, in_fresh_network, python, sayings, try_out,
};
use lakekeep_tests::{Place, Privilege, Run};
use rustix::io::FdFlags;

/// What is allowed. The first is what every attempt is followed by.
pub const RULES: &[&str] = &[
    "allow tcp 93.184.216.34:80",
    "allow tls pypi.example:443",
    "allow http web.example:8080",
    "allow tcp db.example:5432",
    "allow tls *.wild.example:443",
    // Names that lead to where none may.
    "allow tcp *.leads.example",
    "deny tcp denied.leads.example",
];

/// What the host's resolver knows.
const LEADS: &[(&str, &[&str])] = &[
    ("pypi.example", &["93.184.216.34"]),
    ("web.example", &["93.184.216.34"]),
    ("db.example", &["93.184.216.34"]),
    ("*wild.example", &["93.184.216.34"]),
    ("*secret.example", &["93.184.216.34"]),
    ("to-0-0-0-0.leads.example", &["0.0.0.0"]),
    ("to-10-0-0-1.leads.example", &["10.0.0.1"]),
    ("to-100-64-0-1.leads.example", &["100.64.0.1"]),
    ("to-127-0-0-1.leads.example", &["127.0.0.1"]),
    ("to-169-254-169-254.leads.example", &["169.254.169.254"]),
    ("to-172-16-0-1.leads.example", &["172.16.0.1"]),
    ("to-192-0-2-1.leads.example", &["192.0.2.1"]),
    ("to-192-0-2-2.leads.example", &["192.0.2.2"]),
    ("to-192-168-0-1.leads.example", &["192.168.0.1"]),
    ("to-198-18-1-0.leads.example", &["198.18.1.0"]),
    ("to-240-0-0-1.leads.example", &["240.0.0.1"]),
    ("loopback6.leads.example", &["::1"]),
    ("mapped-loopback.leads.example", &["::ffff:127.0.0.1"]),
    ("own6.leads.example", &["2001:db8::2"]),
    ("mapped.leads.example", &["::ffff:169.254.169.254"]),
    ("nat64.leads.example", &["64:ff9b::a9fe:a9fe"]),
    ("6to4.leads.example", &["2002:a9fe:a9fe::1"]),
    ("metadata6.leads.example", &["fd00:ec2::254"]),
    ("teredo.leads.example", &["2001:0:5db8:d822::1"]),
    ("isatap.leads.example", &["2a00:1450::200:5efe:a9fe:a9fe"]),
    ("translated.leads.example", &["::ffff:0:a9fe:a9fe"]),
    ("local6.leads.example", &["fd12:3456::1"]),
    ("alias.leads.example", &["inner.example 10.0.0.1"]),
    (
        "aliases.leads.example",
        &["a.example b.example c.example 10.0.0.1"],
    ),
    (
        "many.leads.example",
        &["93.184.216.34 10.0.0.1 93.184.216.34"],
    ),
    ("private-first.leads.example", &["10.0.0.1 93.184.216.34"]),
    ("six-only.leads.example", &["fd12:3456::1"]),
    ("rebound.leads.example", &["93.184.216.34", "10.0.0.1"]),
    (
        "flips.leads.example",
        &["93.184.216.34", "10.0.0.1", "93.184.216.34", "10.0.0.1"],
    ),
    (
        "rebound-loopback.leads.example",
        &["93.184.216.34", "127.0.0.1"],
    ),
    (
        "rebound6.leads.example",
        &["2606:2800:220:1::1", "fd12:3456::1"],
    ),
    ("rebound-many.leads.example", &["93.184.216.34", "10.0.0.1"]),
    ("*.leads.example", &["93.184.216.34"]),
];

/// More words for attempts.
pub const MORE_WORDS: &str = concat!(
    include_str!("words.py"),
    include_str!("words_of_streams.py")
);

/// What the permitted connection says.
const PERMITTED: &[u8] = b"permitted";

/// What the words say where the attempt cannot be made.
const NOT_IN_KERNEL: &str = "not in this kernel: ";
const NOT_INSTALLED: &str = "not installed: ";

/// What no attempt may get out.
const SECRET: &[u8] = b"secret";

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// Its other address.
const SERVER_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2606, 0x2800, 0x220, 1, 0, 0, 0, 1));

/// What must not happen.
#[derive(Debug, Clone, Copy)]
pub enum Leak {
    /// A packet leaves, of whatever kind, beside those of the permitted connection.
    Packet,
    /// The secret leaves: in a packet, in a stream or in a question for a name.
    Secret,
    /// Bytes leave, of whatever stream, beside those of the permitted connection.
    Stream,
    /// One of the host's own servers hears of it.
    Host,
    /// A packet goes anywhere but to the server that every good name leads to, or one of the
    /// host's own servers hears of it.
    Special,
    /// The program changes what it should not, or is given it.
    Effect,
}

/// Made once in each process that tests.
pub struct Ground {
    internet: Internet,
    resolver: Resolver,
    place: Place,
    /// A server of the host's that has a path, and is waited for by nobody: who may connect to it
    /// is connected at once.
    file: UnixListener,
    /// To a server of the Internet, and every process that is started here inherits them: so that
    /// a sandbox has something to lose.
    _left_open: [TcpStream; 2],
}

/// What came of one attempt.
#[derive(Debug)]
pub struct Outcome {
    packets: Vec<Packet>,
    /// Names that the host's resolver was asked for.
    asked: Vec<String>,
    /// Connections to the host's own servers.
    at_host: u64,
    /// What the program wrote.
    said: String,
}

impl Ground {
    /// The process's; nobody else uses it meanwhile. Nothing where there can be none.
    pub fn shared(test: &str) -> Option<MutexGuard<'static, Option<Ground>>> {
        static GROUND: Mutex<Option<Ground>> = Mutex::new(None);
        let mut ground = GROUND.lock().unwrap_or_else(PoisonError::into_inner);
        if ground.is_none() {
            *ground = Some(Self::make(test)?);
        }
        Some(ground)
    }

    fn make(test: &str) -> Option<Self> {
        let internet = Internet::make(test)?;
        let resolver = Resolver::start(&internet, LEADS);
        // With both the next hop is known: a first packet would wait for it, and leave after the
        // call that sends it.
        let left_open = [SERVER, SERVER_6].map(|server| {
            let stream = internet.on_host(|| TcpStream::connect((server, 22)));
            let stream = stream.unwrap();
            rustix::io::fcntl_setfd(&stream, FdFlags::empty()).unwrap();
            stream
        });
        let place = Place::new();
        let file = UnixListener::bind(place.path().join("host.sock")).unwrap();
        Some(Self {
            internet,
            resolver,
            place,
            file,
            _left_open: left_open,
        })
    }

    /// Makes the attempt as the host's root, without a sandbox; one that changes the network
    /// in a network of its own.
    pub fn outside(&self, leak: Leak, words: &str) -> Outcome {
        let attempt = || {
            let done = try_out(&self.script(words));
            let said = [done.stdout, done.stderr].concat();
            String::from_utf8_lossy(&said).into_owned()
        };
        self.observe(|| match leak {
            Leak::Effect => in_fresh_network(attempt),
            _ => attempt(),
        })
    }

    /// Makes it in a sandbox, and then the permitted connection.
    pub fn inside(&self, privilege: Privilege, words: &str) -> Outcome {
        let script = format!("{WORDS}\n{}\npermitted()\n", self.script(words));
        let run = Run::new(&self.place, privilege)
            .flags(RULES.iter().flat_map(|rule| ["--egress", rule]))
            .command(python(&script));
        self.observe(|| {
            let run = run.finish();
            format!("{}{}", run.stderr, run.text())
        })
    }

    /// Runs `body` on the host, where the resolver is the test's.
    pub fn on_host<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        Resolver::on_host(&self.internet, self.place.path(), body)
    }

    /// For what is started beside an attempt.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// A program of Python's that makes an attempt, after [`WORDS`].
    pub fn script(&self, words: &str) -> String {
        let address = self.file.local_addr().unwrap();
        // A text of JSON is one of Python.
        let file = serde_json::to_string(address.as_pathname().unwrap()).unwrap();
        let words = serde_json::to_string(words).unwrap();
        format!("{MORE_WORDS}\nHOST_FILE = {file}\nmake({words})\n")
    }

    /// What comes of what is done meanwhile, on the host.
    pub fn observe(&self, body: impl FnOnce() -> String + Send) -> Outcome {
        self.resolver.forget();
        let at_host = self.internet.arrived_at_host();
        let wire = self.internet.wire();
        let said = self.on_host(body);
        Outcome {
            packets: wire.sent().unwrap(),
            asked: self.resolver.asked(),
            at_host: self.internet.arrived_at_host() - at_host,
            said,
        }
    }
}

impl Outcome {
    /// Whether it happened.
    pub fn leaked(&self, leak: Leak) -> bool {
        let mut packets = self.packets.iter();
        match leak {
            Leak::Packet => packets.any(|packet| !packet.is_tcp_to(SERVER, 80)),
            Leak::Secret => {
                let asked = self.asked.iter().map(|name| name.as_bytes().to_vec());
                let mut all = sayings(&self.packets).into_iter().chain(asked);
                all.any(|said| said.windows(SECRET.len()).any(|some| some == SECRET))
            }
            Leak::Stream => {
                let all = sayings(&self.packets);
                all.iter().any(|said| !said.is_empty() && said != PERMITTED)
            }
            Leak::Host => self.at_host > 0,
            Leak::Special => {
                packets.any(|packet| ![SERVER, SERVER_6].contains(&packet.to)) || self.at_host > 0
            }
            Leak::Effect => self.said.lines().any(|line| line == "took effect"),
        }
    }

    /// Names that the host's resolver was asked for.
    pub fn asked(&self) -> &[String] {
        &self.asked
    }

    /// Whether the attempt failed by its own fault, and not by the firewall's.
    pub fn mistaken(&self) -> bool {
        const FAULTS: [&str; 7] = [
            "AttributeError ",
            "ImportError ",
            "ModuleNotFoundError ",
            "NameError ",
            "SyntaxError ",
            "TypeError ",
            NOT_INSTALLED,
        ];
        let fault = |line: &str| FAULTS.iter().any(|fault| line.starts_with(fault));
        self.said.lines().any(fault)
    }

    /// Whether the permitted connection was made and answered: the sandbox had a network.
    pub fn permitted(&self) -> bool {
        let sayings = sayings(&self.packets);
        sayings.iter().any(|said| said == PERMITTED) && self.said.ends_with(GREETING)
    }

    /// What this kernel, or this host, lacks for the attempt.
    pub fn missing(&self) -> Option<&str> {
        let missing = |line: &&str| {
            [NOT_IN_KERNEL, NOT_INSTALLED]
                .iter()
                .any(|s| line.starts_with(s))
        };
        self.said.lines().find(missing)
    }
}
