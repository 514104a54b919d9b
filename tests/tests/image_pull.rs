//! Images pulled from registries that behave: what is fetched, what is not, as whom, and from which mirror.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
#[allow(dead_code, unused_imports, reason = "the rest is for other tests")]
mod pull;

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lakekeep_tests::{Place, Privilege, Run, for_each_privilege};
use pull::{Asked, Content, OCI_INDEX, OCI_MANIFEST, Puller, Quirk, Registry, Reply, architecture};
use pull::{blob, noise, said, shell};
use serde_json::json;

/// base64 of `user:pass word`.
const LOGIN: &str = "dXNlcjpwYXNzIHdvcmQ=";

fn user(place: &Place) -> Puller {
    Puller::new(place, Privilege::User)
}

#[test]
fn an_image_is_pulled_once_and_run() {
    for_each_privilege("pull_and_run", |privilege| {
        let place = Place::new();
        let puller = Puller::new(&place, privilege);
        let layers = [
            shell().end(),
            noise(1, 3 << 20),
            noise(2, 3 << 20),
            noise(1, 3 << 20),
        ];
        let registry = Registry::honest(Content::image(&layers));
        let name = registry.name("latest");
        let first = puller.pulled(&name, &["--plain-http"]);
        assert_eq!(
            (&first["layers"], &first["fetched_layers"]),
            (&json!(4), &json!(3))
        );
        let fetched: usize = layers[..3].iter().map(Vec::len).sum();
        assert_eq!(first["fetched_bytes"], json!(fetched));
        // Again: one question, nothing fetched.
        let gets = registry.gets("/");
        let second = puller.pulled(&name, &["--plain-http"]);
        assert_eq!(
            (&second["fetched_layers"], &second["digest"]),
            (&json!(0), &first["digest"])
        );
        assert_eq!(registry.gets("/"), gets);
        let run = Run::new(&place, privilege)
            .environment("LAKEKEEP_STORE", puller.store.to_str().unwrap())
            .flags(["--image", &name])
            .command(["/bin/sh", "-c", "test -e /noise-2 && echo inside"])
            .finish();
        run.assert_code(0);
        assert_eq!(run.stdout, b"inside\n", "{}", run.text());
        puller.assert_sound();
        assert_eq!(puller.partial(), [0; 0]);
    });
}

#[test]
fn a_layer_that_is_unpacked_is_not_fetched() {
    let place = Place::new();
    let puller = user(&place);
    let layers = [shell().end(), noise(3, 1 << 20)];
    let registry = Registry::honest(Content::image(&layers));
    puller.pulled(&registry.name("latest"), &["--plain-http"]);
    // The same layers in other files: compressed ones have other digests.
    let mut other = Content::default();
    let packed: Vec<_> = layers.iter().map(|layer| gzip(layer)).collect();
    let kind = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let described: Vec<_> = packed.iter().map(|layer| other.blob(kind, layer)).collect();
    let manifest = other.manifest_of(&pull::config(&layers), &described);
    other.tag("latest", OCI_MANIFEST, &manifest);
    let second = Registry::honest(other);
    let pulled = puller.pulled(&second.name("latest"), &["--plain-http"]);
    assert_eq!(pulled["fetched_layers"], json!(0));
    puller.assert_sound();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

#[test]
fn of_an_index_the_image_for_this_machine_is_taken() {
    let place = Place::new();
    let puller = user(&place);
    let mut content = Content::image(&[shell().end()]);
    let manifest = content.tags["latest"].1.clone();
    let other = content.blob(OCI_MANIFEST, b"of another machine");
    let here = json!({ "os": "linux", "architecture": architecture() });
    let there = json!({ "os": "linux", "architecture": "s390x" });
    let size = content.blobs[&manifest].len();
    let entry = |digest: &str, size: usize, platform| json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": platform });
    let entries = [
        entry(other["digest"].as_str().unwrap(), 18, there),
        entry(&manifest, size, here),
    ];
    // Two deep.
    let inner =
        json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }).to_string();
    let inner_digest = content.tag("inner", OCI_INDEX, inner.as_bytes());
    let outer = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": OCI_INDEX, "digest": inner_digest, "size": inner.len() }] });
    let outer = content.tag("outer", OCI_INDEX, outer.to_string().as_bytes());
    let registry = Registry::honest(content);
    let pulled = puller.pulled(&registry.name("outer"), &["--plain-http"]);
    assert_eq!(pulled["digest"], json!(manifest));
    let pinned = format!("{}/app@{outer}", registry.address);
    let pulled = puller.pulled(&pinned, &["--plain-http"]);
    assert_eq!(
        (&pulled["digest"], &pulled["fetched_layers"]),
        (&json!(manifest), &json!(0))
    );
    assert!(puller.names().contains(&outer));
}

#[test]
fn a_registry_that_cannot_head_is_asked_whole() {
    let place = Place::new();
    let puller = user(&place);
    let no_head: Quirk =
        Arc::new(|asked| (asked.method == "HEAD").then(|| Reply::status(405, &[], b"")));
    let registry = Registry::new(Content::image(&[shell().end()]), no_head);
    puller.pulled(&registry.name("latest"), &["--plain-http"]);
    assert_eq!(registry.gets("manifests/"), 1);
}

#[test]
fn a_registry_on_this_machine_may_do_without_tls() {
    let place = Place::new();
    let puller = user(&place);
    let registry = Registry::honest(Content::image(&[shell().end()]));
    puller.pulled(&registry.name("latest"), &[]);
}

/// Ends each answer after this many bytes, until all is there.
fn in_pieces(bytes: Vec<u8>, piece: usize) -> Quirk {
    Arc::new(move |asked: &Asked| {
        let ("blobs", digest) = asked.what() else {
            return None;
        };
        if digest != common::diff_id(&bytes).to_string() {
            return None;
        }
        let Reply::Plain(code, headers, body) = blob(&bytes, asked) else {
            return None;
        };
        let mut head = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in &headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let end = piece.min(body.len());
        Reply::bytes([head.as_bytes(), b"\r\n", &body[..end]].concat())
    })
}

#[test]
fn what_breaks_off_is_gone_on_with() {
    let place = Place::new();
    let puller = user(&place);
    let large = noise(4, 8 << 20);
    let content = Content::image(std::slice::from_ref(&large));
    let registry = Registry::new(content, in_pieces(large.clone(), 2 << 20));
    let pulled = puller.pulled(&registry.name("latest"), &["--plain-http"]);
    // Nothing twice.
    assert_eq!(pulled["fetched_bytes"], json!(large.len()));
    let asked = registry.asked();
    let ranges: Vec<_> = asked.iter().map(|asked| asked.header("range")).collect();
    assert!(ranges.contains(&"bytes=2097152-"), "{ranges:?}");
    puller.assert_sound();
}

#[test]
fn a_beginning_that_was_damaged_is_fetched_anew() {
    let place = Place::new();
    let puller = user(&place);
    let large = noise(5, 4 << 20);
    let content = Content::image(std::slice::from_ref(&large));
    let digest = common::diff_id(&large);
    let registry = Registry::honest(content);
    assert_eq!(puller.names(), "");
    let beginning = puller
        .store
        .join(format!("partial/sha256-{}", digest.hex()));
    std::fs::write(&beginning, vec![0; 1 << 20]).unwrap();
    std::os::unix::fs::chown(&beginning, Some(Privilege::User.uid()), None).unwrap();
    puller.pulled(&registry.name("latest"), &["--plain-http"]);
    let asked = registry.asked();
    let ranges: Vec<_> = asked.iter().map(|asked| asked.header("range")).collect();
    assert!(ranges.contains(&"bytes=1048576-"), "{ranges:?}");
    puller.assert_sound();
    assert_eq!(puller.partial(), [0; 0]);
}

/// Refuses whoever does not log in with [`LOGIN`].
fn demanding() -> Quirk {
    Arc::new(|asked| {
        let wanted = format!("Basic {LOGIN}");
        (asked.header("authorization") != wanted)
            .then(|| Reply::status(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], b""))
    })
}

/// A pull with `pass word` on standard input.
fn with_password(puller: &Puller, name: &str, more: &[&str]) -> std::process::Output {
    let words = [
        "image",
        "pull",
        name,
        "--plain-http",
        "--username",
        "user",
        "--password-stdin",
    ];
    let mut child = puller
        .command(&[&words[..], more].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"pass word\n")
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn logins_come_from_the_command_line_a_configuration_or_a_helper() {
    let place = Place::new();
    let puller = user(&place);
    let registry = Registry::new(Content::image(&[shell().end()]), demanding());
    let name = registry.name("latest");
    let refused = puller.pull(&name, &["--plain-http"]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(
        said(&refused).contains("docker login"),
        "{}",
        said(&refused)
    );
    let given = with_password(&puller, &name, &[]);
    assert!(given.status.success(), "{}", said(&given));
    assert!(!said(&given).contains("pass word"));

    let auths = json!({ "auths": { registry.address.to_string(): { "auth": LOGIN } } });
    let file = place.file("config.json", Privilege::User, auths.to_string());
    puller.pulled(
        &name,
        &["--plain-http", "--docker-config", file.to_str().unwrap()],
    );

    let answer = json!({ "ServerURL": "x", "Username": "user", "Secret": "pass word" });
    let helper = format!(
        "#!/bin/sh\nread -r server\ntest \"$1 $server\" = 'get {}' && echo '{answer}'\n",
        registry.address
    );
    let programs = place.dir("bin", Privilege::User);
    let program = programs.join("docker-credential-mine");
    std::fs::write(&program, helper).unwrap();
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let helpers = json!({ "credHelpers": { registry.address.to_string(): "mine" } });
    let file = place.file("helpers.json", Privilege::User, helpers.to_string());
    let words = [
        "image",
        "pull",
        &name,
        "--plain-http",
        "--docker-config",
        file.to_str().unwrap(),
    ];
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let helped = puller.command(&words).env("PATH", path).output().unwrap();
    assert!(helped.status.success(), "{}", said(&helped));
}

#[test]
fn tokens_are_got_once_for_reading_one_repository() {
    let place = Place::new();
    let puller = user(&place);
    let tokens = Arc::new(AtomicUsize::new(0));
    let counted = tokens.clone();
    let quirk: Quirk = Arc::new(move |asked: &Asked| {
        if asked.path.starts_with("/token") {
            counted.fetch_add(1, Ordering::Relaxed);
            let wanted = "/token?x=y&service=s%20s&scope=repository%3Aapp%3Apull";
            let good =
                asked.path == wanted && asked.header("authorization") == format!("Basic {LOGIN}");
            let code = if good { 200 } else { 403 };
            return Some(Reply::status(code, &[], br#"{"token":"a.b.c"}"#));
        }
        let realm = format!("http://{}/token?x=y", asked.header("host"));
        let challenge = format!(
            "Bearer realm=\"{realm}\",service=\"s s\",scope=\"repository:other:pull,push\""
        );
        (asked.header("authorization") != "Bearer a.b.c")
            .then(|| Reply::status(401, &[("WWW-Authenticate", &challenge)], b""))
    });
    let layers: Vec<_> = (0..6).map(|seed| noise(10 + seed, 1 << 20)).collect();
    let registry = Registry::new(Content::image(&layers), quirk);
    let pulled = with_password(&puller, &registry.name("latest"), &[]);
    assert!(pulled.status.success(), "{}", said(&pulled));
    assert_eq!(tokens.load(Ordering::Relaxed), 1);
}

#[test]
fn a_login_is_not_told_to_another_host() {
    let place = Place::new();
    let puller = user(&place);
    let content = Content::image(&[noise(20, 1 << 20)]);
    let elsewhere = Registry::honest(content.clone());
    let address = elsewhere.address;
    let sends: Quirk = Arc::new(move |asked: &Asked| {
        let to = format!("http://{address}{}", asked.path);
        demanding()(asked).or_else(|| {
            (asked.what().0 == "blobs").then(|| Reply::status(307, &[("Location", &to)], b""))
        })
    });
    let registry = Registry::new(content, sends);
    let pulled = with_password(&puller, &registry.name("latest"), &[]);
    assert!(pulled.status.success(), "{}", said(&pulled));
    // The login was sent, where it belongs; and the other one was asked.
    let sent = |registry: &Registry| {
        registry
            .asked()
            .iter()
            .filter(|asked| !asked.header("authorization").is_empty())
            .count()
    };
    assert!(sent(&registry) >= 3);
    assert!(elsewhere.gets("blobs/") >= 2);
    assert_eq!(sent(&elsewhere), 0);
}

#[test]
fn mirrors_are_asked_first_in_their_order_and_not_believed() {
    let place = Place::new();
    let puller = user(&place);
    let layer = noise(21, 1 << 20);
    let content = Content::image(std::slice::from_ref(&layer));
    let registry = Registry::new(content.clone(), demanding());
    // The first lies about the layer; the second has the documents alone.
    let lies: Quirk = Arc::new(move |asked: &Asked| {
        let length = layer.len();
        let is_layer = asked.path.ends_with(&common::diff_id(&layer).to_string());
        is_layer.then(|| Reply::status(200, &[], &vec![7; length]))
    });
    let liar = Registry::new(content.clone(), lies);
    let forgetful: Quirk =
        Arc::new(|asked| (asked.what().0 == "blobs").then(|| Reply::status(404, &[], b"")));
    let second = Registry::new(content, forgetful);
    let mirrors = [liar.address, second.address].map(|address| format!("http://{address}"));
    let more = ["--mirror", &mirrors[0], "--mirror", &mirrors[1]];
    let pulled = with_password(&puller, &registry.name("latest"), &more);
    assert!(pulled.status.success(), "{}", said(&pulled));
    assert!(liar.gets("blobs/") >= 2);
    assert!(second.gets("blobs/") >= 1);
    assert_eq!(registry.gets("manifests/"), 0);
    assert!(registry.gets("blobs/") >= 1);
    // The login was for the registry.
    let mirrors = liar.asked().into_iter().chain(second.asked());
    assert_eq!(
        mirrors
            .filter(|asked| !asked.header("authorization").is_empty())
            .count(),
        0
    );
    puller.assert_sound();

    // The same from a file; one that nobody answers at is passed over.
    let place = Place::new();
    let other = user(&place);
    let settings = format!(
        "[registry.\"registry.invalid\"]\nmirrors = [\"http://127.0.0.1:1\", \"http://{}\"]\n",
        registry.address
    );
    let file = place.file("registries.toml", Privilege::User, settings);
    let auths = json!({ "auths": { registry.address.to_string(): { "auth": LOGIN } } });
    let logins = place.file("config.json", Privilege::User, auths.to_string());
    let more = [
        "--config",
        file.to_str().unwrap(),
        "--docker-config",
        logins.to_str().unwrap(),
    ];
    other.pulled("registry.invalid/app", &more);
}

#[test]
fn a_registry_that_is_busy_is_asked_again() {
    let place = Place::new();
    let puller = user(&place);
    let count = Arc::new(AtomicUsize::new(0));
    let busy: Quirk = Arc::new(move |_: &Asked| {
        let nth = count.fetch_add(1, Ordering::Relaxed);
        let wait = [("Retry-After", "0")];
        nth.is_multiple_of(2)
            .then(|| Reply::status(if nth == 0 { 429 } else { 503 }, &wait, b""))
    });
    let registry = Registry::new(Content::image(&[shell().end()]), busy);
    puller.pulled(
        &registry.name("latest"),
        &["--plain-http", "--parallel", "1"],
    );
}

#[test]
fn run_asks_a_registry_only_when_told_to() {
    let place = Place::new();
    let puller = user(&place);
    let registry = Registry::honest(Content::image(&[shell().end()]));
    let name = registry.name("latest");
    let run = |when: &[&str]| {
        Run::new(&place, Privilege::User)
            .environment("LAKEKEEP_STORE", puller.store.to_str().unwrap())
            .flags(["--image", &name])
            .flags(when)
            .command(["/bin/sh", "-c", "echo inside"])
            .finish()
    };
    let never = run(&[]);
    never.assert_code(125);
    assert!(
        never.stderr.contains(&format!("image pull {name}")),
        "{}",
        never.stderr
    );
    assert_eq!(registry.asked().len(), 0);
    for (when, more) in [
        ("missing", true),
        ("missing", false),
        ("always", true),
        ("never", false),
    ] {
        let before = registry.asked().len();
        let ran = run(&["--pull", when]);
        ran.assert_code(0);
        assert_eq!(ran.stdout, b"inside\n");
        assert_eq!(registry.asked().len() > before, more, "{when}");
    }
}
