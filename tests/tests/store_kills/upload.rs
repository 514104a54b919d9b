//! What a user sends to a manager: either side is killed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lakekeep_tests::lakekeep;
use lakekeep_tests::manager::{ALICE, Machine, Manager, Setup, has_python};
use serde_json::Value;

use crate::{Operation, entries, kills};

const TEST: &str = "store_kills_upload";

/// One that takes environments. `None`: a skip was reported.
pub fn manager() -> Option<Manager> {
    has_python(TEST).then(|| Setup::new().start(TEST))?
}

/// An environment that is sent, of which the manager has something already, or nothing.
pub struct Upload<'m> {
    manager: &'m Manager,
    client: Machine<'m>,
    digest: String,
    bytes: u64,
    whole: Duration,
}

impl<'m> Upload<'m> {
    pub fn new(manager: &'m Manager) -> Self {
        let client = Machine::new(manager, ALICE, "alice");
        let begun = Instant::now();
        let told = client.push(&[]);
        Upload {
            manager,
            digest: digest(&told).to_owned(),
            bytes: number(&told, "bytes"),
            whole: begun.elapsed(),
            client,
        }
    }

    fn push(&self) -> Command {
        let mut push = self.client.command(lakekeep());
        push.args(["env", "push", "--python"])
            .arg(self.client.python());
        push.stdout(Stdio::null()).stderr(Stdio::null());
        push
    }
}

impl Operation for Upload<'_> {
    fn name(&self) -> &'static str {
        "upload"
    }

    fn prepare(&mut self, dice: &mut fastrand::Rng) -> Duration {
        // Nothing to remove is as well.
        drop(self.client.say(&["env", "rm", &self.digest]));
        if dice.bool() {
            // It has not been captured either.
            drop(self.client.say(&["env", "rm", "--local", &self.digest]));
        }
        self.whole
    }

    fn kill(&self, dice: &mut fastrand::Rng, after: Duration) -> bool {
        if dice.bool() {
            return kills::kill_after(&mut self.push().spawn().unwrap(), after);
        }
        let mut push = self.push().spawn().unwrap();
        let going = !kills::ends_within(&push, after);
        self.manager.kill_manager();
        // It fails, or has been fast enough. Who waits for the manager's processes may have reaped it.
        drop(push.wait());
        going
    }

    fn again(&self) {
        let told = self.client.push(&[]);
        assert_eq!(digest(&told), self.digest);
        assert_eq!(number(&told, "bytes"), self.bytes);
        let ran = self
            .client
            .run(&self.digest, "import lk_dist; print(lk_dist.version)");
        assert_eq!(ran, "1.0\n");
    }

    fn stores(&self) -> Vec<PathBuf> {
        let shelves = entries(&self.manager.kept().join("environments"));
        let mut stores: Vec<PathBuf> = shelves.iter().map(|shelf| shelf.join("store")).collect();
        stores.push(self.client.home().join(".local/share/lakekeep/store"));
        // A sender has one only once something is asked of it.
        stores.retain(|store| store.exists());
        stores
    }

    fn fsck(&self, store: &Path) -> Output {
        let owner = fs::metadata(store);
        let owner = owner.unwrap_or_else(|e| panic!("{}: {e}", store.display()));
        let mut fsck = Command::new(lakekeep());
        fsck.args(["store", "fsck", "--store"])
            .arg(store)
            .env_clear()
            .current_dir("/")
            .uid(owner.uid())
            .gid(owner.gid());
        fsck.output().unwrap()
    }
}

fn digest(told: &Value) -> &str {
    told["digest"].as_str().unwrap()
}

fn number(told: &Value, name: &str) -> u64 {
    told[name].as_u64().unwrap()
}
