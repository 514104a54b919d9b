//! Captures of folders that look like environments, without an interpreter.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use lakekeep_capture::{
    Answer, Built, CaptureError, Captured, Request, StatCache, ask_within, capture,
};
use lakekeep_environment::{Digest, Node};
use lakekeep_policy::GuestPath;

/// A prefix with a standard library and site packages.
struct Place {
    _folder: tempfile::TempDir,
    prefix: PathBuf,
}

impl Place {
    fn new() -> Place {
        // Not beneath /tmp by chance of TMPDIR: any place that is nobody's system.
        let folder = tempfile::tempdir().unwrap();
        let prefix = fs::canonicalize(folder.path()).unwrap().join("python");
        let place = Place {
            _folder: folder,
            prefix,
        };
        place.write("bin/python3.11", "#!interpreter");
        place.write("lib/python3.11/os.py", "x = 1\n");
        place.write("lib/python3.11/site-packages/pkg/__init__.py", "y = 2\n");
        symlink("python3.11", place.at("bin/python3")).unwrap();
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.prefix.join(path)
    }

    /// Written three seconds ago, as its times say; the status is as old as it can be made.
    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let whole = self.at(path);
        fs::create_dir_all(whole.parent().unwrap()).unwrap();
        fs::write(&whole, content).unwrap();
        let past = SystemTime::now() - Duration::from_secs(3);
        let file = fs::File::options().write(true).open(&whole).unwrap();
        file.set_modified(past).unwrap();
    }

    fn answer(&self) -> Answer {
        let path = vec![
            self.at("lib/python311.zip"),
            self.at("lib/python3.11"),
            self.at("lib/python3.11/site-packages"),
        ];
        Answer {
            executable: self.at("bin/python3"),
            version: "3.11.7".to_owned(),
            soabi: "cpython-311-x86_64-linux-gnu".to_owned(),
            cache_tag: "cpython-311".to_owned(),
            libc: "glibc 2.36".to_owned(),
            machine: "x86_64".to_owned(),
            prefix: self.prefix.clone(),
            base_prefix: self.prefix.clone(),
            stdlib: self.at("lib/python3.11"),
            path: path.clone(),
            mapped: Vec::new(),
            isolated: path,
        }
    }

    fn capture(&self) -> Result<Captured, CaptureError> {
        take(&self.answer(), &[], &mut StatCache::default())
    }
}

fn take(
    answer: &Answer,
    modules: &[PathBuf],
    cache: &mut StatCache,
) -> Result<Captured, CaptureError> {
    let request = Request {
        answer,
        modules,
        include: &[],
        built: None,
    };
    capture(&request, cache)
}

fn node(captured: &Captured, path: &str) -> Option<Node> {
    let entries = captured
        .manifest
        .trees()
        .iter()
        .flat_map(|tree| &tree.entries);
    let mut named = entries.filter(|entry| entry.path == path);
    named.next().map(|entry| entry.node.clone())
}

fn digest(captured: &Captured, path: &str) -> Digest {
    match node(captured, path) {
        Some(Node::File(file)) => file.digest,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn a_prefix_is_captured_with_its_links() {
    let place = Place::new();
    let captured = place.capture().unwrap();
    let manifest = &captured.manifest;
    assert_eq!(manifest.trees().len(), 1);
    assert_eq!(
        digest(&captured, "lib/python3.11/os.py"),
        Digest::of(b"x = 1\n")
    );
    assert_eq!(
        node(&captured, "bin/python3"),
        Some(Node::Link("python3.11".to_owned()))
    );
    assert_eq!(
        manifest.interpreter().executable.as_path(),
        place.at("bin/python3")
    );
    assert!(manifest.paths().iter().all(|path| !path.added));
}

#[test]
fn a_change_of_one_byte_or_one_name_changes_the_digest() {
    let place = Place::new();
    let before = place.capture().unwrap().manifest.digest();
    assert_eq!(place.capture().unwrap().manifest.digest(), before);
    place.write("lib/python3.11/os.py", "x = 2\n");
    let changed = place.capture().unwrap().manifest.digest();
    assert_ne!(changed, before);
    place.write("lib/python3.11/os.py", "x = 1\n");
    assert_eq!(place.capture().unwrap().manifest.digest(), before);
    fs::rename(
        place.at("lib/python3.11/os.py"),
        place.at("lib/python3.11/so.py"),
    )
    .unwrap();
    assert_ne!(place.capture().unwrap().manifest.digest(), before);
}

#[test]
fn a_link_that_leaves_is_taken_for_its_file() {
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("m.py"), "z = 3\n").unwrap();
    symlink(outside.path().join("m.py"), place.at("lib/python3.11/m.py")).unwrap();
    symlink(outside.path(), place.at("lib/python3.11/folder")).unwrap();
    symlink("nowhere", place.at("lib/python3.11/broken")).unwrap();
    let captured = place.capture().unwrap();
    assert_eq!(
        digest(&captured, "lib/python3.11/m.py"),
        Digest::of(b"z = 3\n")
    );
    assert_eq!(node(&captured, "lib/python3.11/folder"), None);
    assert_eq!(node(&captured, "lib/python3.11/broken"), None);
    assert_eq!(captured.notes.len(), 2, "{:?}", captured.notes);
}

/// A module's bytecode for a source of this time and length.
fn compiled(flags: u32, source: &Path) -> Vec<u8> {
    let stat = fs::metadata(source).unwrap();
    let mtime = stat
        .modified()
        .unwrap()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let words = [
        0x0a0d_0da7,
        flags,
        u32::try_from(mtime.as_secs()).unwrap(),
        u32::try_from(stat.len()).unwrap(),
    ];
    let mut bytes: Vec<u8> = words
        .iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .collect();
    bytes.extend(b"code");
    bytes
}

#[test]
fn bytecode_is_kept_while_it_is_valid_and_says_so_no_more() {
    let place = Place::new();
    let source = place.at("lib/python3.11/os.py");
    let pyc = "lib/python3.11/__pycache__/os.cpython-311.pyc";
    place.write(pyc, compiled(0, &source));
    place.write(
        "lib/python3.11/__pycache__/os.cpython-311.opt-1.pyc",
        compiled(0, &source),
    );
    place.write(
        "lib/python3.11/__pycache__/gone.cpython-311.pyc",
        compiled(0, &source),
    );
    let captured = place.capture().unwrap();
    let kept = digest(&captured, pyc);
    assert_eq!(
        node(
            &captured,
            "lib/python3.11/__pycache__/os.cpython-311.opt-1.pyc"
        ),
        None
    );
    assert_eq!(
        node(&captured, "lib/python3.11/__pycache__/gone.cpython-311.pyc"),
        None
    );
    // Its content, as it is given away, is the one that was hashed.
    let Some(Node::File(file)) = node(&captured, pyc) else {
        panic!("{pyc} is a file");
    };
    let mut content = Vec::new();
    let mut reader = captured.source(&file).unwrap().open().unwrap();
    std::io::Read::read_to_end(&mut reader, &mut content).unwrap();
    assert_eq!(Digest::of(&content), kept);
    assert_eq!(content[4..8], 1u32.to_le_bytes());
    // Touched: the interpreter would not take it, so it is left out.
    fs::File::options()
        .write(true)
        .open(&source)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    assert_eq!(node(&place.capture().unwrap(), pyc), None);
}

#[test]
fn a_module_by_itself_puts_its_folder_on_the_path() {
    let place = Place::new();
    let own = tempfile::tempdir().unwrap();
    let module = fs::canonicalize(own.path()).unwrap().join("mine.py");
    fs::write(&module, "a = 1\n").unwrap();
    let modules = [module.clone()];
    let captured = take(&place.answer(), &modules, &mut StatCache::default()).unwrap();
    assert_eq!(captured.manifest.files()[0].path.as_path(), module);
    let last = captured.manifest.paths().last().unwrap();
    assert!(last.added && last.path.as_path() == module.parent().unwrap());
}

#[test]
fn the_systems_folders_on_the_path_are_refused() {
    let place = Place::new();
    let mut answer = place.answer();
    answer.path.push(PathBuf::from("/etc"));
    let refused = take(&answer, &[], &mut StatCache::default()).unwrap_err();
    assert!(matches!(refused, CaptureError::Root { .. }), "{refused}");
    assert!(refused.to_string().contains("/etc"), "{refused}");
}

#[test]
fn a_name_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff.py");
    fs::write(place.at("lib").join(name), "").unwrap();
    assert!(matches!(place.capture(), Err(CaptureError::Name { .. })));
}

/// Waits, by the file system's own clock, until what was written is old enough to be
/// remembered.
fn settle(place: &Place) {
    use std::os::unix::fs::MetadataExt;
    let old = fs::metadata(place.at("lib/python3.11/os.py"))
        .unwrap()
        .ctime();
    let probe = place._folder.path().join("clock");
    loop {
        fs::write(&probe, "").unwrap();
        if fs::metadata(&probe).unwrap().ctime() > old + 3 {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_second_capture_reads_nothing_and_sees_every_change() {
    let place = Place::new();
    let store = tempfile::tempdir().unwrap();
    let file = store.path().join("cache/stat");
    settle(&place);
    let mut cache = StatCache::load(&file);
    let first = take(&place.answer(), &[], &mut cache).unwrap();
    cache.save(&file).unwrap();
    let mut cache = StatCache::load(&file);
    let second = take(&place.answer(), &[], &mut cache).unwrap();
    assert_eq!(first.manifest, second.manifest);
    assert_eq!(cache.hits(), 3);
    // Another content with the old length and the old times: the status tells.
    let path = place.at("lib/python3.11/os.py");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "x = 9\n").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let mut cache = StatCache::load(&file);
    let third = take(&place.answer(), &[], &mut cache).unwrap();
    assert_eq!(
        digest(&third, "lib/python3.11/os.py"),
        Digest::of(b"x = 9\n")
    );
    assert_eq!(cache.hits(), 2);
    // It changed a moment ago, so it is not remembered: racy.
    cache.save(&file).unwrap();
    let mut cache = StatCache::load(&file);
    take(&place.answer(), &[], &mut cache).unwrap();
    assert_eq!(cache.hits(), 2);
}

#[test]
fn a_damaged_cache_is_forgotten() {
    let place = Place::new();
    let file = place._folder.path().join("stat");
    settle(&place);
    let mut cache = StatCache::load(&file);
    take(&place.answer(), &[], &mut cache).unwrap();
    cache.save(&file).unwrap();
    let good = fs::read(&file).unwrap();
    for at in [0, 17, 60, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).unwrap();
        let mut cache = StatCache::load(&file);
        take(&place.answer(), &[], &mut cache).unwrap();
        assert_eq!(cache.hits(), 0, "byte {at}");
    }
}

/// A program that stands for an interpreter.
fn program(place: &Place, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    place.write("bin/fake", format!("#!/bin/sh\n{text}\n"));
    let path = place.at("bin/fake");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn an_interpreter_that_does_not_answer_is_ended_with_what_it_started() {
    let place = Place::new();
    // A child of its own holds its output open, as a daemon would that a .pth file starts.
    let note = place.at("child");
    let text = format!("sleep 1000 & echo $! > {}; wait", note.display());
    let silent = program(&place, &text);
    let refused = ask_within(&silent, Duration::from_millis(500)).unwrap_err();
    assert!(matches!(refused, CaptureError::Silent { .. }), "{refused}");
    let child = fs::read_to_string(&note).unwrap();
    let ended = || {
        // Gone, or dead and not yet reaped by whoever adopted it.
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.is_err() || stat.unwrap().contains(") Z ")
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ended() {
        assert!(Instant::now() < deadline, "process {child} still runs");
        std::thread::yield_now();
    }
}

#[test]
fn an_interpreter_that_does_not_stop_talking_is_ended() {
    let place = Place::new();
    let endless = program(&place, "exec cat /dev/zero");
    let refused = ask_within(&endless, Duration::from_secs(60)).unwrap_err();
    let said =
        matches!(&refused, CaptureError::NoPython { said, .. } if said.contains("more than"));
    assert!(said, "{refused}");
    let wrong = program(&place, "exit 3");
    let refused = ask_within(&wrong, Duration::from_secs(60)).unwrap_err();
    assert!(
        matches!(refused, CaptureError::NoPython { .. }),
        "{refused}"
    );
}

/// An environment that packages were installed into, on a base, and a file that is neither's.
struct BuiltPlace {
    base: Place,
    venv: PathBuf,
    secret: PathBuf,
}

impl BuiltPlace {
    fn new() -> BuiltPlace {
        let base = Place::new();
        let venv = base.prefix.with_file_name("venv");
        fs::create_dir_all(venv.join("bin")).unwrap();
        symlink(base.at("bin/python3.11"), venv.join("bin/python")).unwrap();
        let secret = base.prefix.with_file_name("secret");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("key"), "secret").unwrap();
        let built = BuiltPlace { base, venv, secret };
        fs::create_dir_all(built.site()).unwrap();
        fs::write(built.site().join("a.py"), "a = 1\n").unwrap();
        built
    }

    fn site(&self) -> PathBuf {
        self.venv.join("lib/python3.11/site-packages")
    }

    fn capture(&self, is_built: bool) -> Result<Captured, CaptureError> {
        let path = vec![self.base.at("lib/python3.11"), self.site()];
        let answer = Answer {
            executable: self.venv.join("bin/python"),
            prefix: self.venv.clone(),
            path: path.clone(),
            isolated: path,
            ..self.base.answer()
        };
        let built = Built {
            folder: self.venv.clone(),
            place: GuestPath::new("/opt/lakekeep/venv").unwrap(),
            base: self.base.at("bin/python3.11"),
        };
        let request = Request {
            answer: &answer,
            modules: &[],
            include: &[],
            built: is_built.then_some(&built),
        };
        capture(&request, &mut StatCache::default())
    }
}

#[test]
fn a_built_environment_has_its_own_place_wherever_it_was_built() {
    let place = BuiltPlace::new();
    let captured = place.capture(true).unwrap();
    let roots: Vec<String> = captured
        .manifest
        .trees()
        .iter()
        .map(|tree| tree.root.to_string())
        .collect();
    assert!(
        roots.contains(&"/opt/lakekeep/venv".to_owned()),
        "{roots:?}"
    );
    let python = captured.manifest.interpreter();
    assert_eq!(python.executable.as_str(), "/opt/lakekeep/venv/bin/python");
    assert_eq!(python.prefix.as_str(), "/opt/lakekeep/venv");
    let text = captured.manifest.to_text();
    assert!(!text.contains(place.venv.to_str().unwrap()), "{text}");
    assert!(node(&captured, "lib/python3.11/site-packages/a.py").is_some());
}

#[test]
fn nothing_of_a_built_environment_leads_out_of_it() {
    type Attack = fn(&BuiltPlace);
    let attacks: [(&str, Attack); 5] = [
        ("a file", |place| {
            symlink(place.secret.join("key"), place.site().join("leak")).unwrap();
        }),
        ("a folder", |place| {
            symlink(&place.secret, place.site().join("leak")).unwrap()
        }),
        ("site packages", |place| {
            fs::rename(place.site(), place.venv.join("moved")).unwrap();
            symlink(&place.secret, place.site()).unwrap();
        }),
        ("the interpreter", |place| {
            fs::remove_file(place.venv.join("bin/python")).unwrap();
            symlink(place.secret.join("key"), place.venv.join("bin/python")).unwrap();
        }),
        ("the folder of the interpreter", |place| {
            fs::rename(place.venv.join("bin"), place.venv.join("moved")).unwrap();
            symlink(&place.secret, place.venv.join("bin")).unwrap();
            symlink(place.base.at("bin/python3.11"), place.secret.join("python")).unwrap();
        }),
    ];
    for (name, attack) in attacks {
        let place = BuiltPlace::new();
        attack(&place);
        // A client's own environment leads where the client let it lead.
        assert!(place.capture(false).is_ok(), "{name}");
        let refused = place.capture(true);
        assert!(
            matches!(refused, Err(CaptureError::Leaves { .. })),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn a_built_environment_is_files_folders_and_links() {
    let place = BuiltPlace::new();
    let pipe = place.site().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(pipe).status();
    assert!(made.unwrap().success());
    assert!(place.capture(false).is_ok());
    assert!(matches!(
        place.capture(true),
        Err(CaptureError::Special { .. })
    ));
}
