//! Clients over TCP that say nothing: they keep nobody out, cost little, and are dropped
//! after the time that docs/manager.md tells.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lakekeep_api::v1::{QueryAuditRequest, WhoAmIRequest};
use lakekeep_tests::manager::{
    Authority, Client, Manager, Setup, Silent, Until, User, free_port, raise_descriptors,
};
use lakekeep_tests::{eventually, eventually_within, slack};

/// How long a client may take to agree on TLS and to begin HTTP/2.
const BEGINNING: Duration = Duration::from_secs(10);

/// After so long one that has begun and does not answer is dropped.
const UNANSWERED: Duration = Duration::from_secs(60);

/// What a busy host may take beyond such a time.
const LATE: Duration = Duration::from_secs(15);

/// Most connections of one address that have not begun.
const SILENT_OF_ONE: usize = 1024;

/// What one of them may cost the manager, KiB.
const EACH: u64 = 64;

/// Addresses of the host's own: the honest client's and others'.
const HONEST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const MUTE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HALF: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A manager over TCP, and one who may speak to it.
struct Served {
    manager: Manager,
    authority: Authority,
    client: Client,
    port: u16,
}

impl Served {
    fn start(test: &str) -> Option<Self> {
        raise_descriptors();
        let (setup, authority, port) = (Setup::new(), Authority::new(), free_port());
        let tables = authority.tables(setup.place(), port);
        Some(Self {
            manager: setup.tables(&tables).start(test)?,
            client: authority.client("honest"),
            authority,
            port,
        })
    }

    fn silent(&self, from: Ipv4Addr, count: usize, until: Until) -> Vec<Silent> {
        Silent::many((from, self.port), count, &self.authority, until)
    }

    /// A new connection, and an answer on it.
    fn serves(&self) -> User {
        let user = self
            .authority
            .user_from(HONEST, self.port, Some(&self.client));
        let user = user.unwrap();
        let me = user.who_am_i(WhoAmIRequest::default()).unwrap();
        assert_eq!(me.user, "m:honest");
        user
    }

    /// Connections that were refused, by why, as the audit log counts them.
    fn refused(&self, why: &str) -> u64 {
        let asked = QueryAuditRequest {
            action: "connect".to_owned(),
            outcome: "denied".to_owned(),
            ..QueryAuditRequest::default()
        };
        let events = self.manager.root().audit(asked).unwrap().into_iter();
        let ours = events.filter(|event| event["reason"].as_str().unwrap().contains(why));
        let counts = ours.map(|event| match event["extra"]["count"].as_str() {
            Some(count) => count.parse().unwrap(),
            None => 1,
        });
        counts.sum()
    }
}

#[test]
fn silent_clients_keep_nobody_out_and_are_dropped_in_time() {
    let Some(served) = Served::start("silence") else {
        return;
    };
    drop(served.serves());
    let before = served.manager.sample().manager;
    let began = Instant::now();
    let mute = served.silent(MUTE, 1_000, Until::Connected);
    served.serves();
    // They are all there while the honest one is served.
    let during = served.manager.sample().manager;
    let more = during.descriptors - before.descriptors;
    assert!((1_000..1_100).contains(&more), "{before:?} {during:?}");
    assert!(
        began.elapsed() < BEGINNING * slack(),
        "{:?}",
        began.elapsed()
    );
    let half = served.silent(HALF, 200, Until::Agreed);
    let greeted = Instant::now();
    let greeters = served.silent(HALF, 10, Until::Greeted);
    served.serves();
    let most = served.manager.sample().manager;
    assert!(
        most.rss.saturating_sub(before.rss) < 1_210 * EACH,
        "{before:?} {most:?}"
    );
    for one in mute.into_iter().chain(half) {
        one.until_dropped();
    }
    let took = began.elapsed();
    assert!(took >= BEGINNING, "{took:?}");
    assert!(took < (BEGINNING + LATE) * slack(), "{took:?}");
    for one in greeters {
        one.until_dropped();
    }
    let took = greeted.elapsed();
    assert!(took >= BEGINNING, "{took:?}");
    assert!(took < (UNANSWERED + LATE) * slack(), "{took:?}");
    eventually("as many descriptors as before", || {
        let now = served.manager.sample().manager.descriptors;
        (now <= before.descriptors + 1).then_some(())
    });
    eventually("all of them in the audit log", || {
        let counted = served.refused("begin HTTP/2 within 10s");
        assert!(counted <= 1_200, "{counted}");
        (counted == 1_200).then_some(())
    });
    served.serves();
    served.manager.end();
}

#[test]
fn one_address_has_so_many_silent_clients_and_no_more() {
    let Some(served) = Served::start("silence_of_one") else {
        return;
    };
    let over = 76;
    let began = Instant::now();
    let mute = served.silent(MUTE, SILENT_OF_ONE + over, Until::Connected);
    let dropped = || mute.iter().filter(|one| one.is_dropped()).count();
    let at_once = eventually_within(BEGINNING, || {
        let count = dropped();
        (count >= over).then_some(count)
    });
    assert_eq!(at_once, Some(over));
    // Others are served meanwhile, and it alone is not.
    served.serves();
    let refused = served
        .authority
        .user_from(MUTE, served.port, Some(&served.client));
    assert!(refused.is_err());
    assert!(
        began.elapsed() < BEGINNING * slack(),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(dropped(), over);
    drop(mute);
    eventually("a place for it again", || {
        let user = served
            .authority
            .user_from(MUTE, served.port, Some(&served.client));
        user.ok()
    });
    eventually("what was refused in the audit log", || {
        // What is counted together is told with the reason of one of them.
        (served.refused("") > over as u64).then_some(())
    });
    served.manager.end();
}
