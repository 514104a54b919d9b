//! Where registries send one, and names that are none.

use lakekeep_tests::{Place, Privilege};

use crate::case::{Case, case, is_layer, is_manifest, layer, layer_digest, refused};
use crate::naive;
use crate::pull::{Content, Puller, Registry, Reply, said};

/// Sends whoever asks for the layer elsewhere.
fn sends(name: &'static str, word: &'static str, to: &str) -> Case {
    let to = to.to_owned();
    case(name, word, move |asked| {
        is_layer(asked).then(|| Reply::status(307, &[("Location", &to)], b""))
    })
}

#[test]
fn redirects() {
    refused(
        "no client goes there",
        vec![
            sends(
                "in a circle",
                "more than 5 times",
                &format!("/v2/app/blobs/{}", layer_digest()),
            )
            .harms(naive::goes_in_circles),
            sends("to a file", "no address", "file:///etc/passwd")
                .harms(naive::reads_file_for_layer),
            sends("to a directory service", "no address", "ldap://127.0.0.1/x"),
            sends(
                "to a host without a scheme",
                "no address",
                "//127.0.0.1:1/x",
            )
            .harms(naive::goes_to_own_port),
            sends(
                "to a name with a password",
                "user name",
                "http://a:b@127.0.0.1:1/x",
            )
            .harms(naive::goes_to_own_port),
            sends(
                "to another host without TLS",
                "everybody on the way",
                "http://192.0.2.1/x",
            )
            .harms(naive::goes_to_other_host),
            sends(
                "to the cloud's own",
                "everybody on the way",
                "http://169.254.169.254/latest/meta-data/",
            )
            .harms(naive::goes_to_cloud),
            sends("nowhere", "no address", ""),
            sends(
                "to a port that is none",
                "no address",
                "http://127.0.0.1:99999/x",
            ),
            sends(
                "very far",
                "no address",
                &format!("http://127.0.0.1/{}", "x".repeat(10_000)),
            )
            .harms(naive::goes_to_own_server),
            sends(
                "where nobody answers",
                "cannot be reached",
                "http://127.0.0.1:1/x",
            ),
            case("without a place", "does not say where", |asked| {
                is_layer(asked).then(|| Reply::status(302, &[], b""))
            }),
            case("to two places", "does not say where", |asked| {
                is_layer(asked)
                    .then(|| Reply::status(302, &[("Location", "/a"), ("Location", "/b")], b""))
            })
            .harms(naive::chooses_a_place),
            case("on and on", "more than 5 times", |asked| {
                let count = asked.path.len();
                let to = format!("/{}", "x".repeat(count));
                Some(Reply::status(301, &[("Location", &to)], b""))
            })
            .harms(naive::goes_in_circles),
            case("a manifest from a file", "no address", |asked| {
                is_manifest(asked)
                    .then(|| Reply::status(308, &[("Location", "file:///etc/passwd")], b""))
            })
            .harms(naive::reads_file_for_manifest),
        ],
    );
}

#[test]
fn names_that_are_none() {
    let place = Place::new();
    let puller = Puller::new(&place, Privilege::User);
    let registry = Registry::honest(Content::image(&[layer()]));
    let host = registry.address.to_string();
    let names = [
        "app:../../x",
        "app/../../etc:x",
        "app:%2e%2e",
        "app:a/b",
        "APP",
        "app:x\n",
        "app:",
        "../app",
        "a b",
        "user:pass@app",
        "app@sha256:12",
        "app@sha512:00",
        "app?x=y",
        "app#x",
        "app:x&y",
    ];
    for name in names {
        let pulled = puller.pull(&format!("{host}/{name}"), &["--plain-http"]);
        assert_eq!(pulled.status.code(), Some(125), "{name}: {}", said(&pulled));
        assert!(
            said(&pulled).contains("not an image's name"),
            "{name}: {}",
            said(&pulled)
        );
    }
    for mirror in [
        "ftp://x",
        "https://a:b@x",
        "http://m.example",
        "https://x/../y",
        "",
    ] {
        let pulled = puller.pull(&registry.name("latest"), &["--mirror", mirror]);
        assert_eq!(
            pulled.status.code(),
            Some(125),
            "{mirror}: {}",
            said(&pulled)
        );
        assert!(
            said(&pulled).contains("no address of a registry"),
            "{mirror}: {}",
            said(&pulled)
        );
    }
    assert_eq!(registry.asked().len(), 0);
}
