//! Answers that are no answers.

use std::io::Write;

use crate::case::{Case, case, drip, endless, is_layer, refused, wait};
use crate::naive;
use crate::pull::{Reply, noise};

/// Whatever is asked, this is what comes.
fn answers(name: &'static str, word: &'static str, bytes: Vec<u8>) -> Case {
    case(name, word, move |_| Reply::bytes(bytes.clone()))
}

/// They take their time, or never end.
fn slow_answers() -> Vec<Case> {
    vec![
        case("silence", "no answer came", |_| Reply::raw(wait)).harms(naive::waits_for_manifest),
        case("silence within a layer", "no more of its answer", |asked| {
            is_layer(asked).then(|| {
                Reply::raw(|stream| {
                    stream
                        .write_all(b"HTTP/1.1 200 X\r\nContent-Length: 67072\r\n\r\nx")
                        .ok();
                    wait(stream);
                })
            })?
        })
        .harms(naive::waits_for_layer),
        case("a few bytes at a time", "a few bytes at a time", |asked| {
            is_layer(asked).then(|| {
                Reply::raw(|stream| {
                    drip(stream, b"HTTP/1.1 200 X\r\nContent-Length: 67072\r\n\r\n")
                })
            })?
        })
        .harms(naive::waits_for_layer),
        case("a head a few bytes at a time", "no answer came", |_| {
            Reply::raw(|stream| drip(stream, b"HTTP/1.1 200 X\r\nX: "))
        })
        .harms(naive::waits_for_manifest),
        case("interim answers without an end", "", |_| {
            Reply::raw(|stream| endless(stream, "", b"HTTP/1.1 100 Continue\r\n\r\n"))
        })
        .harms(naive::waits_for_an_answer),
    ]
}

#[test]
fn answers_that_are_none() {
    let large = format!("HTTP/1.1 200 X\r\nX: {}\r\n\r\n", "y".repeat(200 << 10));
    let many = format!("HTTP/1.1 200 X\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    let folded = "HTTP/1.1 200 X\r\nA: b\r\n c\r\n\u{0}: x\r\n\r\n";
    let escapes = br#"{"errors":[{"code":"DENIED","message":"\u001b]0;evil\u0007\u202ex\n\nlakekeep: all is well"}]}"#;
    let mut cases = vec![
        answers("a large header", "not taken", large.into_bytes()),
        answers("many headers", "not taken", many.into_bytes()),
        answers("a NUL in a header", "not taken", folded.as_bytes().to_vec()),
        answers("no HTTP", "not taken", b"SSH-2.0-OpenSSH\r\n".to_vec()),
        answers("noise", "not taken", noise(9, 4096)),
        answers(
            "a version that is none",
            "not taken",
            b"HTTP/9.9 200 X\r\n\r\n".to_vec(),
        ),
        answers(
            "a status that is none",
            "not taken",
            b"HTTP/1.1 2000000 X\r\n\r\n".to_vec(),
        ),
        answers("nothing", "", Vec::new()),
        case("a switch of protocols", "", |_| {
            Some(Reply::status(101, &[("Upgrade", "x")], b""))
        }),
        case("later, in an hour", "429", |_| {
            Some(Reply::status(429, &[("Retry-After", "3600")], b""))
        })
        .harms(naive::waits_as_told),
        case("later, never", "503", |_| {
            Some(Reply::status(
                503,
                &[("Retry-After", "99999999999999999999")],
                b"",
            ))
        }),
        case("no", "403 (DENIED", move |asked| {
            // The answer to HEAD has no words.
            let code = if asked.method == "HEAD" { 405 } else { 403 };
            Some(Reply::status(code, &[], escapes))
        }),
        case("not there", "check the name and the tag", |_| {
            Some(Reply::status(404, &[], b""))
        }),
        case("a teapot", "418", |_| Some(Reply::status(418, &[], b""))),
    ];
    cases.extend(slow_answers());
    refused("it ends in an error for every client", cases);
}
