//! A host with an Internet, both of the test's own: two network namespaces and a link between
//! them. In the second every address is answered, and what arrives there is counted.

mod resolver;
mod wire;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lakekeep_sys::{Errno, mount, net};

use crate::{eventually, fail, skip};

pub use resolver::{Resolver, SILENCE};
pub use wire::{Packet, Wire, sayings};

/// What every server of the Internet answers.
pub const GREETING: &str = "greetings from outside\n";

/// What every attempt is written with.
pub const WORDS: &str = r#"
import socket, ssl, struct
V4, V6 = socket.AF_INET, socket.AF_INET6
SERVER = "93.184.216.34"
def tcp(address, port, family=V4, kind=socket.SOCK_STREAM, protocol=0):
    with socket.socket(family, kind, protocol) as s:
        s.settimeout(5)
        s.connect((address, port))
        s.sendall(b"secret")
        s.shutdown(socket.SHUT_WR)
        return s.recv(100).decode()
def udp(address, port, family=V4):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.sendto(b"secret", (address, port))
def fast_open(address, port):
    with socket.socket(V4, socket.SOCK_STREAM) as s:
        s.sendto(b"secret", socket.MSG_FASTOPEN, (address, port))
        s.recv(100)
def echo(address):
    with socket.socket(V4, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.sendto(struct.pack("!BBHHH4s", 8, 0, 0x353b, 1, 1, b"aaaa"), (address, 0))
def echo6(address):
    with socket.socket(V6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as s:
        s.sendto(struct.pack("!BBHHH", 128, 0, 0, 1, 1), (address, 0))
def raw(address):
    with socket.socket(V4, socket.SOCK_RAW, socket.IPPROTO_UDP) as s:
        s.sendto(struct.pack("!HHHH", 4000, 443, 14, 0) + b"secret", (address, 0))
def http(name, host, port=80):
    with socket.create_connection((name, port), 5) as s:
        s.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        s.shutdown(socket.SHUT_WR)
        return s.recv(100).decode()
def tls(name, server_name, port=443):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((name, port), 5) as s:
        context.wrap_socket(s, server_hostname=server_name)
def abstract():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\0lakekeep-tests-host")
"#;

/// Ports on which it serves TCP, and UDP.
const TCP: [u16; 8] = [22, 53, 80, 443, 853, 5432, 8080, 65_535];
const UDP: [u16; 4] = [53, 123, 443, 8125];

/// Where the host itself serves TCP: on all its addresses.
pub const HOST_PORT: u16 = 9999;

/// The name of its abstract socket.
pub const HOST_SOCKET: &str = "lakekeep-tests-host";

/// The host and its Internet.
#[derive(Debug)]
pub struct Internet {
    host: OwnedFd,
    outside: OwnedFd,
    arrived: Arc<Arrived>,
}

/// What arrived at the Internet's servers, and at the host's own.
#[derive(Debug, Default)]
struct Arrived {
    connections: AtomicU64,
    /// Of these, those at the host's own.
    at_host: AtomicU64,
    bytes: AtomicU64,
}

impl Arrived {
    fn note_host(&self) {
        self.at_host.fetch_add(1, Ordering::SeqCst);
    }
}

impl Internet {
    /// Makes both; nothing where the test may make no network namespaces.
    ///
    /// # Panics
    /// When ip(8) fails.
    #[must_use]
    #[track_caller]
    pub fn make(test: &str) -> Option<Self> {
        let internet = Self::without_servers(test)?;
        internet.serve();
        internet.serve_host();
        Some(internet)
    }

    /// The same, where nobody serves: a test starts servers of its own there
    /// ([`Internet::in_internet`]).
    ///
    /// # Panics
    /// When ip(8) fails.
    #[must_use]
    #[track_caller]
    pub fn without_servers(test: &str) -> Option<Self> {
        let host = match net::make() {
            Err(Errno::PERM) => {
                skip(test, "root", "network namespaces of a host's own need root");
                return None;
            }
            made => made.unwrap_or_else(|e| fail(format_args!("network namespace: {e}"))),
        };
        let outside = net::make().unwrap_or_else(|e| fail(format_args!("network namespace: {e}")));
        let internet = Self {
            host,
            outside,
            arrived: Arc::default(),
        };
        internet.connect();
        Some(internet)
    }

    /// Runs `body` in a thread that is in the Internet: so are the processes that it starts.
    pub fn in_internet<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        within(&self.outside, body)
    }

    /// Runs `body` in a thread that is on the host: so are the processes that it starts.
    pub fn on_host<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        within(&self.host, body)
    }

    /// The same, where these are all the names that the host's resolver knows (hosts(5)).
    pub fn on_host_with_names<T: Send>(&self, names: &Path, body: impl FnOnce() -> T + Send) -> T {
        self.on_host_with_file((names, "/etc/hosts"), body)
    }

    /// The same, where one file of the host's is another.
    pub fn on_host_with_file<T: Send>(
        &self,
        (file, place): (&Path, &str),
        body: impl FnOnce() -> T + Send,
    ) -> T {
        self.on_host(|| {
            mount::unshare().unwrap_or_else(|e| fail(format_args!("mount namespace: {e}")));
            command("mount", &format!("--bind {} {place}", file.display()));
            body()
        })
    }

    /// Fails unless the attempt, a line after [`WORDS`], arrives when no sandbox is around it.
    #[track_caller]
    pub fn prove(&self, attempt: &str) {
        let before = self.arrived().0;
        let done = self.on_host(|| said(attempt));
        eventually(&format!("{attempt} arrives from outside: {done}"), || {
            (self.arrived().0 > before).then_some(())
        });
    }

    /// The same with these names.
    #[track_caller]
    pub fn prove_with_names(&self, names: &Path, attempt: &str) {
        let before = self.arrived().0;
        let done = self.on_host_with_names(names, || said(attempt));
        eventually(&format!("{attempt} arrives from outside: {done}"), || {
            (self.arrived().0 > before).then_some(())
        });
    }

    /// Connections, datagrams and echo requests that arrived so far, and their bytes.
    #[must_use]
    pub fn arrived(&self) -> (u64, u64) {
        let echoes = within(&self.outside, echoes);
        (
            self.arrived.connections.load(Ordering::SeqCst) + echoes,
            self.arrived.bytes.load(Ordering::SeqCst),
        )
    }

    /// Connections to the host's own servers so far.
    ///
    /// # Panics
    /// When they do not serve.
    #[must_use]
    #[track_caller]
    pub fn arrived_at_host(&self) -> u64 {
        // They accept in turn, and answer after counting: whoever came before is counted then.
        self.on_host(visit_host)
            .unwrap_or_else(|e| fail(format_args!("the host's servers: {e}")));
        self.arrived.at_host.fetch_sub(VISITS, Ordering::SeqCst) - VISITS
    }

    /// Everything that the host sends from now on.
    ///
    /// # Panics
    /// When there may be no packet sockets.
    #[must_use]
    #[track_caller]
    pub fn wire(&self) -> Wire {
        within(&self.outside, Wire::tap).unwrap_or_else(|e| fail(format_args!("wire: {e}")))
    }

    fn connect(&self) {
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.outside.as_raw_fd()
        );
        // Link-local addresses of our own: the kernel's would be tried for a second first.
        within(&self.host, || {
            ip(&format!(
                "link add up0 address {} type veth peer name down0 netns {path}
                link set lo up
                link set up0 addrgenmode none
                address add 192.0.2.2/24 dev up0
                address add 2001:db8::2/64 dev up0 nodad
                address add fe80::2/64 dev up0 nodad
                link set up0 up",
                wire::HOST_MAC
            ));
        });
        within(&self.outside, || {
            // In IPv6 the default route's own table would come before the link's, and answers
            // would go nowhere.
            ip("link set down0 addrgenmode none
                address add 192.0.2.1/24 dev down0
                address add 2001:db8::1/64 dev down0 nodad
                address add fe80::1/64 dev down0 nodad
                link set down0 up
                route add local default dev lo
                route add local ::/0 dev lo table main");
        });
        within(&self.host, || {
            ip("route add default via 192.0.2.1
                route add default via 2001:db8::1");
        });
    }

    /// What only the host itself may reach: its loopback, its own address, an abstract socket.
    fn serve_host(&self) {
        within(&self.host, || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, HOST_PORT))
                .unwrap_or_else(|e| fail(format_args!("host's port: {e}")));
            let arrived = Arc::clone(&self.arrived);
            thread::spawn(move || accept(&listener, &arrived, Arrived::note_host));
            let listener = SocketAddr::from_abstract_name(HOST_SOCKET)
                .and_then(|address| UnixListener::bind_addr(&address))
                .unwrap_or_else(|e| fail(format_args!("host's abstract socket: {e}")));
            let arrived = Arc::clone(&self.arrived);
            thread::spawn(move || {
                for _ in listener.incoming() {
                    arrived.connections.fetch_add(1, Ordering::SeqCst);
                    arrived.note_host();
                }
            });
        });
    }

    fn serve(&self) {
        within(&self.outside, || {
            for port in TCP {
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                    .unwrap_or_else(|e| fail(format_args!("port {port}: {e}")));
                let arrived = Arc::clone(&self.arrived);
                thread::spawn(move || accept(&listener, &arrived, |_| {}));
            }
            for port in UDP {
                let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
                    .unwrap_or_else(|e| fail(format_args!("port {port}: {e}")));
                let arrived = Arc::clone(&self.arrived);
                thread::spawn(move || hear(&socket, &arrived));
            }
        });
    }
}

/// Runs `body` in a thread with a network that has nothing but a loopback.
///
/// # Panics
/// When it cannot be made.
pub fn in_fresh_network<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let network = net::make().unwrap_or_else(|e| fail(format_args!("network namespace: {e}")));
    within(&network, body)
}

fn within<T: Send>(namespace: &OwnedFd, body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            net::enter(namespace).unwrap_or_else(|e| fail(format_args!("setns: {e}")));
            body()
        });
        match inside.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A program of Python's, as a command.
#[must_use]
pub fn python(script: &str) -> [String; 3] {
    ["/usr/bin/python3", "-c", script].map(str::to_owned)
}

/// Every attempt, whatever becomes of the others; what went wrong is printed.
#[must_use]
pub fn one_after_the_other(attempts: &[&str]) -> String {
    let each = attempts.iter().map(|attempt| {
        format!("try: {attempt}\nexcept OSError as e: print({attempt:?}, type(e).__name__, e)")
    });
    each.collect::<Vec<String>>().join("\n")
}

/// How many of the host's own servers [`visit_host`] connects to.
const VISITS: u64 = 2;

/// Connects to each of the host's own servers, and waits until it is counted there.
fn visit_host() -> io::Result<()> {
    let mut word = [0; 1];
    let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, HOST_PORT))?;
    tcp.read_exact(&mut word)?;
    let mut unix = UnixStream::connect_addr(&SocketAddr::from_abstract_name(HOST_SOCKET)?)?;
    unix.read(&mut word).map(|_| ())
}

/// Runs a program of Python's after [`WORDS`], with the calling thread's network and mounts.
///
/// # Panics
/// When there is no Python.
#[must_use]
pub fn try_out(script: &str) -> Output {
    let [program, flag, script] = python(&format!("{WORDS}\n{script}"));
    let done = Command::new(program).args([flag, script]).output();
    done.unwrap_or_else(|e| fail(format_args!("python3: {e}")))
}

fn said(attempt: &str) -> String {
    String::from_utf8_lossy(&try_out(attempt).stderr).into_owned()
}

/// Several commands of ip(8), a line each.
fn ip(lines: &str) {
    let child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|e| fail(format_args!("ip: {e}")));
    let written = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(lines.as_bytes()));
    let done = child.wait_with_output();
    let done = done.unwrap_or_else(|e| fail(format_args!("ip: {e}")));
    if !done.status.success() || !matches!(written, Some(Ok(()))) {
        let said = String::from_utf8_lossy(&done.stderr);
        fail(format_args!("ip: {lines}: {said}"));
    }
}

fn command(program: &str, words: &str) {
    let done = Command::new(program).args(words.split(' ')).output();
    let done = done.unwrap_or_else(|e| fail(format_args!("{program}: {e}")));
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        fail(format_args!("{program} {words}: {said}"));
    }
}

fn accept(listener: &TcpListener, arrived: &Arc<Arrived>, also: fn(&Arrived)) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        arrived.connections.fetch_add(1, Ordering::SeqCst);
        also(arrived);
        let arrived = Arc::clone(arrived);
        thread::spawn(move || {
            // A client that has gone already is counted all the same.
            let greeted = stream.write_all(GREETING.as_bytes());
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                arrived.bytes.fetch_add(read as u64, Ordering::SeqCst);
            }
            drop(greeted);
        });
    }
}

fn hear(socket: &UdpSocket, arrived: &Arrived) {
    let mut buffer = [0; 4096];
    while let Ok((read, _)) = socket.recv_from(&mut buffer) {
        arrived.connections.fetch_add(1, Ordering::SeqCst);
        arrived.bytes.fetch_add(read as u64, Ordering::SeqCst);
    }
}

/// Echo requests that the calling thread's network has received (proc_pid_net(5)).
fn echoes() -> u64 {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
    let four = read("snmp").unwrap_or_else(|e| fail(format_args!("snmp: {e}")));
    let six = read("snmp6").unwrap_or_else(|e| fail(format_args!("snmp6: {e}")));
    let mut icmp = four.lines().filter(|line| line.starts_with("Icmp:"));
    let (names, values) = (icmp.next().unwrap_or(""), icmp.next().unwrap_or(""));
    let four = names.split(' ').zip(values.split(' '));
    let four = four
        .filter(|(name, _)| *name == "InEchos")
        .map(|(_, value)| value);
    let six = six
        .lines()
        .filter_map(|line| line.strip_prefix("Icmp6InEchos"));
    let count = |value: &str| value.trim().parse::<u64>().unwrap_or(0);
    four.map(count).chain(six.map(count)).sum()
}
