//! A relay by itself: a test is its manager, and the code in its sandbox.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use lakekeep_protocol::relay::{FlowReceipt, RuleDocument, RuleLevel, ServeSpec, ServedService};
use lakekeep_protocol::{Channel, RelayReply, RelayRequest};
use lakekeep_sys::net::{self, Captured};
use lakekeep_sys::socket;
use lakekeep_tests::internet::Internet;
use lakekeep_tests::{lakekeep, slack};
use rustix::fs::{CWD, Mode, OFlags, openat};

/// The server of the test's Internet that every rule here is about.
pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34)), 80);

/// Whatever is waited for comes sooner.
fn patience() -> Duration {
    Duration::from_secs(20) * slack()
}

/// A relay on the host; dropped, it is ended.
pub struct Relay {
    link: Arc<Channel<RelayRequest, RelayReply>>,
    process: Child,
    said: Receiver<RelayReply>,
}

/// The network of a sandbox that the relay serves.
pub struct Inside {
    namespace: OwnedFd,
}

impl Relay {
    /// Starts one that resolves names by this file alone (hosts(5)).
    pub fn start(internet: &Internet, hosts: &Path) -> Self {
        let (ours, theirs) = socket::pair().unwrap();
        let process = internet.on_host_with_names(hosts, || {
            Command::new(lakekeep().with_file_name("lakekeep-relay"))
                .env_clear()
                .stdin(Stdio::from(theirs))
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        });
        let link = Arc::new(Channel::new(ours).of_answers());
        let (say, said) = channel();
        let heard: Arc<Channel<RelayRequest, RelayReply>> = Arc::clone(&link);
        thread::spawn(move || {
            while let Ok(Some((reply, _))) = heard.receive() {
                if say.send(reply).is_err() {
                    return;
                }
            }
        });
        Self {
            link,
            process,
            said,
        }
    }

    /// Makes a sandbox's network and has it served under these rules, a JSON document.
    #[track_caller]
    pub fn serve(&self, sandbox: &str, rules: &serde_json::Value) -> Inside {
        match self.ask(sandbox, rules) {
            (RelayReply::Serving { .. }, inside) => inside,
            (other, _) => panic!("{other:?}"),
        }
    }

    /// Says that the test answers this service, at its socket in a folder.
    pub fn offer(&self, folder: &Path, service: &str, addresses: &[IpAddr]) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, folder, flags, Mode::empty()).unwrap();
        let services = vec![ServedService {
            name: service.to_owned(),
            addresses: addresses.to_vec(),
        }];
        let request = RelayRequest::Services { services };
        self.link.send(&request, &[folder.as_fd()]).unwrap();
    }

    /// Why it does not serve a sandbox under these rules.
    #[track_caller]
    pub fn refused(&self, sandbox: &str, rules: &serde_json::Value) -> String {
        match self.ask(sandbox, rules).0 {
            RelayReply::Refused { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Its answer; what it tells of flows meanwhile is passed over.
    fn ask(&self, sandbox: &str, rules: &serde_json::Value) -> (RelayReply, Inside) {
        let namespace = net::make().unwrap();
        let Captured { tcp, udp } = net::capture(&namespace).unwrap();
        let spec = ServeSpec {
            sandbox: sandbox.to_owned(),
            profile: None,
            rules: vec![RuleDocument {
                level: RuleLevel::User,
                json: rules.to_string(),
            }],
        };
        let request = RelayRequest::Serve(Box::new(spec));
        self.link
            .send(&request, &[tcp.as_fd(), udp.as_fd()])
            .unwrap();
        loop {
            match self.said.recv_timeout(patience()).unwrap() {
                RelayReply::Flow(_) => {}
                answer => return (answer, Inside { namespace }),
            }
        }
    }

    /// Puts other rules in force for a sandbox, and returns when they are.
    #[track_caller]
    pub fn update(&self, sandbox: &str, rules: &serde_json::Value) {
        let request = RelayRequest::Update {
            sandbox: sandbox.to_owned(),
            rules: vec![RuleDocument {
                level: RuleLevel::User,
                json: rules.to_string(),
            }],
        };
        self.link.send(&request, &[]).unwrap();
        loop {
            match self.said.recv_timeout(patience()).unwrap() {
                RelayReply::Flow(_) => {}
                RelayReply::Serving { .. } => return,
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next receipt in whose words this stands; fails the test when none comes.
    #[track_caller]
    pub fn told(&self, words: &str) -> FlowReceipt {
        let end = Instant::now() + patience();
        let mut others = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(RelayReply::Flow(receipt)) if receipt.words.contains(words) => return *receipt,
                Ok(RelayReply::Flow(receipt)) => others.push(receipt.words),
                Ok(other) => panic!("{other:?}"),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("nobody told of {words:?}; told were {others:#?}")
                }
            }
        }
    }

    /// A field of each of its threads' status (proc_pid_status(5)).
    pub fn status(&self, field: &str) -> Vec<String> {
        let threads = fs::read_dir(self.proc("task")).unwrap();
        let line = |path: PathBuf| {
            let text = fs::read_to_string(path.join("status")).unwrap();
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(name, _)| *name == field);
            found.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let all = threads.map(|thread| line(thread.unwrap().path()).unwrap());
        all.collect()
    }

    /// Its resident memory, bytes.
    pub fn memory(&self) -> u64 {
        let kilobytes = self.status("VmRSS").remove(0);
        let number = kilobytes.split(' ').next().unwrap();
        number.parse::<u64>().unwrap() << 10
    }

    /// Its descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.process.id()))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Inside {
    /// Runs `body` in a thread of the sandbox's network.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                net::enter(&self.namespace).unwrap();
                body()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The address that the relay gives for a name.
    #[track_caller]
    pub fn resolve(&self, name: &str) -> IpAddr {
        let answer = self.answer(name);
        assert_eq!(answer[3] & 15, 0, "{name} does not exist");
        // After the header: type A and class IN of the question, and of the record; then its time
        // to live, four bytes, and its length, two.
        let types = answer.windows(4).enumerate().skip(12);
        let mut types = types.filter(|(_, four)| *four == [0, 1, 0, 1]);
        let (record, _) = types.nth(1).unwrap();
        let octets: [u8; 4] = answer[record + 10..record + 14].try_into().unwrap();
        Ipv4Addr::from(octets).into()
    }

    /// Whether a name exists inside.
    pub fn knows(&self, name: &str) -> bool {
        self.answer(name)[3] & 15 == 0
    }

    /// The answer to a question for a name's IPv4 address (RFC 1035, 4.1).
    fn answer(&self, name: &str) -> Vec<u8> {
        let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.as_bytes());
        }
        question.extend([0, 0, 1, 0, 1]);
        self.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(patience())).unwrap();
            socket.send_to(&question, "198.18.0.1:53").unwrap();
            let mut buffer = [0; 512];
            let read = socket.recv(&mut buffer).unwrap();
            buffer[..read].to_vec()
        })
    }
}

/// Connects, and waits for the server's greeting; nothing when the connection was refused.
pub fn greeted(to: SocketAddr) -> Option<(TcpStream, String)> {
    let mut stream = TcpStream::connect_timeout(&to, patience()).ok()?;
    stream.set_read_timeout(Some(patience())).unwrap();
    let mut greeting = [0; 100];
    match stream.read(&mut greeting) {
        Ok(read @ 1..) => Some((
            stream,
            String::from_utf8_lossy(&greeting[..read]).into_owned(),
        )),
        _ => None,
    }
}
