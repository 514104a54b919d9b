//! Two sandboxes at once: neither reaches what the other serves.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};

use lakekeep_tests::internet::{WORDS, python};
use lakekeep_tests::{Place, Privilege, Run, Tracked, for_each_privilege};
use libtest_mimic::Failed;

use crate::Attempt;
use crate::ground::{Ground, Leak, MORE_WORDS, RULES};

/// What one does to the other, which serves in every way that it can.
pub const ATTEMPTS: &[Attempt] = &[
    ("loopback", "tcp('127.0.0.1', 7777)"),
    ("loopback_other", "tcp('127.1.2.3', 7777)"),
    ("loopback_6", "tcp('::1', 7777, V6)"),
    ("unspecified", "tcp('0.0.0.0', 7777)"),
    ("own_address", "tcp(own(), 7777)"),
    ("own_address_mapped", "tcp('::ffff:' + own(), 7777, V6)"),
    ("datagram", "udp('127.0.0.1', 7777)"),
    ("datagram_own_address", "udp(own(), 7777)"),
    ("datagram_6", "udp('::1', 7777, V6)"),
    ("abstract", "reach('@neighbour')"),
    (
        "abstract_datagram",
        "reach('@neighbour-datagrams', socket.SOCK_DGRAM)",
    ),
    ("fast_open", "fast_open('127.0.0.1', 7777)"),
];

/// A neighbour that was started.
struct Neighbour {
    process: Tracked,
    output: BufReader<ChildStdout>,
}

impl Neighbour {
    /// Returns when it serves.
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Tracked::spawn(command);
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "serves\n");
        Self { process, output }
    }

    /// Ends it; how often it was reached.
    fn end(mut self) -> usize {
        drop(self.process.stdin.take());
        let mut reached = String::new();
        self.output.read_to_string(&mut reached).unwrap();
        self.process.wait().unwrap();
        reached.trim().parse().unwrap()
    }
}

pub fn attempt(name: &str, words: &str) -> Result<(), Failed> {
    let shared = Ground::shared(name);
    let Some(ground) = shared.as_deref().and_then(Option::as_ref) else {
        return Ok(());
    };
    let serving = python(&format!("{WORDS}\n{MORE_WORDS}\nneighbour()"));
    let (reached, outside) = ground.on_host(|| {
        let neighbour = Neighbour::start(Command::new(&serving[0]).args(&serving[1..]));
        let outside = ground.outside(Leak::Secret, words);
        (neighbour.end(), outside)
    });
    if reached == 0 || outside.mistaken() {
        return Err(format!("it must succeed outside first: {outside:#?}").into());
    }
    let place = Place::new();
    let mut failed = None;
    for_each_privilege(name, |privilege: Privilege| {
        let run = Run::new(&place, privilege)
            .flags(RULES.iter().flat_map(|rule| ["--egress", rule]))
            .command(&serving);
        let (reached, inside) = ground.on_host(|| {
            let neighbour = Neighbour::start(&mut run.to_command());
            let inside = ground.inside(privilege, words);
            (neighbour.end(), inside)
        });
        if reached > 0 || inside.mistaken() || !inside.permitted() {
            let told = || format!("{privilege:?}: reached {reached} times: {inside:#?}");
            failed.get_or_insert_with(told);
        }
    });
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}
