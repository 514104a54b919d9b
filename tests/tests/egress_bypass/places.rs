//! What is near: the relay, its sockets, and what a process was left with.

use crate::Group;
use crate::ground::Leak;

pub const GROUPS: &[Group] = &[
    Group {
        name: "listeners",
        leak: Leak::Host,
        attempts: &[
            (
                "loopback",
                "each(listeners(), lambda p: tcp('127.0.0.1', p))",
            ),
            (
                "loopback_6",
                "each(listeners(), lambda p: tcp('::1', p, V6))",
            ),
            (
                "loopback_other",
                "each(listeners(), lambda p: tcp('127.9.9.9', p))",
            ),
            ("own_address", "each(listeners(), lambda p: tcp(own(), p))"),
            (
                "own_address_mapped",
                "each(listeners(), lambda p: tcp('::ffff:' + own(), p, V6))",
            ),
            (
                "fast_open",
                "each(listeners(), lambda p: fast_open('127.0.0.1', p))",
            ),
            (
                "multipath",
                "each(listeners(), lambda p: tcp('127.0.0.1', p, protocol=262))",
            ),
            ("abstract_sockets_listed", "each(abstract_sockets(), reach)"),
        ],
    },
    Group {
        name: "descriptors",
        leak: Leak::Packet,
        attempts: &[
            (
                "inherited",
                "each(range(3, 1024), lambda fd: os.write(fd, b'secret'))",
            ),
            (
                "of_the_parent",
                "each(range(3, 64), lambda fd: os.write(stolen(os.getppid(), fd), b'secret'))",
            ),
        ],
    },
];
