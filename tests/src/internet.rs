//! A host with an Internet, both of the test's own: two network namespaces and a link between
//! them. In the second every address is answered, and what arrives there is counted.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lakekeep_sys::{Errno, mount, net};

use crate::{eventually, fail, skip};

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

/// What arrived at the Internet's servers.
#[derive(Debug, Default)]
struct Arrived {
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl Internet {
    /// Makes both; nothing where the test may make no network namespaces.
    ///
    /// # Panics
    /// When ip(8) fails.
    #[must_use]
    #[track_caller]
    pub fn make(test: &str) -> Option<Self> {
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
        internet.wire();
        internet.serve();
        internet.serve_host();
        Some(internet)
    }

    /// Runs `body` in a thread that is on the host: so are the processes that it starts.
    pub fn on_host<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        within(&self.host, body)
    }

    /// The same, where these are all the names that the host's resolver knows (hosts(5)).
    pub fn on_host_with_names<T: Send>(&self, names: &Path, body: impl FnOnce() -> T + Send) -> T {
        self.on_host(|| {
            mount::unshare().unwrap_or_else(|e| fail(format_args!("mount namespace: {e}")));
            let hosts = names.display();
            command("mount", &format!("--bind {hosts} /etc/hosts"));
            body()
        })
    }

    /// Fails unless the attempt, a line after [`WORDS`], arrives when no sandbox is around it.
    #[track_caller]
    pub fn prove(&self, attempt: &str) {
        let before = self.arrived().0;
        let done = self.on_host(|| try_out(attempt));
        eventually(&format!("{attempt} arrives from outside: {done}"), || {
            (self.arrived().0 > before).then_some(())
        });
    }

    /// The same with these names.
    #[track_caller]
    pub fn prove_with_names(&self, names: &Path, attempt: &str) {
        let before = self.arrived().0;
        let done = self.on_host_with_names(names, || try_out(attempt));
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

    fn wire(&self) {
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.outside.as_raw_fd()
        );
        within(&self.host, || {
            ip(&format!(
                "link add up0 type veth peer name down0 netns {path}"
            ));
            ip("address add 192.0.2.2/24 dev up0");
            ip("address add 2001:db8::2/64 dev up0 nodad");
            ip("link set up0 up");
        });
        within(&self.outside, || {
            ip("address add 192.0.2.1/24 dev down0");
            ip("address add 2001:db8::1/64 dev down0 nodad");
            ip("link set down0 up");
            ip("route add local default dev lo");
            // Its own table comes before the link's in IPv6, and answers would go nowhere.
            ip("-6 route add local default dev lo table main");
        });
        within(&self.host, || {
            ip("route add default via 192.0.2.1");
            ip("-6 route add default via 2001:db8::1");
        });
    }

    /// What only the host itself may reach: its loopback, its own address, an abstract socket.
    fn serve_host(&self) {
        within(&self.host, || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, HOST_PORT))
                .unwrap_or_else(|e| fail(format_args!("host's port: {e}")));
            let arrived = Arc::clone(&self.arrived);
            thread::spawn(move || accept(&listener, &arrived));
            let address = std::os::unix::net::SocketAddr::from_abstract_name(HOST_SOCKET)
                .unwrap_or_else(|e| fail(format_args!("abstract name: {e}")));
            let listener = UnixListener::bind_addr(&address)
                .unwrap_or_else(|e| fail(format_args!("host's abstract socket: {e}")));
            let arrived = Arc::clone(&self.arrived);
            thread::spawn(move || {
                for _ in listener.incoming() {
                    arrived.connections.fetch_add(1, Ordering::SeqCst);
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
                thread::spawn(move || accept(&listener, &arrived));
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

fn try_out(attempt: &str) -> String {
    let [program, flag, script] = python(&format!("{WORDS}\n{attempt}"));
    let done = Command::new(program).args([flag, script]).output();
    let done = done.unwrap_or_else(|e| fail(format_args!("python3: {e}")));
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn ip(words: &str) {
    command("ip", words);
}

fn command(program: &str, words: &str) {
    let done = Command::new(program).args(words.split(' ')).output();
    let done = done.unwrap_or_else(|e| fail(format_args!("{program}: {e}")));
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        fail(format_args!("{program} {words}: {said}"));
    }
}

fn accept(listener: &TcpListener, arrived: &Arc<Arrived>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        arrived.connections.fetch_add(1, Ordering::SeqCst);
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
