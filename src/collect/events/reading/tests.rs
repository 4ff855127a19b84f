//! Readings of pages that repeat, shift, break off, or hold what can't be placed.

use std::collections::BTreeSet;

use super::*;
use crate::core::ndjson::{Cutter, Place, lines};
use crate::core::stream::Stream;
use crate::incydr::facts::Kind;

const A: &str = r#"{"timestamp":"1970-01-01T00:00:01Z"}"#;
const B: &str = r#"{"timestamp":"1970-01-01T00:00:02.5Z"}"#;

fn audit(pages: &[&[&str]], total: u64) -> WindowTry {
    read(Stream::Audit, pages, total)
}

fn take(reading: &mut WindowTry, rows: &[&str]) {
    let body = format!(r#"{{"rows":[{}]}}"#, rows.join(","));
    let mut cutter = Cutter::new(Place::under(&["rows"]), reading.facts.list.field);
    cutter.feed(body.as_bytes(), |row| reading.take(row)).expect("a page");
    cutter.finish(|row| reading.take(row)).expect("a page");
}

fn read(stream: Stream, pages: &[&[&str]], total: u64) -> WindowTry {
    let Kind::Events(facts) = stream.kind() else { panic!("read by window") };
    let window = Span::new(Millis(0), Millis(0) + TimeDelta::hours(2)).expect("not empty");
    let reading =
        pages.iter().fold(WindowTry::new(facts, window, &Packing::default(), 0, u64::MAX), |reading, rows| {
            let mut reading = reading;
            take(&mut reading, rows);
            reading.page_complete();
            reading
        });
    WindowTry { total, total_after: total, ..reading }
}

fn stored(reading: WindowTry) -> Vec<String> {
    reading.objects().iter().flat_map(|(_, packed)| lines(&packed.gzip).expect("gzip")).collect()
}

#[test]
fn audit_rows_that_are_alike_on_one_page_are_as_many_records() {
    let reading = audit(&[&[A, A, B]], 3);
    assert!(reading.agrees(None));
    assert_eq!(stored(reading).len(), 3);
}

#[test]
fn audit_rows_that_are_alike_on_two_pages_are_believed_when_read_three_times_or_once_on_one_page() {
    let first = audit(&[&[A, B], &[A]], 3);
    assert!(!first.agrees(None));
    assert!(audit(&[&[A, A, B]], 3).agrees(Some(&first)));
    let mut second = audit(&[&[A], &[B, A]], 3);
    assert!(!second.agrees(Some(&first)) && !second.is_final(Some(&first)));
    assert!(audit(&[&[A], &[B], &[A]], 3).agrees(Some(&second)));
    let shifted = audit(&[&[A, B], &[B]], 3);
    assert!(!audit(&[&[A], &[A, B]], 3).agrees(Some(&shifted)));
}

#[test]
fn a_count_that_changed_meanwhile_is_no_agreement() {
    let reading = WindowTry { total_after: 3, ..audit(&[&[A, B]], 2) };
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
    assert!(!WindowTry { total: 2, total_after: 2, ..reading }.agrees(None));
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
fn a_row_of_another_window_is_left_to_that_and_one_of_another_century_is_set_aside() {
    let near = r#"{"timestamp":"1970-01-01T02:01:00Z"}"#;
    let reading = audit(&[&[A, B, near]], 3);
    assert_eq!((reading.unreadable(), reading.set_aside.len()), (0, 0));
    assert!(!reading.agrees(None), "the page may have answered another request");
    assert!(audit(&[&[A, B, near]], 3).agrees(Some(&reading)));
    assert_eq!(stored(reading), [A, B]);
    let far = audit(&[&[A, B, r#"{"timestamp":"1869-01-01T02:01:00Z"}"#]], 3);
    assert_eq!((far.unreadable(), far.set_aside.len()), (1, 1));
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
        let mut reading = WindowTry::new(facts, window, &Packing::default(), 0, most_held);
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
