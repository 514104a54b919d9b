//! Unix sockets of the host's that a document grants: reached by their names inside, by nobody
//! else, and for as long as the path leads to a socket through no link.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod relay;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use lakekeep_protocol::relay::FlowVerdict;
use lakekeep_tests::internet::Internet;
use lakekeep_tests::{Place, Privilege};
use relay::{Inside, Relay};
use serde_json::{Value, json};

const NAME: &str = "db.sockets.lakekeep.internal";

struct Ground {
    relay: Relay,
    folder: PathBuf,
    _place: Place,
}

impl Ground {
    fn make(test: &str) -> Option<Self> {
        let internet = Internet::make(test)?;
        let place = Place::new();
        let hosts = place.hosts("");
        // The path as a document must write it: through no link.
        let folder = place
            .dir("sockets", Privilege::Root)
            .canonicalize()
            .unwrap();
        Some(Self {
            relay: Relay::start(&internet, &hosts),
            folder,
            _place: place,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn grant(path: &Path) -> Value {
    json!({ "version": 1, "sockets": [{ "name": "db", "path": path }] })
}

/// A server that says who it is, and then everything back, to anybody who may open the file.
fn serve(path: &Path, who: &'static str) {
    let listener = UnixListener::bind(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                stream.write_all(who.as_bytes()).ok();
                let mut copy = stream.try_clone().unwrap();
                std::io::copy(&mut stream, &mut copy).ok();
            });
        }
    });
}

/// What the server says, and what it says to that; nothing when the connection is reset.
fn talk(inside: &Inside, port: u16) -> Option<String> {
    let address = SocketAddr::new(inside.resolve(NAME), port);
    inside.run(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b", hello").ok()?;
        stream.shutdown(std::net::Shutdown::Write).ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).ok()?;
        Some(said)
    })
}

#[test]
fn a_granted_socket_is_reached_by_its_name() {
    let Some(ground) = Ground::make("egress_sockets::granted") else {
        return;
    };
    let path = ground.path("db.sock");
    serve(&path, "database");
    let inside = ground.relay.serve("granted", &grant(&path));
    assert_eq!(talk(&inside, 1).unwrap(), "database, hello");
    let receipt = ground.relay.told("closed");
    assert_eq!(receipt.verdict, FlowVerdict::Allowed);
    assert_eq!(receipt.name.as_deref(), Some(NAME));
    assert_eq!(
        receipt.rule.unwrap(),
        format!("[[sockets]] {}", path.display())
    );
    assert_eq!((receipt.sent, receipt.received), (7, 15));
    // Another port of the name leads nowhere.
    assert_eq!(talk(&inside, 2), None);
    assert_eq!(
        ground.relay.told("is at port 1").verdict,
        FlowVerdict::Denied
    );
}

#[test]
fn a_sandbox_without_the_grant_does_not_have_the_name() {
    let Some(ground) = Ground::make("egress_sockets::other") else {
        return;
    };
    let path = ground.path("db.sock");
    serve(&path, "database");
    let granted = ground.relay.serve("granted", &grant(&path));
    let other = ground.relay.serve("other", &json!({ "version": 1 }));
    assert_eq!(talk(&granted, 1).unwrap(), "database, hello");
    assert!(!other.knows(NAME));
    assert!(granted.knows(NAME));
    // The address that the first one has for it means nothing in the second.
    let address = SocketAddr::new(granted.resolve(NAME), 1);
    let reached = other.run(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.read(&mut [0]).is_ok_and(|read| read > 0)
    });
    assert!(!reached);
    assert_eq!(
        ground.relay.told("denied egress to 198.18.").sandbox,
        "other"
    );
}

/// The server's file is replaced by a link to another's, which the relay could open.
#[test]
fn a_path_that_becomes_a_link_leads_nowhere() {
    let Some(ground) = Ground::make("egress_sockets::link") else {
        return;
    };
    let (path, secret) = (ground.path("db.sock"), ground.path("secret.sock"));
    serve(&path, "database");
    serve(&secret, "another's");
    let inside = ground.relay.serve("granted", &grant(&path));
    assert_eq!(talk(&inside, 1).unwrap(), "database, hello");
    std::fs::remove_file(&path).unwrap();
    symlink(&secret, &path).unwrap();
    // Whoever follows links arrives.
    let mut followed = UnixStream::connect(&path).unwrap();
    let mut said = [0; 9];
    followed.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"another's");
    assert_eq!(talk(&inside, 1), None);
    let receipt = ground.relay.told("was not reached");
    assert_eq!(receipt.verdict, FlowVerdict::Failed);
    assert_eq!((receipt.sent, receipt.received), (0, 0));
    // Nor is it granted anew.
    let refused = ground.relay.refused("again", &grant(&path));
    assert!(refused.contains("through no link"), "{refused}");
}

#[test]
fn a_server_that_went_is_told_and_one_that_came_back_is_reached() {
    let Some(ground) = Ground::make("egress_sockets::gone") else {
        return;
    };
    let path = ground.path("db.sock");
    serve(&path, "first");
    let inside = ground.relay.serve("granted", &grant(&path));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(talk(&inside, 1), None);
    let receipt = ground.relay.told("was not reached");
    assert!(receipt.words.contains("No such file"), "{}", receipt.words);
    serve(&path, "second");
    assert_eq!(talk(&inside, 1).unwrap(), "second, hello");
}

#[test]
fn what_is_no_socket_is_not_granted() {
    let Some(ground) = Ground::make("egress_sockets::refused") else {
        return;
    };
    let (file, shut) = (ground.path("file"), ground.path("shut"));
    std::fs::write(&file, "").unwrap();
    // A folder that the relay's user may not enter.
    std::fs::create_dir(&shut).unwrap();
    std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o700)).unwrap();
    serve(&shut.join("db.sock"), "root's");
    for path in [file, shut.join("db.sock"), ground.path("none")] {
        let refused = ground.relay.refused("refused", &grant(&path));
        assert!(refused.contains("cannot be connected to"), "{refused}");
    }
}
