//! What the targets of inspected streams share.

use lakekeep_egress_inspect::{Inspector, MAX_HELD_BYTES, Progress, Refusal};
use lakekeep_egress_rules::Streams;

use crate::identity::printable;

fn inspector(streams: Streams) -> Inspector {
    Inspector::new("a.example".parse().expect("a name"), streams)
}

/// All at once: the result, and what went on.
pub fn whole(said: &[u8], streams: Streams) -> (Result<Progress, Refusal>, Vec<u8>) {
    let mut onward = Vec::new();
    let result = inspector(streams).client(said, &mut onward);
    if let Err(refusal) = &result {
        let told = refusal.to_string();
        printable(&told);
        assert!(told.contains("; "), "{told}");
    }
    (result, onward)
}

/// In pieces: whether none was refused, and what went on.
pub fn in_pieces(said: &[u8], streams: Streams, size: usize) -> (bool, Vec<u8>) {
    let (mut inspector, mut onward) = (inspector(streams), Vec::new());
    for (number, piece) in said.chunks(size).enumerate() {
        if inspector.client(piece, &mut onward).is_err() {
            assert!(
                inspector.client(piece, &mut onward).is_err(),
                "a refusal is final"
            );
            return (false, onward);
        }
        let taken = (number + 1) * size;
        assert!(taken.saturating_sub(onward.len()) <= MAX_HELD_BYTES + size);
    }
    (true, onward)
}
