//! What tests ask rules of.

use lakekeep_egress_rules::{Destination, Host, Transport, parse_destination};

/// A destination as `lakekeep egress test` takes it: `NAME:PORT`, `ADDRESS:PORT`.
pub fn destination(to: &str) -> Destination {
    let (host, port) = parse_destination(to).unwrap();
    let (name, address) = match host {
        Host::Name(name) => (Some(name), None),
        Host::Address(address) => (None, Some(address)),
    };
    Destination {
        name,
        address,
        port: Some(port),
        transport: Transport::Tcp,
    }
}
