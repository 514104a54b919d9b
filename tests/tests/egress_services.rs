//! Services that a manager answers, as the relay carries what goes to them: by name and at fixed
//! addresses, with a preamble of the relay's own, and for nobody who was not granted them. Here
//! a test is the manager.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod relay;

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use lakekeep_protocol::Preamble;
use lakekeep_protocol::preamble::HEADER;
use lakekeep_protocol::relay::{FlowVerdict, SERVICES_SOCKET};
use lakekeep_tests::internet::Internet;
use lakekeep_tests::manager::{Account, try_connect};
use lakekeep_tests::{Place, Privilege, Run, for_each_privilege};
use relay::{Inside, Relay};
use serde_json::{Value, json};

const NAME: &str = "identity.services.lakekeep.internal";

/// Where the AWS SDKs take credentials from over HTTP: ECS, and EKS in both families.
const FIXED: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// Whom root's relay becomes.
const NOBODY: u32 = 65_534;

struct Ground {
    relay: Relay,
    outer: PathBuf,
    inner: PathBuf,
    _place: Place,
}

impl Ground {
    fn make(test: &str) -> Option<Self> {
        let internet = Internet::make(test)?;
        let place = Place::new();
        let hosts = place.hosts("");
        let outer = place.dir("services", Privilege::Root);
        let inner = place.dir("services/relay", Privilege::Root);
        mode(&inner, 0o711);
        mode(&outer, 0o700);
        Some(Self {
            relay: Relay::start(&internet, &hosts),
            outer,
            inner,
            _place: place,
        })
    }

    fn socket(&self) -> PathBuf {
        self.inner.join(SERVICES_SOCKET)
    }

    fn offer(&self, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|one| one.parse().unwrap()).collect();
        self.relay.offer(&self.inner, "identity", &addresses);
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn granted() -> Value {
    json!({ "version": 1, "services": ["identity"] })
}

/// A manager that says whose each connection is, and then everything back.
fn serve(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    mode(path, 0o666);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut header = [0; HEADER];
                stream.read_exact(&mut header).unwrap();
                let mut rest = vec![0; Preamble::rest(header).unwrap()];
                stream.read_exact(&mut rest).unwrap();
                let said = Preamble::read(header, &rest).unwrap();
                let whose = format!("{} {}: ", said.sandbox(), said.service());
                stream.write_all(whose.as_bytes()).unwrap();
                let mut copy = stream.try_clone().unwrap();
                std::io::copy(&mut stream, &mut copy).ok();
                copy.shutdown(Shutdown::Write).ok();
            });
        }
    });
}

/// What is said there, and what it says to that; nothing when the connection is reset.
fn talk(inside: &Inside, address: IpAddr, port: u16, said: &[u8]) -> Option<Vec<u8>> {
    inside.run(|| {
        let mut stream = TcpStream::connect(SocketAddr::new(address, port)).ok()?;
        stream.write_all(said).ok()?;
        stream.shutdown(Shutdown::Write).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    })
}

#[test]
fn a_service_is_reached_by_its_name_and_at_its_own_addresses() {
    let Some(ground) = Ground::make("egress_services::reached") else {
        return;
    };
    serve(&ground.socket());
    ground.offer(&FIXED);
    let inside = ground.relay.serve("box-1", &granted());
    let expected = b"box-1 identity: hello".to_vec();
    let by_name = inside.resolve(NAME);
    let fixed = FIXED.map(|address| address.parse().unwrap());
    for address in [by_name].into_iter().chain(fixed) {
        let answer = talk(&inside, address, 80, b"hello");
        assert_eq!(answer.as_ref(), Some(&expected), "{address}");
        let receipt = ground.relay.told("closed");
        assert_eq!(receipt.verdict, FlowVerdict::Allowed);
        assert_eq!(receipt.name.as_deref(), Some(NAME));
        assert_eq!(receipt.rule.unwrap(), "[services] identity");
        // What the relay itself says is not the sandbox's.
        assert_eq!((receipt.sent, receipt.received), (5, 21));
    }
    // Another port leads nowhere.
    assert_eq!(talk(&inside, by_name, 8080, b"hello"), None);
    let receipt = ground.relay.told("the service identity is at port 80");
    assert_eq!(receipt.verdict, FlowVerdict::Denied);
}

/// The identity follows from the listener, whatever the code inside says first.
#[test]
fn a_preamble_of_the_sandboxs_own_is_data() {
    let Some(ground) = Ground::make("egress_services::forged") else {
        return;
    };
    serve(&ground.socket());
    ground.offer(&[]);
    let inside = ground.relay.serve("box-1", &granted());
    let forged = Preamble::new("box-2", "identity").unwrap().to_bytes();
    // Whoever writes to the socket itself is believed.
    let mut direct = UnixStream::connect(ground.socket()).unwrap();
    direct.write_all(&forged).unwrap();
    let mut whose = [0; 16];
    direct.read_exact(&mut whose).unwrap();
    assert_eq!(&whose, b"box-2 identity: ");
    let answer = talk(&inside, inside.resolve(NAME), 80, &forged).unwrap();
    assert_eq!(answer, [b"box-1 identity: ", &forged[..]].concat());
}

#[test]
fn a_sandbox_without_the_grant_reaches_nothing() {
    let Some(ground) = Ground::make("egress_services::other") else {
        return;
    };
    serve(&ground.socket());
    ground.offer(&FIXED);
    let inside = ground.relay.serve("box-1", &granted());
    let rules = json!({ "version": 1, "rules": ["allow tcp 0.0.0.0/0", "allow tcp ::/0"] });
    let other = ground.relay.serve("box-2", &rules);
    let by_name = inside.resolve(NAME);
    assert!(talk(&inside, by_name, 80, b"hello").is_some());
    assert!(!other.knows(NAME));
    let fixed = FIXED.map(|address| address.parse().unwrap());
    for address in [by_name].into_iter().chain(fixed) {
        assert!(talk(&inside, address, 80, b"hello").is_some(), "{address}");
        assert_eq!(talk(&other, address, 80, b"hello"), None, "{address}");
        let receipt = ground.relay.told("denied egress to ");
        assert_eq!(receipt.sandbox, "box-2");
        assert_eq!(receipt.verdict, FlowVerdict::Denied);
    }
}

#[test]
fn a_manager_that_went_is_told_and_the_next_one_is_reached() {
    let Some(ground) = Ground::make("egress_services::gone") else {
        return;
    };
    serve(&ground.socket());
    ground.offer(&["169.254.170.2"]);
    let inside = ground.relay.serve("box-1", &granted());
    let by_name = inside.resolve(NAME);
    assert!(talk(&inside, by_name, 80, b"hello").is_some());
    std::fs::remove_file(ground.socket()).unwrap();
    assert_eq!(talk(&inside, by_name, 80, b"hello"), None);
    let receipt = ground.relay.told("no manager answers it now");
    assert_eq!(receipt.verdict, FlowVerdict::Failed);
    assert_eq!((receipt.sent, receipt.received), (0, 0));
    // A socket that nobody listens at is what a killed manager leaves.
    drop(UnixListener::bind(ground.socket()).unwrap());
    mode(&ground.socket(), 0o666);
    assert_eq!(talk(&inside, by_name, 80, b"hello"), None);
    ground.relay.told("Connection refused");
    std::fs::remove_file(ground.socket()).unwrap();
    serve(&ground.socket());
    assert!(talk(&inside, by_name, 80, b"hello").is_some());
    // The next one's addresses are other ones; nothing is told of the sandbox anew.
    ground.offer(&["169.254.170.23"]);
    let answered = |address: &str| talk(&inside, address.parse().unwrap(), 80, b"hello");
    lakekeep_tests::eventually("the other address", || answered("169.254.170.23"));
    assert_eq!(answered("169.254.170.2"), None);
}

/// The socket's file is replaced by a link to another server's.
#[test]
fn a_socket_that_becomes_a_link_leads_nowhere() {
    let Some(ground) = Ground::make("egress_services::link") else {
        return;
    };
    let other = ground.inner.join("other.sock");
    serve(&other);
    symlink(&other, ground.socket()).unwrap();
    ground.offer(&[]);
    let inside = ground.relay.serve("box-1", &granted());
    // Whoever follows links arrives.
    UnixStream::connect(ground.socket()).unwrap();
    assert_eq!(talk(&inside, inside.resolve(NAME), 80, b"hello"), None);
    ground.relay.told("no manager answers it now");
}

/// The relay is nobody, and reaches the socket by its manager's descriptor of a folder; another
/// process of that user's reaches it only where the folder around is open.
#[test]
fn the_folder_keeps_everybody_else_away() {
    let Some(ground) = Ground::make("egress_services::folder") else {
        return;
    };
    serve(&ground.socket());
    ground.offer(&[]);
    let inside = ground.relay.serve("box-1", &granted());
    let nobody = Account {
        name: "nobody".to_owned(),
        uid: NOBODY,
        gid: NOBODY,
    };
    mode(&ground.outer, 0o755);
    try_connect(&ground.socket(), &nobody).unwrap();
    mode(&ground.outer, 0o700);
    try_connect(&ground.socket(), &nobody).unwrap_err();
    assert!(relay_is(&ground.relay, NOBODY));
    assert!(talk(&inside, inside.resolve(NAME), 80, b"hello").is_some());
}

fn relay_is(relay: &Relay, uid: u32) -> bool {
    let uids = relay.status("Uid");
    uids.iter()
        .all(|line| line.split(' ').all(|one| one == uid.to_string()))
}

#[test]
fn without_a_manager_a_grant_is_refused() {
    let Some(ground) = Ground::make("egress_services::alone") else {
        return;
    };
    let refused = ground.relay.refused("box-1", &granted());
    assert!(refused.contains("services need a manager"), "{refused}");
}

#[test]
fn a_command_without_a_manager_says_that_services_need_one() {
    for_each_privilege("egress_services::command", |privilege| {
        let place = Place::new();
        let policy = "version = 1\n[egress]\nservices = [\"identity\"]\n";
        let policy = place.file("policy.toml", privilege, policy);
        let run = Run::new(&place, privilege).flags([Path::new("--policy"), &policy]);
        let done = run.shell("echo ran").finish();
        done.assert_code(125);
        let said = &done.stderr;
        assert!(said.contains("services need a manager"), "{said}");
        assert!(!done.text().contains("ran"));
    });
}
