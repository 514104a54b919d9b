//! Lists, a page at a time.

/// Most rows of a page.
pub const LONGEST_PAGE: usize = 1000;

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The cursor of the page before; the beginning without one.
    pub after: Option<u64>,
    /// How many rows; at most 1,000 are given.
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Page {
        Page {
            after: None,
            limit: 100,
        }
    }
}

impl Page {
    pub(super) fn after(self) -> i64 {
        i64::try_from(self.after.unwrap_or(0)).unwrap_or(i64::MAX)
    }

    /// At least one: an empty page with a next one would never end.
    pub(super) fn rows(self) -> usize {
        self.limit.clamp(1, LONGEST_PAGE)
    }

    /// One more than is given shows whether there is a next page.
    pub(super) fn fetch(self) -> i64 {
        i64::try_from(self.rows())
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOf<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// What to give as [`Page::after`] for the next part; none at the end.
    pub next: Option<u64>,
}

impl<T> PageOf<T> {
    pub(super) fn cut(mut rows: Vec<T>, page: Page, cursor: impl Fn(&T) -> u64) -> PageOf<T> {
        let more = rows.len() > page.rows();
        rows.truncate(page.rows());
        let next = rows.last().filter(|_| more).map(cursor);
        PageOf { rows, next }
    }
}
