//! A task's input on its way: kept until the task has it, so that it can be sent again.

use std::collections::VecDeque;

use lakekeep_api::v1::StdinData;

use crate::error::{Cause, ClientError};

/// Input that the task has not accepted yet, bytes; whoever writes more waits.
pub(super) const AHEAD: usize = 256 << 10;

/// A piece of input.
#[derive(Debug)]
struct Piece {
    /// How many bytes of input come before it.
    offset: u64,
    data: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + length(&self.data)
    }
}

/// What is on its way to the task.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// Not accepted yet, in order and without gaps.
    kept: VecDeque<Piece>,
    /// Bytes in them.
    size: usize,
    /// Index of the first piece that was not sent on this connection.
    next: usize,
    /// How many bytes were written so far.
    written: u64,
    /// What the task has.
    accepted: u64,
    /// Anything was ever written here.
    begun: bool,
    end: bool,
    end_sent: bool,
    /// The task waits for bytes that nobody has any more.
    lost: Option<u64>,
}

impl Input {
    /// Of a task that has `given` bytes already.
    pub fn after(given: u64) -> Self {
        Self {
            written: given,
            accepted: given,
            ..Self::default()
        }
    }

    /// More can be written now.
    pub fn has_room(&self) -> bool {
        self.size < AHEAD && !self.end
    }

    /// Bytes that the task has, as it said.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Takes a piece to be sent.
    pub fn push(&mut self, data: Vec<u8>) {
        if data.is_empty() {
            return;
        }
        self.begun = true;
        let offset = self.written;
        self.size += data.len();
        self.written += length(&data);
        self.kept.push_back(Piece { offset, data });
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        self.end = true;
    }

    /// A new connection: the task waits for the byte at `offset`.
    pub fn rewind(&mut self, offset: u64) -> Result<(), ClientError> {
        if !self.begun {
            // Somebody else wrote before.
            (self.written, self.accepted) = (offset, offset);
        }
        self.accept(offset)?;
        self.next = 0;
        self.end_sent = false;
        let first = self.kept.front().map_or(self.written, |piece| piece.offset);
        self.lost = (offset < first).then_some(offset);
        Ok(())
    }

    /// The task has everything before `offset`.
    pub fn accept(&mut self, offset: u64) -> Result<(), ClientError> {
        if offset > self.written {
            if self.size > 0 {
                let message = format!(
                    "the task has {offset} bytes of input, and {} were written here: somebody else writes to it too",
                    self.written
                );
                return Err(ClientError::new(Cause::InputLost, message));
            }
            // Somebody else writes, and nothing of ours is on its way: go on behind it.
            self.written = offset;
        }
        self.accepted = self.accepted.max(offset);
        while self.kept.front().is_some_and(|piece| piece.end() <= offset) {
            let Some(piece) = self.kept.pop_front() else {
                break;
            };
            self.size -= piece.data.len();
            self.next = self.next.saturating_sub(1);
        }
        Ok(())
    }

    /// There is something to send on this connection.
    pub fn pending(&self) -> bool {
        self.next < self.kept.len() || (self.end && !self.end_sent)
    }

    /// The next piece to send; bytes of it that the task has are passed over there.
    pub fn next(&mut self) -> Result<Option<StdinData>, ClientError> {
        if let Some(piece) = self.kept.get(self.next) {
            if let Some(lost) = self.lost {
                return Err(gone(lost, piece.offset));
            }
            self.next += 1;
            return Ok(Some(StdinData {
                offset: piece.offset,
                data: piece.data.clone(),
                end: false,
            }));
        }
        if self.end && !self.end_sent {
            self.end_sent = true;
            return Ok(Some(StdinData {
                offset: self.written,
                data: Vec::new(),
                end: true,
            }));
        }
        Ok(None)
    }
}

fn gone(wanted: u64, kept: u64) -> ClientError {
    ClientError::new(
        Cause::InputLost,
        format!(
            "input cannot be taken up again: the task waits for byte {wanted}, and bytes before {kept} are not kept any more; start it again"
        ),
    )
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(input: &mut Input) -> Vec<(u64, Vec<u8>, bool)> {
        let mut all = Vec::new();
        while let Some(piece) = input.next().unwrap() {
            all.push((piece.offset, piece.data, piece.end));
        }
        all
    }

    #[test]
    fn what_was_not_accepted_is_sent_again_and_nothing_else() {
        let mut input = Input::default();
        input.push(b"one".to_vec());
        input.push(b"two".to_vec());
        assert_eq!(sent(&mut input).len(), 2);
        input.accept(3).unwrap();
        input.push(b"three".to_vec());
        input.end();
        input.rewind(3).unwrap();
        assert_eq!(
            sent(&mut input),
            [
                (3, b"two".to_vec(), false),
                (6, b"three".to_vec(), false),
                (11, Vec::new(), true)
            ]
        );
        assert!(!input.pending());
    }

    #[test]
    fn a_piece_that_is_accepted_in_part_is_sent_whole() {
        let mut input = Input::default();
        input.push(b"abcdef".to_vec());
        input.rewind(4).unwrap();
        assert_eq!(sent(&mut input), [(0, b"abcdef".to_vec(), false)]);
        assert_eq!(input.accepted(), 4);
    }

    #[test]
    fn there_is_room_until_so_much_is_on_its_way() {
        let mut input = Input::default();
        while input.has_room() {
            input.push(vec![0; 64 << 10]);
        }
        assert_eq!(input.size, AHEAD);
        assert!(input.pending());
        input.accept(64 << 10).unwrap();
        assert!(input.has_room());
        input.end();
        assert!(!input.has_room());
    }

    #[test]
    fn a_task_that_wants_bytes_that_are_gone_is_told_so_only_when_it_is_sent_some() {
        let mut input = Input::default();
        input.push(b"abc".to_vec());
        sent(&mut input);
        input.accept(3).unwrap();
        input.rewind(0).unwrap();
        assert!(input.next().unwrap().is_none());
        input.push(b"d".to_vec());
        assert_eq!(input.next().unwrap_err().cause(), Cause::InputLost);
    }

    #[test]
    fn others_who_write_are_followed_and_not_mixed_with() {
        let mut input = Input::default();
        input.rewind(10).unwrap();
        input.accept(12).unwrap();
        input.push(b"x".to_vec());
        assert_eq!(sent(&mut input), [(12, b"x".to_vec(), false)]);
        assert_eq!(input.accept(20).unwrap_err().cause(), Cause::InputLost);
    }
}
