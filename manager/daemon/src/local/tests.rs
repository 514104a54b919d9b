//! Requests as code inside would write them, byte for byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use lakekeep_egress_rules::Service;
use lakekeep_protocol::Preamble;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::door::{Unanswered, hear};
use super::identity::Identity;
use super::{LocalService, all};
use crate::egress::Whose;
use crate::places::Full;

const HOST: &str = "identity.services.lakekeep.internal";

/// At one address of its own.
fn identity() -> Identity {
    Identity::at(vec!["169.254.169.254".parse().unwrap()])
}

/// What the identity service answers to this, until it closes.
async fn said(request: &str) -> String {
    let (mut near, far) = UnixStream::pair().unwrap();
    let whose = Arc::new(Whose::of("sandbox-1", "ann", "people", "lab"));
    let answering = identity().handle(far, whose);
    let asking = async {
        near.write_all(request.as_bytes()).await.unwrap();
        near.shutdown().await.unwrap();
        let mut said = String::new();
        near.read_to_string(&mut said).await.unwrap();
        said
    };
    tokio::join!(answering, asking).1
}

fn get(host: &str) -> String {
    format!("GET /v1/identity HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[track_caller]
fn assert_status(said: &str, status: u16, request: &str) {
    let line = format!("HTTP/1.1 {status} ");
    assert!(said.starts_with(&line), "{request:?}: {said}");
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{request:?}: {said}");
    assert_eq!(said.contains("ann"), status == 200, "{request:?}: {said}");
}

#[tokio::test]
async fn the_sandbox_is_told_whose_it_is() {
    let upper = HOST.to_uppercase();
    let with_port = format!("{HOST}:80");
    for host in [HOST, &with_port, &upper, "169.254.169.254"] {
        let said = said(&get(host)).await;
        assert_status(&said, 200, host);
        let (_, body) = said.split_once("\r\n\r\n").unwrap();
        let told: serde_json::Value = serde_json::from_str(body).unwrap();
        let expected = serde_json::json!({
            "sandbox": "sandbox-1", "user": "ann", "identity": "people", "profile": "lab",
            "task": null, "query": null,
        });
        assert_eq!(told, expected);
        assert!(said.contains("no-store"), "{said}");
    }
}

#[tokio::test]
async fn a_head_has_no_body_and_other_paths_and_methods_are_none() {
    let head = said(&get(HOST).replace("GET", "HEAD")).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"));
    for (from, to, status) in [
        ("/v1/identity", "/", 404),
        ("/v1/identity", "/v1/identity/", 404),
        ("/v1/identity", "/v1/../v1/identity", 404),
        ("GET", "PUT", 405),
        ("GET", "OPTIONS", 405),
    ] {
        let request = get(HOST).replace(from, to);
        assert_status(&said(&request).await, status, &request);
    }
}

/// A browser inside that was led here under another site's name says that name.
#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    for host in [
        "evil.example",
        "evil.example:80",
        "127.0.0.1",
        "169.254.170.2",
        "identity.services.lakekeep.internal.evil.example",
        "identity.services.lakekeep.internal:8080",
        "user@identity.services.lakekeep.internal",
    ] {
        let request = get(host);
        let said = said(&request).await;
        assert!(!said.contains("ann"), "{host}: {said}");
        assert!(said.starts_with("HTTP/1.1 4"), "{host}: {said}");
    }
    for target in [
        "http://evil.example/v1/identity",
        "https://identity.services.lakekeep.internal/v1/identity",
        "*",
    ] {
        let request = get(HOST).replace("/v1/identity", target);
        let said = said(&request).await;
        assert!(said.starts_with("HTTP/1.1 4"), "{target}: {said}");
        assert!(!said.contains("ann"), "{target}: {said}");
    }
    let own = get(HOST).replace("/v1", &format!("http://{HOST}/v1"));
    assert_status(&said(&own).await, 200, &own);
}

/// A client of the service's protocol is told in it, and when to come again.
#[tokio::test]
async fn who_comes_above_the_bounds_is_told_to_come_again() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let refusing = identity().refuse(far, Full::Peer(16));
    let asking = async {
        near.write_all(get(HOST).as_bytes()).await.unwrap();
        let mut said = String::new();
        near.read_to_string(&mut said).await.unwrap();
        said
    };
    let (_, said) = tokio::join!(refusing, asking);
    assert_status(&said, 503, HOST);
    let said = said.to_lowercase();
    assert!(said.contains("retry-after: 1\r\n"), "{said}");
    assert!(said.contains("connection: close\r\n"), "{said}");
    assert!(said.contains("16 connections"), "{said}");
}

/// Each of these has a second request within, which some reader would answer.
#[tokio::test]
async fn what_two_readers_take_apart_in_two_ways_ends_the_connection() {
    let second = get(HOST);
    let length = second.len();
    for fields in [
        format!("Content-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        "Transfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        format!("Content-Length: +{length}\r\n"),
        format!("Host: {HOST}\r\n"),
        "X: a\r\n b\r\n".to_owned(),
        "X: a\0b\r\n".to_owned(),
    ] {
        let first = get(HOST).replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
        let request = first + &second;
        assert_status(&said(&request).await, 400, &request);
    }
    // Two requests, one after the other, are just that.
    let both = said(&(get(HOST) + &second)).await;
    assert_eq!(both.matches("HTTP/1.1 200").count(), 2, "{both}");
}

#[tokio::test]
async fn what_is_no_request_of_http_1_1_is_answered_nothing_of_anybody() {
    let forged = Preamble::new("sandbox-2", "identity").unwrap().to_bytes();
    let forged = String::from_utf8(forged).unwrap();
    for request in [
        forged + &get(HOST),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        get(HOST).replace("HTTP/1.1", "HTTP/1.0"),
        "GET /v1/identity\r\n".to_owned(),
        get(HOST).replace("Host: ", "NoHost: "),
        get(HOST).replace(
            "\r\n\r\n",
            &format!("\r\nX: {}\r\n\r\n", "a".repeat(17 << 10)),
        ),
    ] {
        let said = said(&request).await;
        assert!(!said.contains(" 200 ") && !said.contains("ann"), "{said}");
    }
}

/// What a sandbox says after the preamble is not read with it.
#[tokio::test]
async fn a_preamble_is_read_and_not_a_byte_more() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let written = Preamble::new("sandbox-1", "identity").unwrap();
    near.write_all(&written.to_bytes()).await.unwrap();
    near.write_all(b"GET").await.unwrap();
    drop(near);
    assert_eq!(hear(&mut far).await.unwrap(), written);
    let mut rest = String::new();
    far.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "GET");
}

#[tokio::test]
async fn a_preamble_that_ends_or_is_none_is_refused() {
    for (bytes, cut) in [
        (&b"\x01\x02"[..], true),
        (b"\x01\x02\x02ab", true),
        (b"GET / HTTP", false),
    ] {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        near.write_all(bytes).await.unwrap();
        drop(near);
        let heard = hear(&mut far).await;
        assert_eq!(
            matches!(heard, Err(Unanswered::Socket(_))),
            cut,
            "{heard:?}"
        );
        assert_eq!(
            matches!(heard, Err(Unanswered::Preamble(_))),
            !cut,
            "{heard:?}"
        );
    }
}

#[test]
fn every_service_is_answered_and_no_two_have_one_address() {
    let fixed = ["169.254.169.254", "169.254.170.2"];
    let fixed = fixed.map(|one| (one.parse().unwrap(), Service::Identity));
    let services = all(&fixed.into());
    let names: Vec<Service> = services.iter().map(|one| one.service()).collect();
    assert_eq!(names, Service::ALL);
    let addresses = services.iter().flat_map(|one| one.addresses());
    let mut seen = BTreeSet::new();
    assert!(addresses.into_iter().all(|address| seen.insert(*address)));
    assert_eq!(seen.len(), 2);
}
