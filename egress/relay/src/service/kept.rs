//! What is to be told, kept until a manager has noted it.

use std::collections::VecDeque;

use lakekeep_protocol::RelayReply;

/// Most receipts that are kept: some 500 bytes each. The rest is counted.
const MOST: usize = 16_384;

/// What is to be told, in order.
#[derive(Debug, Default)]
pub struct Kept {
    /// Handed to the present manager, and not noted yet.
    handed: VecDeque<RelayReply>,
    /// Not handed yet.
    waiting: VecDeque<RelayReply>,
    /// Receipts that were not kept, and not told of.
    lost: u64,
}

impl Kept {
    /// Keeps it, or counts it.
    pub fn push(&mut self, reply: RelayReply) {
        if lasts(&reply) && self.handed.len() + self.waiting.len() >= MOST {
            self.lost += 1;
        } else {
            self.waiting.push_back(reply);
        }
    }

    /// Whether nothing is to be handed.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0
    }

    /// What is to be handed next.
    pub fn pop(&mut self) -> Option<RelayReply> {
        let next = self.waiting.pop_front().or_else(|| self.lost())?;
        if lasts(&next) {
            self.handed.push_back(next.clone());
        }
        Some(next)
    }

    fn lost(&mut self) -> Option<RelayReply> {
        let flows = std::mem::take(&mut self.lost);
        (flows > 0).then_some(RelayReply::Lost { flows })
    }

    /// So many of those that were handed need not be kept any longer.
    pub fn noted(&mut self, told: u64) {
        let told = usize::try_from(told).unwrap_or(usize::MAX);
        self.handed.drain(..told.min(self.handed.len()));
    }

    /// Another manager begins: what the last one has not noted is handed again, and answers to
    /// that one are nobody's.
    pub fn begin(&mut self) {
        self.waiting.retain(lasts);
        let mut again = std::mem::take(&mut self.handed);
        again.append(&mut self.waiting);
        self.waiting = again;
    }
}

/// Whether it is for whoever hears it, and not the answer to one manager.
fn lasts(reply: &RelayReply) -> bool {
    matches!(reply, RelayReply::Flow(_) | RelayReply::Lost { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(nonce: u64) -> RelayReply {
        RelayReply::Synced { nonce }
    }

    fn receipt(flows: u64) -> RelayReply {
        RelayReply::Lost { flows }
    }

    fn all(kept: &mut Kept) -> Vec<RelayReply> {
        std::iter::from_fn(|| kept.pop()).collect()
    }

    #[test]
    fn what_was_not_noted_is_told_again_and_answers_are_not() {
        let mut kept = Kept::default();
        let told = [receipt(1), answer(1), receipt(2), receipt(3)];
        told.iter().for_each(|reply| kept.push(reply.clone()));
        assert_eq!(all(&mut kept), told);
        kept.push(answer(2));
        kept.push(receipt(4));
        kept.noted(1);
        kept.begin();
        assert_eq!(all(&mut kept), [receipt(2), receipt(3), receipt(4)]);
        kept.noted(100);
        kept.begin();
        assert!(kept.is_empty() && all(&mut kept).is_empty());
    }

    #[test]
    fn what_is_too_much_is_counted_and_told_once() {
        let mut kept = Kept::default();
        (0..MOST as u64 + 5).for_each(|number| kept.push(receipt(number)));
        kept.push(answer(7));
        let told = all(&mut kept);
        assert_eq!(told.len(), MOST + 2);
        assert_eq!(told.get(MOST..), Some(&[answer(7), receipt(5)][..]));
        kept.noted(MOST as u64);
        kept.push(receipt(9));
        assert_eq!(all(&mut kept), [receipt(9)]);
        kept.begin();
        assert_eq!(all(&mut kept), [receipt(5), receipt(9)]);
    }
}
