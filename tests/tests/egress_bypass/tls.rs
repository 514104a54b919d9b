//! Streams to an allowed name that are for another, or for nobody: TLS.
//!
//! The name's rule says `tls`: of what is refused no byte may arrive.

use crate::Group;
use crate::ground::Leak;

pub const GROUPS: &[Group] = &[Group {
    name: "tls",
    leak: Leak::Stream,
    attempts: &[
        ("other_name", "tls('pypi.example', 'secret.example')"),
        ("no_name", "tls('pypi.example', None)"),
        ("no_extensions", "hello('pypi.example')"),
        (
            "name_below",
            "hello('pypi.example', sni(b'files.pypi.example'))",
        ),
        ("name_above", "hello('pypi.example', sni(b'example'))"),
        (
            "name_with_prefix",
            "hello('pypi.example', sni(b'notpypi.example'))",
        ),
        (
            "name_with_suffix",
            "hello('pypi.example', sni(b'pypi.example.secret.example'))",
        ),
        (
            "dot_at_the_end",
            "hello('pypi.example', sni(b'pypi.example.'))",
        ),
        (
            "nul_within",
            "hello('pypi.example', sni(b'pypi.example\\0.secret.example'))",
        ),
        (
            "nul_first",
            "hello('pypi.example', sni(b'\\0pypi.example'))",
        ),
        (
            "space_behind",
            "hello('pypi.example', sni(b'pypi.example '))",
        ),
        ("empty_name", "hello('pypi.example', sni(b''))"),
        ("empty_list", "hello('pypi.example', sni())"),
        ("address", "hello('pypi.example', sni(b'93.184.216.34'))"),
        (
            "unicode",
            "hello('pypi.example', sni('pypí.example'.encode()))",
        ),
        ("wildcard", "hello('pypi.example', sni(b'*.example'))"),
        (
            "two_names",
            "hello('pypi.example', sni(b'pypi.example', b'secret.example'))",
        ),
        (
            "two_names_turned",
            "hello('pypi.example', sni(b'secret.example', b'pypi.example'))",
        ),
        (
            "two_extensions",
            "hello('pypi.example', sni(b'pypi.example'), sni(b'secret.example'))",
        ),
        (
            "two_extensions_turned",
            "hello('pypi.example', sni(b'secret.example'), sni(b'pypi.example'))",
        ),
        (
            "other_kind_of_name",
            "hello('pypi.example', sni(b'secret.example', kind=1))",
        ),
        (
            "encrypted_hello",
            "hello('pypi.example', sni(b'pypi.example'), extension(0xfe0d, b'secret' * 9))",
        ),
        (
            "encrypted_hello_draft",
            "hello('pypi.example', sni(b'pypi.example'), extension(0xfe0a, b'secret' * 9))",
        ),
        (
            "encrypted_name",
            "hello('pypi.example', sni(b'pypi.example'), extension(0xffce, b'secret' * 9))",
        ),
        (
            "encrypted_only",
            "hello('pypi.example', extension(0xfe0d, b'secret' * 9))",
        ),
        (
            "many_records",
            "hello('pypi.example', sni(b'secret.example'), record=1)",
        ),
        (
            "uneven_records",
            "hello('pypi.example', sni(b'secret.example'), record=7)",
        ),
        (
            "many_segments",
            "hello('pypi.example', sni(b'secret.example'), segment=1)",
        ),
        (
            "records_and_segments",
            "hello('pypi.example', sni(b'secret.example'), record=3, segment=2)",
        ),
        (
            "name_split_at_dot",
            "hello('pypi.example', sni(b'pypi.example.secret'), record=80)",
        ),
        (
            "padded",
            "hello('pypi.example', sni(b'secret.example'), extension(21, bytes(15000)))",
        ),
        (
            "padded_before",
            "hello('pypi.example', extension(21, bytes(15000)), sni(b'secret.example'))",
        ),
        (
            "too_long",
            "hello('pypi.example', extension(21, bytes(60000)), sni(b'pypi.example'))",
        ),
        (
            "behind_the_extensions",
            "hello('pypi.example', sni(b'pypi.example'), tail=sni(b'secret.example'))",
        ),
        (
            "behind_the_message",
            "hello('pypi.example', sni(b'pypi.example'), after=b'\\x01\\0\\0\\x06secret')",
        ),
        (
            "length_that_lies",
            "hello('pypi.example', sni(b'pypi.example') + b'\\0\\x0a\\xff\\xffsecret')",
        ),
        (
            "alert_before",
            "say('pypi.example', 443, b'\\x15\\x03\\x01\\0\\x02\\x01\\0', tls_hello(sni(b'secret.example')))",
        ),
        (
            "cipher_change_before",
            "say('pypi.example', 443, b'\\x14\\x03\\x01\\0\\x01\\x01', tls_hello(sni(b'secret.example')))",
        ),
        (
            "data_first",
            "say('pypi.example', 443, b'\\x17\\x03\\x03\\0\\x06secret')",
        ),
        (
            "heartbeat_first",
            "say('pypi.example', 443, b'\\x18\\x03\\x03\\0\\x06secret')",
        ),
        (
            "empty_record_before",
            "say('pypi.example', 443, b'\\x16\\x03\\x01\\0\\0', tls_hello(sni(b'secret.example')))",
        ),
        (
            "alert_between",
            "say('pypi.example', 443, tls_hello(sni(b'pypi.example'), record=40)[:45], b'\\x15\\x03\\x01\\0\\x02\\x01\\0secret')",
        ),
        (
            "record_of_version_2",
            "say('pypi.example', 443, b'\\x16\\x02\\0' + tls_hello(sni(b'secret.example'))[3:])",
        ),
        (
            "hello_of_version_2",
            "say('pypi.example', 443, b'\\x80\\x2e\\x01\\x03\\x01\\0\\x15\\0\\0\\0\\x10secret' + bytes(40))",
        ),
        (
            "another_message",
            "say('pypi.example', 443, b'\\x16\\x03\\x01\\0\\x0a\\x02\\0\\0\\x06secret')",
        ),
        (
            "datagram_tls",
            "say('pypi.example', 443, b'\\x16\\xfe\\xfd' + bytes(8) + b'\\0\\x06secret')",
        ),
        (
            "not_tls_at_all",
            "say('pypi.example', 443, b'secret\\r\\n')",
        ),
        (
            "binary_before",
            "say('pypi.example', 443, b'\\0', tls_hello(sni(b'secret.example')))",
        ),
        (
            "line_before",
            "say('pypi.example', 443, b'\\r\\n', tls_hello(sni(b'secret.example')))",
        ),
        ("http_instead", "http('pypi.example', 'pypi.example', 443)"),
        (
            "ssh_instead",
            "say('pypi.example', 443, b'SSH-2.0-secret\\r\\n')",
        ),
        (
            "mail_and_starttls",
            "say('pypi.example', 443, b'EHLO secret\\r\\nSTARTTLS\\r\\n')",
        ),
        (
            "socks_5",
            "say('pypi.example', 443, b'\\x05\\x01\\0\\x05\\x01\\0\\x03\\x0esecret.example\\x01\\xbb')",
        ),
        (
            "socks_4",
            "say('pypi.example', 443, b'\\x04\\x01\\x01\\xbb\\0\\0\\0\\x01secret\\0secret.example\\0')",
        ),
        (
            "proxy_line",
            "say('pypi.example', 443, b'PROXY TCP4 10.0.0.1 10.0.0.2 1 2\\r\\n', tls_hello(sni(b'pypi.example')))",
        ),
        (
            "proxy_binary",
            "say('pypi.example', 443, b'\\r\\n\\r\\n\\0\\r\\nQUIT\\n\\x21\\x11\\0\\x0c' + bytes(12), tls_hello(sni(b'pypi.example')))",
        ),
        (
            "connect",
            "say('pypi.example', 443, b'CONNECT secret.example:443 HTTP/1.1\\r\\nHost: secret.example\\r\\n\\r\\n')",
        ),
        (
            "unfinished",
            "say('pypi.example', 443, tls_hello(sni(b'secret.example'))[:-1])",
        ),
        (
            "address_of_the_name",
            "hello(socket.gethostbyname('pypi.example'), sni(b'secret.example'))",
        ),
        (
            "name_of_another_rule",
            "hello('pypi.example', sni(b'db.example'))",
        ),
        (
            "sibling_below_wildcard",
            "hello('a.wild.example', sni(b'b.wild.example'))",
        ),
        (
            "wildcard_itself",
            "hello('a.wild.example', sni(b'*.wild.example'))",
        ),
        (
            "on_a_tcp_rule",
            "hello('db.example', sni(b'secret.example'), port=5432)",
        ),
        (
            "on_a_tcp_rule_without_name",
            "hello('db.example', port=5432)",
        ),
    ],
}];
