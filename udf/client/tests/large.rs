//! Batches that travel in parts, and the memory that their answers are in.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stand;

use arrow_array::{Int64Array, RecordBatch};
use lakekeep_udf_client::Kind;
use stand::{PART, PIECE, RESULT, Stand, Worker, header, message, numbers, stand, verdict};

/// Of a part, bytes.
const LEAST: usize = 64 * 1024;
const MOST: usize = 256 * 1024;
/// Values of a batch: 800 KB.
const ROWS: i64 = 100_000;

fn batch(from: i64) -> RecordBatch {
    numbers((from..from + ROWS).collect())
}

/// Sends a frame in parts of these sizes; of the last size until nothing is left.
fn send_parts(worker: &Worker, call: u32, content: &[u8], sizes: &[usize]) {
    worker.raw(&header(RESULT, 1, call, content.len() as u64, ROWS as u64));
    let mut rest = content;
    let last = sizes.last().copied();
    let mut sizes = sizes
        .iter()
        .copied()
        .chain(std::iter::repeat(last.unwrap()));
    while !rest.is_empty() {
        let size = sizes.next().unwrap().min(rest.len());
        let (part, left) = rest.split_at(size);
        worker.send(PART, call, 0, part);
        rest = left;
    }
}

/// The number of the next call, and the sizes of its parts; none at the end.
fn heard(worker: &Worker) -> Option<(u32, Vec<u8>, Vec<usize>)> {
    let call = worker.receive();
    let (mut content, mut sizes) = (Vec::new(), Vec::new());
    while call.kind != 0 && content.len() < call.length as usize {
        let part = worker.receive();
        sizes.push(part.content.len());
        content.extend(part.content);
    }
    (call.kind != 0).then_some((call.call, content, sizes))
}

/// Answers the n-th call with the numbers from n on, in parts of these sizes.
fn counting(sizes: &'static [usize]) -> Stand {
    stand(move |worker| {
        worker.open();
        while let Some((call, _, _)) = heard(&worker) {
            let answer = message(&batch(i64::from(call)));
            send_parts(&worker, call, &answer, sizes);
        }
        verdict("exit")
    })
}

fn values(batch: &RecordBatch) -> &[i64] {
    let column = batch.column(0).as_any().downcast_ref::<Int64Array>();
    column.unwrap().values()
}

#[test]
fn a_batch_goes_in_parts_of_the_most_and_comes_back_whole() {
    let stand = stand(|worker| {
        let options = worker.open();
        assert_eq!(options["part"], MOST);
        while let Some((call, content, sizes)) = heard(&worker) {
            let (last, whole) = sizes.split_last().unwrap();
            assert!(whole.iter().all(|size| *size == MOST) && *last <= MOST);
            send_parts(&worker, call, &content, &[MOST]);
        }
        verdict("exit")
    });
    let mut session = stand.session(Kind::Scalar).unwrap();
    for from in 0..3 {
        assert_eq!(session.call(&batch(from)).unwrap(), batch(from));
    }
    // Not all of an array: its own part of the memory travels.
    let whole = numbers((0..2 * ROWS).collect());
    let half = whole.slice(ROWS as usize / 2, ROWS as usize);
    assert_eq!(session.call(&half).unwrap(), half);
}

#[test]
fn parts_may_be_smaller_than_the_most() {
    for sizes in [
        &[LEAST][..],
        &[PIECE],
        &[MOST],
        &[LEAST, MOST, LEAST + 8],
        &[3 * LEAST],
    ] {
        let stand = counting(sizes);
        let mut session = stand.session(Kind::Scalar).unwrap();
        for call in 1..4 {
            assert_eq!(session.call(&batch(0)).unwrap(), batch(call), "{sizes:?}");
        }
    }
}

#[test]
fn an_answer_that_is_kept_stays_as_it_is() {
    let stand = counting(&[MOST]);
    let mut session = stand.session(Kind::Scalar).unwrap();
    let first = session.call(&batch(0)).unwrap();
    let second = session.call(&batch(0)).unwrap();
    assert_eq!((first, second), (batch(1), batch(2)));
    let slice = session.call(&batch(0)).unwrap().slice(7, 9);
    assert_eq!(session.call(&batch(0)).unwrap(), batch(4));
    assert_eq!(slice, batch(3).slice(7, 9));
}

#[test]
fn the_memory_of_an_answer_that_is_gone_is_the_next_ones() {
    let stand = counting(&[MOST]);
    let mut session = stand.session(Kind::Scalar).unwrap();
    let mut places = Vec::new();
    for call in 1..4 {
        let answer = session.call(&batch(0)).unwrap();
        assert_eq!(answer, batch(call));
        places.push(values(&answer).as_ptr());
    }
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
}
