//! A host with an Internet, on which indexes of a test's own are served, and builds from them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lakekeep_tests::internet::Internet;
use lakekeep_tests::{Place, Privilege, Run, Tracked, for_each_privilege, lakekeep, uv};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

pub const PYTHON: &str = "/usr/bin/python3";

/// Names of the host's resolver: both indexes are on its loopback.
const HOSTS: &str = "127.0.0.1 index.example public.example\n93.184.216.34 elsewhere.example\n";

/// The index that a build asks when nothing else is said, and one of strangers'.
pub const INDEX: &str = "https://index.example:8443/main/simple";
pub const PUBLIC: &str = "https://public.example:8443/public/simple";

/// Without it the name of an index leads to an address where none may lead.
pub const LOOPBACK: &str = "allow tcp 127.0.0.1:8443";

/// What is in the home folder of whoever builds.
pub const SECRET: &str = "the secret of whoever builds\n";

/// Indexes, and one user who builds.
pub struct Shop {
    pub internet: Internet,
    pub place: Place,
    pub privilege: Privilege,
    pub home: PathBuf,
    uv: PathBuf,
    names: PathBuf,
    _server: Tracked,
}

/// Runs `body` as each user, with indexes of their own.
pub fn each(test: &str, body: impl Fn(&Shop)) {
    let Some(uv) = uv(test) else { return };
    for_each_privilege(test, |privilege| {
        if let Some(internet) = Internet::make(test) {
            body(&Shop::open(internet, privilege, &uv));
        }
    });
}

/// The same as one user, for what takes long and does not depend on who it is.
pub fn once(test: &str, body: impl Fn(&Shop)) {
    let Some(uv) = uv(test) else { return };
    if let Some(internet) = Internet::make(test) {
        body(&Shop::open(internet, Privilege::User, &uv));
    }
}

impl Shop {
    fn open(internet: Internet, privilege: Privilege, uv: &Path) -> Shop {
        let place = Place::new();
        let home = place.dir("home", privilege);
        std::fs::write(home.join("secret"), SECRET).unwrap();
        // Where anybody may read it.
        let program = place.script("uv", Privilege::Root, "");
        std::fs::copy(uv, &program).unwrap();
        let names = place.file("hosts", Privilege::Root, HOSTS);
        certificates(&place);
        let served = place.dir("served", Privilege::Root);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env_build/index.py");
        let mut command = Command::new(PYTHON);
        command
            .arg(script)
            .arg(served)
            .arg(place.path().join("leaf.pem"))
            .arg(place.path().join("leaf.key"))
            .arg(home.join("secret"))
            .stdout(Stdio::piped());
        let mut server = internet.on_host(|| Tracked::spawn(&mut command));
        let mut line = String::new();
        let says = server.stdout.take().unwrap();
        BufReader::new(says).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Shop {
            internet,
            place,
            privilege,
            home,
            uv: program,
            names,
            _server: server,
        }
    }

    /// A file of whoever builds.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        self.place
            .file(&format!("home/{name}"), self.privilege, text)
    }

    /// A file that is served, or that an attack has made.
    pub fn served(&self, name: &str) -> PathBuf {
        self.place.path().join("served").join(name)
    }

    /// How often a path with this in it was asked for.
    pub fn asked(&self, what: &str) -> usize {
        let asked = std::fs::read_to_string(self.served("asked")).unwrap();
        asked.lines().filter(|line| line.contains(what)).count()
    }

    /// `lakekeep env build LIST`, from the test's index.
    pub fn build(&self, list: &Path, more: &[&str]) -> Command {
        let mut command = self.plain_build(list);
        command.args(["--index", INDEX, "--egress", LOOPBACK]);
        command.arg("--ca-file").arg(self.authority()).args(more);
        command
    }

    /// The certificate of the authority that the indexes' certificates are of.
    pub fn authority(&self) -> PathBuf {
        self.place.path().join("ca.pem")
    }

    /// The same without an index.
    pub fn plain_build(&self, list: &Path) -> Command {
        let mut command = self.command(lakekeep());
        command.args(["env", "build"]).arg(list);
        command.arg("--uv").arg(&self.uv);
        command.args(["--python", PYTHON]);
        command
    }

    /// uv itself, outside of any sandbox.
    pub fn uv(&self, words: &[&str]) -> Command {
        let mut command = self.command(&self.uv);
        command
            .env("SSL_CERT_FILE", self.authority())
            .env("UV_CACHE_DIR", self.home.join("uv-outside"))
            .args(words);
        command
    }

    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", &self.home)
            .env("XDG_RUNTIME_DIR", &self.home)
            .env("LAKEKEEP_STORE", self.home.join("store"))
            .env("LAKEKEEP_TEST_VARIABLE", "of whoever builds")
            .current_dir("/");
        self.privilege.apply(&mut command);
        command
    }

    /// Runs it on the host.
    pub fn finish(&self, mut command: Command) -> Output {
        self.internet
            .on_host_with_names(&self.names, || command.output().unwrap())
    }

    /// Starts it on the host.
    pub fn start(&self, mut command: Command) -> Tracked {
        self.internet
            .on_host_with_names(&self.names, || Tracked::spawn(&mut command))
    }

    /// Runs it; it must succeed.
    #[track_caller]
    pub fn succeed(&self, command: Command) -> String {
        let told = format!("{command:?}");
        let output = self.finish(command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{told}: {}: {errors}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it; it must fail with this code. Gives what it said.
    #[track_caller]
    pub fn refused(&self, command: Command, code: i32) -> String {
        let told = format!("{command:?}");
        let output = self.finish(command);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}: {errors}");
        assert!(output.stdout.is_empty(), "{told}: {:?}", output.stdout);
        errors
    }

    /// Builds, and gives the digest.
    #[track_caller]
    pub fn digest(&self, list: &Path, more: &[&str]) -> String {
        let said = self.succeed(self.build(list, more));
        let digest = said.strip_suffix('\n').unwrap();
        assert!(!digest.contains('\n'), "one line: {said}");
        digest.to_owned()
    }

    /// What a program prints in that environment, in a sandbox without a network.
    #[track_caller]
    pub fn run(&self, digest: &str, code: &str) -> String {
        let store = self.home.join("store");
        let finished = Run::new(&self.place, self.privilege)
            .environment("LAKEKEEP_STORE", store.to_str().unwrap())
            .flags(["--environment", digest])
            .command(["python", "-c", code])
            .finish();
        finished.assert_code(0);
        finished.text()
    }

    /// Folders and locks of builds that are there.
    pub fn leftovers(&self) -> usize {
        std::fs::read_dir(self.home.join(".cache/lakekeep/builds"))
            .map_or(0, |entries| entries.count())
    }

    /// Environments in the store.
    pub fn stored(&self) -> usize {
        let mut command = self.command(lakekeep());
        command.args(["env", "ls"]);
        self.succeed(command).lines().count()
    }
}

/// An authority, and a server's certificate of it.
fn certificates(place: &Place) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["index.example", "public.example"].map(str::to_owned);
    let leaf = CertificateParams::new(names.to_vec()).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let files = [
        ("ca.pem", issuer.pem()),
        ("leaf.pem", leaf.pem()),
        ("leaf.key", key.serialize_pem()),
    ];
    for (name, text) in files {
        std::fs::write(place.path().join(name), text).unwrap();
    }
}
