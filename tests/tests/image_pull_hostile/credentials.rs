//! Questions for logins, and places that give tokens.

use crate::case::{Case, case, refused};
use crate::naive;
use crate::pull::Reply;

/// Wants a token from there.
fn realm(
    name: &'static str,
    word: &'static str,
    realm: &'static str,
    token: fn() -> Reply,
) -> Case {
    case(name, word, move |asked| {
        if asked.path.starts_with("/token") {
            return Some(token());
        }
        let realm = realm.replace("HOST", asked.header("host"));
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
        Some(Reply::status(401, &[("WWW-Authenticate", &challenge)], b""))
    })
}

fn no_token() -> Reply {
    Reply::status(200, &[], b"{}")
}

#[test]
fn questions_for_credentials() {
    let asks = |name, word, challenge: &'static str| {
        case(name, word, move |_| {
            Some(Reply::status(401, &[("WWW-Authenticate", challenge)], b""))
        })
    };
    refused(
        "no client has an answer, or it goes nowhere",
        vec![
            case("without saying how", "in a way that is not known", |_| {
                Some(Reply::status(401, &[], b""))
            }),
            asks("in an unknown way", "Negotiate", "Negotiate YII="),
            asks(
                "by a password that is not there",
                "docker login",
                "Basic realm=\"r\"",
            ),
            asks(
                "with two realms",
                "in a way that is not known",
                "Bearer realm=\"http://127.0.0.1/a\",realm=\"http://127.0.0.1/b\"",
            ),
            asks(
                "with a text without an end",
                "in a way that is not known",
                "Bearer realm=\"http://127.0.0.1/a",
            ),
            realm(
                "to another host without TLS",
                "everybody on the way",
                "http://192.0.2.1/token",
                no_token,
            )
            .harms(naive::asks_other_host_for_token),
            realm("to a file", "no address", "file:///etc/passwd", no_token),
            realm(
                "to a name with a password",
                "user name",
                "http://a:b@HOST/token",
                no_token,
            )
            .harms(naive::uses_foreign_login),
        ],
    );
}

#[test]
fn realms_that_give_nothing() {
    refused(
        "it ends in an error for every client",
        vec![
            realm(
                "where there is no token",
                "holds none",
                "http://HOST/token",
                no_token,
            ),
            realm(
                "where there is no JSON",
                "holds none",
                "http://HOST/token",
                || Reply::status(200, &[], b"<html>"),
            ),
            realm(
                "where the token is two headers",
                "holds none",
                "http://HOST/token",
                || Reply::status(200, &[], br#"{"token":"a\r\nX-Y: z"}"#),
            ),
            realm(
                "where the token is very long",
                "256 KiB",
                "http://HOST/token",
                || Reply::status(200, &[], &vec![b'x'; 1 << 20]),
            ),
            realm(
                "where the token is of no use",
                "refuses",
                "http://HOST/token",
                || Reply::status(200, &[], br#"{"token":"t"}"#),
            ),
            realm(
                "that sends elsewhere",
                "sends elsewhere",
                "http://HOST/token",
                || Reply::status(307, &[("Location", "http://127.0.0.1:1/")], b""),
            )
            .harms(naive::asks_own_port_for_token),
            realm("that refuses", "docker login", "http://HOST/token", || {
                Reply::status(401, &[], b"")
            }),
            realm("that breaks", "answers 500", "http://HOST/token", || {
                Reply::status(500, &[], b"")
            }),
        ],
    );
}
