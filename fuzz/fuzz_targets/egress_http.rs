//! What a client says first on a connection, as HTTP/1; the first byte cuts it into
//! pieces. The pieces decide nothing: whole and in pieces, the same goes on.
#![no_main]

use lakekeep_egress_rules::Streams;
use lakekeep_fuzz::egress::{in_pieces, whole};
use libfuzzer_sys::fuzz_target;

const STREAMS: Streams = Streams {
    http: true,
    ..Streams::NONE
};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, said)) = data.split_first() else {
        return;
    };
    for streams in [STREAMS, Streams::HELD] {
        let (result, onward) = whole(said, streams);
        let (good, pieces) = in_pieces(said, streams, usize::from(cut) + 1);
        // Of a body that turns out to be wrong, some may have gone on before that is seen.
        assert_eq!(result.is_ok(), good, "{result:?}");
        assert!(said.starts_with(&onward) && said.starts_with(&pieces));
        if result.is_ok() {
            assert_eq!(onward, pieces);
        }
        if streams == STREAMS {
            named(&onward);
        }
    }
});

/// What went on begins with a request that says the name in a line of its own.
fn named(onward: &[u8]) {
    if onward.is_empty() {
        return;
    }
    let end = onward
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let head = onward[..end].to_ascii_lowercase();
    let hosts = head
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"host:"))
        .count();
    assert_eq!(hosts, 1);
    assert!(head.windows(9).any(|nine| nine == b"a.example"));
}
