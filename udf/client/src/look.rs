//! Whether to look for a packet for a while before sleeping; docs/udf-wire.md has the rule.

use std::time::Duration;

/// A packet that comes to a sleeper within so many times the time of looking would have been
/// worth a look.
const SOON: u32 = 3;
/// Most packets that must have come soon before it is looked again.
const DEAREST: u32 = 255;

/// What looking has brought so far.
///
/// To wake a sleeper takes longer than a small call does, but who looks uses a processor.
/// So each look in vain makes the next one twice as dear, in packets that must have come
/// soon before it, and each that pays half as dear.
#[derive(Debug)]
pub(crate) struct Look {
    /// Of one look, at most; none where nobody looks.
    most: Option<Duration>,
    /// Packets that must come soon before the next look.
    rest: u32,
    price: u32,
}

impl Look {
    /// Looks of this length; zero: none.
    pub(crate) fn of(most: Duration) -> Self {
        Self {
            most: Some(most).filter(|it| !it.is_zero()),
            rest: 0,
            price: 0,
        }
    }

    /// How long to look now; none: sleep at once.
    pub(crate) fn now(&self) -> Option<Duration> {
        self.most.filter(|_| self.rest == 0)
    }

    pub(crate) fn paid(&mut self) {
        self.price /= 2;
    }

    pub(crate) fn in_vain(&mut self) {
        self.price = DEAREST.min(2 * self.price + 1);
        self.rest = self.price;
    }

    /// A packet came to a sleeper after this long.
    pub(crate) fn slept(&mut self, time: Duration) {
        if self.most.is_some_and(|most| time <= SOON * most) {
            self.rest = self.rest.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(100);
    const SOON_ENOUGH: Duration = Duration::from_micros(300);
    const LATE: Duration = Duration::from_micros(301);

    #[test]
    fn each_look_in_vain_makes_the_next_dearer_up_to_a_bound() {
        let mut look = Look::of(MOST);
        for price in [1, 3, 7, 15, 31, 63, 127, 255, 255] {
            assert_eq!(look.now(), Some(MOST));
            look.in_vain();
            for _ in 0..price {
                assert_eq!(look.now(), None);
                look.slept(LATE);
                look.slept(SOON_ENOUGH);
            }
        }
        assert_eq!(look.now(), Some(MOST));
    }

    #[test]
    fn looking_that_pays_becomes_cheaper() {
        let mut look = Look::of(MOST);
        look.price = 7;
        for price in [3, 1, 0, 0] {
            look.paid();
            assert_eq!(look.price, price);
        }
        look.in_vain();
        look.slept(SOON_ENOUGH);
        assert_eq!(look.now(), Some(MOST));
    }

    #[test]
    fn nobody_looks_where_nobody_may() {
        let mut none = Look::of(Duration::ZERO);
        none.slept(Duration::ZERO);
        assert_eq!(none.now(), None);
    }
}
