//! What a sender is asked for tells nothing of other senders.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_environment::{Digest, Holdings, Manifest, NotTaken};

fn manifest(contents: &[&str]) -> Manifest {
    let python = Digest::of(b"python");
    let mut text = format!(
        "lakekeep-environment\t1\npython\t/srv/python\tv\ts\tl\tm\nprefix\t/srv\t/srv\n\
         file\tx\t{python}\t6\t/srv/python\ntree\t/srv/tree\n"
    );
    for (number, content) in contents.iter().enumerate() {
        let digest = Digest::of(content.as_bytes());
        text.push_str(&format!("f\t{digest}\t{}\tf{number}\n", content.len()));
    }
    Manifest::parse(text.as_bytes()).unwrap()
}

fn send(holdings: &mut Holdings, manifest: &Manifest) {
    let mut challenge = holdings.challenge(manifest);
    let wanted: Vec<(Digest, u64)> = challenge
        .wanted()
        .map(|(digest, length)| (*digest, length))
        .collect();
    for (digest, length) in wanted {
        holdings.take(&mut challenge, digest, length).unwrap();
    }
    assert!(challenge.is_met());
}

#[test]
fn a_domain_is_asked_for_what_it_has_not_sent_each_once() {
    let mut alice = Holdings::default();
    let first = manifest(&["a", "b", "a"]);
    assert_eq!(alice.challenge(&first).wanted().count(), 3);
    assert!(!alice.suffice(&first));
    send(&mut alice, &first);
    assert!(alice.suffice(&first));
    assert!(alice.challenge(&first).is_met());
    let second = manifest(&["a", "c"]);
    let challenge = alice.challenge(&second);
    let wanted: Vec<_> = challenge.wanted().collect();
    assert_eq!(wanted, [(&Digest::of(b"c"), 1)]);
}

#[test]
fn what_another_domain_sent_shows_in_no_answer() {
    let secret = manifest(&["the competitor's model"]);
    let (mut alice, mallory) = (Holdings::default(), Holdings::default());
    let before = mallory.challenge(&secret);
    send(&mut alice, &secret);
    assert_eq!(mallory.challenge(&secret), before);
    // To name a content is not to have it.
    assert!(!mallory.suffice(&secret));
}

#[test]
fn what_was_not_asked_for_is_not_taken() {
    let mut alice = Holdings::default();
    let wanted = manifest(&["a"]);
    let mut challenge = alice.challenge(&wanted);
    let other = Digest::of(b"other");
    let refused = alice.take(&mut challenge, other, 5);
    assert_eq!(refused, Err(NotTaken::NotAsked { digest: other }));
    let digest = Digest::of(b"a");
    let refused = alice.take(&mut challenge, digest, 2);
    assert!(matches!(
        refused,
        Err(NotTaken::Length {
            found: 2,
            wanted: 1,
            ..
        })
    ));
    alice.take(&mut challenge, digest, 1).unwrap();
    let again = alice.take(&mut challenge, digest, 1);
    assert_eq!(again, Err(NotTaken::NotAsked { digest }));
    assert!(!alice.suffice(&wanted));
}
