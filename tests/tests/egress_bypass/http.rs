//! Streams to an allowed name that are for another: HTTP, one request or several.
//!
//! What is for the name may arrive; what is not, or what comes after something that can be
//! read in two ways, says "secret" and may not.

use crate::Group;
use crate::ground::Leak;

pub const GROUPS: &[Group] = &[
    Group {
        name: "http",
        leak: Leak::Secret,
        attempts: &[
            ("other_host", "http('web.example', 'secret.example', 8080)"),
            (
                "other_host_with_port",
                "http('web.example', 'secret.example:80', 8080)",
            ),
            (
                "host_below",
                "http('web.example', 'secret.web.example', 8080)",
            ),
            (
                "host_behind_at",
                "http('web.example', 'web.example@secret.example', 8080)",
            ),
            (
                "host_before_at",
                "http('web.example', 'secret@web.example', 8080)",
            ),
            (
                "host_list",
                "http('web.example', 'web.example, secret.example', 8080)",
            ),
            (
                "host_and_space",
                "http('web.example', 'web.example secret.example', 8080)",
            ),
            (
                "host_port_and_more",
                "http('web.example', 'web.example:80secret', 8080)",
            ),
            (
                "host_tab",
                "http('web.example', 'web.example\\tsecret', 8080)",
            ),
            ("no_host", "ask('GET /secret HTTP/1.1', host=None)"),
            ("no_host_1_0", "ask('GET /secret HTTP/1.0', host=None)"),
            (
                "version_0_9",
                "say('web.example', 8080, b'GET /secret\\r\\n')",
            ),
            (
                "version_0_9_no_end",
                "say('web.example', 8080, b'GET /secret')",
            ),
            ("empty_host", "ask('GET /secret HTTP/1.1', host='')"),
            (
                "host_twice",
                "ask('GET /secret HTTP/1.1', 'Host: secret.example')",
            ),
            (
                "host_twice_the_same",
                "ask('GET /secret HTTP/1.1', 'Host: web.example')",
            ),
            (
                "host_twice_by_case",
                "ask('GET /secret HTTP/1.1', 'hOST: secret.example')",
            ),
            (
                "host_before_colon_space",
                "ask('GET /secret HTTP/1.1', 'Host : secret.example', host=None)",
            ),
            (
                "host_continued",
                "ask('GET /secret HTTP/1.1', ' secret.example')",
            ),
            (
                "host_hidden_by_nul",
                "ask('GET / HTTP/1.1', 'X: a\\0\\r\\nHost: secret.example')",
            ),
            (
                "host_behind_cr",
                "ask('GET / HTTP/1.1', 'X: a\\rHost: secret.example')",
            ),
            (
                "host_behind_lf",
                "ask('GET / HTTP/1.1', 'X: a\\nHost: secret.example')",
            ),
            (
                "host_dropped",
                "ask('GET /secret HTTP/1.1', 'Connection: Host')",
            ),
            (
                "host_dropped_in_list",
                "ask('GET /secret HTTP/1.1', 'Connection: close, host')",
            ),
            ("target_url", "ask('GET http://secret.example/ HTTP/1.1')"),
            (
                "target_url_upper",
                "ask('GET HTTP://secret.example/ HTTP/1.1')",
            ),
            (
                "target_url_tls",
                "ask('GET https://secret.example/ HTTP/1.1')",
            ),
            (
                "target_url_user",
                "ask('GET http://web.example@secret.example/ HTTP/1.1')",
            ),
            (
                "target_url_query",
                "ask('GET http://secret.example?a=web.example HTTP/1.1')",
            ),
            (
                "target_url_backslash",
                "ask('GET http://web.example\\\\secret.example/ HTTP/1.1')",
            ),
            (
                "target_other_scheme",
                "ask('GET ftp://secret.example/ HTTP/1.1')",
            ),
            (
                "target_without_scheme",
                "ask('GET secret.example HTTP/1.1')",
            ),
            (
                "connect",
                "ask('CONNECT secret.example:443 HTTP/1.1', host='secret.example:443')",
            ),
            (
                "connect_own_host",
                "ask('CONNECT secret.example:443 HTTP/1.1')",
            ),
            (
                "connect_lower",
                "ask('connect secret.example:443 HTTP/1.1')",
            ),
            (
                "upgrade_h2c",
                "ask('GET /secret HTTP/1.1', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__')",
            ),
            (
                "upgrade_tls",
                "ask('OPTIONS * HTTP/1.1', 'Connection: Upgrade', 'Upgrade: TLS/1.2', 'X: secret')",
            ),
            (
                "http_2_at_once",
                "say('web.example', 8080, b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\nsecret')",
            ),
            (
                "http_2_in_pieces",
                "say('web.example', 8080, b'PRI * HT', b'TP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\nsecret')",
            ),
            (
                "empty_lines_before",
                "say('web.example', 8080, b'\\r\\n\\r\\nGET /secret HTTP/1.1\\r\\nHost: web.example\\r\\n\\r\\n')",
            ),
            (
                "space_before",
                "say('web.example', 8080, b' GET /secret HTTP/1.1\\r\\nHost: secret.example\\r\\n\\r\\n')",
            ),
            (
                "tabs_for_spaces",
                "say('web.example', 8080, b'GET\\t/secret\\tHTTP/1.1\\r\\nHost: secret.example\\r\\n\\r\\n')",
            ),
            (
                "lf_for_line_ends",
                "say('web.example', 8080, b'GET /secret HTTP/1.1\\nHost: web.example\\n\\n')",
            ),
            (
                "byte_by_byte",
                "say('web.example', 8080, *bytes_of(b'GET / HTTP/1.1\\r\\nHost: secret.example\\r\\n\\r\\n'))",
            ),
            (
                "long_head",
                "ask('GET / HTTP/1.1', 'X: ' + 'a' * 40000, host='secret.example')",
            ),
            (
                "many_fields",
                "ask('GET /secret HTTP/1.1', *[f'X{n}: a' for n in range(200)])",
            ),
            (
                "tls_instead",
                "hello('web.example', sni(b'secret.example'), port=8080)",
            ),
            (
                "ssh_instead",
                "say('web.example', 8080, b'SSH-2.0-secret\\r\\n')",
            ),
            (
                "lower_method",
                "ask('get /secret HTTP/1.1', host='secret.example')",
            ),
            (
                "unknown_method",
                "ask('SECRET /secret HTTP/1.1', host='secret.example')",
            ),
            ("unknown_version", "ask('GET /secret HTTP/3.7')"),
            (
                "on_a_tcp_rule",
                "say('db.example', 5432, b'GET / HTTP/1.1\\r\\nHost: secret.example\\r\\n\\r\\n')",
            ),
        ],
    },
    Group {
        name: "requests",
        leak: Leak::Secret,
        attempts: &[
            ("second_for_another", "several(GET, OTHER)"),
            ("second_in_one_segment", "several(GET + OTHER)"),
            ("third_for_another", "several(GET, GET, OTHER)"),
            (
                "second_without_host",
                "several(GET, b'GET /secret HTTP/1.1\\r\\n\\r\\n')",
            ),
            ("second_0_9", "several(GET, b'GET /secret\\r\\n')"),
            (
                "second_is_tls",
                "several(GET, tls_hello(sni(b'secret.example')))",
            ),
            (
                "second_is_connect",
                "several(GET, b'CONNECT secret.example:1 HTTP/1.1\\r\\nHost: web.example\\r\\n\\r\\n')",
            ),
            (
                "second_is_http_2",
                "several(GET, b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\nsecret')",
            ),
            ("second_is_binary", "several(GET, b'\\0\\x01secret')"),
            ("second_upgrades", "several(GET, UPGRADE, b'secret')"),
            (
                "after_a_body",
                "several(post('Content-Length: 4') + b'body', OTHER)",
            ),
            (
                "after_a_body_in_one",
                "several(post('Content-Length: 4') + b'body' + OTHER)",
            ),
            (
                "after_chunks",
                "several(post(CHUNKED) + b'4\\r\\nbody\\r\\n0\\r\\n\\r\\n', OTHER)",
            ),
            (
                "body_longer_than_said",
                "several(post('Content-Length: 1') + b'b' + OTHER)",
            ),
            (
                "length_and_chunks",
                "several(post('Content-Length: 400', CHUNKED) + b'0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "chunks_and_length",
                "several(post(CHUNKED, 'Content-Length: 6') + b'0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "length_twice",
                "several(post('Content-Length: 0', 'Content-Length: 400') + OTHER)",
            ),
            (
                "length_list",
                "several(post('Content-Length: 0, 400') + OTHER)",
            ),
            (
                "length_plus",
                "several(post('Content-Length: +400') + OTHER)",
            ),
            (
                "length_minus",
                "several(post('Content-Length: -1') + OTHER)",
            ),
            (
                "length_hex",
                "several(post('Content-Length: 0x100') + OTHER)",
            ),
            (
                "length_overflows",
                "several(post('Content-Length: 18446744073709551617') + OTHER)",
            ),
            (
                "length_of_a_get",
                "several(b'GET / HTTP/1.1\\r\\nHost: web.example\\r\\nContent-Length: 0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "length_before_space",
                "several(post('Content-Length : 400') + OTHER)",
            ),
            (
                "length_dropped",
                "several(post('Content-Length: 400', 'Connection: content-length') + OTHER)",
            ),
            (
                "coding_twice",
                "several(post(CHUNKED, CHUNKED) + b'0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "coding_list",
                "several(post('Transfer-Encoding: identity, chunked') + b'0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "coding_other",
                "several(post('Transfer-Encoding: xchunked') + OTHER)",
            ),
            (
                "coding_quoted",
                "several(post('Transfer-Encoding: \"chunked\"') + OTHER)",
            ),
            (
                "coding_before_space",
                "several(post('Transfer-Encoding : chunked', 'Content-Length: 400') + OTHER)",
            ),
            (
                "coding_vertical_tab",
                "several(post('Transfer-Encoding: \\x0bchunked', 'Content-Length: 400') + OTHER)",
            ),
            (
                "coding_continued",
                "several(post('Transfer-Encoding:\\r\\n chunked', 'Content-Length: 400') + OTHER)",
            ),
            (
                "coding_1_0",
                "several(b'POST / HTTP/1.0\\r\\nHost: web.example\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "coding_dropped",
                "several(post(CHUNKED, 'Connection: transfer-encoding') + b'0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "chunk_size_overflows",
                "several(post(CHUNKED) + b'10000000000000000\\r\\n' + OTHER)",
            ),
            (
                "chunk_size_signed",
                "several(post(CHUNKED) + b'+0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "chunk_size_0x",
                "several(post(CHUNKED) + b'0x0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "chunk_size_space",
                "several(post(CHUNKED) + b'0 \\r\\n\\r\\n' + OTHER)",
            ),
            (
                "chunk_size_lf",
                "several(post(CHUNKED) + b'0\\n\\n' + OTHER)",
            ),
            (
                "chunk_size_cr",
                "several(post(CHUNKED) + b'0\\r\\r\\n' + OTHER)",
            ),
            (
                "chunk_extension_lf",
                "several(post(CHUNKED) + b'0;a=\\n\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "chunk_longer_than_said",
                "several(post(CHUNKED) + b'1\\r\\nab\\r\\n0\\r\\n\\r\\n' + OTHER)",
            ),
            (
                "chunk_trailer_host",
                "several(post(CHUNKED) + b'0\\r\\nHost: secret.example\\r\\n\\r\\n')",
            ),
            (
                "chunk_trailer_length",
                "several(post(CHUNKED) + b'0\\r\\nContent-Length: 400\\r\\n\\r\\n' + OTHER)",
            ),
            ("upgrade_refused_by_server", "several(UPGRADE, b'secret')"),
            (
                "upgrade_with_body",
                "several(UPGRADE[:-2] + b'Content-Length: 6\\r\\n\\r\\nsecret')",
            ),
            ("upgrade_in_one_segment", "several(UPGRADE + OTHER)"),
            (
                "expect_and_go_on",
                "several(post('Content-Length: 0', 'Expect: 100-continue') + OTHER)",
            ),
            ("half_closed", "several(GET, OTHER[:-2])"),
        ],
    },
];
