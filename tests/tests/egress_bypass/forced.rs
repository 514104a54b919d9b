//! Where the program says itself by which way, from which address and to which it goes.

use crate::Group;
use crate::ground::Leak;

pub const GROUPS: &[Group] = &[
    // Options of sockets (socket(7), ip(7), ipv6(7)).
    Group {
        name: "forced",
        leak: Leak::Packet,
        attempts: &[
            (
                "device",
                "tcp_set(SERVER, 443, socket.SOL_SOCKET, 25, link().encode())",
            ),
            (
                "device_datagram",
                "udp_set(SERVER, 443, socket.SOL_SOCKET, 25, link().encode())",
            ),
            (
                "device_by_number",
                "udp_set(SERVER, 443, socket.IPPROTO_IP, 50, struct.pack('!I', socket.if_nametoindex(link())))",
            ),
            // Over IPv4 nothing leaves from an address that is nobody's without IP_TRANSPARENT.
            (
                "free_bind_6",
                "bound(41, 78, '2001:db8::77', '2606:2800:220:1::1')",
            ),
            ("transparent", "bound(0, 19, '192.0.2.77', SERVER)"),
            (
                "transparent_datagram",
                "bound(0, 19, '192.0.2.77', SERVER, socket.SOCK_DGRAM)",
            ),
            (
                "transparent_6",
                "bound(41, 75, '2001:db8::77', '2606:2800:220:1::1')",
            ),
            (
                "free_bind_6_datagram",
                "bound(41, 78, '2001:db8::77', '2606:2800:220:1::1', socket.SOCK_DGRAM)",
            ),
            ("other_family", "other_family((SERVER, 80), (SERVER, 443))"),
            (
                "other_family_metadata",
                "other_family((SERVER, 80), ('169.254.169.254', 80))",
            ),
            (
                "other_family_datagram",
                "other_family_datagram(SERVER, 443)",
            ),
        ],
    },
    // curl(1), to an address or a name that is not the one of the URL.
    Group {
        name: "curl",
        leak: Leak::Packet,
        attempts: &[
            (
                "resolved_by_itself",
                "curl('--resolve', 'pypi.example:443:' + SERVER, 'https://pypi.example/')",
            ),
            (
                "resolved_to_another_port",
                "curl('--resolve', 'secret.example:8080:' + SERVER, 'http://secret.example:8080/')",
            ),
            (
                "resolved_to_a_neighbour",
                "curl('--resolve', 'web.example:8080:93.184.216.35', 'http://web.example:8080/')",
            ),
            (
                "resolved_to_metadata",
                "curl('--resolve', 'pypi.example:443:169.254.169.254', 'https://pypi.example/')",
            ),
            (
                "resolved_to_any",
                "curl('--resolve', '*:443:' + SERVER, 'https://secret.example/')",
            ),
            (
                "connected_to_an_address",
                "curl('--connect-to', '::' + SERVER + ':22', 'https://pypi.example/')",
            ),
            (
                "by_interface",
                "curl('--interface', link(), 'https://' + SERVER + '/')",
            ),
        ],
    },
    Group {
        name: "curl_tls",
        leak: Leak::Stream,
        attempts: &[
            (
                "connected_to_an_allowed_name",
                "curl('--connect-to', '::pypi.example:443', 'https://secret.example/')",
            ),
            (
                "resolved_to_an_allowed_name_s_address",
                "curl('--resolve', 'secret.example:443:' + socket.gethostbyname('pypi.example'), 'https://secret.example/')",
            ),
        ],
    },
    Group {
        name: "curl_http",
        leak: Leak::Secret,
        attempts: &[
            (
                "connected_to_an_allowed_name",
                "curl('--connect-to', '::web.example:8080', 'http://secret.example/')",
            ),
            (
                "resolved_to_an_allowed_name_s_address",
                "curl('--resolve', 'secret.example:8080:' + socket.gethostbyname('web.example'), 'http://secret.example:8080/')",
            ),
            (
                "another_host",
                "curl('--header', 'Host: secret.example', 'http://web.example:8080/')",
            ),
        ],
    },
    // A socket of the host's that has a path.
    Group {
        name: "pathname",
        leak: Leak::Effect,
        attempts: &[
            ("its_path", "reach_path(HOST_FILE)"),
            ("climbing", "reach_path('/..' * 9 + HOST_FILE)"),
            (
                "by_the_parent_s_root",
                "reach_path(f'/proc/{os.getppid()}/root' + HOST_FILE)",
            ),
        ],
    },
];
