//! What is made next, without anything that makes it.

use std::time::{Duration, Instant};

use lakekeep_protocol::Channel;
use lakekeep_protocol::facts::{LimitFacts, ProcessFacts};
use lakekeep_protocol::launch::Created;
use lakekeep_sandbox::service::Held;
use lakekeep_sys::socket;

use super::shape::tests::plan;
use super::*;
use crate::metrics::Metrics;

fn stock(per_shape: usize, most: usize) -> Stock {
    let metrics = Metrics::new();
    let launchers = Launchers::start(vec!["/nowhere".into()], &metrics.launchers).unwrap();
    let doc = ParkedDoc {
        per_shape,
        most,
        ..ParkedDoc::default()
    };
    Stock::new(doc, launchers, metrics.parked.clone())
}

fn of(memory: &str) -> Divided {
    let limits = format!("[limits]\nmemory = \"{memory}\"\n");
    divide(&plan("1", &limits), 0).unwrap()
}

fn next(stock: &Stock) -> Option<Shape> {
    stock.0.next(Instant::now()).0.map(|(shape, ..)| shape)
}

/// One whose init lives for as long as the socket that is given back is open.
fn made(stock: &Stock) -> (Parked, std::os::fd::OwnedFd) {
    let (ours, theirs) = socket::pair().unwrap();
    let (pidfd, alive) = socket::pair().unwrap();
    drop(theirs);
    let parked = Parked {
        id: "1".to_owned(),
        launcher: stock.0.launchers.idlest().unwrap(),
        held: Held {
            created: Created {
                init: ProcessFacts::default(),
                id_range: (0, 0),
                limits: LimitFacts::default(),
                unmapped_mounts: Vec::new(),
            },
            init: Channel::new(ours),
            pidfd,
            egress: None,
        },
        zygote: None,
    };
    (parked, alive)
}

#[tokio::test]
async fn each_request_earns_one_and_no_more() {
    let (stock, small) = (stock(2, 64), of("64MiB"));
    assert_eq!(next(&stock), None);
    assert!(stock.take(&small, || None).is_none());
    assert_eq!(next(&stock), Some(small.shape));
    let (parked, _alive) = made(&stock);
    stock.0.shelve(small.shape, Some(parked)).await;
    assert_eq!(next(&stock), None, "one was asked for");
    assert!(stock.take(&small, || None).is_some());
    assert_eq!(next(&stock), Some(small.shape));
    for _ in 0..10 {
        assert!(stock.take(&small, || None).is_none());
    }
    let mut held = Vec::new();
    while next(&stock).is_some() {
        let (parked, alive) = made(&stock);
        held.push(alive);
        stock.0.shelve(small.shape, Some(parked)).await;
    }
    assert_eq!(held.len(), 2, "a burst earns as many as may be kept");
}

#[tokio::test]
async fn what_fails_is_not_tried_again_at_once() {
    let (stock, small) = (stock(2, 64), of("64MiB"));
    assert!(stock.take(&small, || None).is_none());
    stock.0.shelve(small.shape, None).await;
    let (next, again) = stock.0.next(Instant::now());
    assert!(next.is_none());
    assert!(again > Duration::ZERO && again <= AFTER_FAILURE);
    let later = Instant::now() + AFTER_FAILURE;
    assert!(stock.0.next(later).0.is_some());
}

#[tokio::test]
async fn a_claim_that_failed_takes_the_others_away_for_a_while() {
    let (stock, small) = (stock(2, 64), of("64MiB"));
    assert!(stock.take(&small, || None).is_none());
    let (parked, _alive) = made(&stock);
    stock.0.shelve(small.shape, Some(parked)).await;
    stock.spoiled(small.shape).await;
    assert_eq!(stock.0.count(), 0);
    assert!(stock.take(&small, || None).is_none());
    assert_eq!(next(&stock), None);
    let later = Instant::now() + AFTER_FAILURE;
    assert!(stock.0.next(later).0.is_some());
}

#[tokio::test]
async fn the_dead_are_not_given_and_are_made_again() {
    let (stock, small) = (stock(1, 64), of("64MiB"));
    assert!(stock.take(&small, || None).is_none());
    let (parked, alive) = made(&stock);
    stock.0.shelve(small.shape, Some(parked)).await;
    drop(alive);
    stock.tidy(Instant::now()).await;
    assert_eq!(stock.0.count(), 0);
    assert_eq!(next(&stock), Some(small.shape));
}

#[tokio::test]
async fn what_was_asked_for_least_lately_makes_room_and_is_forgotten_in_time() {
    let (stock, small, large) = (stock(1, 1), of("64MiB"), of("128MiB"));
    assert!(stock.take(&small, || None).is_none());
    let (parked, _alive) = made(&stock);
    stock.0.shelve(small.shape, Some(parked)).await;
    assert!(stock.take(&large, || None).is_none());
    assert_eq!(next(&stock), Some(large.shape));
    assert!(stock.0.crowd_out(large.shape).is_some());
    assert_eq!(stock.0.count(), 0);
    assert!(stock.0.crowd_out(large.shape).is_none());
    let minutes = Duration::from_secs(60 * u64::from(stock.0.doc.minutes));
    stock.tidy(Instant::now() + minutes).await;
    assert_eq!(next(&stock), None);
}

#[tokio::test]
async fn none_are_made_where_none_are_wanted() {
    let (stock, small) = (stock(0, 64), of("64MiB"));
    assert!(stock.take(&small, || None).is_none());
    assert_eq!(next(&stock), None);
    stock.fill().await;
}
