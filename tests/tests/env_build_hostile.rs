//! Packages that reach for what is not theirs, while they are built and when they are taken up.
//! Each attack first works outside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod env_build {
    #[allow(dead_code, reason = "the rest is for other tests")]
    pub mod shop;
}

use std::path::Path;

use env_build::shop::{INDEX, PYTHON, SECRET, Shop, each};
use lakekeep_tests::lakekeep;
use rustix::mount::{MountFlags, UnmountFlags};

/// A virtual environment outside, with that package installed as everybody does. Gives its
/// interpreter.
fn install_outside(shop: &Shop, package: &str) -> String {
    let venv = shop.home.join("outside");
    let venv = venv.to_str().unwrap();
    shop.succeed(shop.uv(&["venv", "--clear", "--python", PYTHON, venv]));
    let python = format!("{venv}/bin/python");
    let words = ["pip", "install", "--no-config", "--default-index", INDEX];
    let words = [&words[..], &["--python", &python, package]].concat();
    shop.succeed(shop.uv(&words));
    python
}

fn list(shop: &Shop, package: &str) -> std::path::PathBuf {
    shop.write("requirements.txt", &format!("{package}\n"))
}

#[test]
fn code_of_a_source_distribution_is_not_run_unless_it_may() {
    each("env_build_source_refused", |shop| {
        let list = list(shop, "lk-source");
        let before = shop.internet.arrived();
        let said = shop.refused(shop.build(&list, &[]), 1);
        assert!(said.contains("--allow-source"), "{said}");
        assert_eq!(shop.internet.arrived(), before);
        assert_eq!((shop.stored(), shop.leftovers()), (0, 0));
    });
}

#[test]
fn code_of_a_source_distribution_reaches_the_index_and_nothing_else() {
    each("env_build_source", |shop| {
        // Outside it connects, reads the secret, and sees the variables.
        let before = shop.internet.arrived().0;
        let python = install_outside(shop, "lk-source");
        let mut show = shop.command(&python);
        show.args(["-c", "import lk_source; print(lk_source.seen)"]);
        let seen = shop.succeed(show);
        assert!(
            seen.contains("'address': 'connected', 'name': 'connected'"),
            "{seen}"
        );
        assert!(
            seen.contains(SECRET.trim()) && seen.contains("LAKEKEEP_TEST_VARIABLE"),
            "{seen}"
        );
        assert!(shop.internet.arrived().0 > before);
        let before = shop.internet.arrived();
        let list = list(shop, "lk-source");
        let output = shop.finish(shop.build(&list, &["--allow-source"]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(shop.internet.arrived(), before, "nothing left");
        // That it was tried is told, although the build succeeded.
        assert!(
            said.contains("while installing: denied egress to 93.184.216.34:443"),
            "{said}"
        );
        let digest = String::from_utf8(output.stdout).unwrap();
        let digest = digest.trim_end();
        let seen = shop.run(digest, "import lk_source; print(lk_source.seen)");
        assert_eq!(seen.matches("refused: ").count(), 3, "{seen}");
        assert!(seen.contains("'variables': []"), "{seen}");
    });
}

#[test]
fn a_link_that_a_build_leaves_does_not_take_the_hosts_files_along() {
    each("env_build_link", |shop| {
        // Of a client's own environment, which is believed, the file is taken along.
        let python = install_outside(shop, "lk-two");
        let link = "import os, sys, sysconfig\n\
            os.symlink(sys.argv[1], sysconfig.get_paths()['purelib'] + '/leak.txt')";
        let mut leave = shop.command(&python);
        leave.args(["-c", link]).arg(shop.home.join("secret"));
        shop.succeed(leave);
        let mut capture = shop.command(lakekeep());
        capture.args(["env", "capture", "--python", &python]);
        let own = shop.succeed(capture);
        let show = "import sysconfig\n\
            print(open(sysconfig.get_paths()['purelib'] + '/leak.txt').read(), end='')";
        assert_eq!(shop.run(own.trim_end(), show), SECRET);
        let list = list(shop, "lk-link");
        let said = shop.refused(shop.build(&list, &["--allow-source"]), 125);
        assert!(
            said.contains("leads to") && said.contains("do not install it"),
            "{said}"
        );
        assert!(!said.contains(SECRET.trim()), "{said}");
        assert_eq!((shop.stored(), shop.leftovers()), (1, 0));
    });
}

/// Unpacks a wheel as a careless tool does.
const CARELESS: &str = "import os, sys, zipfile\n\
    with zipfile.ZipFile(sys.argv[1]) as archive:\n\
    \x20   for entry in archive.namelist():\n\
    \x20       path = os.path.join(sys.argv[2], entry)\n\
    \x20       os.makedirs(os.path.dirname(path), exist_ok=True)\n\
    \x20       open(path, 'wb').write(archive.read(entry))\n";

#[test]
fn an_entry_of_a_wheel_that_climbs_is_not_followed() {
    each("env_build_climb", |shop| {
        let climbed = shop.served("climbed");
        // By root, whose folder that is.
        let wheel = shop.served("main/files/lk_climb-1.0-py3-none-any.whl");
        let deep = shop.place.path().join("deep/a/b/c");
        let mut careless = std::process::Command::new(PYTHON);
        careless.args(["-c", CARELESS]).arg(wheel).arg(&deep);
        assert!(careless.status().unwrap().success());
        assert!(climbed.exists(), "a careless tool is led out");
        std::fs::remove_file(&climbed).unwrap();
        let list = list(shop, "lk-climb");
        let output = shop.finish(shop.build(&list, &[]));
        assert!(!climbed.exists());
        // Refused, or unpacked without it.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.success() {
            true => {
                let digest = String::from_utf8(output.stdout).unwrap();
                let code = "import os\n\
                    for root in ('/opt/lakekeep', '/tmp'):\n\
                    \x20   for folder, _, files in os.walk(root):\n\
                    \x20       if 'climbed' in files: print(folder)";
                assert_eq!(shop.run(digest.trim_end(), code), "");
            }
            false => assert_eq!(shop.stored(), 0, "{said}"),
        }
        assert_eq!(shop.leftovers(), 0);
    });
}

#[test]
fn what_a_package_puts_into_the_interpreters_start_does_not_run_on_the_host() {
    each("env_build_start", |shop| {
        // A folder of whoever builds, so that it could.
        let started = shop.place.dir("served", shop.privilege).join("started");
        let python = install_outside(shop, "lk-start");
        let mut start = shop.command(&python);
        start.args(["-c", ""]);
        shop.succeed(start);
        assert!(started.exists(), "any start runs it");
        std::fs::remove_file(&started).unwrap();
        let digest = shop.digest(&list(shop, "lk-start"), &[]);
        assert!(!started.exists());
        assert_eq!(shop.run(&digest, "import lk_start"), "");
        assert!(!started.exists());
    });
}

/// A disk of 128 MiB at this folder; gone when dropped.
struct Disk(std::path::PathBuf);

impl Disk {
    fn at(folder: &Path) -> Disk {
        let options = Some(c"size=128m,mode=0777");
        rustix::mount::mount("tmpfs", folder, "tmpfs", MountFlags::empty(), options).unwrap();
        Disk(folder.to_owned())
    }

    /// Bytes that are left.
    fn left(&self) -> u64 {
        let told = rustix::fs::statvfs(&self.0).unwrap();
        told.f_bavail * told.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_wheel_that_unpacks_to_much_does_not_fill_the_disk() {
    each("env_build_bomb", |shop| {
        let list = list(shop, "lk-bomb");
        let cache = shop.place.dir("home/.cache", shop.privilege);
        let wheel = shop.served("main/files/lk_bomb-1.0-py3-none-any.whl");
        assert!(std::fs::metadata(wheel).unwrap().len() < 1 << 20);
        let disk = Disk::at(&cache);
        // Outside it takes what it wants.
        let target = cache.join("outside");
        let words = ["pip", "install", "--no-config", "--default-index", INDEX];
        let words = [&words[..], &["--python", PYTHON, "lk-bomb", "--target"]].concat();
        let mut outside = shop.uv(&words);
        outside.arg(&target).env("UV_CACHE_DIR", cache.join("uv"));
        shop.succeed(outside);
        assert!(disk.left() < 65 << 20, "{}", disk.left());
        drop(disk);
        let disk = Disk::at(&cache);
        let said = shop.refused(shop.build(&list, &["--keep-free", "96MiB"]), 1);
        assert!(said.contains("--keep-free"), "{said}");
        assert_eq!((shop.stored(), shop.leftovers()), (0, 0));
        // With room it is a package like any other.
        drop(disk);
        let digest = shop.digest(&list, &[]);
        assert_eq!(shop.run(&digest, "import lk_bomb; print(1)"), "1\n");
    });
}
