//! The provider: installed, started, asked for tokens, and ended.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lakekeep_identity::{AuthConfig, AuthDoc, JwtAuthError, JwtAuthenticators, Now, TokenError};
use lakekeep_tests::skip;
use serde_json::Value;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc_provider");
const CACHE: &str = env!("CARGO_TARGET_TMPDIR");
/// `spark:a-secret-of-this-test`.
const BASIC: &str = "c3Bhcms6YS1zZWNyZXQtb2YtdGhpcy10ZXN0";

/// A provider that runs until it is dropped.
pub struct Provider {
    process: Child,
    issuer: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Gone already, if it failed.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Starts a provider, or reports why there is none.
pub fn provider(test: &str) -> Option<Provider> {
    match installed().and_then(|folder| start(&folder)) {
        Ok(provider) => Some(provider),
        Err(reason) => {
            skip(test, "node", &reason);
            None
        }
    }
}

/// A folder with the provider and its packages, made once for each lock file.
fn installed() -> Result<PathBuf, String> {
    runs("node")?;
    runs("npm")?;
    let lock = fs::read(Path::new(SOURCES).join("package-lock.json")).unwrap();
    let folder = Path::new(CACHE).join(format!("oidc-provider-{:016x}", fnv(&lock)));
    if !folder.is_dir() {
        install(&folder)?;
    }
    fs::copy(
        Path::new(SOURCES).join("provider.mjs"),
        folder.join("provider.mjs"),
    )
    .unwrap();
    Ok(folder)
}

fn runs(program: &str) -> Result<(), String> {
    let found = Command::new(program).arg("--version").output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program} --version: {}", output.status)),
        Err(error) => Err(format!("{program} does not run: {error}")),
    }
}

/// FNV-1a, to name a folder after a lock file.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Installs beside, then renames: tests of other processes see all or nothing.
fn install(folder: &Path) -> Result<(), String> {
    let beside = tempfile::tempdir_in(CACHE).unwrap();
    for file in ["package.json", "package-lock.json"] {
        fs::copy(Path::new(SOURCES).join(file), beside.path().join(file)).unwrap();
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(beside.path())
        .output()
        .unwrap();
    if !npm.status.success() {
        let text = String::from_utf8_lossy(&npm.stderr);
        let last = text.lines().rfind(|line| !line.is_empty());
        return Err(format!("npm ci failed: {}", last.unwrap_or_default()));
    }
    match fs::rename(beside.path(), folder) {
        // Another test was faster.
        Err(_) if folder.is_dir() => Ok(()),
        moved => moved.map_err(|error| format!("{}: {error}", folder.display())),
    }
}

fn start(folder: &Path) -> Result<Provider, String> {
    let mut process = Command::new("node")
        .arg("provider.mjs")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("node: {error}"))?;
    let mut line = String::new();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).expect("the provider says where it is");
    let issuer = said["issuer"].as_str().unwrap().to_owned();
    Ok(Provider { process, issuer })
}

impl Provider {
    /// An access token of the client `spark`.
    pub fn token(&self, audience: &str, algorithm: &str) -> String {
        let host = self.issuer.strip_prefix("http://").unwrap();
        let resource = format!("urn:lakekeep:{audience}:{algorithm}");
        let body = format!("grant_type=client_credentials&resource={resource}");
        let request = format!(
            "POST /token HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic {BASIC}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(body).unwrap();
        answer["access_token"].as_str().expect(body).to_owned()
    }

    fn config(&self, algorithms: &str) -> AuthConfig {
        let text = format!(
            "[[jwt]]\nissuer = \"{}\"\naudiences = [\"lakekeep\"]\nuser_prefix = \"oidc:\"\n\
             groups_claim = \"groups\"\nallow_insecure_loopback = true\nalgorithms = {algorithms}",
            self.issuer
        );
        let doc: AuthDoc = toml::from_str(&text).unwrap();
        doc.check().unwrap()
    }

    pub fn issuers(&self, algorithms: &str) -> JwtAuthenticators {
        JwtAuthenticators::new(&self.config(algorithms)).unwrap()
    }
}

/// Why a token was refused.
pub async fn refused(issuers: &JwtAuthenticators, token: &str, now: Now) -> TokenError {
    match issuers.authenticate(token, now).await.unwrap_err() {
        JwtAuthError::Token(error) => error,
        other => panic!("{other}"),
    }
}
