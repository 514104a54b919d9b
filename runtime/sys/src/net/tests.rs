//! What is sent to any address arrives at the two sockets, in a namespace of the test's own.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::sockopt;

use super::*;

/// A captured network, the calling thread in it; `None` where the tests may make none.
fn captured() -> Option<Captured> {
    let namespace = match make() {
        Err(Errno::PERM) => {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        other => other.unwrap(),
    };
    let captured = capture(&namespace).unwrap();
    enter(&namespace).unwrap();
    Some(captured)
}

#[test]
fn the_callers_own_network_is_never_caught() {
    let refused = capture(current().unwrap()).unwrap_err();
    assert_eq!(refused.errno, Errno::INVAL);
}

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn every_destination_arrives_as_it_was_asked_for() {
    let Some(captured) = captured() else { return };
    let listener = TcpListener::from(captured.tcp);
    listener.set_nonblocking(false).unwrap();
    for asked in [
        "203.0.113.7:443",
        "169.254.169.254:80",
        "198.18.0.1:53",
        "255.255.255.254:1",
        "[2001:db8::7]:65535",
        "[fd00:ec2::254]:80",
    ] {
        let asked: SocketAddr = asked.parse().unwrap();
        let client = TcpStream::connect_timeout(&asked, PATIENCE).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let local = accepted.local_addr().unwrap();
        assert_eq!(
            (local.ip().to_canonical(), local.port()),
            (asked.ip(), asked.port())
        );
        drop(client);
    }
}

#[test]
fn both_ends_of_a_connection_have_the_routes_congestion_control() {
    let Some(captured) = captured() else { return };
    let listener = TcpListener::from(captured.tcp);
    listener.set_nonblocking(false).unwrap();
    // What no route leads to has the namespace's own.
    let other = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let own = sockopt::tcp_congestion(&other).unwrap();
    for asked in ["203.0.113.7:443", "198.18.0.77:443", "[2001:db8::7]:443"] {
        let asked: SocketAddr = asked.parse().unwrap();
        let client = TcpStream::connect_timeout(&asked, PATIENCE).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for end in [&client, &accepted] {
            let control = sockopt::tcp_congestion(end).unwrap();
            assert_eq!(
                control,
                capture::CONGESTION_CONTROL,
                "{asked}, beside {own}"
            );
        }
    }
}

#[test]
fn the_loopback_stays_the_sandboxes_own() {
    let Some(_captured) = captured() else { return };
    for own in ["127.0.0.1:0", "127.3.2.1:0", "[::1]:0"] {
        let server = TcpListener::bind(own).unwrap();
        let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = server.accept().unwrap();
        client.write_all(b"own").unwrap();
        drop(client);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut accepted, &mut said).unwrap();
        assert_eq!(said, "own");
    }
}

#[test]
fn a_question_is_answered_from_the_address_that_was_asked() {
    let Some(captured) = captured() else { return };
    for resolver in ["198.18.0.1", "8.8.8.8", "2001:db8::53"] {
        let resolver: IpAddr = resolver.parse().unwrap();
        let any = match resolver {
            IpAddr::V4(_) => "0.0.0.0:0",
            IpAddr::V6(_) => "[::]:0",
        };
        let client = UdpSocket::bind(any).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // A connected socket takes no answer from elsewhere.
        client.connect((resolver, 53)).unwrap();
        client.send(b"question").unwrap();
        let mut buffer = [0; 64];
        let datagram = receive_datagram(&captured.udp, &mut buffer).unwrap();
        assert_eq!(
            (&buffer[..datagram.length], datagram.to),
            (&b"question"[..], resolver)
        );
        send_datagram(&captured.udp, b"answer", &datagram).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
    }
}

#[test]
fn other_datagrams_are_refused_at_once() {
    let Some(_captured) = captured() else { return };
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect("203.0.113.7:443").unwrap();
    client.send(b"QUIC").unwrap();
    let refused = client.recv(&mut [0; 16]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// A queue that nobody takes from is emptied, and not filled again; and what catches everything
/// leads there once more when it is open.
#[test]
fn a_shut_listener_refuses_at_once_and_can_be_opened_again() {
    let Some(captured) = captured() else { return };
    let asked: SocketAddr = "203.0.113.7:443".parse().unwrap();
    let mut waits = TcpStream::connect_timeout(&asked, PATIENCE).unwrap();
    waits.set_read_timeout(Some(PATIENCE)).unwrap();
    shut_listener(&captured.tcp).unwrap();
    let reset = std::io::Read::read(&mut waits, &mut [0]).unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    let refused = TcpStream::connect_timeout(&asked, PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    open_listener(&captured.tcp).unwrap();
    open_listener(&captured.tcp).unwrap();
    let listener = TcpListener::from(captured.tcp);
    listener.set_nonblocking(false).unwrap();
    let _client = TcpStream::connect_timeout(&asked, PATIENCE).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let local = accepted.local_addr().unwrap();
    assert_eq!((local.ip().to_canonical(), local.port()), (asked.ip(), 443));
}

#[test]
fn without_the_listener_connections_are_refused() {
    let Some(captured) = captured() else { return };
    drop(captured);
    let asked: SocketAddr = "203.0.113.7:443".parse().unwrap();
    let refused = TcpStream::connect_timeout(&asked, PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
