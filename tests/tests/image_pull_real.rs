//! Images that other projects' tools build and push, pulled from Debian's docker-registry over TLS and with a
//! login, and run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
#[allow(dead_code, unused_imports, reason = "the rest is for other tests")]
mod pull;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lakekeep_tests::{Place, Privilege, Run, eventually, for_each_privilege, skip};
use pull::{Puller, said};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

const TOOLS: [&str; 5] = ["docker-registry", "htpasswd", "skopeo", "umoci", "buildah"];

/// How compressed layers begin (RFC 1952, RFC 8878).
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Whether all tools are there; else a skip was reported.
fn available(test: &str) -> bool {
    let missing = |tool: &&&str| {
        !Command::new("which")
            .arg(tool)
            .output()
            .unwrap()
            .status
            .success()
    };
    match TOOLS.iter().find(missing) {
        Some(tool) => {
            skip(test, "registry", &format!("{tool} is not installed"));
            false
        }
        None => true,
    }
}

/// Runs a tool that must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}

fn tool(words: &[&str]) {
    run(Command::new(words[0]).args(&words[1..]));
}

/// Debian's registry; ends when dropped.
struct Distribution {
    process: Child,
    host: String,
    folder: PathBuf,
}

impl Distribution {
    /// With a certificate of an authority in `ca.pem`, and the login `user` with `secret`.
    fn new(folder: &Path) -> Distribution {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (host, folder) = (format!("localhost:{port}"), folder.to_owned());
        certificates(&folder);
        let users = Command::new("htpasswd")
            .args(["-Bbn", "user", "secret"])
            .output()
            .unwrap();
        fs::write(folder.join("users"), users.stdout).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let config = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": at("registry") } },
            "auth": { "htpasswd": { "realm": "r", "path": at("users") } },
            "http": {
                "addr": format!("127.0.0.1:{port}"),
                "secret": "of this test",
                "tls": { "certificate": at("server.pem"), "key": at("server.key") },
            },
        });
        // YAML takes JSON.
        fs::write(folder.join("config.yml"), config.to_string()).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", &at("config.yml")])
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("registry.log")).unwrap())
            .spawn()
            .unwrap();
        let answers = || TcpStream::connect(("127.0.0.1", port)).ok();
        eventually("docker-registry answers", answers);
        Distribution {
            process,
            host,
            folder,
        }
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Puts an image of a local layout there, under `name`.
    fn push(&self, from: &str, name: &str, more: &[&str]) {
        let to = format!("docker://{}/{name}", self.host);
        // Its certificates are read from a folder.
        let certificates = self.at("certificates");
        fs::create_dir_all(&certificates).unwrap();
        fs::copy(self.at("ca.pem"), format!("{certificates}/ca.crt")).unwrap();
        let words = [
            "--insecure-policy",
            "copy",
            "--dest-creds",
            "user:secret",
            "--dest-cert-dir",
            &certificates,
        ];
        run(Command::new("skopeo")
            .args(words)
            .args(more)
            .args([from, &to]));
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    fs::write(folder.join("server.pem"), server.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

/// A root file system of the host's shell.
fn root(folder: &Path) -> String {
    let archive = folder.join("root.tar");
    fs::write(&archive, pull::shell().end()).unwrap();
    let root = folder.join("root");
    fs::create_dir_all(&root).unwrap();
    let (archive, root) = (archive.display().to_string(), root.display().to_string());
    tool(&["tar", "-xf", &archive, "-C", &root]);
    root
}

/// One more layer: what `change` does to the image's unpacked tree.
fn repacked(image: &str, folder: &Path, change: &dyn Fn(&str)) {
    let bundle = folder.join("bundle").display().to_string();
    tool(&["umoci", "unpack", "--rootless", "--image", image, &bundle]);
    change(&format!("{bundle}/rootfs"));
    tool(&["umoci", "repack", "--image", image, &bundle]);
    fs::remove_dir_all(&bundle).unwrap();
}

/// umoci: an image of three layers, the last of which removes what the second has.
fn by_umoci(folder: &Path) -> String {
    let root = root(folder);
    let layout = folder.join("umoci").display().to_string();
    let image = format!("{layout}:latest");
    tool(&["umoci", "init", "--layout", &layout]);
    tool(&["umoci", "new", "--image", &image]);
    repacked(&image, folder, &|inside| {
        tool(&["cp", "-a", &format!("{root}/."), inside]);
    });
    repacked(&image, folder, &|inside| {
        fs::write(format!("{inside}/note"), "of umoci").unwrap();
        fs::write(format!("{inside}/removed"), "of umoci").unwrap();
    });
    repacked(&image, folder, &|inside| {
        fs::remove_file(format!("{inside}/removed")).unwrap();
    });
    tool(&[
        "umoci",
        "config",
        "--image",
        &image,
        "--config.env",
        "GREETING=of umoci",
        "--config.env",
        "PATH=/bin",
    ]);
    format!("oci:{image}")
}

/// buildah: from nothing, a copy, a commit.
fn by_buildah(folder: &Path) -> String {
    let root = root(folder);
    let storage = folder.join("storage").display().to_string();
    let state = folder.join("state").display().to_string();
    let layout = folder.join("buildah").display().to_string();
    let buildah = |words: &[&str]| {
        let mut command = Command::new("buildah");
        command.args([
            "--storage-driver",
            "vfs",
            "--root",
            &storage,
            "--runroot",
            &state,
        ]);
        let output = command.args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let container = buildah(&["from", "scratch"]);
    buildah(&["copy", &container, &root, "/"]);
    buildah(&[
        "config",
        "--env",
        "PATH=/bin",
        "--env",
        "GREETING=of buildah",
        &container,
    ]);
    let to = format!("oci:{layout}:latest");
    buildah(&[
        "commit",
        "--format",
        "docker",
        &container,
        &format!("docker-archive:{layout}.tar:app:latest"),
    ]);
    buildah(&["commit", &container, &to]);
    to
}

fn with_login(puller: &Puller, registry: &Distribution, name: &str) -> std::process::Output {
    let (name, ca) = (format!("{}/{name}", registry.host), registry.at("ca.pem"));
    let words = [
        "image",
        "pull",
        &name,
        "--ca-file",
        &ca,
        "--username",
        "user",
        "--password-stdin",
    ];
    let mut child = puller
        .command(&words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"secret").unwrap();
    child.wait_with_output().unwrap()
}

/// Whether a stored file begins like this.
fn begins_with(puller: &Puller, magic: &[u8]) -> bool {
    let files = fs::read_dir(puller.store.join("blobs/sha256")).unwrap();
    let mut contents = files.map(|file| fs::read(file.unwrap().path()).unwrap());
    contents.any(|content| content.starts_with(magic))
}

/// Runs the image, which greets, and forgets it: nothing of it is left then.
fn runs_and_goes(place: &Place, puller: &Puller, name: &str, greeting: &str) {
    let script = "echo $GREETING; test ! -e /removed";
    let ran = Run::new(place, puller.privilege)
        .environment("LAKEKEEP_STORE", puller.store.to_str().unwrap())
        .flags(["--image", name])
        .command(["/bin/sh", "-c", script])
        .finish();
    ran.assert_code(0);
    assert_eq!(ran.stdout, format!("{greeting}\n").into_bytes());
    puller.assert_sound();
    assert!(puller.lakekeep(&["image", "rm", name]).status.success());
    assert!(puller.lakekeep(&["image", "gc"]).status.success());
    for kind in ["folders/sha256", "blobs/sha256", "partial", "drafts"] {
        let left = fs::read_dir(puller.store.join(kind)).unwrap().count();
        assert_eq!(left, 0, "{kind}");
    }
}

#[test]
fn images_of_other_tools_are_pulled_over_tls_and_run() {
    if !available("images_of_other_tools") {
        return;
    }
    for_each_privilege("images_of_other_tools", |privilege| {
        let place = Place::new();
        let puller = Puller::new(&place, privilege);
        let folder = place.dir("registry", Privilege::Root);
        let registry = Distribution::new(&folder);
        let umoci = by_umoci(&folder);
        let buildah = by_buildah(&folder);
        let archive = format!("docker-archive:{}.tar", registry.at("buildah"));
        // Of layers that are compressed already it makes no others.
        let zstd = ["--dest-compress-format", "zstd", "--format", "oci"];
        for (from, name, more, greeting) in [
            (&umoci, "umoci:gzip", &[][..], "of umoci"),
            (&archive, "buildah:zstd", &zstd[..], "of buildah"),
            (
                &umoci,
                "umoci:docker",
                &["--format", "v2s2"][..],
                "of umoci",
            ),
            (&buildah, "a/b/buildah:oci", &[][..], "of buildah"),
            (&archive, "buildah:docker", &[][..], "of buildah"),
        ] {
            registry.push(from, name, more);
            let pulled = with_login(&puller, &registry, name);
            assert!(pulled.status.success(), "{name}: {}", said(&pulled));
            // A layer that the registry has as zstd is not compressed anew.
            let magic = if from.contains("umoci") { GZIP } else { ZSTD };
            assert!(begins_with(&puller, magic), "{name}");
            let full = format!("{}/{name}", registry.host);
            runs_and_goes(&place, &puller, &full, greeting);
        }
        // The same registry does not let in who it does not know, or whom one does not know.
        let name = format!("{}/umoci:gzip", registry.host);
        let ca = registry.at("ca.pem");
        let nobody = puller.pull(&name, &["--ca-file", &ca]);
        assert!(said(&nobody).contains("docker login"), "{}", said(&nobody));
        let unknown = puller.pull(&name, &[]);
        assert!(said(&unknown).contains("--ca-file"), "{}", said(&unknown));
        let none = with_login(&puller, &registry, "umoci:none");
        assert!(
            said(&none).contains("check the name and the tag"),
            "{}",
            said(&none)
        );
    });
}

/// What debootstrap makes, as an archive: of Debian's mirror, once for each target folder.
fn debian() -> Result<PathBuf, String> {
    let archive = lakekeep_tests::target_dir().join("debootstrap.tar");
    if archive.exists() {
        return Ok(archive);
    }
    // Its parts have names of their own: the same test of another run may be making it too.
    let made = tempfile::tempdir_in(lakekeep_tests::target_dir()).unwrap();
    let (root, tar) = (made.path().join("root"), made.path().join("tar"));
    let mut steps = [Command::new("debootstrap"), Command::new("tar")];
    steps[0].args(["--variant=minbase", "stable"]).arg(&root);
    steps[1].args([
        "--exclude=./dev/*",
        "--exclude=./proc/*",
        "--exclude=./sys/*",
        "-cf",
    ]);
    steps[1].arg(&tar).arg("-C").arg(&root).arg(".");
    for mut step in steps {
        match step.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Err(format!("{step:?}: {}", said(&output))),
            Err(error) => return Err(format!("{step:?}: {error}")),
        }
    }
    fs::rename(tar, &archive).unwrap();
    Ok(archive)
}

/// Debian itself, made by debootstrap.
#[test]
fn debian_is_pulled_and_run() {
    let test = "debian_is_pulled";
    if !available(test) {
        return;
    }
    let archive = match debian() {
        Ok(archive) => archive,
        Err(why) => return skip(test, "registry", &why),
    };
    let place = Place::new();
    let puller = Puller::new(&place, Privilege::User);
    let folder = place.dir("registry", Privilege::Root);
    let registry = Distribution::new(&folder);
    let layout = folder.join("debian").display().to_string();
    let archive = archive.display().to_string();
    let image = format!("{layout}:latest");
    tool(&["umoci", "init", "--layout", &layout]);
    tool(&["umoci", "new", "--image", &image]);
    repacked(&image, &folder, &|inside| {
        tool(&["tar", "-xf", &archive, "-C", inside]);
    });
    registry.push(&format!("oci:{image}"), "debian:stable", &[]);
    let pulled = with_login(&puller, &registry, "debian:stable");
    assert!(pulled.status.success(), "{}", said(&pulled));
    let ran = Run::new(&place, Privilege::User)
        .environment("LAKEKEEP_STORE", puller.store.to_str().unwrap())
        .flags(["--image", &format!("{}/debian:stable", registry.host)])
        .command([
            "/bin/bash",
            "-c",
            ". /etc/os-release; echo $ID; dpkg --version | head -1",
        ])
        .finish();
    ran.assert_code(0);
    let out = String::from_utf8(ran.stdout.clone()).unwrap();
    assert!(out.starts_with("debian\nDebian 'dpkg'"), "{out}");
    puller.assert_sound();
}
