//! Changes to the way out, and other ways out that would have to be made first.

use crate::Group;
use crate::ground::Leak;

pub const GROUPS: &[Group] = &[
    Group {
        name: "tampering",
        leak: Leak::Effect,
        attempts: &[
            ("route_added", "must('ip route add 10.0.0.0/8 dev lo')"),
            (
                "route_added_local",
                "must('ip route add local 10.0.0.0/8 dev lo')",
            ),
            ("route_added_6", "must('ip -6 route add 2a00::/16 dev lo')"),
            (
                "route_blackholed",
                "must('ip route add blackhole 10.0.0.0/8')",
            ),
            ("routes_flushed", "must('ip route flush table local')"),
            (
                "route_deleted",
                "must('ip route del local 127.0.0.1 dev lo table local')",
            ),
            ("rule_added", "must('ip rule add from all lookup 100')"),
            ("rule_added_mark", "must('ip rule add fwmark 1 lookup 100')"),
            ("rule_deleted", "must('ip rule del pref 32766')"),
            ("link_down", "must('ip link set lo down')"),
            ("link_smaller", "must('ip link set lo mtu 1280')"),
            (
                "link_made_veth",
                "must('ip link add v9 type veth peer name w9')",
            ),
            ("link_made_bridge", "must('ip link add b9 type bridge')"),
            (
                "link_made_vxlan",
                "must('ip link add x9 type vxlan id 9 remote 93.184.216.34 dstport 4789')",
            ),
            ("link_made_ifb", "must('ip link add i9 type ifb')"),
            (
                "address_added",
                "must('ip address add 192.0.2.9/24 dev lo')",
            ),
            (
                "address_added_6",
                "must('ip address add 2001:db8::9/64 dev lo')",
            ),
            (
                "address_deleted",
                "must('ip address del 127.0.0.1/8 dev lo')",
            ),
            ("tun_by_program", "must('ip tuntap add t9 mode tun')"),
            ("tun", "device(0x1001)"),
            ("tap", "device(0x1002)"),
            (
                "transform_policy",
                "must('ip xfrm policy add dir out src 10.0.0.0/8 dst 10.0.0.0/8 action block')",
            ),
            ("nft_table", "must('nft add table inet mine')"),
            ("nft_flushed", "must('nft flush ruleset')"),
            ("nft_listed", "must('nft list ruleset')"),
            (
                "nft_deleted",
                "must('nft add table inet lakekeep'); must('nft delete table inet lakekeep')",
            ),
            ("iptables_flushed", "must('iptables -F')"),
            ("iptables_rule", "must('iptables -A OUTPUT -j ACCEPT')"),
            (
                "qdisc",
                "must('tc qdisc add dev lo root tbf rate 1mbit burst 32kbit latency 400ms')",
            ),
            ("ingress_filter", "must('tc qdisc add dev lo ingress')"),
            ("namespace_named", "must('unshare -n true')"),
            (
                "forwarding",
                "written('/proc/sys/net/ipv4/ip_forward', '1')",
            ),
            (
                "route_localnet",
                "written('/proc/sys/net/ipv4/conf/all/route_localnet', '1')",
            ),
            (
                "accept_source_route",
                "written('/proc/sys/net/ipv4/conf/all/accept_source_route', '1')",
            ),
            (
                "nonlocal_bind",
                "written('/proc/sys/net/ipv4/ip_nonlocal_bind', '1')",
            ),
            (
                "ping_for_all",
                "written('/proc/sys/net/ipv4/ping_group_range', '0 2147483647')",
            ),
            (
                "address_by_ioctl",
                "ask_device(0x8916, struct.pack('16s16s8x', b'lo', sockaddr('127.0.0.9')))",
            ),
            (
                "flags_by_ioctl",
                "ask_device(0x8914, struct.pack('16sH22x', b'lo', 0))",
            ),
            (
                "mtu_by_ioctl",
                "ask_device(0x8922, struct.pack('16si20x', b'lo', 1280))",
            ),
            ("mark", "option(socket.SOL_SOCKET, socket.SO_MARK, 1)"),
            ("transparent", "option(socket.IPPROTO_IP, 19, 1)"),
            ("transparent_6", "option(41, 75, 1, family=V6)"),
            (
                "priority",
                "option(socket.SOL_SOCKET, socket.SO_PRIORITY, 7)",
            ),
            ("buffer_by_force", "option(socket.SOL_SOCKET, 33, 1 << 20)"),
            ("repair", "option(socket.IPPROTO_TCP, 19, 1)"),
            ("enter_its_own_again", "enter('/proc/self/ns/net')"),
            ("leave_network", "leave(0x40000000)"),
            ("leave_user_and_network", "leave(0x50000000)"),
            ("leave_all", "leave(0x7e020000)"),
        ],
    },
    Group {
        name: "families",
        leak: Leak::Effect,
        attempts: &[
            ("raw", "opened(V4, socket.SOCK_RAW, 255)"),
            ("raw_icmp", "opened(V4, socket.SOCK_RAW, 1)"),
            ("raw_tcp", "opened(V4, socket.SOCK_RAW, 6)"),
            ("raw_6", "opened(V6, socket.SOCK_RAW, 58)"),
            ("packet", "opened(socket.AF_PACKET, socket.SOCK_RAW)"),
            (
                "packet_cooked",
                "opened(socket.AF_PACKET, socket.SOCK_DGRAM)",
            ),
            ("packet_obsolete", "opened(V4, 10, 0x300)"),
            ("vsock", "opened(40, socket.SOCK_STREAM)"),
            ("xdp", "opened(44, socket.SOCK_RAW)"),
            ("netlink_netfilter", "opened(16, socket.SOCK_RAW, 12)"),
            ("netlink_transform", "opened(16, socket.SOCK_RAW, 6)"),
            ("netlink_generic", "opened(16, socket.SOCK_RAW, 16)"),
            ("netlink_diagnosis", "opened(16, socket.SOCK_RAW, 4)"),
            ("netlink_audit", "opened(16, socket.SOCK_RAW, 9)"),
            ("netlink_events", "opened(16, socket.SOCK_RAW, 15)"),
            ("netlink_user", "opened(16, socket.SOCK_RAW, 2)"),
            (
                "netlink_routes_of_others",
                "opened(16, socket.SOCK_RAW, 10)",
            ),
            ("alg", "opened(38, socket.SOCK_SEQPACKET)"),
            ("key", "opened(15, socket.SOCK_RAW, 2)"),
            ("bluetooth", "opened(31, socket.SOCK_RAW)"),
            ("can", "opened(29, socket.SOCK_RAW, 1)"),
            ("smc", "opened(43, socket.SOCK_STREAM)"),
            ("tipc", "opened(30, socket.SOCK_SEQPACKET)"),
            ("rds", "opened(21, socket.SOCK_SEQPACKET)"),
            ("sctp", "opened(V4, socket.SOCK_STREAM, 132)"),
            ("dccp", "opened(V4, 6, 33)"),
            ("kcm", "opened(41, socket.SOCK_SEQPACKET)"),
            ("ring", "system_call(425, 8, bytes(120))"),
            (
                "bpf_map",
                "system_call(321, 0, struct.pack('=IIII', 2, 4, 4, 1) + bytes(112), 128)",
            ),
        ],
    },
];
