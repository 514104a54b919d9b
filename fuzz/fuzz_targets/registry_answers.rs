//! What registries and credential helpers answer, and docker's configuration. The first byte chooses which.
#![no_main]

use lakekeep_registry::wire::{self, Challenge, ContentRange};
use lakekeep_registry::{DockerConfig, Endpoint, HelperAnswer, Location};
use libfuzzer_sys::fuzz_target;

/// Two registries with TLS and one without.
const FROM: [&str; 3] = [
    "https://r.example/v2/",
    "http://localhost:5000/v2/",
    "http://r.example:5000/v2/",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match choice % 8 {
        0 => challenge(&text),
        1 => range(&text),
        2 => token(rest),
        3 => redirect(usize::from(choice / 8), &text),
        4 => endpoint(&text),
        5 => docker(rest),
        6 => drop(HelperAnswer::read(rest)),
        _ => told(rest, &text),
    }
});

/// A realm is asked only where it has TLS, or is as near as the registry.
fn challenge(text: &str) {
    let Some(Challenge::Bearer { realm, .. }) = wire::challenge(text) else {
        return;
    };
    for from in FROM {
        let Ok(home) = Location::absolute(from) else {
            unreachable!("{from}");
        };
        if let Ok(found) = Location::realm(home.origin(), &realm) {
            let near = home.origin().is_plain()
                && (found.origin() == home.origin() || found.origin().is_loopback());
            assert!(!found.origin().is_plain() || near, "{realm}");
        }
    }
}

fn range(text: &str) {
    if let Some(range) = ContentRange::read(text) {
        assert!(range.first <= range.last);
        assert!(range.total.is_none_or(|total| range.last < total));
    }
    wire::retry_after(text);
}

/// A token is one word of a header.
fn token(bytes: &[u8]) {
    if let Some(token) = wire::token_answer(bytes) {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// From TLS only to TLS; without a name; to a web server.
fn redirect(from: usize, text: &str) {
    let Ok(home) = Location::absolute(FROM[from % FROM.len()]) else {
        unreachable!();
    };
    let Ok(next) = home.redirect(text) else {
        return;
    };
    let scheme = next.uri().scheme_str();
    assert!(matches!(scheme, Some("http" | "https")));
    let authority = next.uri().authority().map(|found| found.as_str());
    assert!(authority.is_some_and(|found| !found.contains('@')));
    if next.origin().is_plain() {
        let near = next.origin() == home.origin() || next.origin().is_loopback();
        assert!(home.origin().is_plain() && near, "{text}");
    }
}

/// An address reads back as itself, and leads to its own host.
fn endpoint(text: &str) {
    let Ok(endpoint) = text.parse::<Endpoint>() else {
        return;
    };
    assert_eq!(
        endpoint.to_string().parse::<Endpoint>(),
        Ok(endpoint.clone())
    );
    let url = endpoint.url("/v2/a/manifests/b");
    if let Ok(location) = Location::absolute(&url) {
        assert_eq!(*location.origin(), endpoint.origin(), "{url}");
    }
}

/// A helper's name is no path; nothing is shown.
fn docker(bytes: &[u8]) {
    let Some(config) = DockerConfig::read(bytes) else {
        return;
    };
    for key in ["index.docker.io", "r.example:5000"] {
        if let Some(name) = config.helper(key) {
            assert!(!name.is_empty() && !name.contains('/'));
        }
        if let Some(credentials) = config.credentials(key) {
            assert_eq!(format!("{credentials:?}"), "Credentials");
        }
    }
}

/// Words of strangers are short and steer no terminal.
fn told(bytes: &[u8], text: &str) {
    for shown in [wire::told(bytes), wire::shown(text)] {
        assert!(shown.chars().count() <= 200);
        assert!(!shown.chars().any(char::is_control));
    }
}
