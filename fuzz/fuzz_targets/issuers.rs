//! What comes from whoever vouches for others: an issuer's keys and its description,
//! and a client's certificate. The first byte of an input chooses.
#![no_main]

use lakekeep_fuzz::identity::printable;
use lakekeep_identity::{KeySet, SubjectSource, certificate_subject, parse_discovery};
use libfuzzer_sys::fuzz_target;

const ISSUER: &str = "https://issuer.example";

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => keys(rest),
        1 => discovery(rest, false),
        2 => discovery(rest, true),
        _ => certificate(rest),
    }
});

fn keys(bytes: &[u8]) {
    match KeySet::parse(bytes) {
        Ok(keys) => assert!(!keys.is_empty() && keys.len() <= bytes.len()),
        Err(error) => printable(&error.to_string()),
    }
}

/// Keys are fetched over TLS, or from this very machine where that was allowed.
fn discovery(bytes: &[u8], loopback: bool) {
    match parse_discovery(bytes, ISSUER, loopback) {
        Ok(url) => {
            let plain = ["http://127.", "http://localhost", "http://[::1]"];
            // Of no case (RFC 3986, 3.1 and 3.2.2).
            let lower = url.to_ascii_lowercase();
            let near = loopback && plain.iter().any(|start| lower.starts_with(start));
            assert!(lower.starts_with("https://") || near, "{url:?}");
            printable(&url);
        }
        Err(error) => printable(&error.to_string()),
    }
}

fn certificate(der: &[u8]) {
    let sources = [
        SubjectSource::SanUri {
            prefix: "spiffe://example.org/user/".to_owned(),
        },
        SubjectSource::SanDns,
        SubjectSource::SanEmail,
        SubjectSource::CommonName,
    ];
    for source in &sources {
        match certificate_subject(der, source) {
            Ok(subject) => assert!(!subject.as_str().is_empty()),
            Err(error) => printable(&error.to_string()),
        }
    }
}
