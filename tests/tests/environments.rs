//! Environments: captured from a virtual environment of this host's Python, run read-only,
//! and compared with what the client has now.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lakekeep_tests::{Place, Privilege, Run, for_each_privilege, lakekeep, skip};
use serde_json::Value;

const PYTHON: &str = "/usr/bin/python3";

/// A client: a virtual environment with one distribution, and a store.
struct Client {
    place: Place,
    privilege: Privilege,
    home: PathBuf,
}

impl Client {
    fn new(privilege: Privilege) -> Client {
        let place = Place::new();
        let home = place.dir("client", privilege);
        let client = Client {
            place,
            privilege,
            home,
        };
        let venv = client.home.join("venv");
        let mut make = Command::new(PYTHON);
        make.args(["-m", "venv", "--without-pip"]).arg(&venv);
        client.succeed(&mut make);
        client.install("1.0");
        client
    }

    /// Writes version `version` of the distribution `lk-dist`, as its user.
    fn install(&self, version: &str) {
        let script = "import pathlib, shutil, sys, sysconfig\n\
            site = pathlib.Path(sysconfig.get_paths()['purelib'])\n\
            for old in site.glob('lk_dist-*'): shutil.rmtree(old)\n\
            info = site / f'lk_dist-{sys.argv[1]}.dist-info'\n\
            info.mkdir()\n\
            (info / 'METADATA').write_text(f'Name: lk_dist\\nVersion: {sys.argv[1]}\\n\\n')\n\
            (site / 'lk_dist.py').write_text(f'version = {sys.argv[1]!r}\\n')\n";
        self.succeed(Command::new(self.python()).args(["-c", script, version]));
    }

    fn python(&self) -> PathBuf {
        self.home.join("venv/bin/python")
    }

    fn succeed(&self, command: &mut Command) -> Output {
        let output = self.run(command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        output
    }

    fn run(&self, command: &mut Command) -> Output {
        command
            .env_remove("LAKEKEEP_SOCKET")
            .env("HOME", &self.home)
            // Who runs a sandbox keeps its state here, and not in a folder of /tmp.
            .env("XDG_RUNTIME_DIR", &self.home)
            .current_dir("/");
        command.env("LAKEKEEP_STORE", self.home.join("store"));
        for variable in ["XDG_DATA_HOME", "XDG_CACHE_HOME", "PYTHONPATH"] {
            command.env_remove(variable);
        }
        self.privilege.apply(command);
        command.output().unwrap()
    }

    /// `lakekeep env …`
    fn env(&self, arguments: &[&str]) -> Output {
        self.run(Command::new(lakekeep()).arg("env").args(arguments))
    }

    fn capture(&self) -> String {
        let python = self.python();
        let mut command = Command::new(lakekeep());
        command.args(["env", "capture", "--python"]).arg(python);
        let output = self.succeed(&mut command);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn sandbox(&self, digest: &str, code: &str) -> Run {
        let store = self.home.join("store");
        Run::new(&self.place, self.privilege)
            .environment("LAKEKEEP_STORE", store.to_str().unwrap())
            .flags(["--environment", digest])
            .command(["python", "-c", code])
    }
}

fn each(test: &str, body: impl Fn(&Client)) {
    if !Path::new(PYTHON).exists() {
        return skip(test, "python", "there is no /usr/bin/python3");
    }
    for_each_privilege(test, |privilege| body(&Client::new(privilege)));
}

#[test]
fn code_runs_with_what_was_captured_and_not_with_what_came_after() {
    each("environment_captured", |client| {
        let digest = client.capture();
        assert_eq!(client.capture(), digest, "nothing has changed");
        client.install("2.0");
        let now = client.succeed(
            Command::new(client.python()).args(["-c", "import lk_dist; print(lk_dist.version)"]),
        );
        assert_eq!(now.stdout, b"2.0\n", "outside it is the new one");
        let code = "import lk_dist, sys; print(lk_dist.version, sys.prefix, sys.executable)";
        let finished = client.sandbox(&digest, code).finish();
        let venv = client.home.join("venv");
        let expected = format!("1.0 {} {}\n", venv.display(), client.python().display());
        let told = String::from_utf8_lossy(&finished.stdout);
        assert_eq!(told, expected, "{}", finished.stderr);
        assert_ne!(client.capture(), digest);
    });
}

#[test]
fn an_environment_cannot_be_written() {
    each("environment_read_only", |client| {
        let digest = client.capture();
        let code = "import lk_dist, os\n\
            path = lk_dist.__file__\n\
            for name in (path, path + 'x', os.__file__):\n\
            \x20   try:\n\
            \x20       open(name, 'a').write('x = 1\\n'); print('written')\n\
            \x20   except OSError as error: print(error.errno)\n";
        // Outside, by its owner, the first two can be: the client's own files.
        let copy = client.succeed(Command::new(client.python()).args([
            "-c",
            "import lk_dist; open(lk_dist.__file__ + 'x', 'a').write('x'); print('written')",
        ]));
        assert_eq!(copy.stdout, b"written\n");
        let finished = client.sandbox(&digest, code).finish();
        let told = String::from_utf8_lossy(&finished.stdout);
        // EROFS, or EACCES where the rules of Landlock come first.
        let refused = |line: &str| line == "30" || line == "13";
        assert_eq!(
            told.lines().filter(|line| refused(line)).count(),
            3,
            "{told}"
        );
        let verify = client.env(&["verify", &digest]);
        assert!(
            verify.status.success(),
            "{}",
            String::from_utf8_lossy(&verify.stderr)
        );
    });
}

#[test]
fn drift_is_refused_by_name_with_its_remedy() {
    each("environment_drift", |client| {
        let digest = client.capture();
        let python = client.python();
        let flags = ["--environment-of", python.to_str().unwrap()];
        let same = client.sandbox(&digest, "print(1)").flags(flags).finish();
        assert_eq!(same.stdout, b"1\n", "{}", same.stderr);
        client.install("2.0");
        let refused = client.sandbox(&digest, "print(1)").flags(flags).finish();
        assert_eq!(refused.code, 125);
        assert!(refused.stdout.is_empty());
        let message = "lk-dist 2.0 in the client, 1.0 in the environment";
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("lakekeep env capture --python"),
            "{}",
            refused.stderr
        );
        let diff = client.env(&["diff", &digest, "--python", python.to_str().unwrap()]);
        assert_eq!(diff.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&diff.stdout),
            format!("{message}\n")
        );
    });
}

#[test]
fn environments_are_listed_shown_and_removed() {
    each("environment_list", |client| {
        let digest = client.capture();
        let list = client.env(&["ls", "--json"]);
        let rows: Value = serde_json::from_slice(&list.stdout).unwrap();
        assert_eq!(rows[0]["digest"], digest.as_str());
        assert_eq!(rows.as_array().unwrap().len(), 1);
        let shown = client.env(&["inspect", &digest, "--json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let names = shown["distributions"].as_array().unwrap();
        assert!(
            names
                .iter()
                .any(|one| one["name"] == "lk-dist" && one["version"] == "1.0")
        );
        assert!(client.env(&["rm", &digest]).status.success());
        let gone = client.sandbox(&digest, "print(1)").finish();
        assert_eq!(gone.code, 125);
        assert!(
            gone.stderr.contains("lakekeep env capture"),
            "{}",
            gone.stderr
        );
    });
}

#[test]
fn what_is_no_environment_is_refused_before_anything_is_made() {
    each("environment_unknown", |client| {
        for bad in ["x", "sha256:00", &"0".repeat(63), &"A".repeat(64)] {
            let finished = client.sandbox(bad, "print(1)").finish();
            assert_eq!(finished.code, 125, "{bad}");
            assert!(
                finished.stderr.contains("64 lower-case"),
                "{}",
                finished.stderr
            );
        }
        let unknown = client.sandbox(&"0".repeat(64), "print(1)").finish();
        assert_eq!(unknown.code, 125);
        assert!(
            unknown.stderr.contains("there is no environment"),
            "{}",
            unknown.stderr
        );
        let refused = client.env(&["capture", "--python", "/bin/sh"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("does not answer as Python does"), "{said}");
    });
}

#[test]
fn missing_bytecode_is_made_once_in_a_sandbox() {
    each("environment_compiled", |client| {
        let python = client.python();
        let capture = || {
            let mut command = Command::new(lakekeep());
            command.args(["env", "capture", "--compile", "--python"]);
            let output = client.succeed(command.arg(&python));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let bare = client.capture();
        let compiled = capture();
        assert_ne!(compiled, bare, "lk_dist.py has no bytecode");
        assert_eq!(capture(), compiled, "it is remembered");
        // It is what is read inside, and no other environment than before to who compares.
        let code = "import importlib.util as u, lk_dist; \
            print(open(lk_dist.__cached__, 'rb').read(8) == u.MAGIC_NUMBER + bytes([1, 0, 0, 0]))";
        let finished = client.sandbox(&compiled, code).finish();
        assert_eq!(finished.stdout, b"True\n", "{}", finished.stderr);
        let without = client.sandbox(&bare, code).finish();
        assert_ne!(without.code, 0, "without it there is none");
        let diff = client.env(&["diff", &compiled, "--python", python.to_str().unwrap()]);
        assert_eq!(diff.status.code(), Some(0));
    });
}

/// As setuptools writes finders of editable installations: packages, modules without their suffix,
/// and the folders of namespaces.
const FINDER: &str = "
import pathlib, sys, sysconfig
own = pathlib.Path(sys.argv[1])
for name, text in (('lk_mod.py', 'a = 1'), ('lk_pkg/__init__.py', 'b = 2'), ('space/part.py', 'c = 3')):
    (own / name).parent.mkdir(parents=True, exist_ok=True)
    (own / name).write_text(text)
site = pathlib.Path(sysconfig.get_paths()['purelib'])
(site / '__editable__.lk.pth').write_text('import __editable___lk_finder as f; f.install()')
(site / '__editable___lk_finder.py').write_text(f'''
import importlib.machinery, importlib.util, pathlib, sys
MAPPING = {{'lk_mod': {str(own / 'lk_mod')!r}, 'lk_pkg': {str(own / 'lk_pkg')!r}}}
NAMESPACES = {{'lk_space': [{str(own / 'space')!r}]}}
def find_spec(name, path=None, target=None):
    if name in NAMESPACES:
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = NAMESPACES[name]
        return spec
    for place in (MAPPING.get(name, '/none') + '/__init__.py', MAPPING.get(name, '/none') + '.py'):
        if pathlib.Path(place).exists():
            return importlib.util.spec_from_file_location(name, place)
def install():
    sys.meta_path.append(sys.modules[__name__])
''')
";

#[test]
fn what_finders_of_editable_installations_lead_to_is_captured() {
    each("environment_editable", |client| {
        let own = client.place.dir("working copy", client.privilege);
        let mut write = Command::new(client.python());
        client.succeed(write.args(["-c", FINDER]).arg(&own));
        let digest = client.capture();
        std::fs::rename(&own, own.with_extension("away")).unwrap();
        let code =
            "import lk_mod, lk_pkg, lk_space.part; print(lk_mod.a, lk_pkg.b, lk_space.part.c)";
        let finished = client.sandbox(&digest, code).finish();
        let told = String::from_utf8_lossy(&finished.stdout);
        assert_eq!(told, "1 2 3\n", "{}", finished.stderr);
    });
}
