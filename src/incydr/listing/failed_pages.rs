//! The numbered pages of a list that failed. Each is read again in smaller pages, down to the one row at which the API
//! fails: one such row holds up no other.

/// Give up after this many failures. One row among 500 is found after five.
const MOST_FAILURES: u32 = 100;
/// If it is doubtful whether the API fails as a whole, it does after this many failures in a row. The last of them is a
/// single row of a page of 500.
const MOST_IN_DOUBT: u32 = 6;
/// Give a page up after this many failures in a row.
const MOST_IN_A_ROW: u32 = 12;

#[derive(Default)]
pub struct FailedPages {
    /// Still to be read. The last one is next.
    parts: Vec<Part>,
    failures: u32,
    failures_in_a_row: u32,
    /// A row was given up.
    has_lost_rows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedPage {
    /// Counted from 0, in pages of this size.
    pub number: u64,
    pub size: u64,
}

/// A part of a page that was passed over. `of` is the number of that page.
struct Part {
    page: NumberedPage,
    of: u64,
}

impl FailedPages {
    /// Notes a page that was passed over.
    pub fn add(&mut self, page: NumberedPage) {
        self.divide(page, page.number);
    }

    /// The smaller page to be read next.
    pub fn next(&self) -> Option<NumberedPage> {
        self.parts.last().map(|part| part.page)
    }

    /// Notes the answer to the next page. If it has more rows than were asked for, it isn't that page.
    pub fn note_answer(&mut self, rows: u64) {
        self.has_lost_rows |= self.parts.pop().is_some_and(|part| rows > part.page.size);
        self.failures_in_a_row = 0;
    }

    /// Notes that the next page failed. Returns false if no other should be tried. `is_doubtful` means that the API may
    /// fail as a whole.
    pub fn note_failure(&mut self, is_doubtful: bool) -> bool {
        let Some(Part { page, of }) = self.parts.pop() else { return false };
        (self.failures, self.failures_in_a_row) = (self.failures + 1, self.failures_in_a_row + 1);
        self.divide(page, of);
        if is_doubtful && self.failures_in_a_row >= MOST_IN_DOUBT {
            return false;
        }
        if self.failures_in_a_row >= MOST_IN_A_ROW {
            self.parts.retain(|part| part.of != of);
            (self.has_lost_rows, self.failures_in_a_row) = (true, 0);
        }
        self.failures < MOST_FAILURES
    }

    /// Whether all rows of these pages were read after all.
    pub fn are_read(&self) -> bool {
        self.parts.is_empty() && !self.has_lost_rows
    }

    fn divide(&mut self, page: NumberedPage, of: u64) {
        self.parts.extend(page.smaller().map(|page| Part { page, of }));
        self.has_lost_rows |= page.size <= 1;
    }
}

impl NumberedPage {
    /// The smaller pages that have the same rows, the last one first. None if it has only one row.
    fn smaller(self) -> impl Iterator<Item = Self> {
        let Self { number, size } = self;
        let parts = (2..=size).find(|parts| size.is_multiple_of(*parts));
        let page = move |part, parts| Self { number: number * parts + part, size: size / parts };
        parts.into_iter().flat_map(move |parts| (0..parts).rev().map(move |part| page(part, parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the rows of a page. Returns them, and the number of requests.
    fn read(page: NumberedPage, fails: impl Fn(u64) -> bool) -> (Vec<u64>, u32, FailedPages) {
        let (mut pages, mut rows, mut requests) = (FailedPages::default(), Vec::new(), 0);
        pages.add(page);
        while let Some(NumberedPage { number, size }) = pages.next() {
            requests += 1;
            let on_page = number * size..(number + 1) * size;
            if on_page.clone().any(&fails) {
                if !pages.note_failure(false) {
                    break;
                }
            } else {
                rows.extend(on_page);
                pages.note_answer(size);
            }
        }
        (rows, requests, pages)
    }

    #[test]
    fn all_rows_but_the_one_that_fails_are_read() {
        for size in [1, 2, 3, 7, 50, 100, 499, 500] {
            for bad in 3 * size..4 * size {
                let (rows, requests, pages) = read(NumberedPage { number: 3, size }, |row| row == bad);
                let expected: Vec<u64> = (3 * size..4 * size).filter(|row| *row != bad).collect();
                assert_eq!((rows, pages.are_read()), (expected, false), "row {bad} in pages of {size}");
                assert!(requests <= 19 || size == 499, "{requests} requests for row {bad} in pages of {size}");
            }
        }
    }

    #[test]
    fn a_page_that_is_only_too_large_is_read_in_two() {
        let (rows, requests, pages) = read(NumberedPage { number: 0, size: 500 }, |_| false);
        assert_eq!((rows.len(), requests, pages.are_read()), (500, 2, true));
    }

    #[test]
    fn while_the_api_may_fail_as_a_whole_few_pages_are_tried() {
        let mut pages = FailedPages::default();
        pages.add(NumberedPage { number: 0, size: 500 });
        let tried = (1..100).find(|_| !pages.note_failure(true));
        assert_eq!(tried, Some(MOST_IN_DOUBT));
    }

    #[test]
    fn many_bad_rows_side_by_side_hold_up_no_other_page() {
        let mut pages = FailedPages::default();
        for number in [2, 6] {
            pages.add(NumberedPage { number, size: 500 });
        }
        let (mut rows, is_bad) = (0, |row: u64| row == 1_234 || (3_000..3_007).contains(&row));
        while let Some(NumberedPage { number, size }) = pages.next() {
            if (number * size..(number + 1) * size).any(is_bad) {
                assert!(pages.note_failure(false));
            } else {
                rows += size;
                pages.note_answer(size);
            }
        }
        assert!(rows >= 499 && !pages.are_read(), "{rows} rows");
    }

    #[test]
    fn an_answer_with_more_rows_than_asked_for_is_another_page() {
        let mut pages = FailedPages::default();
        pages.add(NumberedPage { number: 1, size: 2 });
        pages.note_answer(5);
        pages.note_answer(1);
        assert!(pages.next().is_none() && !pages.are_read());
    }

    #[test]
    fn an_api_that_fails_as_a_whole_is_left_soon() {
        let (rows, requests, pages) = read(NumberedPage { number: 0, size: 500 }, |_| true);
        assert_eq!((rows.len(), requests, pages.are_read()), (0, MOST_IN_A_ROW, false));
    }
}
