//! The host's resolver, of a test's own: what it answers may change with every question.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::Internet;
use crate::fail;

/// Where it is asked, on the host's loopback.
const ADDRESS: &str = "127.0.0.53:53";

/// What resolv.conf(5) says on such a host.
const CONFIGURATION: &str = "nameserver 127.0.0.53\noptions timeout:2 attempts:1\n";

/// A name, and what it leads to: for the first question the first, and so on; the last stays.
/// Each is addresses with spaces between, `NAME ADDRESS` of an alias, or [`SILENCE`]. A name
/// `*.NAME` is about all below.
pub type Leads = (&'static str, &'static [&'static str]);

/// What a name leads to whose questions are not answered.
pub const SILENCE: &str = "";

/// A resolver that runs, and what it was asked.
#[derive(Debug)]
pub struct Resolver(Arc<State>);

#[derive(Debug)]
struct State {
    leads: &'static [Leads],
    asked: Mutex<Vec<String>>,
    turns: Mutex<HashMap<(String, RecordType), usize>>,
}

impl Resolver {
    /// Serves on the host, as long as the process lives.
    ///
    /// # Panics
    /// When its port is taken.
    #[must_use]
    pub fn start(internet: &Internet, leads: &'static [Leads]) -> Self {
        let state = Arc::new(State {
            leads,
            asked: Mutex::default(),
            turns: Mutex::default(),
        });
        let socket = internet.on_host(|| UdpSocket::bind(ADDRESS));
        let socket = socket.unwrap_or_else(|e| fail(format_args!("{ADDRESS}: {e}")));
        let serves = Arc::clone(&state);
        thread::spawn(move || serve(&socket, &serves));
        Self(state)
    }

    /// Runs `body` on the host, where this is the resolver; `folder` is the test's own.
    pub fn on_host<T: Send>(
        internet: &Internet,
        folder: &Path,
        body: impl FnOnce() -> T + Send,
    ) -> T {
        let file = folder.join("resolv.conf");
        let written = std::fs::write(&file, CONFIGURATION);
        written.unwrap_or_else(|e| fail(format_args!("{}: {e}", file.display())));
        internet.on_host_with_file((&file, "/etc/resolv.conf"), body)
    }

    /// Every name is at its first turn again, and nothing was asked.
    pub fn forget(&self) {
        locked(&self.0.asked).clear();
        locked(&self.0.turns).clear();
    }

    /// The names that it was asked for, as they were written.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        locked(&self.0.asked).clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(socket: &UdpSocket, state: &State) {
    let mut buffer = [0; 4096];
    while let Ok((read, client)) = socket.recv_from(&mut buffer) {
        let question = Message::from_vec(buffer.get(..read).unwrap_or_default());
        let answer = question.ok().and_then(|question| state.answer(&question));
        if let Some(answer) = answer
            && let Err(error) = socket.send_to(&answer, client)
        {
            fail(format_args!("an answer to {client}: {error}"));
        }
    }
}

impl State {
    fn answer(&self, question: &Message) -> Option<Vec<u8>> {
        let query = question.queries.first()?;
        let written = query.name.to_string();
        locked(&self.asked).push(written.clone());
        let mut reply = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_desired = true;
        reply.metadata.recursion_available = true;
        reply.add_query(query.clone());
        match self.led(&written.to_ascii_lowercase(), query.query_type) {
            Some(SILENCE) => return None,
            Some(leads) => reply.add_answers(records(query, leads)),
            None => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                &mut reply
            }
        };
        reply.to_vec().ok()
    }

    /// What a name leads to, this time.
    fn led(&self, name: &str, kind: RecordType) -> Option<&'static str> {
        let name = name.trim_end_matches('.');
        let below = |pattern: &str| {
            let zone = pattern.strip_prefix('*');
            zone.is_some_and(|zone| name.ends_with(zone))
        };
        let mut leads = self.leads.iter();
        let (_, turns) = leads.find(|(pattern, _)| *pattern == name || below(pattern))?;
        let mut counts = locked(&self.turns);
        let count = counts.entry((name.to_owned(), kind)).or_default();
        let turn = turns.get(*count).or_else(|| turns.last())?;
        *count += 1;
        Some(turn)
    }
}

/// Those of the type that was asked for, and aliases before them.
fn records(query: &Query, leads: &str) -> Vec<Record> {
    let mut owner = query.name.clone();
    let mut records = Vec::new();
    for word in leads.split(' ') {
        let data = match (word.parse(), query.query_type) {
            (Ok(IpAddr::V4(address)), RecordType::A) => RData::A(A(address)),
            (Ok(IpAddr::V6(address)), RecordType::AAAA) => RData::AAAA(AAAA(address)),
            (Ok(_), _) => continue,
            (Err(_), _) => match Name::from_ascii(format!("{word}.")) {
                Ok(alias) => {
                    let data = RData::CNAME(CNAME(alias.clone()));
                    records.push(Record::from_rdata(owner, 0, data));
                    owner = alias;
                    continue;
                }
                Err(error) => fail(format_args!("{word}: {error}")),
            },
        };
        records.push(Record::from_rdata(owner.clone(), 0, data));
    }
    records
}
