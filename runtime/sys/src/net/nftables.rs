//! The one rule set that a sandbox's network has (nf_tables(7) has no page; the messages
//! are those of `linux/netfilter/nf_tables.h`): what nft(8) calls
//!
//! ```text
//! table inet lakekeep {
//!     chain all {
//!         type filter hook prerouting priority mangle; policy accept;
//!         ip daddr 127.0.0.0/8 accept
//!         ip6 daddr ::1 accept
//!         meta l4proto tcp tproxy to :PORT accept
//!         icmp type echo-request drop
//!         icmpv6 type echo-request drop
//!     }
//! }
//! ```
//!
//! It is not what holds anything back: the namespace has no way out. It hands every TCP
//! connection to one listener with the destination as it was asked for, without connection
//! tracking, whose table the code inside could fill. Echo requests are dropped because the
//! sandbox's own kernel would answer them for the whole Internet.

use rustix::io::Errno;
use rustix::net::netlink;

use super::netlink::Batch;

const TABLE: &str = "lakekeep";
const CHAIN: &str = "all";

/// `NFNL_SUBSYS_NFTABLES`: upper byte of each message's type, and whose batch it is.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;

/// `NFPROTO_…`.
const INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// `NF_INET_PRE_ROUTING`, and the place where the manual has transparent proxies.
const PREROUTING: u32 = 0;
const MANGLE: i32 = -150;

/// `NF_DROP`, `NF_ACCEPT`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// `NFT_REG_VERDICT`, `NFT_REG_1`.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;

/// `NFT_META_NFPROTO`, `NFT_META_L4PROTO`.
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;

/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

/// Where the destination is in each header, and the byte that makes an IPv4 one loopback.
const DESTINATION: u32 = 16;
const DESTINATION_V6: u32 = 24;
const LOOPBACK: u8 = 127;

/// Has all TCP of the calling thread's network namespace that is not for its loopback
/// arrive at the transparent listener on `port`.
///
/// # Errors
/// `ENOENT` or `EOPNOTSUPP` where the kernel has no nf_tables or no tproxy, `EPERM` without
/// CAP_NET_ADMIN over the namespace.
pub fn catch_all(port: u16) -> Result<(), Errno> {
    let mut batch = Batch::default();
    batch.begin(BATCH_BEGIN, 0, &header(0, SUBSYSTEM));
    new(&mut batch, NEW_TABLE).text(1, TABLE);
    new(&mut batch, NEW_CHAIN)
        .text(1, TABLE)
        .text(3, CHAIN)
        .nest(4, |hook| {
            hook.number(1, PREROUTING).put(2, &MANGLE.to_be_bytes());
        })
        .number(5, ACCEPT)
        .text(7, "filter");
    rule(&mut batch, |rule| {
        meta(rule, FAMILY, IPV4);
        payload(rule, (NETWORK, DESTINATION), &[LOOPBACK]);
        verdict(rule, ACCEPT);
    });
    rule(&mut batch, |rule| {
        meta(rule, FAMILY, IPV6);
        let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
        payload(rule, (NETWORK, DESTINATION_V6), &loopback);
        verdict(rule, ACCEPT);
    });
    rule(&mut batch, |rule| {
        meta(rule, PROTOCOL, TCP);
        proxy(rule, port);
        verdict(rule, ACCEPT);
    });
    for (protocol, kind) in [(ICMP, ECHO_REQUEST), (ICMPV6, ECHO_REQUEST_V6)] {
        rule(&mut batch, |rule| {
            meta(rule, PROTOCOL, protocol);
            payload(rule, (TRANSPORT, 0), &[kind]);
            verdict(rule, DROP);
        });
    }
    batch.begin(BATCH_END, 0, &header(0, SUBSYSTEM));
    batch.send(Some(netlink::NETFILTER))
}

/// `struct nfgenmsg`: family, version 0, and a number in network order.
fn header(family: u8, number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [family, 0, high, low]
}

fn new(batch: &mut Batch, kind: u16) -> &mut Batch {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND | libc::NLM_F_ACK;
    batch.begin(kind, flags, &header(INET, 0))
}

fn rule(batch: &mut Batch, expressions: impl FnOnce(&mut Batch)) {
    new(batch, NEW_RULE)
        .text(1, TABLE)
        .text(2, CHAIN)
        .nest(4, expressions);
}

fn expression(rule: &mut Batch, name: &str, data: impl FnOnce(&mut Batch)) {
    rule.nest(1, |element| {
        element.text(1, name).nest(2, data);
    });
}

/// Goes on where the packet's `key` is `value`.
fn meta(rule: &mut Batch, key: u32, value: u8) {
    expression(rule, "meta", |data| {
        data.number(1, REGISTER).number(2, key);
    });
    equals(rule, &[value]);
}

/// Goes on where the header's bytes from the offset on are `value`.
fn payload(rule: &mut Batch, (base, offset): (u32, u32), value: &[u8]) {
    expression(rule, "payload", |data| {
        data.number(1, REGISTER)
            .number(2, base)
            .number(3, offset)
            .number(4, value.len() as u32);
    });
    equals(rule, value);
}

fn equals(rule: &mut Batch, value: &[u8]) {
    const EQUAL: u32 = 0;
    expression(rule, "cmp", |data| {
        data.number(1, REGISTER)
            .number(2, EQUAL)
            .nest(3, |operand| {
                operand.put(1, value);
            });
    });
}

fn verdict(rule: &mut Batch, code: u32) {
    expression(rule, "immediate", |data| {
        data.number(1, VERDICT).nest(2, |operand| {
            operand.nest(2, |verdict| {
                verdict.number(1, code);
            });
        });
    });
}

/// Gives the packet to the socket that listens on `port`, whatever the packet's own.
fn proxy(rule: &mut Batch, port: u16) {
    const BOTH_FAMILIES: u32 = 0;
    expression(rule, "immediate", |data| {
        data.number(1, REGISTER).nest(2, |operand| {
            operand.put(1, &port.to_be_bytes());
        });
    });
    expression(rule, "tproxy", |data| {
        data.number(1, BOTH_FAMILIES).number(3, REGISTER);
    });
}
