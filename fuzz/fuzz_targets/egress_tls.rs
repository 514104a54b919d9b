//! What a client says first on a connection, as TLS; the first byte cuts it into
//! pieces. The pieces decide nothing: whole and in pieces, the same goes on.
#![no_main]

use lakekeep_egress_rules::Streams;
use lakekeep_fuzz::egress::{in_pieces, whole};
use libfuzzer_sys::fuzz_target;

const STREAMS: Streams = Streams {
    tls: true,
    ..Streams::NONE
};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, said)) = data.split_first() else {
        return;
    };
    let (result, onward) = whole(said, STREAMS);
    let pieces = in_pieces(said, STREAMS, usize::from(cut) + 1);
    assert_eq!(pieces, (result.is_ok(), onward.clone()));
    if onward.is_empty() {
        return;
    }
    assert_eq!(onward, said, "all of it or none");
    let mut letters = said.to_ascii_lowercase();
    // A name may stand across two records, each with a head of five bytes.
    letters.retain(|byte| b"a.example".contains(byte));
    assert!(letters.len() >= 9, "it says the name");
});
