//! A process that stores is killed at random moments: what it was told to be durable is
//! there and sound, and nothing else is.
//!
//! The test runs this file's ignored test as processes of their own, which print a line for each
//! acknowledgement. They are killed after a random number of lines and microseconds; the seed is printed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod kills;

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use crate::kills;
    use lakekeep_content::{Algorithm, Digest, Kind, Space, Store};

    const FOLDER: &str = "LAKEKEEP_CONTENT_TEST_FOLDER";
    /// How often, where nothing is said.
    const KILLS: u64 = 200;
    const IMAGES: Space = Space::new("images").unwrap();

    /// Stores files, trees and names until it is killed.
    #[test]
    #[ignore = "run by the test that kills it"]
    fn stores_for_ever() {
        let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
            panic!("{FOLDER} must name a folder");
        };
        let store = Store::open(&folder).unwrap();
        let mut out = std::io::stdout();
        // Behind what the test harness has written on this line.
        writeln!(out).unwrap();
        let mut dice = kills::dice();
        loop {
            let content = dice.u64(..).to_string().repeat(2000);
            let digest = store
                .put_bytes(content.as_bytes(), Algorithm::Sha256)
                .unwrap();
            writeln!(out, "ack blob {digest}").unwrap();
            let staging = store.stage().unwrap();
            let root = format!("/proc/self/fd/{}", staging.root().as_raw_fd());
            std::fs::create_dir(Path::new(&root).join("sub")).unwrap();
            std::fs::write(Path::new(&root).join("sub/file"), &content).unwrap();
            let tree = Digest::of(Algorithm::Blake3, content.as_bytes());
            drop(staging.commit(&tree).unwrap());
            writeln!(out, "ack folder {tree}").unwrap();
            store.set_name(IMAGES, "latest", &digest).unwrap();
            writeln!(out, "ack name {digest}").unwrap();
        }
    }

    fn killed(dice: &mut fastrand::Rng, folder: &Path) -> Vec<String> {
        // Somewhere within the next operation.
        let most = Duration::from_millis(4);
        kills::killed(
            dice,
            "tests::stores_for_ever",
            (FOLDER, folder),
            0..12,
            most,
        )
    }

    #[test]
    fn killed_at_any_moment_a_store_holds_what_it_acknowledged_and_nothing_unfinished() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("store");
        let mut dice = kills::dice();
        let mut name = None;
        let mut acknowledged = 0;
        let kills = kills::times(KILLS);
        for kill in 0..kills {
            let lines = killed(&mut dice, &folder);
            let store = Store::open(&folder).unwrap();
            let left = std::fs::read_dir(folder.join("drafts")).unwrap().count();
            assert_eq!(left, 0, "kill {kill}");
            for line in lines.iter().filter_map(|line| line.strip_prefix("ack ")) {
                acknowledged += 1;
                let (what, digest) = line.split_once(' ').unwrap();
                let digest: Digest = digest.parse().unwrap();
                match what {
                    "blob" => drop(store.read_blob(&digest, 1 << 20).unwrap()),
                    "folder" => drop(store.folder(&digest).unwrap()),
                    _ => name = Some(digest),
                }
            }
            // Later than acknowledged is possible: it was set, and not yet said.
            let found = store
                .name(IMAGES, "latest")
                .unwrap()
                .map(|name| name.digest);
            assert!(
                name.is_none() || found.is_some(),
                "kill {kill}: the name is lost"
            );
            if let Some(digest) = found {
                store.read_blob(&digest, 1 << 20).unwrap();
            }
            let report = store.fsck().unwrap();
            assert_eq!(report.damage, [], "kill {kill}");
            // So that each examination stays short.
            for kind in [Kind::Blob, Kind::Folder] {
                for stored in store.list(kind).unwrap() {
                    if Some(stored.digest) != found {
                        store.remove(kind, &stored.digest).unwrap();
                    }
                }
            }
        }
        println!("{kills} kills, {acknowledged} acknowledgements");
        assert!(acknowledged > kills / 2, "the writers hardly got to write");
    }

    #[test]
    fn pins_end_with_their_process() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("store");
        let store = Store::open(&folder).unwrap();
        let digest = store.put_bytes(b"content", Algorithm::Sha256).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::pins_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let pinned = lines.map_while(Result::ok).any(|line| line == "pinned");
        assert!(pinned);
        let removed = store.remove(Kind::Blob, &digest).unwrap();
        assert_eq!(removed, lakekeep_content::Removed::InUse);
        process.kill().unwrap();
        process.wait().unwrap();
        let removed = store.remove(Kind::Blob, &digest).unwrap();
        assert_eq!(removed, lakekeep_content::Removed::Removed);
    }

    #[test]
    #[ignore = "run by the test that kills it"]
    fn pins_until_killed() {
        let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
            panic!("{FOLDER} must name a folder");
        };
        let store = Store::open(&folder).unwrap();
        let digest = Digest::of(Algorithm::Sha256, b"content");
        let _pin = store.pin(Kind::Blob, &digest).unwrap();
        println!("\npinned");
        // Until the other end closes, which it does not while this is needed.
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
}
