//! An Internet with real servers: of names, of files and repositories over HTTP, and two
//! databases. Each is Debian's own program, started by the test.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lakekeep_tests::internet::Internet;
use lakekeep_tests::manager::Authority;
use lakekeep_tests::{Finished, Place, Privilege, Run, Tracked, children, eventually, skip};

/// Where all names lead.
const SERVER: &str = "93.184.216.34";

/// The server of names.
const RESOLVER: &str = "192.0.2.1";

/// All names that there are: no rule of a test is about the last.
pub const NAMES: [&str; 6] = [
    "pypi.example",
    "git.example",
    "web.example",
    "db.example",
    "cache.example",
    "other.example",
];

/// Programs, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 13] = [
    ("/usr/sbin/apache2", "apache2-bin"),
    ("/usr/sbin/dnsmasq", "dnsmasq-base"),
    ("/usr/bin/redis-server", "redis-server"),
    ("/usr/bin/redis-cli", "redis-tools"),
    ("/usr/bin/psql", "postgresql-client"),
    ("/usr/lib/postgresql", "postgresql"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/node", "nodejs"),
    ("/usr/bin/javac", "default-jdk-headless"),
    ("/usr/lib/git-core/git-http-backend", "git"),
    ("/usr/lib/python3/dist-packages/aiohttp", "python3-aiohttp"),
    ("/usr/lib/python3/dist-packages/pip", "python3-pip"),
    (
        "/usr/lib/python3/dist-packages/requests",
        "python3-requests",
    ),
];

/// The user that servers run as: it owns nothing else.
const NOBODY: u32 = 65_534;

/// The Internet, its servers, and a host from which sandboxes reach them.
pub struct Servers {
    /// Ended first when this is dropped: they write to the place.
    running: Vec<Tracked>,
    internet: Internet,
    place: Place,
}

impl Servers {
    /// An Internet with names and nothing else; `None` where the host lacks a program.
    pub fn start(test: &str) -> Option<Self> {
        for (program, package) in PROGRAMS {
            if !Path::new(program).exists() {
                skip(
                    test,
                    "clients",
                    &format!("{program} of {package} is missing"),
                );
                return None;
            }
        }
        let internet = Internet::without_servers(test)?;
        let place = Place::new();
        let [ca, ..] = Authority::new().serving(place.path(), &NAMES);
        let mut servers = Self {
            running: Vec::new(),
            internet,
            place,
        };
        servers.file("shown/authority.pem", fs::read(ca).unwrap());
        servers.file("resolv.conf", format!("nameserver {RESOLVER}\n"));
        let names = NAMES.map(|name| format!("--host-record={name},{SERVER}"));
        let options = "--keep-in-foreground --conf-file=/dev/null --no-hosts --no-resolv --user=root --pid-file";
        servers.serve(
            Command::new("/usr/sbin/dnsmasq")
                .args(options.split(' '))
                .args(names),
            (RESOLVER, 53),
        );
        Some(servers)
    }

    /// The folder with certificates and what is served.
    pub fn folder(&self) -> &Path {
        self.place.path()
    }

    /// Starts a server in the Internet, in a process namespace that ends with it, and waits
    /// until it accepts connections.
    fn serve(&mut self, command: &mut Command, address: (&str, u16)) {
        let mut server = Command::new("/usr/bin/unshare");
        server
            .args(["--pid", "--fork"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let started = self.internet.in_internet(|| Tracked::spawn(&mut server));
        self.running.push(started);
        let internet = &self.internet;
        eventually(&format!("{server:?} serves"), || {
            internet.on_host(|| TcpStream::connect(address)).ok()
        });
    }

    /// A server of HTTP, HTTPS and HTTP/2 with these files, and with the repositories of `git`.
    pub fn web(&mut self) {
        let folder = self.folder().display().to_string();
        let path = self.place.file(
            "apache2.conf",
            Privilege::Root,
            include_str!("apache2.conf").replace("FOLDER", &folder),
        );
        let mut command = Command::new("/usr/sbin/apache2");
        command.arg("-X").arg("-f").arg(path);
        self.serve(&mut command, (SERVER, 443));
    }

    /// PostgreSQL, with TLS.
    pub fn postgresql(&mut self) {
        let programs = fs::read_dir("/usr/lib/postgresql").unwrap();
        let newest = programs.map(|entry| entry.unwrap().path()).max().unwrap();
        let data = self.place.dir("postgresql", Privilege::Root);
        give_to_nobody(&data);
        let key = data.with_extension("key");
        fs::copy(self.folder().join("server.key"), &key).unwrap();
        give_to_nobody(&key);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let made = as_nobody(&newest.join("bin/initdb"))
            .args(["--auth=trust", "--username=reader", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let rule = "hostssl all all 0.0.0.0/0 trust\n";
        fs::write(data.join("pg_hba.conf"), rule).unwrap();
        let mut command = as_nobody(&newest.join("bin/postgres"));
        command.arg("-D").arg(&data).args(["-k", "", "-h", "*"]);
        for setting in [
            "ssl=on".to_owned(),
            format!("ssl_key_file={}", key.display()),
            format!("ssl_cert_file={}/server.pem", self.folder().display()),
            "fsync=off".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        self.serve(&mut command, (SERVER, 5432));
    }

    /// Redis.
    pub fn redis(&mut self) {
        let mut command = as_nobody(Path::new("/usr/bin/redis-server"));
        command.args(["--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]);
        self.serve(&mut command, (SERVER, 6379));
    }

    /// Runs a shell script in a sandbox with these rules, and the certificate of the servers'
    /// authority in the variables by which clients find it. The folder `shown` is at /shown.
    pub fn run(&self, privilege: Privilege, rules: &[&str], script: &str) -> Finished {
        let shown = format!(
            "{}:/shown",
            self.place.dir("shown", Privilege::Root).display()
        );
        let variables = [
            "SSL_CERT_FILE",
            "CURL_CA_BUNDLE",
            "REQUESTS_CA_BUNDLE",
            "PIP_CERT",
            "GIT_SSL_CAINFO",
            "NODE_EXTRA_CA_CERTS",
            "PGSSLROOTCERT",
        ]
        .map(|name| format!("--env={name}=/shown/authority.pem"));
        let run = Run::new(&self.place, privilege)
            .flags(["--mount", &shown])
            .flags(variables)
            .flags(rules.iter().flat_map(|rule| ["--egress", rule]))
            .shell(&format!("set -e; cd /tmp; export HOME=/tmp; {script}"));
        self.on_host(|| run.finish())
    }

    fn on_host<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let names = self.folder().join("resolv.conf");
        self.internet
            .on_host_with_file((&names, "/etc/resolv.conf"), body)
    }

    /// A file below the place, for clients or for the server of files.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Servers {
    /// Kills the first process of each server's namespace, and the kernel all others with it:
    /// what changes its user, as servers do, no longer dies with its parent (prctl(2)).
    fn drop(&mut self) {
        let first = self.running.iter().flat_map(|one| children(one.id()));
        let pids: Vec<String> = first.map(|pid| pid.to_string()).collect();
        let killed = Command::new("/bin/kill").arg("-KILL").args(&pids).status();
        if !killed.is_ok_and(|status| status.success()) {
            eprintln!("servers that still run: {pids:?}");
        }
    }
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .current_dir("/");
    command
}

fn give_to_nobody(path: &Path) {
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}
