//! The store of this machine's images and environments: whoever captures, loads or collects is
//! killed at random moments. Afterwards everything in it is sound, nothing is half there, and the next
//! attempt succeeds.
//!
//! `LAKEKEEP_KILLS` says how often; the seed is printed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;

use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Tar, diff_id};
use lakekeep_tests::{Place, Privilege, lakekeep, skip};
use serde_json::json;

const PYTHON: &str = "/usr/bin/python3";

/// How often something is killed in the short mode.
const KILLS: u64 = 12;

struct Random(u64);

impl Random {
    fn new() -> Random {
        let seed = std::hash::RandomState::new().build_hasher().finish() | 1;
        println!("seed {seed}");
        Random(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A store, and what is brought into it.
struct Stock {
    _place: Place,
    home: PathBuf,
    image: PathBuf,
}

impl Stock {
    fn new() -> Stock {
        let place = Place::new();
        let home = place.dir("home", Privilege::Root);
        let image = home.join("image");
        let stock = Stock {
            _place: place,
            home,
            image,
        };
        let made = stock
            .command(PYTHON)
            .args(["-m", "venv", "--without-pip"])
            .arg(stock.home.join("venv"))
            .status();
        assert!(made.unwrap().success());
        stock
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_remove("LAKEKEEP_SOCKET")
            .env("HOME", &self.home)
            .env("LAKEKEEP_STORE", self.home.join("store"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Another module, and another image.
    fn change(&self, number: u64) {
        let site = fs::read_dir(self.home.join("venv/lib")).unwrap().next();
        let site = site.unwrap().unwrap().path().join("site-packages");
        fs::write(site.join("changed.py"), format!("x = {number}\n")).unwrap();
        if self.image.exists() {
            fs::remove_dir_all(&self.image).unwrap();
        }
        layout(
            &self.image,
            format!("{number}\n").repeat(200_000).as_bytes(),
        );
    }

    fn words(&self, which: u64) -> Vec<String> {
        let python = self.home.join("venv/bin/python").display().to_string();
        let image = self.image.display().to_string();
        let words: &[&str] = match which {
            0 => &["env", "capture", "--python", &python],
            1 => &["image", "load", "--name", "app", &image],
            2 => &["env", "gc", "--keep", "0"],
            _ => &["store", "gc", "--images", "0", "--environments", "0"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn sound(&self, when: &str) {
        let mut fsck = self.command(lakekeep());
        fsck.args(["store", "fsck"]).stdout(Stdio::piped());
        let checked = fsck.output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success(), "{when}: {said}");
        let drafts = fs::read_dir(self.home.join("store/drafts")).unwrap();
        assert_eq!(drafts.count(), 0, "{when}");
    }
}

/// An OCI layout of one layer with one file.
fn layout(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.join("blobs/sha256")).unwrap();
    let put = |kind: &str, content: &[u8]| {
        let digest = diff_id(content);
        fs::write(path.join("blobs/sha256").join(digest.hex()), content).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest.to_string(),
            "size": content.len(),
        })
    };
    let layer = Tar::default()
        .file("data", std::str::from_utf8(content).unwrap())
        .end();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        _ => "arm64",
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [diff_id(&layer).to_string()] },
        "config": {},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "config": put("config.v1+json", config.to_string().as_bytes()),
        "layers": [put("layer.v1.tar", &layer)],
    });
    let manifest = put("manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn killed_at_any_moment_a_store_is_sound_and_goes_on() {
    if !Path::new(PYTHON).exists() {
        return skip("store_kills", "python", "there is no /usr/bin/python3");
    }
    let stock = Stock::new();
    let mut random = Random::new();
    let kills = std::env::var("LAKEKEEP_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut unfinished = 0;
    for kill in 0..kills {
        stock.change(kill);
        let which = random.below(4);
        let words = stock.words(which);
        let mut child = stock.command(lakekeep()).args(&words).spawn().unwrap();
        let until = Instant::now() + Duration::from_micros(random.below(250_000));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        unfinished += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        // The next attempt: it also opens the store, which sweeps.
        for words in [words, stock.words(0), stock.words(1)] {
            let done = stock.command(lakekeep()).args(&words).status().unwrap();
            assert!(done.success(), "kill {kill}: {words:?}");
        }
        stock.sound(&format!("kill {kill}"));
    }
    println!("{unfinished} of {kills} were killed before their end");
    assert!(unfinished * 4 > kills, "{unfinished} of {kills}");
}
