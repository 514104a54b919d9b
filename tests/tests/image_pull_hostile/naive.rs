//! Clients that do as they are told: what a registry's answers do to them.

use std::process::{Command, Output};

use lakekeep_tests::skip;

use crate::case::{layer, layer_digest};
use crate::pull::{Registry, said};

/// Whether such a client came to harm.
pub type Proof = fn(&Registry) -> bool;

/// How long a client that would wait for ever is left alone.
const PATIENCE: &str = "3";

/// How long one that ends may take on a busy machine.
const LONG: &str = "30";

/// curl(1)'s code for a transfer that did not end in time.
const TOO_LATE: i32 = 28;

/// timeout(1)'s code for what it ended.
const ENDED: i32 = 124;

/// Whether there are such clients here; otherwise a skip was reported.
pub fn available() -> bool {
    let missing = ["curl", "skopeo", "python3"].into_iter().find(|client| {
        let found = Command::new(client).arg("--version").output();
        !found.is_ok_and(|output| output.status.success())
    });
    if let Some(client) = missing {
        skip(
            "hostile registries",
            client,
            "it is not installed, and shows no harm",
        );
    }
    missing.is_none()
}

fn layer_url(registry: &Registry) -> String {
    format!(
        "http://{}/v2/app/blobs/{}",
        registry.address,
        layer_digest()
    )
}

fn manifest_url(registry: &Registry) -> String {
    format!("http://{}/v2/app/manifests/latest", registry.address)
}

/// curl, which goes wherever it is sent.
fn curl(url: &str, words: &[&str]) -> Output {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--verbose",
        "--fail",
        "--location",
    ])
    .args([
        "--max-redirs",
        "-1",
        "--proto-redir",
        "=all",
        "--max-time",
        PATIENCE,
    ])
    .args(words)
    .arg(url)
    // Nothing of whoever runs the tests.
    .env("CURL_HOME", "/")
    .env("no_proxy", "*");
    curl.output().unwrap()
}

/// skopeo(1), of version 1, on a registry without TLS.
fn skopeo(registry: &Registry, words: &[&str], to: &[&str]) -> Output {
    let mut skopeo = Command::new("skopeo");
    skopeo
        .args(["--command-timeout", "5s", "--insecure-policy"])
        .args(words)
        .arg(format!("docker://{}", registry.name("latest")))
        .args(to)
        .env("HOME", "/nonexistent")
        .env("no_proxy", "*");
    skopeo.output().unwrap()
}

/// It has other bytes than the digest says, and takes them for the layer.
pub fn takes_layer(registry: &Registry) -> bool {
    let taken = curl(&layer_url(registry), &[]);
    taken.status.success() && taken.stdout != layer()
}

/// What it is sent does not end where the layer does.
pub fn is_flooded(registry: &Registry) -> bool {
    let slowly = ["--limit-rate", "4M"];
    curl(&layer_url(registry), &slowly).stdout.len() > 4 * layer().len()
}

/// It waits for a layer, and would wait for ever.
pub fn waits_for_layer(registry: &Registry) -> bool {
    curl(&layer_url(registry), &[]).status.code() == Some(TOO_LATE)
}

/// It waits for a manifest, and would wait for ever.
pub fn waits_for_manifest(registry: &Registry) -> bool {
    curl(&manifest_url(registry), &[]).status.code() == Some(TOO_LATE)
}

/// It asks again when it is told to, and that is not soon.
pub fn waits_as_told(registry: &Registry) -> bool {
    let mut patient = Command::new("timeout");
    patient.args([PATIENCE, "curl", "--silent", "--fail", "--retry", "1"]);
    patient.arg(manifest_url(registry));
    patient.output().unwrap().status.code() == Some(ENDED)
}

/// It is sent on and on.
pub fn goes_in_circles(registry: &Registry) -> bool {
    curl(&layer_url(registry), &[]);
    registry.asked().len() > 20
}

/// It gives a file of its own machine for the layer.
pub fn reads_file_for_layer(registry: &Registry) -> bool {
    curl(&layer_url(registry), &[]).stdout.starts_with(b"root:")
}

/// It gives a file of its own machine for the manifest.
pub fn reads_file_for_manifest(registry: &Registry) -> bool {
    curl(&manifest_url(registry), &[])
        .stdout
        .starts_with(b"root:")
}

fn tries(registry: &Registry, place: &str) -> bool {
    said(&curl(&layer_url(registry), &[])).contains(&format!("Trying {place}"))
}

/// It speaks to a port of its own machine's.
pub fn goes_to_own_port(registry: &Registry) -> bool {
    tries(registry, "127.0.0.1:1...")
}

/// It speaks to its own machine's HTTP server.
pub fn goes_to_own_server(registry: &Registry) -> bool {
    tries(registry, "127.0.0.1:80...")
}

/// It sends what it asks for, readable for everybody on the way, to another host.
pub fn goes_to_other_host(registry: &Registry) -> bool {
    tries(registry, "192.0.2.1:80...")
}

/// It asks the cloud's own service, which gives out logins.
pub fn goes_to_cloud(registry: &Registry) -> bool {
    tries(registry, "169.254.169.254:80...")
}

/// Of two places it takes one; another client takes the other.
pub fn chooses_a_place(registry: &Registry) -> bool {
    curl(&layer_url(registry), &[]);
    registry
        .asked()
        .iter()
        .any(|asked| asked.path == "/a" || asked.path == "/b")
}

/// What it was told of before is not what came.
pub fn is_told_otherwise(registry: &Registry) -> bool {
    let announced = said(&curl(&manifest_url(registry), &["--head"]));
    let came = curl(&manifest_url(registry), &[]).stdout;
    announced.contains("Content-Length: 2") && came.len() > 2
}

fn python(seconds: &str, script: &str, url: &str) -> Output {
    let mut python = Command::new("timeout");
    python.args([seconds, "python3", "-c", script, url]);
    python.env("no_proxy", "*").output().unwrap()
}

/// What it reads is no answer yet, for ever.
pub fn waits_for_an_answer(registry: &Registry) -> bool {
    let script = "import sys, urllib.request\nurllib.request.urlopen(sys.argv[1])";
    let waited = python(PATIENCE, script, &manifest_url(registry));
    waited.status.code() == Some(ENDED)
}

/// It goes on where it was, and takes for the rest whatever comes.
pub fn goes_on_wrongly(registry: &Registry) -> bool {
    let script = "import http.client, sys, urllib.request\n\
        try: have = urllib.request.urlopen(sys.argv[1]).read()\n\
        except http.client.IncompleteRead as cut: have = cut.partial\n\
        range = {'Range': f'bytes={len(have)}-'}\n\
        have += urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=range)).read()\n\
        sys.stdout.buffer.write(have)";
    let taken = python(LONG, script, &layer_url(registry));
    taken.status.success() && taken.stdout != layer()
}

/// Two clients take different bytes for the layer.
pub fn is_read_differently(registry: &Registry) -> bool {
    let script = "import sys, urllib.request\n\
        sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())";
    let first = python(LONG, script, &layer_url(registry));
    let second = curl(&layer_url(registry), &[]);
    first.status.success() && second.status.success() && first.stdout != second.stdout
}

/// A parser that calls itself runs out of its stack.
pub fn is_too_deep(registry: &Registry) -> bool {
    let script = "import json, sys, urllib.request\n\
        json.load(urllib.request.urlopen(sys.argv[1]))";
    said(&python(LONG, script, &manifest_url(registry))).contains("RecursionError")
}

/// The whole image is taken.
pub fn takes_image(registry: &Registry) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let to = format!("dir:{}", folder.path().display());
    let copied = skopeo(registry, &["copy", "--src-tls-verify=false"], &[&to]);
    copied.status.success()
}

fn asks_for_token(registry: &Registry) -> String {
    said(&skopeo(registry, &["inspect", "--tls-verify=false"], &[]))
}

/// It asks for a token, readable for everybody on the way, at another host.
pub fn asks_other_host_for_token(registry: &Registry) -> bool {
    asks_for_token(registry).contains("http://192.0.2.1/token")
}

/// It is sent elsewhere with its question for a token, and goes.
pub fn asks_own_port_for_token(registry: &Registry) -> bool {
    asks_for_token(registry).contains("127.0.0.1:1:")
}

/// It uses a login that the registry has chosen.
pub fn uses_foreign_login(registry: &Registry) -> bool {
    asks_for_token(registry);
    let asked = registry.asked();
    let mut tokens = asked
        .iter()
        .filter(|asked| asked.path.starts_with("/token"));
    // base64 of `a:b`.
    tokens.any(|asked| asked.header("authorization") == "Basic YTpi")
}
