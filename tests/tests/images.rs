//! Crafted images and sources (classes 1 to 9): refused before anything is made,
//! after the proof that following them really leads to the host.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lakekeep_tests::{HostSnapshot, Place, Privilege, Run, for_each_privilege};

const SKELETON: [&str; 10] = [
    "bin",
    "dev",
    "dev/pts",
    "dev/shm",
    "proc",
    "sys",
    "tmp",
    "etc",
    "usr",
    "home/user",
];

/// A root file system with the static attack program as its only command.
fn image(place: &Place, name: &str, owner: Privilege) -> PathBuf {
    let root = place.dir(name, owner);
    for dir in SKELETON {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    lakekeep_attacks::write_binary(&root.join("bin")).unwrap();
    root
}

/// A directory of the host's that an evil image points at, with things to lose.
fn target(place: &Place) -> PathBuf {
    let target = place.path().join("host-target");
    fs::create_dir_all(target.join("pts")).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(target.join("ptmx"), "the host's own").unwrap();
    fs::write(target.join("data"), "the host's own").unwrap();
    target
}

/// All names and contents below a directory.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(contents(&path));
            found.push((path, Vec::new()));
        } else {
            let bytes = fs::read(&path).unwrap_or_default();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// What a runtime does that trusts the path: `dev/…` of the image, from outside.
fn followed_naively(image: &Path, name: &str, target: &Path) {
    let reached = image.join(name).join("data");
    assert_eq!(
        fs::read(&reached).unwrap(),
        b"the host's own",
        "{} must lead to the host",
        reached.display()
    );
    fs::write(image.join(name).join("planted"), "x").unwrap();
    assert!(
        target.join("planted").exists(),
        "a write through the image must reach the host"
    );
    fs::remove_file(target.join("planted")).unwrap();
}

fn replace_by_link(image: &Path, name: &str, target: &Path) {
    let path = image.join(name);
    fs::remove_dir_all(&path).unwrap();
    symlink(target, &path).unwrap();
}

#[test]
fn a_plain_image_works() {
    for_each_privilege("plain_image", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let root = image(&place, "image", privilege);
        let untouched = contents(&root);
        let run = Run::new(&place, privilege)
            .flags(["--image", &root.display().to_string()])
            .command(["/bin/attack", "--list"]);
        run.finish().assert_code(0);
        assert_eq!(
            contents(&root),
            untouched,
            "a run must leave its image as it was"
        );
        before.assert_unchanged();
    });
}

#[test]
fn special_directories_that_are_links() {
    for_each_privilege("link_images", |privilege| {
        for name in ["dev", "proc", "sys", "dev/pts"] {
            let place = Place::new();
            let before = HostSnapshot::take(place.path());
            let root = image(&place, "image", privilege);
            let target = target(&place);
            replace_by_link(&root, name, &target);
            followed_naively(&root, name, &target);
            let host = contents(&target);
            let run = Run::new(&place, privilege)
                .flags(["--image", &root.display().to_string()])
                .command(["/bin/attack", "--list"])
                .finish();
            assert_eq!(
                contents(&target),
                host,
                "{name}: the host's directory was changed"
            );
            refused(name, &run, &[&format!("/{name}"), "link"]);
            before.assert_unchanged();
        }
    });
}

/// Links in places that the sandbox covers with its own: covered or refused, and
/// never followed.
#[test]
fn covered_directories_that_are_links() {
    for_each_privilege("covered_links", |privilege| {
        for name in ["dev/shm", "tmp", "etc", "home/user"] {
            let place = Place::new();
            let before = HostSnapshot::take(place.path());
            let root = image(&place, "image", privilege);
            let target = target(&place);
            replace_by_link(&root, name, &target);
            followed_naively(&root, name, &target);
            let host = contents(&target);
            let run = Run::new(&place, privilege)
                .flags(["--image", &root.display().to_string()])
                .command(["/bin/attack", "--list"])
                .finish();
            assert_eq!(
                contents(&target),
                host,
                "{name}: the host's directory was changed"
            );
            if run.code != 0 {
                refused(name, &run, &[&format!("/{name}"), "link"]);
            }
            before.assert_unchanged();
        }
    });
}

/// The same by a relative link that climbs, and by one inside that swaps two.
#[test]
fn special_directories_that_are_relative_links() {
    for_each_privilege("relative_links", |privilege| {
        for name in ["dev", "proc", "sys"] {
            let place = Place::new();
            let root = image(&place, "image", privilege);
            let target = target(&place);
            replace_by_link(&root, name, Path::new("../host-target"));
            followed_naively(&root, name, &target);
            let host = contents(&target);
            let run = Run::new(&place, privilege)
                .flags(["--image", &root.display().to_string()])
                .command(["/bin/attack", "--list"])
                .finish();
            assert_eq!(
                contents(&target),
                host,
                "{name}: the host's directory was changed"
            );
            refused(name, &run, &[&format!("/{name}"), "link"]);
        }
    });
}

#[test]
fn special_directories_that_are_files() {
    for_each_privilege("file_images", |privilege| {
        for name in ["dev", "proc", "sys"] {
            let place = Place::new();
            let root = image(&place, "image", privilege);
            fs::remove_dir_all(root.join(name)).unwrap();
            fs::write(root.join(name), "x").unwrap();
            let run = Run::new(&place, privilege)
                .flags(["--image", &root.display().to_string()])
                .command(["/bin/attack", "--list"])
                .finish();
            refused(name, &run, &[&format!("/{name}")]);
        }
    });
}

/// Class 9: a target inside the image whose way leads over a link.
#[test]
fn a_mount_target_through_a_link_of_the_image() {
    for_each_privilege("target_link", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let root = image(&place, "image", privilege);
        let target = target(&place);
        let source = place.dir("source", privilege);
        fs::write(source.join("data"), "of the source").unwrap();
        symlink(&target, root.join("data")).unwrap();
        followed_naively(&root, "data", &target);
        let host = contents(&target);
        for at in ["/data", "/data/deeper"] {
            let run = Run::new(&place, privilege)
                .flags(["--image".to_owned(), root.display().to_string()])
                .flags(["--mount".to_owned(), format!("{}:{at}", source.display())])
                .command(["/bin/attack", "--list"])
                .finish();
            assert_eq!(
                contents(&target),
                host,
                "{at}: the host's directory was changed"
            );
            // Covered by a directory of the sandbox's own, or refused.
            if run.code != 0 {
                refused(at, &run, &["/data", "link"]);
            }
        }
        before.assert_unchanged();
    });
}

/// CVE-2019-5736 by its own way: the command is a script whose interpreter is the
/// runtime's executable.
#[test]
fn a_script_with_the_runtime_as_interpreter() {
    for_each_privilege("self_exe", |privilege| {
        let place = Place::new();
        let dir = place.dir("scripts", privilege);
        let script = place.script("scripts/evil", privilege, "#!/proc/self/exe --list\n");
        // Outside: the script starts whatever executes it.
        let outside = std::process::Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec {}", script.display()))
            .output();
        let said = String::from_utf8_lossy(&outside.unwrap().stderr).into_owned();
        assert!(
            said.starts_with("/proc/self/exe: "),
            "the shell's own executable must run again: {said:?}"
        );
        let binary = lakekeep_tests::lakekeep();
        let before = fs::read(&binary).unwrap();
        let run = Run::new(&place, privilege)
            .flags([
                "--mount".to_owned(),
                format!("{}:/scripts", dir.display()),
                "--timeout".to_owned(),
                "20s".to_owned(),
            ])
            .command(["/scripts/evil"])
            .finish();
        assert_ne!(run.code, 0, "{}", run.text());
        assert!(
            fs::read(&binary).unwrap() == before,
            "lakekeep's executable was changed"
        );
    });
}

fn refused(what: &str, run: &lakekeep_tests::Finished, names: &[&str]) {
    assert_eq!(run.code, 125, "{what}: {}", run.stderr);
    for name in names {
        assert!(
            run.stderr.contains(name),
            "{what}: {name:?} is not in: {}",
            run.stderr
        );
    }
    assert!(
        run.stderr.contains("; ") || run.stderr.contains(". "),
        "{what}: no remedy in {}",
        run.stderr
    );
}
