//! The numbered pages of a list that failed. Each is read again in smaller pages, down to the one row at which the API
//! fails: one such row holds up no other. Without I/O. A list that takes several runs has them on the checkpoint.

use serde::{Deserialize, Serialize};

use crate::core::error_type::ErrorInfo;
use crate::core::json::is_default;

/// After this many failing pages of the list in a row, a smaller one must show that the API doesn't fail as a whole.
const MOST_IN_A_ROW: u32 = 2;
/// The API may still fail as a whole after so many smaller pages in a row: the last of them has one row of a page of 500.
/// Then it does if the list's next page fails, too.
const MOST_IN_DOUBT: u32 = 6;
/// Give a page up after this many failures of its smaller pages in a row.
const MOST_OF_A_PAGE: u32 = 12;
/// After this many failures in all, no further page is read in smaller ones. One row among 500 is found after six.
const MOST_FAILURES: u32 = 200;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FailedPages {
    /// The first error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorInfo>,
    /// Pages of the list, to be read in smaller ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<NumberedPage>,
    /// The smaller pages of one page that are still to be read. The last one is next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    smaller: Vec<NumberedPage>,
    /// The list was read to its end. Only smaller pages are left.
    #[serde(skip_serializing_if = "is_default")]
    is_list_read: bool,
    /// A page of the list had as many rows as were asked for.
    #[serde(skip_serializing_if = "is_default")]
    is_size_honoured: bool,
    /// Rows were given up.
    #[serde(skip_serializing_if = "is_default")]
    has_lost_rows: bool,
    #[serde(skip_serializing_if = "is_default")]
    failures: u32,
    /// Failures since the last answer: of the list's pages, or then of smaller ones.
    #[serde(skip)]
    failures_in_a_row: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberedPage {
    /// Counted from 0, in pages of this size.
    pub number: u64,
    pub size: u64,
}

/// What to read after a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// The list's next page.
    NextPage,
    SmallerPage,
    /// Nothing: the API may fail as a whole, so the list fails.
    Nothing,
}

impl FailedPages {
    /// The first error. None if no page has failed.
    pub fn error(&self) -> Option<&ErrorInfo> {
        self.error.as_ref()
    }

    /// What the next run has to know of them.
    #[must_use]
    pub fn left(&self, has_total: bool) -> Self {
        if self.error.is_some() && !self.are_read(has_total) {
            return self.clone();
        }
        Self { is_size_honoured: self.is_size_honoured && !has_total, ..Self::default() }
    }

    /// Whether all rows of these pages were read after all. Without a total and without a full page that is not known: the
    /// server may allow fewer rows a page than were asked for.
    pub fn are_read(&self, has_total: bool) -> bool {
        self.smaller_page().is_none() && !self.has_lost_rows && (has_total || self.is_size_honoured)
    }

    /// Notes that a page of the list failed.
    pub fn pass_over(&mut self, page: NumberedPage, error: ErrorInfo) -> AfterFailure {
        self.error.get_or_insert(error);
        (self.failures, self.failures_in_a_row) = (self.failures + 1, self.failures_in_a_row + 1);
        if page.size > 1 && self.failures <= MOST_FAILURES {
            self.passed_over.push(page);
        } else {
            self.has_lost_rows = true;
        }
        if self.failures_in_a_row > MOST_IN_DOUBT {
            return AfterFailure::Nothing;
        }
        if self.failures_in_a_row < MOST_IN_A_ROW {
            return AfterFailure::NextPage;
        }
        self.failures_in_a_row = 0;
        if self.smaller_page().is_some() { AfterFailure::SmallerPage } else { AfterFailure::Nothing }
    }

    /// Whether only smaller pages are left.
    pub fn is_list_read(&self) -> bool {
        self.is_list_read
    }

    /// Notes that the list's last page was answered.
    pub fn note_end(&mut self) {
        self.is_list_read = true;
    }

    /// Notes that a page of the list was answered.
    pub fn note_answer(&mut self, is_full: bool) {
        self.is_size_honoured |= is_full;
        self.failures_in_a_row = 0;
    }

    /// The smaller page to read next.
    pub fn smaller_page(&self) -> Option<NumberedPage> {
        self.smaller.last().copied().or_else(|| self.passed_over.last()?.smaller().last())
    }

    /// Notes the answer to the next smaller page. It isn't that page if it has more rows than were asked for, or `repeats`
    /// another page.
    pub fn note_smaller_answer(&mut self, rows: u64, repeats: bool) {
        self.has_lost_rows |= self.take_smaller().is_some_and(|page| repeats || rows > page.size);
        self.failures_in_a_row = 0;
    }

    /// Notes that the next smaller page failed. `is_doubtful`: the API may fail as a whole.
    pub fn note_smaller_failure(&mut self, is_doubtful: bool) -> AfterFailure {
        let Some(page) = self.take_smaller() else { return AfterFailure::Nothing };
        (self.failures, self.failures_in_a_row) = (self.failures + 1, self.failures_in_a_row + 1);
        self.divide(page);
        if is_doubtful && (self.failures_in_a_row >= MOST_IN_DOUBT || self.smaller_page().is_none()) {
            self.failures_in_a_row = MOST_IN_DOUBT;
            return AfterFailure::NextPage;
        }
        if self.failures_in_a_row >= MOST_OF_A_PAGE || self.failures >= MOST_FAILURES {
            self.smaller.clear();
            (self.has_lost_rows, self.failures_in_a_row) = (true, 0);
        }
        if self.failures >= MOST_FAILURES {
            self.passed_over.clear();
        }
        AfterFailure::SmallerPage
    }

    fn take_smaller(&mut self) -> Option<NumberedPage> {
        if self.smaller.is_empty() {
            let page = self.passed_over.pop()?;
            self.divide(page);
        }
        self.smaller.pop()
    }

    fn divide(&mut self, page: NumberedPage) {
        self.smaller.extend(page.smaller());
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
    use crate::core::error_type::ErrorType;

    fn error() -> ErrorInfo {
        ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: "500".into() }
    }

    fn passed_over(page: NumberedPage) -> FailedPages {
        let mut pages = FailedPages::default();
        assert_eq!(pages.pass_over(page, error()), AfterFailure::NextPage);
        pages.note_answer(true);
        pages
    }

    /// Reads all smaller pages. Returns their rows, and the number of requests.
    fn read(pages: &mut FailedPages, fails: impl Fn(u64) -> bool) -> (Vec<u64>, u32) {
        let (mut rows, mut requests) = (Vec::new(), 0);
        while let Some(NumberedPage { number, size }) = pages.smaller_page() {
            requests += 1;
            let on_page = number * size..(number + 1) * size;
            if on_page.clone().any(&fails) {
                assert_eq!(pages.note_smaller_failure(false), AfterFailure::SmallerPage);
            } else {
                rows.extend(on_page);
                pages.note_smaller_answer(size, false);
            }
        }
        (rows, requests)
    }

    #[test]
    fn all_rows_but_the_one_that_fails_are_read() {
        for size in [1, 2, 3, 7, 50, 100, 499, 500] {
            for bad in 3 * size..4 * size {
                let mut pages = passed_over(NumberedPage { number: 3, size });
                let (rows, requests) = read(&mut pages, |row| row == bad);
                let expected: Vec<u64> = (3 * size..4 * size).filter(|row| *row != bad).collect();
                assert_eq!((rows, pages.are_read(true)), (expected, false), "row {bad} in pages of {size}");
                assert!(requests <= 19 || size == 499, "{requests} requests for row {bad} in pages of {size}");
            }
        }
    }

    #[test]
    fn the_next_run_goes_on_with_what_is_left() {
        let mut pages = passed_over(NumberedPage { number: 3, size: 500 });
        pages.pass_over(NumberedPage { number: 5, size: 500 }, error());
        pages.note_smaller_failure(false);
        let mut later: FailedPages =
            serde_json::from_str(&serde_json::to_string(&pages).expect("JSON")).expect("failed pages");
        let bad = |row| row == 2_600;
        assert_eq!(read(&mut later, bad), read(&mut pages, bad));
        assert_eq!((later.are_read(true), later.error()), (false, Some(&error())));
    }

    #[test]
    fn a_page_that_is_only_too_large_is_read_in_two() {
        let mut pages = passed_over(NumberedPage { number: 0, size: 500 });
        let (rows, requests) = read(&mut pages, |_| false);
        assert_eq!((rows.len(), requests, pages.are_read(false)), (500, 2, true));
        assert!(
            !FailedPages::default().are_read(false),
            "no page was full, so the pages may be larger than the answers"
        );
    }

    #[test]
    fn while_the_api_may_fail_as_a_whole_few_pages_are_tried() {
        let mut pages = FailedPages::default();
        let after = [0, 1].map(|number| pages.pass_over(NumberedPage { number, size: 500 }, error()));
        assert_eq!(after, [AfterFailure::NextPage, AfterFailure::SmallerPage]);
        let tried = (1..100).find(|_| pages.note_smaller_failure(true) == AfterFailure::NextPage);
        assert_eq!(tried, Some(MOST_IN_DOUBT));
        let third = NumberedPage { number: 2, size: 500 };
        assert_eq!(pages.clone().pass_over(third, error()), AfterFailure::Nothing, "the API fails");
        pages.note_answer(true);
        assert_eq!(pages.pass_over(third, error()), AfterFailure::NextPage);
    }

    #[test]
    fn where_no_smaller_page_is_left_in_doubt_the_list_goes_on() {
        let mut pages = FailedPages::default();
        let page = |number| NumberedPage { number, size: 2 };
        let after = [0, 1].map(|number| pages.pass_over(page(number), error()));
        assert_eq!(after, [AfterFailure::NextPage, AfterFailure::SmallerPage]);
        let after = [0; 4].map(|_| pages.note_smaller_failure(true));
        assert_eq!((after[2] == AfterFailure::SmallerPage, &after[3]), (true, &AfterFailure::NextPage));
        assert_eq!(pages.pass_over(page(2), error()), AfterFailure::Nothing, "the API fails");
    }

    #[test]
    fn two_failing_pages_in_a_row_end_a_list_whose_pages_have_no_smaller_ones() {
        let mut pages = FailedPages::default();
        let after = [0, 1].map(|number| pages.pass_over(NumberedPage { number, size: 1 }, error()));
        assert_eq!((after, pages.are_read(true)), ([AfterFailure::NextPage, AfterFailure::Nothing], false));
    }

    #[test]
    fn many_bad_rows_side_by_side_hold_up_no_other_page() {
        let mut pages = passed_over(NumberedPage { number: 2, size: 500 });
        pages.pass_over(NumberedPage { number: 6, size: 500 }, error());
        let (rows, _) = read(&mut pages, |row| row == 1_234 || (3_000..3_007).contains(&row));
        assert!(rows.len() >= 499 && !pages.are_read(true), "{} rows", rows.len());
    }

    #[test]
    fn an_answer_with_more_rows_than_asked_for_or_the_same_as_before_is_another_page() {
        for (rows, repeats) in [(5, false), (1, true)] {
            let mut pages = passed_over(NumberedPage { number: 1, size: 2 });
            pages.note_smaller_answer(rows, repeats);
            pages.note_smaller_answer(1, false);
            assert!(pages.smaller_page().is_none() && !pages.are_read(true));
        }
    }

    #[test]
    fn a_page_that_fails_all_over_is_left_soon() {
        let mut pages = passed_over(NumberedPage { number: 0, size: 500 });
        let (rows, requests) = read(&mut pages, |_| true);
        assert_eq!((rows.len(), requests, pages.are_read(true)), (0, MOST_OF_A_PAGE, false));
    }

    #[test]
    fn a_list_that_fails_everywhere_takes_neither_requests_nor_room_without_end() {
        let mut pages = FailedPages::default();
        for number in 0..1_000 {
            pages.pass_over(NumberedPage { number, size: 500 }, error());
            pages.note_answer(true);
        }
        let (rows, requests) = read(&mut pages, |row| row % 2 == 0);
        assert!(rows.is_empty() && requests <= MOST_FAILURES && !pages.are_read(true), "{requests}");
    }
}
