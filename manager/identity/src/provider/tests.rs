//! Issuers that behave, and issuers that do not.

use std::time::Duration;

use serde_json::json;

use super::server::{Answer, Server};
use super::*;
use crate::config::{AuthConfig, AuthDoc};
use crate::jwt::KeySetError;
use crate::testkit::{Signer, claims};

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Keys are young for 600 s, serve for 3600 s more, and are asked for at most
/// every 30 s.
pub(super) fn config(url: &str) -> AuthConfig {
    let text = format!(
        "[[jwt]]\nissuer = \"{url}\"\naudiences = [\"lakekeep\"]\nuser_prefix = \"c:\"\n\
         algorithms = [\"ES256\"]\nallow_insecure_loopback = true\nmax_token_age_seconds = 604800"
    );
    let doc: AuthDoc = toml::from_str(&text).unwrap();
    doc.check().unwrap()
}

fn issuers(url: &str) -> JwtAuthenticators {
    JwtAuthenticators::new(&config(url)).unwrap()
}

/// A token that is good for long after `now`.
pub(super) fn token(signer: &Signer, url: &str, kid: &str, now: Now) -> String {
    let mut claims = claims();
    claims["iss"] = json!(url);
    claims["iat"] = json!(now.unix.seconds());
    claims["nbf"] = json!(now.unix.seconds());
    claims["exp"] = json!(now.unix.seconds() + 100_000);
    signer.token(&json!({"alg": "ES256", "kid": kid}), &claims)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Why the issuer could not be asked.
pub(super) async fn unreachable(
    issuers: &JwtAuthenticators,
    token: &str,
    now: Now,
) -> ProviderError {
    match issuers.authenticate(token, now).await.unwrap_err() {
        JwtAuthError::Unreachable { source, .. } => source,
        other => panic!("{other}"),
    }
}

/// Why the keys are not fetched when the issuer answers so.
async fn refused(path: &str, answer: Answer) -> ProviderError {
    let (server, signer) = (Server::start().await, Signer::p256());
    server.publish(&[signer.jwk("k")]);
    server.answer(path, answer);
    let now = Now::read();
    unreachable(
        &issuers(&server.url),
        &token(&signer, &server.url, "k", now),
        now,
    )
    .await
}

pub(super) fn fetch(error: ProviderError) -> FetchError {
    match error {
        ProviderError::Fetch { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn keys_are_found_and_kept() {
    let (server, signer) = (Server::start().await, Signer::p256());
    server.publish(&[signer.jwk("k")]);
    let (issuers, now) = (issuers(&server.url), Now::read());
    let token = token(&signer, &server.url, "k", now);
    for later in [0, 1, 599] {
        let verified = issuers
            .authenticate(&token, now.plus(seconds(later)))
            .await
            .unwrap();
        assert_eq!(verified.principal().user().as_str(), "c:alice");
    }
    assert_eq!((server.asked(DISCOVERY), server.asked("/keys")), (1, 1));
    issuers
        .authenticate(&token, now.plus(seconds(601)))
        .await
        .unwrap();
    assert_eq!(server.asked("/keys"), 2);
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_an_old_one_forgotten() {
    let (server, old, new) = (Server::start().await, Signer::p256(), Signer::p256());
    server.publish(&[old.jwk("old")]);
    let (issuers, now) = (issuers(&server.url), Now::read());
    let old_token = token(&old, &server.url, "old", now);
    issuers.authenticate(&old_token, now).await.unwrap();
    server.publish(&[new.jwk("new")]);
    let later = now.plus(seconds(31));
    let new_token = token(&new, &server.url, "new", now);
    issuers.authenticate(&new_token, later).await.unwrap();
    let error = issuers.authenticate(&old_token, later).await.unwrap_err();
    assert!(matches!(
        error,
        JwtAuthError::Token(TokenError::UnknownKey { .. })
    ));
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_no_flood_of_requests() {
    let (server, signer) = (Server::start().await, Signer::p256());
    server.publish(&[signer.jwk("k")]);
    let (issuers, now) = (issuers(&server.url), Now::read());
    issuers
        .authenticate(&token(&signer, &server.url, "k", now), now)
        .await
        .unwrap();
    let later = now.plus(seconds(40));
    for number in 0..100 {
        let token = token(&signer, &server.url, &format!("k{number}"), now);
        let error = issuers.authenticate(&token, later).await.unwrap_err();
        assert!(matches!(
            error,
            JwtAuthError::Token(TokenError::UnknownKey { .. })
        ));
    }
    assert_eq!(server.asked("/keys"), 2);
}

#[tokio::test]
async fn a_token_that_no_key_could_save_asks_nobody() {
    let (server, signer) = (Server::start().await, Signer::p256());
    server.publish(&[signer.jwk("k")]);
    let (issuers, now) = (issuers(&server.url), Now::read());
    let foreign = token(&signer, "https://other.example", "k", now);
    assert!(issuers.authenticate(&foreign, now).await.is_err());
    let algorithm = signer.token(&json!({"alg": "RS256"}), &json!({"iss": server.url}));
    assert!(issuers.authenticate(&algorithm, now).await.is_err());
    assert!(issuers.authenticate("a.b.c", now).await.is_err());
    assert_eq!(server.asked(DISCOVERY), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_one_request() {
    let (server, signer) = (Server::start().await, Signer::p256());
    server.publish(&[signer.jwk("k")]);
    let (issuers, now) = (Arc::new(issuers(&server.url)), Now::read());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (issuers, token) = (issuers.clone(), token(&signer, &server.url, "k", now));
        tasks.spawn(async move { issuers.authenticate(&token, now).await.is_ok() });
    }
    assert!(tasks.join_all().await.into_iter().all(|good| good));
    assert_eq!((server.asked(DISCOVERY), server.asked("/keys")), (1, 1));
}

#[tokio::test]
async fn while_the_issuer_is_down_old_keys_serve_for_a_while() {
    let (server, signer) = (Server::start().await, Signer::p256());
    server.publish(&[signer.jwk("k")]);
    let (issuers, now) = (issuers(&server.url), Now::read());
    let token = token(&signer, &server.url, "k", now);
    issuers.authenticate(&token, now).await.unwrap();
    server.answer(DISCOVERY, Answer::Raw(Vec::new()));
    for later in [700, 4199] {
        issuers
            .authenticate(&token, now.plus(seconds(later)))
            .await
            .unwrap();
    }
    let asked = server.asked(DISCOVERY);
    unreachable(&issuers, &token, now.plus(seconds(4201))).await;
    // Asked a moment ago: the answer is the last one's, without another request.
    assert_eq!(server.asked(DISCOVERY), asked);
    server.publish(&[signer.jwk("k")]);
    issuers
        .authenticate(&token, now.plus(seconds(4300)))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_issuer_that_is_down_is_asked_once_in_a_while() {
    let (server, signer) = (Server::start().await, Signer::p256());
    let (issuers, now) = (issuers(&server.url), Now::read());
    let token = token(&signer, &server.url, "k", now);
    for later in [0, 1, 29] {
        let error = unreachable(&issuers, &token, now.plus(seconds(later))).await;
        assert_eq!(fetch(error), FetchError::Status { code: 404 });
    }
    assert_eq!(server.asked(DISCOVERY), 1);
    server.publish(&[signer.jwk("k")]);
    issuers
        .authenticate(&token, now.plus(seconds(31)))
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_listening_is_a_typed_error() {
    // Bound, so that nobody else gets the port, and not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let signer = Signer::p256();
    let now = Now::read();
    let error = unreachable(&issuers(&url), &token(&signer, &url, "k", now), now).await;
    assert!(matches!(fetch(error), FetchError::Connect { .. }));
}

#[tokio::test]
async fn a_silent_issuer_is_given_up() {
    let (server, signer) = (Server::start().await, Signer::p256());
    server.answer(DISCOVERY, Answer::Silence);
    let mut config = config(&server.url);
    config.jwt[0].times.timeout = Duration::from_millis(50);
    let (issuers, now) = (JwtAuthenticators::new(&config).unwrap(), Now::read());
    let error = unreachable(&issuers, &token(&signer, &server.url, "k", now), now).await;
    assert_eq!(fetch(error), FetchError::TimedOut { seconds: 0.05 });
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_end_the_fetch() {
    let (server, signer) = (Server::start().await, Signer::p256());
    server.publish(&[signer.jwk("k")]);
    let (issuers, now) = (issuers(&server.url), Now::read());
    let token = token(&signer, &server.url, "k", now);
    {
        let mut gone = std::pin::pin!(issuers.authenticate(&token, now));
        // Begun, and dropped before there can be an answer.
        let poll =
            std::future::poll_fn(|context| std::task::Poll::Ready(gone.as_mut().poll(context)));
        assert!(poll.await.is_pending());
    }
    issuers.authenticate(&token, now).await.unwrap();
    assert_eq!(server.asked(DISCOVERY), 1);
}

#[tokio::test]
async fn huge_answers_are_cut_off() {
    for path in [DISCOVERY, "/keys"] {
        let error = refused(path, Answer::Body(vec![b' '; 300 * 1024])).await;
        assert_eq!(fetch(error), FetchError::TooLarge, "{path}");
    }
    // Without a length that would tell.
    let raw = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 300 * 1024]].concat();
    assert_eq!(
        fetch(refused("/keys", Answer::Raw(raw)).await),
        FetchError::TooLarge
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for code in [301, 302, 307, 308] {
        let target = Server::start().await;
        let answer = format!(
            "HTTP/1.1 {code} X\r\nlocation: {}/elsewhere\r\ncontent-length: 0\r\n\r\n",
            target.url
        );
        let error = refused("/keys", Answer::Raw(answer.into_bytes())).await;
        assert_eq!(fetch(error), FetchError::Redirect { code });
        assert_eq!(target.asked("/elsewhere"), 0);
    }
}

#[tokio::test]
async fn another_issuers_description_is_refused() {
    let body = br#"{"issuer":"https://other.example","jwks_uri":"https://other.example/k"}"#;
    let error = refused(DISCOVERY, Answer::Body(body.to_vec())).await;
    assert!(matches!(error, ProviderError::Discovery { .. }), "{error}");
}

#[tokio::test]
async fn broken_documents_are_refused() {
    let error = refused(DISCOVERY, Answer::Body(b"<html>".to_vec())).await;
    assert!(matches!(error, ProviderError::Discovery { .. }), "{error}");
    let error = refused("/keys", Answer::Body(b"{}".to_vec())).await;
    let source = match error {
        ProviderError::Keys { source, .. } => source,
        other => panic!("{other}"),
    };
    assert_eq!(source, KeySetError::NoKeys);
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec();
    assert!(matches!(
        fetch(refused("/keys", Answer::Raw(short)).await),
        FetchError::Broken { .. }
    ));
    let noise = b"SSH-2.0-x\r\n\r\n".to_vec();
    assert!(matches!(
        fetch(refused("/keys", Answer::Raw(noise)).await),
        FetchError::Connect { .. }
    ));
}

#[tokio::test]
async fn without_an_issuer_no_token_is_taken() {
    let config = AuthDoc::default().check().unwrap();
    let issuers = JwtAuthenticators::new(&config).unwrap();
    assert!(issuers.is_empty());
    let error = issuers
        .authenticate("a.b.c", Now::read())
        .await
        .unwrap_err();
    assert_eq!(error, JwtAuthError::NotConfigured);
}

#[tokio::test]
async fn a_missing_file_of_authorities_is_named() {
    let mut config = config("http://127.0.0.1:1");
    config.jwt[0].ca_file = Some("/no/such/ca.pem".into());
    let error = JwtAuthenticators::new(&config).unwrap_err().to_string();
    assert!(error.contains("/no/such/ca.pem"), "{error}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    config.jwt[0].ca_file = Some(empty.path().to_owned());
    let error = JwtAuthenticators::new(&config).unwrap_err().to_string();
    assert!(error.contains("no certificate"), "{error}");
}
