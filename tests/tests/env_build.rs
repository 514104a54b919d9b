//! `lakekeep env build`: lists of packages become environments that run; the same lock becomes
//! the same environment; what goes wrong is said, and leaves nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod env_build {
    pub mod shop;
}

use std::fs;
use std::process::Stdio;

use env_build::shop::{INDEX, LOOPBACK, PUBLIC, Shop, each, once};
use lakekeep_tests::eventually;
use serde_json::Value;

/// Imports what the lists lead to.
const IMPORT: &str = "import lk_one, lk_two, sys; print(lk_one.name, lk_two.version, sys.prefix)";
const IMPORTED: &str = "lk-one 1.0 /opt/lakekeep/venv\n";

const PROJECT: &str = "[project]\nname = 'app'\nversion = '0'\nrequires-python = '>=3.8'\n\
    dependencies = ['lk-one']\n\
    [project.optional-dependencies]\nmore = ['lk-three']\n\
    [dependency-groups]\ndev = ['lk-four']\n";

fn list(shop: &Shop, text: &str) -> std::path::PathBuf {
    shop.write("requirements.txt", text)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_list_becomes_an_environment_that_runs() {
    each("env_build_list", |shop| {
        let list = list(shop, "lk-one  # and what it needs\n-r more.txt\n");
        shop.write("more.txt", "lk-four\n");
        let digest = shop.digest(&list, &[]);
        assert_eq!(shop.run(&digest, IMPORT), IMPORTED);
        assert_eq!(shop.leftovers(), 0);
        let lock = fs::read_to_string(shop.home.join("requirements.txt.lock")).unwrap();
        for line in [
            "lk-one==1.0 ",
            "lk-two==1.0 ",
            "lk-four==1.0 ",
            "lk-five==1.0 ",
        ] {
            assert!(lock.contains(line), "{lock}");
        }
        assert_eq!(lock.matches("--hash=sha256:").count(), 4, "{lock}");
    });
}

#[test]
fn the_same_lock_is_the_same_environment_wherever_it_is_built() {
    each("env_build_same", |shop| {
        let list = list(shop, "lk-one\nlk-three\nlk-four\n");
        let first = shop.digest(&list, &[]);
        // Somebody else's store and caches, another folder, and no index is asked what there is.
        let elsewhere = shop.place.dir("elsewhere", shop.privilege);
        let asked = shop.asked("/simple/");
        let mut again = shop.build(&list, &["--locked", "--json"]);
        again
            .env("HOME", &elsewhere)
            .env("LAKEKEEP_STORE", elsewhere.join("store"));
        let told = json(&shop.succeed(again));
        assert_eq!(told["digest"], first);
        assert_eq!(told["resolved"], false);
        assert_eq!(told["packages"].as_array().unwrap().len(), 5);
        assert!(
            shop.asked("/simple/") > asked,
            "uv asks where the files are"
        );
        // And once more, from the cache.
        let files = shop.asked("/files/");
        assert_eq!(shop.digest(&list, &[]), first);
        assert_eq!(shop.asked("/files/"), files);
        assert_eq!(shop.stored(), 1);
    });
}

#[test]
fn a_project_and_its_uv_lock_are_built_with_extras_and_groups() {
    each("env_build_project", |shop| {
        let project = shop.write("pyproject.toml", PROJECT);
        let all = "import lk_one, lk_two, lk_three, lk_four, lk_five";
        let choice = ["--extra", "more", "--group", "dev"];
        let digest = shop.digest(&project, &choice);
        assert_eq!(shop.run(&digest, all), "");
        let without = shop.digest(&project, &["--upgrade"]);
        let code = "import lk_one\ntry: import lk_three\nexcept ImportError: print('none')";
        assert_eq!(shop.run(&without, code), "none\n");
        let home = shop.home.to_str().unwrap();
        let words = [
            "lock",
            "--project",
            home,
            "--python",
            "/usr/bin/python3",
            "--default-index",
            INDEX,
        ];
        shop.succeed(shop.uv(&words));
        // The same versions: the same environment, although another tool resolved them.
        assert_eq!(shop.digest(&shop.home.join("uv.lock"), &choice), digest);
        assert!(!shop.home.join("uv.lock.lock").exists());
    });
}

#[test]
fn a_lock_that_does_not_fit_is_refused_or_made_anew() {
    each("env_build_locked", |shop| {
        let first = list(shop, "lk-two\n");
        let missing = shop.refused(shop.build(&first, &["--locked"]), 125);
        assert!(
            missing.contains("requirements.txt.lock does not fit: it is not there"),
            "{missing}"
        );
        let before = shop.digest(&first, &[]);
        list(shop, "lk-three\n");
        let changed = shop.refused(shop.build(&first, &["--locked"]), 125);
        assert!(
            changed.contains("have changed since it was made"),
            "{changed}"
        );
        let after = shop.digest(&first, &[]);
        assert_ne!(before, after);
        assert_eq!(shop.digest(&first, &["--locked"]), after);
        // A file of somebody else's is not written over.
        let foreign = shop.write("other.lock", "mine\n");
        let lock = foreign.to_str().unwrap();
        let refused = shop.refused(shop.build(&first, &["--lock", lock]), 125);
        assert!(refused.contains("was not written by"), "{refused}");
        assert_eq!(fs::read_to_string(foreign).unwrap(), "mine\n");
    });
}

#[test]
fn what_cannot_be_built_is_explained_and_leaves_nothing() {
    each("env_build_failures", |shop| {
        let unknown = list(shop, "lk-unheard-of\n");
        let said = shop.refused(shop.build(&unknown, &[]), 1);
        assert!(
            said.contains("lakekeep: resolving failed: no index has a package of that name"),
            "{said}"
        );
        let impossible = list(shop, "lk-two>=7\n");
        let said = shop.refused(shop.build(&impossible, &[]), 1);
        assert!(said.contains("no versions fit together"), "{said}");
        // Without the rule that names the loopback, the index's name may not lead there.
        let good = list(shop, "lk-two\n");
        let mut closed = shop.plain_build(&good);
        closed.args(["--index", INDEX]);
        let said = shop.refused(closed, 1);
        assert!(
            said.contains("denied egress to index.example:8443"),
            "{said}"
        );
        assert!(said.contains("--egress"), "{said}");
        let mut untrusted = shop.plain_build(&good);
        untrusted.args(["--index", INDEX, "--egress", LOOPBACK]);
        let said = shop.refused(untrusted, 1);
        assert!(said.contains("name its authority with --ca-file"), "{said}");
        let conda = shop.write("environment.yml", "dependencies: [numpy]\n");
        let said = shop.refused(shop.build(&conda, &[]), 125);
        assert!(said.contains("conda"), "{said}");
        assert_eq!((shop.stored(), shop.leftovers()), (0, 0));
        assert!(!shop.home.join("requirements.txt.lock").exists());
    });
}

#[test]
fn a_file_that_is_not_the_locked_one_is_refused() {
    each("env_build_hash", |shop| {
        let list = list(shop, "lk-two\n");
        shop.digest(&list, &[]);
        let lock = shop.home.join("requirements.txt.lock");
        let text = fs::read_to_string(&lock).unwrap();
        let at = text.find("sha256:").unwrap() + "sha256:".len();
        let other = if text[at..].starts_with('0') {
            "1"
        } else {
            "0"
        };
        let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        fs::write(&lock, changed).unwrap();
        // Whether the cache has the file already or not.
        for home in [shop.home.clone(), shop.place.dir("cold", shop.privilege)] {
            let mut build = shop.build(&list, &["--locked"]);
            build
                .env("HOME", home)
                .env("LAKEKEEP_STORE", shop.home.join("other"));
            let said = shop.refused(build, 1);
            assert!(
                said.contains("Hash mismatch") || said.contains("hash"),
                "{said}"
            );
            assert!(said.contains("not the one that was locked"), "{said}");
        }
    });
}

#[test]
fn the_first_index_that_has_a_name_decides() {
    each("env_build_confusion", |shop| {
        let list = list(shop, "lk-private\nlk-public\n");
        let whose = |digest: &str| {
            shop.run(
                digest,
                "import lk_private, lk_public; print(lk_private.whose)",
            )
        };
        let ours = shop.digest(&list, &["--extra-index", PUBLIC]);
        assert_eq!(whose(&ours), "ours\n");
        // The attack works for who asks in the other order.
        let mut turned = shop.plain_build(&list);
        turned.args([
            "--index",
            PUBLIC,
            "--extra-index",
            INDEX,
            "--egress",
            LOOPBACK,
        ]);
        turned.arg("--ca-file").arg(shop.authority());
        let theirs = shop.succeed(turned);
        assert_eq!(whose(theirs.trim_end()), "theirs\n");
    });
}

#[test]
fn a_build_that_is_killed_leaves_nothing_that_the_next_one_does_not_remove() {
    once("env_build_kill", |shop| {
        let slow = list(shop, "lk-slow\n");
        let mut build = shop.build(&slow, &[]);
        build.stdout(Stdio::null()).stderr(Stdio::null());
        let mut killed = shop.start(build);
        eventually("a wheel is asked for", || {
            (shop.asked("slow-1") > 0).then_some(())
        });
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert_eq!(shop.leftovers(), 2, "a folder and its lock");
        assert_eq!(shop.stored(), 0);
        fs::write(shop.served("go"), "").unwrap();
        let quick = shop.write("quick.txt", "lk-two\n");
        shop.digest(&quick, &[]);
        eventually("the folder is removed", || {
            shop.digest(&quick, &[]);
            (shop.leftovers() == 0).then_some(())
        });
        // And the list that was not finished can be built.
        let digest = shop.digest(&slow, &[]);
        assert_eq!(shop.run(&digest, "import lk_slow"), "");
        let mut fsck = shop.command(lakekeep_tests::lakekeep());
        fsck.args(["store", "fsck"]);
        shop.succeed(fsck);
    });
}

#[test]
fn a_build_that_is_interrupted_removes_its_folder() {
    once("env_build_interrupt", |shop| {
        let slow = list(shop, "lk-slow\n");
        let mut build = shop.build(&slow, &[]);
        build.stdout(Stdio::null()).stderr(Stdio::null());
        let mut interrupted = shop.start(build);
        eventually("a wheel is asked for", || {
            (shop.asked("slow-1") > 0).then_some(())
        });
        let pid = rustix::process::Pid::from_child(&interrupted);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(!interrupted.wait().unwrap().success());
        assert_eq!((shop.leftovers(), shop.stored()), (0, 0));
    });
}
