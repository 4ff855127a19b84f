//! One reading of one window. Packs its rows by hour while they arrive, and decides whether they agree with the API's
//! count.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use chrono::TimeDelta;
use tokio::sync::OwnedMutexGuard;

use super::shown::Shown;
use crate::bucket::records::hours;
use crate::core::density::share;
use crate::core::intervals::Span;
use crate::core::ndjson::{Fingerprint, Packed, Packer, Packing, Row};
use crate::core::quote;
use crate::core::stuck::FEW;
use crate::core::time::{HOUR, Millis, SECOND};
use crate::incydr::facts::{Events, Total};
use crate::incydr::page::Rows;

/// A row may lie this far outside of the window, because the server's filters cut at whole seconds.
const FAR: TimeDelta = TimeDelta::seconds(2);

pub struct WindowReading {
    pub facts: &'static Events,
    window: Span,
    packing: Packing,
    /// The expected size of all its objects.
    bytes: u64,
    pub pages: u64,
    /// All rows, as the API counts them: including those in the margin and those set aside.
    pub rows: u64,
    /// Distinct rows.
    pub unique: u64,
    /// Rows whose time lies in the window.
    pub inside: u64,
    /// The API's count before and after the rows were read.
    pub total: u64,
    pub total_after: u64,
    /// Rows that can't be parsed or have a time outside of the request, each once, with the reason.
    pub set_aside: Vec<(Bytes, String)>,
    /// The number of such rows, and how many of them have a time outside of the request.
    unreadable: u64,
    astray: u64,
    by_hour: BTreeMap<Millis, Packer>,
    /// The bytes in `by_hour`, gzipped, and in `alike` and `set_aside`, and the limit for them.
    held: u64,
    most_held: u64,
    /// Set once the limit was exceeded. From then on rows are only counted, not kept.
    pub too_heavy: Option<TooHeavy>,
    /// The page on which each row was first seen.
    seen: HashMap<Fingerprint, u64>,
    /// Rows of the window that equal an earlier one. Empty if records have ids: then they are the same record.
    alike: Vec<(Millis, String)>,
    /// Whether equal rows are on different pages, as happens if pages shift or repeat.
    alike_across_pages: bool,
    /// A hash of all rows, independent of their order.
    digest: u128,
    /// The same for a later run, if the rows are few.
    pub shown: Shown,
    /// Whether a page broke off and had other rows when it was requested again.
    is_another_page: bool,
    /// The rows of the present page, and those of its attempts that broke off.
    on_page: Vec<Fingerprint>,
    torn: HashMap<Fingerprint, u64>,
    /// Of a reading that may take more memory than others: held until it is stored.
    turn: Option<OwnedMutexGuard<()>>,
}

/// The point at which a reading exceeded its limit.
#[derive(Clone, Copy, Debug)]
pub struct TooHeavy {
    pub rows: u64,
    /// The gzipped bytes.
    pub bytes: u64,
}

impl Rows for WindowReading {
    fn take(&mut self, row: Row<'_>) {
        let fingerprint = match &row {
            Row::Record { line, .. } => Fingerprint::quick(line.as_bytes()),
            Row::Unreadable { bytes, .. } => Fingerprint::quick(bytes),
        };
        self.on_page.push(fingerprint);
        match self.torn.get_mut(&fingerprint) {
            Some(count) if *count > 0 => *count -= 1,
            _ => self.note(row, fingerprint),
        }
    }

    fn page_broken(&mut self) {
        for fingerprint in self.on_page.drain(..) {
            *self.torn.entry(fingerprint).or_default() += 1;
        }
    }

    /// Rows of the attempt that broke off which did not come again belong to another page. Then the reading isn't
    /// believed.
    fn page_complete(&mut self) {
        self.is_another_page |= self.torn.drain().any(|(_, count)| count > 0);
        self.on_page.clear();
        self.pages += 1;
    }
}

impl WindowReading {
    /// `bytes` is the expected size of the objects, `most_held` the limit.
    pub fn new(facts: &'static Events, window: Span, packing: &Packing, bytes: u64, most_held: u64) -> Self {
        Self {
            facts,
            window,
            packing: packing.clone(),
            bytes,
            pages: 0,
            rows: 0,
            unique: 0,
            inside: 0,
            total: 0,
            total_after: 0,
            set_aside: Vec::new(),
            unreadable: 0,
            astray: 0,
            by_hour: BTreeMap::new(),
            held: 0,
            most_held,
            too_heavy: None,
            seen: HashMap::new(),
            alike: Vec::new(),
            alike_across_pages: false,
            digest: 0,
            shown: Shown::default(),
            is_another_page: false,
            on_page: Vec::new(),
            torn: HashMap::new(),
            turn: None,
        }
    }

    fn note(&mut self, row: Row<'_>, fingerprint: Fingerprint) {
        self.rows += 1;
        self.digest = self.digest.wrapping_add(fingerprint.0);
        self.shown.add(&row);
        let (is_first, is_shifted) = match self.seen.entry(fingerprint) {
            Entry::Vacant(entry) => {
                entry.insert(self.pages);
                self.unique += 1;
                (true, false)
            }
            Entry::Occupied(entry) => (false, *entry.get() != self.pages),
        };
        self.alike_across_pages |= is_shifted;
        // If the API has no count, a row that another page has shown counts as the same row.
        let is_same = is_shifted && matches!(self.facts.total, Total::Nowhere { .. });
        let placed = match row {
            Row::Record { bytes, line, field } => match Millis::parse(&field) {
                Some(time) if self.is_far(time) => {
                    self.astray += 1;
                    Err((bytes, format!("its time {:?} lies outside of what was asked for", quote::value(&field))))
                }
                Some(time) => Ok((time, line)),
                None => Err((bytes, format!("its time {:?} is not RFC 3339", quote::value(&field)))),
            },
            Row::Unreadable { bytes, why } => Err((bytes, why)),
        };
        match placed {
            Ok((time, line)) if self.window.contains(time) => {
                self.inside += 1;
                if is_first {
                    self.pack(time, line);
                } else if !is_same && !self.facts.has_id && self.may_hold(line.len() as u64) {
                    self.alike.push((time, line.to_owned()));
                }
            }
            Ok(_) => {}
            Err((bytes, why)) => {
                self.unreadable += 1;
                if is_first && self.may_hold(bytes.len() as u64) {
                    self.set_aside.push((Bytes::copy_from_slice(bytes), why));
                }
            }
        }
    }

    fn is_far(&self, time: Millis) -> bool {
        let (from, to) = (self.window.from.floor(SECOND) - FAR, self.window.to.ceil(SECOND) + FAR);
        let has_end = !matches!(self.facts.total, Total::Nowhere { has_end: false, .. });
        time < from || has_end && time >= to
    }

    fn pack(&mut self, time: Millis, line: &str) {
        if self.too_heavy.is_some() {
            return;
        }
        let hour = time.floor(HOUR);
        let packer = self.by_hour.entry(hour).or_insert_with(|| {
            let of_window = Span { from: hour, to: hour + HOUR }.intersection(self.window);
            let bytes = share(self.bytes, of_window.map_or(TimeDelta::zero(), Span::length), self.window.length());
            Packer::with_capacity(&self.packing, usize::try_from(bytes).unwrap_or(0))
        });
        let before = packer.bytes();
        packer.push_at(time, line);
        let more = packer.bytes() - before;
        self.may_hold(more);
    }

    /// Counts further bytes. Returns false if they are too many: from then on rows are only counted, not kept.
    fn may_hold(&mut self, bytes: u64) -> bool {
        self.held += bytes;
        if self.held > self.most_held && self.too_heavy.is_none() {
            self.too_heavy = Some(TooHeavy { rows: self.rows, bytes: self.held });
            self.forget_rows();
        }
        self.too_heavy.is_none()
    }

    /// Frees the memory of a reading that is only compared with another, or given up.
    pub fn forget_rows(&mut self) {
        self.by_hour.clear();
        self.alike.clear();
        // Its reason may still be told.
        self.set_aside.truncate(1);
    }

    pub fn holding(self, turn: OwnedMutexGuard<()>) -> Self {
        Self { turn: Some(turn), ..self }
    }

    /// Returns what must live until the reading is stored.
    pub fn turn(&mut self) -> Option<OwnedMutexGuard<()>> {
        self.turn.take()
    }

    /// Whether the reading agrees with the API's count. `before` is the reading before it, with other page boundaries.
    ///
    /// If records have ids (file events), equal rows are one record. If they have none (audit), equal rows are several
    /// records when the API counts them so. But equal rows may also be one row shown twice in another's place, because
    /// pages shifted or repeated. So a reading with equal rows on different pages must come out the same twice, and so must
    /// one with rows of another time: a page may have answered another request.
    pub fn agrees(&self, before: Option<&Self>) -> bool {
        let counted = self.rows == self.total && self.total == self.total_after;
        let same_as_before = before.is_some_and(|before| before.rows == self.rows && before.digest == self.digest);
        let is_believed = |is_doubtful: bool| !is_doubtful || same_as_before;
        match self.facts.total {
            _ if self.is_another_page => false,
            Total::InPage => self.unique == self.total && is_believed(self.astray > 0) || counted && same_as_before,
            Total::Endpoint { .. } => counted && is_believed(self.alike_across_pages || self.astray > 0),
            Total::Nowhere { .. } => true,
        }
    }

    /// Whether most rows have a time outside of the request.
    pub fn answers_another_question(&self) -> bool {
        2 * self.astray > self.rows
    }

    /// Whether too many rows can't be read: more than a fifth, and more than three, together with those `beside`.
    pub fn has_too_many_unreadable(&self, beside: u64) -> bool {
        5 * self.unreadable > self.rows && self.unreadable + beside > FEW
    }

    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Whether some rows can be read.
    pub fn is_mixed(&self) -> bool {
        self.unreadable < self.rows
    }

    /// For example `30 of 40 rows can't be read; of the first: its time … is not RFC 3339`.
    pub fn what_is_unreadable(&self) -> String {
        let first = self.set_aside.first().map_or("", |(_, why)| why.as_str());
        format!("{} of {} rows can't be read; of the first: {first}", self.unreadable, self.rows)
    }

    /// Whether another reading of the window returned the same rows and the same count.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.rows, self.digest, self.total, self.total_after)
            == (other.rows, other.digest, other.total, other.total_after)
    }

    /// The number of rows that agree with the API's count.
    pub fn agreed(&self) -> u64 {
        match self.facts.total {
            Total::InPage if self.unique == self.total => self.unique,
            _ => self.rows,
        }
    }

    /// The reading with each row once.
    pub fn distinct(mut self) -> Self {
        self.alike.clear();
        self
    }

    /// Returns the window's objects, each with its hour.
    pub fn objects(mut self) -> Vec<(Span, Packed)> {
        // What is held already is not too much.
        self.most_held = u64::MAX;
        for (time, line) in std::mem::take(&mut self.alike) {
            self.pack(time, &line);
        }
        hours(self.window)
            .filter_map(|hour| Some((hour, self.by_hour.remove(&hour.from.floor(HOUR))?.finish())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::ndjson::{Cutter, Place, lines};
    use crate::core::stream::Stream;
    use crate::incydr::facts::Kind;

    const A: &str = r#"{"timestamp":"1970-01-01T00:00:01Z"}"#;
    const B: &str = r#"{"timestamp":"1970-01-01T00:00:02.5Z"}"#;

    fn audit(pages: &[&[&str]], total: u64) -> WindowReading {
        read(Stream::Audit, pages, total)
    }

    fn take(reading: &mut WindowReading, rows: &[&str]) {
        let body = format!(r#"{{"rows":[{}]}}"#, rows.join(","));
        let mut cutter = Cutter::new(Place::under(&["rows"]), reading.facts.list.field);
        cutter.feed(body.as_bytes(), |row| reading.take(row)).expect("a page");
        cutter.finish(|row| reading.take(row)).expect("a page");
    }

    fn read(stream: Stream, pages: &[&[&str]], total: u64) -> WindowReading {
        let Kind::Events(facts) = stream.kind() else { panic!("read by window") };
        let window = Span::new(Millis(0), Millis(0) + TimeDelta::hours(2)).expect("not empty");
        let reading =
            pages.iter().fold(WindowReading::new(facts, window, &Packing::default(), 0, u64::MAX), |reading, rows| {
                let mut reading = reading;
                take(&mut reading, rows);
                reading.page_complete();
                reading
            });
        WindowReading { total, total_after: total, ..reading }
    }

    fn stored(reading: WindowReading) -> Vec<String> {
        reading.objects().iter().flat_map(|(_, packed)| lines(&packed.gzip).expect("gzip")).collect()
    }

    #[test]
    fn audit_rows_that_are_alike_on_one_page_are_as_many_records() {
        let reading = audit(&[&[A, A, B]], 3);
        assert!(reading.agrees(None));
        assert_eq!(stored(reading).len(), 3);
    }

    #[test]
    fn audit_rows_that_are_alike_on_two_pages_are_believed_when_read_twice() {
        let first = audit(&[&[A, B], &[A]], 3);
        assert!(!first.agrees(None));
        assert!(audit(&[&[A, A, B]], 3).agrees(Some(&first)));
        let shifted = audit(&[&[A, B], &[B]], 3);
        assert!(!audit(&[&[A], &[A, B]], 3).agrees(Some(&shifted)));
    }

    #[test]
    fn a_count_that_changed_meanwhile_is_no_agreement() {
        let reading = WindowReading { total_after: 3, ..audit(&[&[A, B]], 2) };
        assert!(!reading.agrees(None));
    }

    #[test]
    fn a_file_event_that_two_pages_show_is_one_record() {
        let event = r#"{"event":{"inserted":"1970-01-01T00:00:01Z"}}"#;
        let reading = read(Stream::FileEvents, &[&[event], &[event]], 1);
        assert!(reading.agrees(None));
        assert_eq!(stored(reading), [event]);
        let doubled = read(Stream::FileEvents, &[&[event], &[event]], 2);
        assert!(!doubled.agrees(None), "another row may be missing");
        let again = read(Stream::FileEvents, &[&[event, event]], 2);
        assert!(again.agrees(Some(&doubled)), "the API itself counts it twice");
        assert_eq!(stored(again), [event]);
    }

    #[test]
    fn a_page_that_broke_off_counts_once() {
        let mut reading = audit(&[], 3);
        take(&mut reading, &[A, B]);
        reading.page_broken();
        take(&mut reading, &[A]);
        reading.page_broken();
        take(&mut reading, &[A, A, B]);
        reading.page_complete();
        assert!(reading.agrees(None), "three rows, of which two are alike");
        assert_eq!(stored(reading).len(), 3);
    }

    #[test]
    fn a_page_that_comes_back_as_another_is_not_believed() {
        let mut reading = audit(&[], 1);
        take(&mut reading, &[A]);
        reading.page_broken();
        take(&mut reading, &[B]);
        reading.page_complete();
        assert!(!WindowReading { total: 2, total_after: 2, ..reading }.agrees(None));
    }

    #[test]
    fn what_lies_outside_the_window_counts_and_is_not_stored() {
        let outside = r#"{"timestamp":"1970-01-01T02:00:00.000Z"}"#;
        let reading = audit(&[&[A, outside]], 2);
        assert!(reading.agrees(None));
        assert_eq!(stored(reading), [A]);
    }

    #[test]
    fn the_answer_to_another_question_is_told_by_most_of_its_times() {
        let astray = r#"{"timestamp":"1970-01-01T05:00:00Z"}"#;
        assert!(audit(&[&[astray]], 1).answers_another_question());
        assert!(audit(&[&[A, astray, astray]], 3).answers_another_question());
        assert!(!audit(&[&[A, astray]], 2).answers_another_question());
    }

    #[test]
    fn rows_of_another_time_are_believed_only_if_two_readings_show_them() {
        let astray = r#"{"timestamp":"1970-01-01T05:00:00Z"}"#;
        let first = audit(&[&[A, B, astray]], 3);
        assert!(!first.agrees(None), "the page may have answered another request");
        assert!(audit(&[&[A], &[B, astray]], 3).agrees(Some(&first)));
        assert!(!audit(&[&[A, B, astray.replace("05", "06").as_str()]], 3).agrees(Some(&first)));
    }

    #[test]
    fn rows_that_are_alike_or_set_aside_count_towards_the_limit_and_none_is_dropped_at_the_end() {
        let Kind::Events(facts) = Stream::Audit.kind() else { panic!("read by window") };
        let window = Span::new(Millis(0), Millis(0) + TimeDelta::hours(2)).expect("not empty");
        let long: String =
            (0..4_000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
        let alike = format!(r#"{{"timestamp":"1970-01-01T00:00:01Z","long":"{long}"}}"#);
        let odd = alike.replace("1970-01-01", "noon");
        let read = |rows: &[&str], most_held| {
            let mut reading = WindowReading::new(facts, window, &Packing::default(), 0, most_held);
            take(&mut reading, rows);
            reading
        };
        for row in [&alike, &odd] {
            let rows: Vec<String> =
                (0..4).map(|n| row.replace("long", &format!("long{}", if row == &odd { n } else { 0 }))).collect();
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            assert!(read(&rows, 9_000).too_heavy.is_some());
            let reading = read(&rows, 17_000);
            assert!(reading.too_heavy.is_none());
            assert_eq!(reading.set_aside.len() + stored(reading).len(), 4);
        }
    }

    #[test]
    fn what_cannot_be_placed_is_set_aside_with_its_own_bytes() {
        let odd = [
            r#"{"timestamp": "1970-01-01T00:00:01Z", "name": "\Everyone"}"#,
            r#"{"timestamp":"noon"}"#,
            "{}",
            "null",
            "[1]",
        ];
        let reading = audit(&[&[A], &odd], 6);
        let kept: BTreeSet<&[u8]> = reading.set_aside.iter().map(|(bytes, _)| bytes.as_ref()).collect();
        assert_eq!(kept, odd.iter().map(|text| text.as_bytes()).collect());
        assert!(reading.agrees(None));
        assert_eq!(stored(reading), [A]);
    }
}
