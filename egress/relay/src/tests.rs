//! Streams through the gate and the pump, between sockets of the test's own.

use std::sync::Arc;
use std::time::Duration;

use lakekeep_egress_inspect::{Inspector, Refusal};
use lakekeep_egress_rules::Streams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::gate::{Gate, Passed};
use crate::pump::{self, Bounds, Carried, End};

const LONG: Duration = Duration::from_secs(30);

/// The two ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn bounds(idle: Duration) -> Bounds<'static> {
    Bounds {
        idle,
        out: None,
        back: None,
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself_and_all_bytes_are_counted() {
    let ((mut client, inside), (outside, mut server)) = (pair().await, pair().await);
    let carried = Arc::new(Carried::new());
    let counts = Arc::clone(&carried);
    let pump =
        tokio::spawn(async move { pump::carry(&inside, &outside, &counts, bounds(LONG)).await });
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
    assert_eq!(pump.await.unwrap(), End::Closed);
    assert_eq!(carried.bytes(), (1 << 20, 9));
}

#[tokio::test]
async fn a_flow_that_says_nothing_ends() {
    let ((_client, inside), (outside, _server)) = (pair().await, pair().await);
    let idle = Duration::from_millis(50);
    let carried = Carried::new();
    let ended = pump::carry(&inside, &outside, &carried, bounds(idle)).await;
    assert_eq!(ended, End::Idle);
    assert!(carried.age() >= idle);
}

/// What the server got of what the client said, and what the gate said of it.
async fn through_the_gate(said: &[u8], patience: Duration) -> (Vec<u8>, Passed) {
    let ((mut client, inside), (outside, mut server)) = (pair().await, pair().await);
    let carried = Carried::new();
    client.write_all(said).await.unwrap();
    let gate = Gate {
        inside: &inside,
        outside: &outside,
        carried: &carried,
        patience,
        bounds: bounds(patience),
    };
    let mut inspector = Inspector::new("pypi.example".parse().unwrap(), Streams::HELD);
    let passed = gate.pass(&mut inspector).await;
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
