//! Streams through the gate and the pump, between sockets of the test's own.

use std::sync::Arc;
use std::time::Duration;

use lakekeep_egress_inspect::{Inspector, Refusal};
use lakekeep_egress_rules::{EgressDoc, Level, Limits, Ruleset, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::gate::{self, Gate, Opening, Passed};
use crate::pipes::STEP;
use crate::pump::{self, Bounds, Carried};
use crate::side::Side;
use crate::totals::{Together, Totals};
use crate::turns::Toll;

const LONG: Duration = Duration::from_secs(30);

/// The two ends of a connection, the second as the relay has it.
async fn pair() -> (TcpStream, Side) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), Side::Tcp(far.unwrap().0))
}

/// What a flow is carried under.
#[derive(Debug)]
struct Under {
    limits: watch::Sender<Limits>,
    out: Toll,
    back: Toll,
}

impl Under {
    fn new(idle: Duration, out: Option<u64>) -> Arc<Self> {
        let alone = Together::join(&Arc::default(), "alone", None);
        Self::of(&alone, idle, out)
    }

    /// Of a sandbox that has something together with others.
    fn of(together: &Together, idle: Duration, out: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            limits: watch::Sender::new(limits(idle)),
            out: Toll::new(out, together.out()),
            back: Toll::new(None, together.back()),
        })
    }

    fn bounds(&self) -> Bounds<'_> {
        Bounds {
            limits: &self.limits,
            out: &self.out,
            back: &self.back,
        }
    }
}

fn limits(idle: Duration) -> Limits {
    Limits {
        idle,
        ..Limits::default()
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself_and_all_bytes_are_counted() {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    let carried = Arc::new(Carried::new());
    let counts = Arc::clone(&carried);
    let pump = tokio::spawn(async move {
        let under = Under::new(LONG, None);
        pump::carry(&inside, &outside, &counts, under.bounds()).await
    });
    let sent = vec![7; 1 << 20];
    let writer = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let reader = async {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        // The client has ended, and is answered all the same.
        server.write_all(b"all of it").await.unwrap();
        server.shutdown().await.unwrap();
        got
    };
    let (answer, got) = tokio::join!(writer, reader);
    assert!(got == sent);
    assert_eq!(answer, b"all of it");
    let ended = pump.await.unwrap();
    assert!(matches!(ended, Passed::Ended(Ok(()))), "{ended:?}");
    assert_eq!(carried.bytes(), (1 << 20, 9));
}

/// Nothing waits for a step to be full.
#[tokio::test]
async fn the_last_of_many_bytes_come_without_an_end_after_them() {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    let (carried, under) = (Carried::new(), Under::new(2 * LONG, None));
    let sent = vec![7; 2 * STEP + STEP / 2 + 1];
    let mut got = vec![0; sent.len()];
    let talk = async { tokio::join!(client.write_all(&sent), server.read_exact(&mut got)) };
    let both = tokio::select! {
        both = timeout(LONG, talk) => both.unwrap(),
        ended = pump::carry(&inside, &outside, &carried, under.bounds()) => panic!("{ended:?}"),
    };
    assert_eq!((both.0.unwrap(), both.1.unwrap()), ((), sent.len()));
    assert!(got == sent);
}

/// A pump whose client has said as much as its sockets take; how much that is.
async fn much(counts: Arc<Carried>) -> (usize, TcpStream, TcpStream) {
    let ((client, inside), (server, outside)) = (pair().await, pair().await);
    let (bytes, mut said) = ([7; 64 << 10], 0);
    client.writable().await.unwrap();
    while let Ok(more) = client.try_write(&bytes) {
        said += more;
    }
    tokio::spawn(async move {
        let under = Under::new(LONG, None);
        pump::carry(&inside, &outside, &counts, under.bounds()).await
    });
    (said, client, server)
}

/// Of much that is carried, little is before the one byte of somebody who comes last.
#[tokio::test]
async fn flows_that_have_much_to_carry_give_way() {
    let counts: Vec<_> = (0..8).map(|_| Arc::new(Carried::new())).collect();
    let mut flows = Vec::new();
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    client.write_all(&[7]).await.unwrap();
    for count in &counts {
        flows.push(much(Arc::clone(count)).await);
    }
    let all: usize = flows.iter().map(|(said, ..)| said).sum();
    let (carried, under) = (Carried::new(), Under::new(LONG, None));
    let before = tokio::select! {
        read = server.read_u8() => {
            read.unwrap();
            counts.iter().map(|count| count.bytes().0).sum::<u64>()
        }
        ended = pump::carry(&inside, &outside, &carried, under.bounds()) => panic!("{ended:?}"),
    };
    assert!(before < all as u64 / 2, "{before} of {all}");
    // And all of it comes.
    for (said, mut client, mut server) in flows {
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), said);
    }
}

#[tokio::test]
async fn a_flow_that_says_nothing_ends() {
    let ((_client, inside), (_server, outside)) = (pair().await, pair().await);
    let idle = Duration::from_millis(50);
    let carried = Carried::new();
    let under = Under::new(idle, None);
    let ended = pump::carry(&inside, &outside, &carried, under.bounds()).await;
    assert!(matches!(ended, Passed::Idle), "{ended:?}");
    assert!(carried.age() >= idle);
}

/// What the server got of what the client said, and what the gate said of it.
async fn through_the_gate(said: &[u8], patience: Duration) -> (Vec<u8>, Passed) {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    let carried = Carried::new();
    client.write_all(said).await.unwrap();
    let under = Under::new(LONG, None);
    let gate = Gate {
        inside: &inside,
        outside: &outside,
        carried: &carried,
        patience,
        bounds: under.bounds(),
    };
    let mut inspector = Inspector::new("pypi.example".parse().unwrap(), Streams::HELD);
    let passed = gate.pass(&mut inspector, Opening::unheard()).await;
    assert_eq!(carried.bytes().1, 0);
    drop((inside, outside));
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    (got, passed)
}

#[tokio::test]
async fn nothing_of_a_request_for_another_host_leaves() {
    let said = b"GET / HTTP/1.1\r\nHost: index.example\r\n\r\n";
    let (got, passed) = through_the_gate(said, LONG).await;
    assert!(got.is_empty());
    assert!(
        matches!(passed, Passed::Refused(Refusal::Host { .. })),
        "{passed:?}"
    );
}

#[tokio::test]
async fn a_request_that_is_never_whole_does_not_leave() {
    let (got, passed) = through_the_gate(b"GET / HT", Duration::from_millis(50)).await;
    assert!(got.is_empty());
    assert!(matches!(passed, Passed::Silent), "{passed:?}");
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_passes_unchanged() {
    let said = b"\x00\x01\x02\x03 some protocol";
    let (got, passed) = through_the_gate(said, LONG).await;
    assert_eq!(got, said);
    assert!(matches!(passed, Passed::Opaque), "{passed:?}");
}

#[tokio::test]
async fn a_byte_now_and_then_earns_no_time() {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    let carried = Carried::new();
    let patience = Duration::from_millis(200);
    let under = Under::new(LONG, None);
    let gate = Gate {
        inside: &inside,
        outside: &outside,
        carried: &carried,
        patience,
        bounds: under.bounds(),
    };
    let mut inspector = Inspector::new("pypi.example".parse().unwrap(), Streams::HELD);
    // A client hello that is never whole, each byte well within the patience.
    let dribble = async {
        for byte in [0x16, 3, 1, 2, 0].into_iter().chain(std::iter::repeat(1)) {
            if client.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(patience / 10).await;
        }
        Passed::Ended(Ok(()))
    };
    let passed = tokio::select! {
        passed = gate.pass(&mut inspector, Opening::unheard()) => passed,
        passed = dribble => passed,
    };
    assert!(matches!(passed, Passed::Silent), "{passed:?}");
    assert!(carried.age() < patience * 5, "{:?}", carried.age());
    drop((inside, outside));
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert!(got.is_empty());
}

#[tokio::test]
async fn a_server_that_takes_nothing_holds_a_flow_no_longer_than_a_silent_one() {
    let ((mut client, inside), (_server, outside)) = (pair().await, pair().await);
    let carried = Arc::new(Carried::new());
    let counts = Arc::clone(&carried);
    let idle = Duration::from_millis(300);
    let pump = tokio::spawn(async move {
        let under = Under::new(idle, None);
        pump::carry(&inside, &outside, &counts, under.bounds()).await
    });
    let sent = vec![7; 1 << 20];
    // It is never read: sooner or later nothing more is taken of the client.
    while client.write_all(&sent).await.is_ok() {}
    let ended = pump.await.unwrap();
    assert!(matches!(ended, Passed::Idle), "{ended:?}");
    assert!(carried.age() >= idle);
}

#[tokio::test]
async fn what_waits_for_its_turn_is_not_idle() {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    let carried = Carried::new();
    // A quarter of the burst at once, and then 64 KiB a second: some pauses are longer than the
    // patience.
    let under = Under::new(Duration::from_millis(20), Some(64 << 10));
    let slow = under.bounds();
    client.write_all(&[7; 48 << 10]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    let (ended, read) = tokio::join!(pump::carry(&inside, &outside, &carried, slow), async {
        let read = server.read_to_end(&mut got).await;
        server.shutdown().await.unwrap();
        read
    });
    assert!(matches!(ended, Passed::Ended(Ok(()))), "{ended:?}");
    assert_eq!(read.unwrap(), 48 << 10);
    assert!(
        carried.age() >= Duration::from_millis(400),
        "{:?}",
        carried.age()
    );
}

#[tokio::test]
async fn a_flow_that_says_nothing_ends_when_that_is_allowed_no_longer() {
    let ((_client, inside), (_server, outside)) = (pair().await, pair().await);
    let (under, carried) = (Under::new(LONG, None), Carried::new());
    let idle = Duration::from_millis(50);
    let shorter = async {
        tokio::task::yield_now().await;
        under.limits.send_replace(limits(idle));
    };
    let (ended, ()) = tokio::join!(
        pump::carry(&inside, &outside, &carried, under.bounds()),
        shorter
    );
    assert!(matches!(ended, Passed::Idle), "{ended:?}");
    assert!(carried.age() >= idle && carried.age() < LONG);
}

#[tokio::test]
async fn a_live_flow_follows_the_rate() {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    let carried = Carried::new();
    let under = Under::new(LONG, Some(1024));
    let sent = vec![7; 1 << 20];
    let writer = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let reader = async {
        let mut got = vec![0; 256];
        server.read_exact(&mut got).await.unwrap();
        // At the old rate the rest would come in a quarter of an hour.
        under.out.limit(None);
        server.read_to_end(&mut got).await.unwrap();
        server.shutdown().await.unwrap();
        got
    };
    let (ended, (), got) = tokio::join!(
        pump::carry(&inside, &outside, &carried, under.bounds()),
        writer,
        reader
    );
    assert!(matches!(ended, Passed::Ended(Ok(()))), "{ended:?}");
    assert_eq!(got.len(), 1 << 20);
}

/// A stream of a sandbox that sends for as long as it may; what arrives is counted.
async fn stream(under: &Arc<Under>, arrived: &watch::Sender<usize>) {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    let (under, arrived) = (Arc::clone(under), arrived.clone());
    tokio::spawn(async move {
        let carried = Carried::new();
        pump::carry(&inside, &outside, &carried, under.bounds()).await
    });
    tokio::spawn(async move { while client.write_all(&[7; 1 << 16]).await.is_ok() {} });
    tokio::spawn(async move {
        let mut got = vec![0; 1 << 16];
        while let Ok(read @ 1..) = server.read(&mut got).await {
            arrived.send_modify(|all| *all += read);
        }
    });
}

#[tokio::test]
async fn one_stream_of_a_sandbox_has_as_much_as_sixteen_of_its_neighbour() {
    let totals: Arc<Totals> = Arc::default();
    let join = |id| Together::join(&totals, id, Some("lab"));
    let (many, one) = (join("many"), join("one"));
    let text = "version = 1\n[total]\nbytes_per_second = 4194304\n";
    let doc = EgressDoc::from_toml("t", text).unwrap();
    many.limit(&Ruleset::check(Level::Owner, &doc).unwrap());
    let (theirs, its) = (watch::Sender::new(0), watch::Sender::new(0));
    let under = Under::of(&many, LONG, None);
    for _ in 0..16 {
        stream(&under, &theirs).await;
    }
    // A piece of each, which is carried before it is waited for, and the burst.
    let before = 5 << 20;
    let more = |least: usize| move |all: &usize| *all >= least;
    theirs.subscribe().wait_for(more(before)).await.unwrap();
    let before = *theirs.borrow();
    stream(&Under::of(&one, LONG, None), &its).await;
    its.subscribe().wait_for(more(4 << 20)).await.unwrap();
    // Turn and turn about: first come, first served would have given them 64 MiB.
    let meanwhile = *theirs.borrow() - before;
    assert!(
        (2 << 20..8 << 20).contains(&meanwhile),
        "{meanwhile} bytes beside 4 MiB"
    );
}

#[tokio::test]
async fn a_client_is_heard_before_anything_is_connected_to() {
    let tls_alone = Streams {
        tls: true,
        ..Streams::NONE
    };
    for (said, expected) in [
        (
            &b"GET / HTTP/1.1\r\nHost: pypi.example\r\n\r\n"[..],
            "refused",
        ),
        (b"\x16\x03\x01", "silent"),
        (b"", "silent"),
    ] {
        let (mut client, inside) = pair().await;
        client.write_all(said).await.unwrap();
        let mut inspector = Inspector::new("pypi.example".parse().unwrap(), tls_alone);
        let heard = gate::hear(&inside, &mut inspector, Duration::from_millis(50)).await;
        let found = match heard {
            Err(Passed::Refused(_)) => "refused",
            Err(Passed::Silent) => "silent",
            _ => "something else",
        };
        assert_eq!(found, expected, "{said:?}");
    }
}

#[tokio::test]
async fn what_was_heard_before_leaves_first() {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    let (first, second) = (
        b"GET /1 HTTP/1.1\r\nHost: pypi.example\r\n\r\n",
        b"GET /2 HTTP/1.1\r\nHost: pypi.example\r\n\r\n",
    );
    let http_alone = Streams {
        http: true,
        ..Streams::NONE
    };
    let mut inspector = Inspector::new("pypi.example".parse().unwrap(), http_alone);
    client.write_all(first).await.unwrap();
    let opening = gate::hear(&inside, &mut inspector, LONG).await.unwrap();
    client.write_all(second).await.unwrap();
    client.shutdown().await.unwrap();
    let carried = Carried::new();
    let under = Under::new(LONG, None);
    let gate = Gate {
        inside: &inside,
        outside: &outside,
        carried: &carried,
        patience: LONG,
        bounds: under.bounds(),
    };
    let (passed, got) = tokio::join!(gate.pass(&mut inspector, opening), async {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        server.shutdown().await.unwrap();
        got
    });
    assert!(matches!(passed, Passed::Ended(Ok(()))), "{passed:?}");
    assert_eq!(got, [&first[..], &second[..]].concat());
}

#[tokio::test]
async fn without_a_pipe_bytes_go_through_memory() {
    let ((mut client, inside), (mut server, outside)) = (pair().await, pair().await);
    client.write_all(b"all of it").await.unwrap();
    client.shutdown().await.unwrap();
    inside.readable().await.unwrap();
    let copied = pump::copied((&inside, &outside), 3).await;
    assert_eq!(copied.unwrap(), 3);
    let mut got = [0; 3];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"all");
}
