//! What one user does to the store of their machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use lakekeep_tests::{Place, Privilege};

use crate::pull::{Content, Puller, Registry, noise, said};
use crate::{Operation, PYTHON, kills};

/// A store, and what is brought into it: of each kind two, which have much in common.
pub struct Stock {
    user: Puller,
    registry: Registry,
    // Last: it goes when everything in it has gone.
    _place: Place,
}

impl Stock {
    pub fn new() -> Stock {
        let place = Place::new();
        let user = Puller::new(&place, Privilege::User);
        let common = noise(1, 4 << 20);
        let image = |seed| {
            Content::image(&[
                common.clone(),
                noise(seed, 4 << 20),
                noise(seed + 1, 1 << 20),
            ])
        };
        let mut served = image(10);
        let other = image(20);
        served
            .tags
            .insert("other".to_owned(), other.tags["latest"].clone());
        served.blobs.extend(other.blobs);
        served.kinds.extend(other.kinds);
        for (name, seed) in [("first", 30), ("second", 40)] {
            image(seed).layout(&place.dir(name, Privilege::User));
            let made = user
                .program(PYTHON)
                .args(["-m", "venv", "--without-pip"])
                .arg(user.home().join(name))
                .status();
            assert!(made.unwrap().success());
        }
        Stock {
            registry: Registry::honest(served),
            user,
            _place: place,
        }
    }

    fn layout(&self, name: &str) -> String {
        self._place.path().join(name).display().to_string()
    }

    fn python(&self, name: &str) -> String {
        let python = self.user.home().join(name).join("bin/python");
        python.display().to_string()
    }

    /// Forgets what was known of files by their stat: all is read again.
    fn know_nothing(&self) {
        // There is none before the first capture.
        fs::remove_dir_all(self.user.home().join(".cache")).ok();
    }

    /// What a command says that succeeds.
    fn done(&self, words: &[String]) -> String {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = self.user.lakekeep(&words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

/// Pull, load, capture and collect.
pub fn operations(stock: &Stock) -> Vec<Box<dyn Operation + '_>> {
    let pulled = ["latest", "other"].map(|tag| stock.registry.name(tag));
    let pulls = pulled.map(|name| {
        let pull = ["image", "pull", "--plain-http", "--quiet", &name];
        Brought::image(stock, words(&pull), &name)
    });
    let loads = ["first", "second"].map(|name| {
        let load = ["image", "load", "--name", name, &stock.layout(name)];
        Brought::image(stock, words(&load), name)
    });
    let captures = ["first", "second"].map(|name| {
        let capture = ["env", "capture", "--python", &stock.python(name)];
        Brought::environment(stock, words(&capture))
    });
    let all: Vec<Brought> = [&pulls[..], &loads, &captures].concat();
    vec![
        Bring::boxed("pull", stock, pulls),
        Bring::boxed("load", stock, loads),
        Bring::boxed("capture", stock, captures),
        Box::new(Collect::new(stock, all)),
    ]
}

/// What a command brings into the store, and how it is removed.
#[derive(Clone)]
struct Brought {
    words: Vec<String>,
    forget: Vec<Vec<String>>,
    /// What the command says: the digest.
    said: String,
    /// How long it took: all read, and what is known by its stat not read.
    whole: [Duration; 2],
}

impl Brought {
    fn new(
        stock: &Stock,
        words: Vec<String>,
        forget: impl FnOnce(&str) -> Vec<Vec<String>>,
    ) -> Brought {
        let mut brought = Brought {
            said: stock.done(&words),
            words,
            forget: Vec::new(),
            whole: [Duration::ZERO; 2],
        };
        brought.forget = forget(brought.said.trim());
        stock.know_nothing();
        for known in 0..2 {
            brought.forget(stock);
            let begun = Instant::now();
            brought.bring(stock);
            brought.whole[known] = begun.elapsed();
        }
        brought.forget(stock);
        brought
    }

    fn image(stock: &Stock, load: Vec<String>, name: &str) -> Brought {
        Brought::new(stock, load, |_| {
            vec![words(&["image", "rm", name]), words(&["image", "gc"])]
        })
    }

    fn environment(stock: &Stock, capture: Vec<String>) -> Brought {
        Brought::new(stock, capture, |digest| vec![words(&["env", "rm", digest])])
    }

    fn bring(&self, stock: &Stock) {
        assert_eq!(stock.done(&self.words), self.said, "{:?}", self.words);
    }

    /// Removes it, if it is there.
    fn forget(&self, stock: &Stock) {
        for words in &self.forget {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            stock.user.lakekeep(&words);
        }
        let digest = self.said.split_whitespace().last().unwrap();
        let left = [["image", "ls"], ["env", "ls"]].map(|list| stock.done(&words(&list)));
        assert!(!left.concat().contains(digest), "{digest} is still there");
    }
}

fn kill(stock: &Stock, words: &[String], after: Duration) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = stock.user.command(&words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    kills::kill_after(&mut command.spawn().unwrap(), after)
}

fn fsck(stock: &Stock, store: &Path) -> Output {
    stock
        .user
        .lakekeep(&["store", "fsck", "--store", &store.display().to_string()])
}

/// One of two things is brought into the store.
struct Bring<'a> {
    name: &'static str,
    stock: &'a Stock,
    ways: [Brought; 2],
    next: usize,
}

impl<'a> Bring<'a> {
    fn boxed(name: &'static str, stock: &'a Stock, ways: [Brought; 2]) -> Box<dyn Operation + 'a> {
        Box::new(Bring {
            name,
            stock,
            ways,
            next: 0,
        })
    }
}

impl Operation for Bring<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, dice: &mut fastrand::Rng) -> Duration {
        self.next = dice.usize(..self.ways.len());
        let brought = &self.ways[self.next];
        brought.forget(self.stock);
        let known = dice.usize(..2);
        if known == 0 {
            self.stock.know_nothing();
        }
        brought.whole[known]
    }

    fn kill(&self, _: &mut fastrand::Rng, after: Duration) -> bool {
        kill(self.stock, &self.ways[self.next].words, after)
    }

    fn again(&self) {
        self.ways[self.next].bring(self.stock);
    }

    fn stores(&self) -> Vec<PathBuf> {
        vec![self.stock.user.store.clone()]
    }

    fn fsck(&self, store: &Path) -> Output {
        fsck(self.stock, store)
    }
}

/// Everything is removed.
struct Collect<'a> {
    stock: &'a Stock,
    all: Vec<Brought>,
    whole: Duration,
}

impl<'a> Collect<'a> {
    fn new(stock: &'a Stock, all: Vec<Brought>) -> Self {
        for brought in &all {
            brought.bring(stock);
        }
        let mut collect = Collect {
            stock,
            all,
            whole: Duration::ZERO,
        };
        let begun = Instant::now();
        collect.again();
        collect.whole = begun.elapsed();
        collect
    }

    fn words() -> Vec<String> {
        words(&["store", "gc", "--images", "0", "--environments", "0"])
    }
}

impl Operation for Collect<'_> {
    fn name(&self) -> &'static str {
        "collect"
    }

    fn prepare(&mut self, _: &mut fastrand::Rng) -> Duration {
        for brought in &self.all {
            brought.bring(self.stock);
        }
        self.whole
    }

    fn kill(&self, _: &mut fastrand::Rng, after: Duration) -> bool {
        kill(self.stock, &Self::words(), after)
    }

    fn again(&self) {
        self.stock.done(&Self::words());
        for folder in ["blobs", "folders"] {
            let kinds =
                ["sha256", "blake3"].map(|kind| self.stock.user.store.join(folder).join(kind));
            let left: Vec<PathBuf> = kinds.iter().flat_map(|kind| crate::entries(kind)).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    fn stores(&self) -> Vec<PathBuf> {
        vec![self.stock.user.store.clone()]
    }

    fn fsck(&self, store: &Path) -> Output {
        fsck(self.stock, store)
    }
}
