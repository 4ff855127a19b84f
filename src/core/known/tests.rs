use chrono::TimeDelta;

use super::*;
use crate::core::ndjson::Fingerprint;
use crate::core::time::{DAY, MILLISECOND};

const NOW: Millis = Millis(TimeDelta::days(40).num_milliseconds());

fn version(record: u128) -> RecordVersion {
    RecordVersion { full: Fingerprint(record), steady: None }
}

fn known(ids: &[(&str, u128)]) -> Known {
    let mut known = Known::default();
    for (id, record) in ids {
        known.add(id, version(*record));
    }
    known
}

fn is_stored(known: &Known, id: &str, line: &str, volatile: &[FieldPath], at: Millis) -> bool {
    known.stored(id, line, &RecordVersion::of(line, volatile, at)).is_some()
}

#[test]
fn a_record_is_gone_after_two_whole_readings_without_it() {
    let (once, gone) = known(&[("a", 1), ("b", 2)]).after_whole_reading(known(&[("a", 1)]), NOW);
    assert!(gone.is_empty());
    let (twice, gone) = once.after_whole_reading(known(&[("a", 1)]), NOW + TimeDelta::milliseconds(5));
    assert_eq!(gone, [Missing { id: "b".into(), since: NOW }]);
    assert!(twice.has_id("b"), "kept until its tombstone is stored");
    let (back, gone) = once.after_whole_reading(known(&[("a", 1), ("b", 2)]), NOW + TimeDelta::milliseconds(5));
    assert!(gone.is_empty());
    assert_eq!(back, known(&[("a", 1), ("b", 2)]));
}

#[test]
fn a_fifth_of_a_list_may_go_at_once_or_one_alone_and_more_once_it_has_lasted_a_day() {
    let missing = |count: usize, since: Millis| -> Vec<Missing> {
        (0..count).map(|id| Missing { id: id.to_string(), since }).collect()
    };
    let judged = |gone: usize, known: usize, since: Millis| {
        let Gone { believed, doubted } = Gone::of(missing(gone, since), known, NOW);
        (believed.len(), doubted)
    };
    assert_eq!(judged(20, 100, NOW), (20, 0));
    assert_eq!(judged(21, 100, NOW), (0, 21));
    assert_eq!(judged(1, 2, NOW), (1, 0));
    assert_eq!(judged(60, 100, NOW + MILLISECOND - DAY), (0, 60));
    assert_eq!(judged(60, 100, NOW - DAY), (60, 0));
}

#[test]
fn what_a_reading_cannot_tell_of_is_missed_no_more_and_no_less() {
    let (once, _) = known(&[("a", 1), ("b", 2)]).after_whole_reading(known(&[("a", 1)]), NOW);
    let mut seen = known(&[("a", 1)]);
    seen.hold("b", &once, None);
    let (held, gone) = once.after_whole_reading(seen, NOW + TimeDelta::milliseconds(5));
    assert!(gone.is_empty());
    assert_eq!(held, once);
    let mut seen = Known::default();
    seen.hold("a", &held, Some(NOW + TimeDelta::milliseconds(7)));
    assert_eq!((seen.missed_since("a"), seen.is_shown("a")), (Some(NOW + TimeDelta::milliseconds(7)), false));
}

#[test]
fn two_records_under_one_id_are_both_known() {
    let both = known(&[("a", 1), ("a", 2), ("a", 1)]);
    assert_eq!(both.0["a"].seen, [version(1), version(2)]);
    assert_eq!(both.count(), 1);
}

#[test]
fn a_record_that_changes_back_has_changed() {
    let mut known = Known::default();
    known.replace("a", RecordVersion::of("{}", &[], NOW), None);
    known.replace("a", RecordVersion::of(r#"{"x":1}"#, &[], NOW), None);
    assert!(!is_stored(&known, "a", "{}", &[], NOW));
}

#[test]
fn what_is_still_shown_is_not_forgotten_nor_is_what_stands_below_it() {
    let mut known = Known::default();
    for id in ["a", r#"["a","1"]"#, r#"["a","2"]"#, r#"["ab","1"]"#, "ab"] {
        known.replace(id, version(1), Some(NOW - DAY));
    }
    known.keep_from("a", r#"["a","#, NOW - TimeDelta::days(2), NOW);
    assert!(known.0.values().all(|entry| entry.began == Some(NOW - DAY)), "it is young enough");
    known.keep_from("a", r#"["a","#, NOW, NOW);
    known.forget_before(NOW);
    assert_eq!(known.ids().collect::<Vec<_>>(), [r#"["a","1"]"#, r#"["a","2"]"#, "a"]);
}

#[test]
fn what_a_stored_line_says_is_known() {
    let mut known = known(&[("4\"2", 1), ("43", 1)]);
    known.apply("4\"2", r#"{"userId":"4\"2","_deleted":true,"_deletedAt":"1970-01-01T00:00:00.000Z"}"#, &[], NOW);
    known.apply("43", r#"{"userId":"43","active":false}"#, &[], NOW);
    assert!(!known.has_id("4\"2"));
    assert!(is_stored(&known, "43", r#"{"active":false,"userId":"43"}"#, &[], NOW), "in whatever order");
    assert!(!is_stored(&known, "43", r#"{"active":true,"userId":"43"}"#, &[], NOW));
}

#[test]
fn what_was_known_by_its_bytes_is_known_by_what_it_says_from_now_on() {
    let line = r#"{"b":1,"a":2}"#;
    let mut known = Known::default();
    known.replace("x", RecordVersion { full: Fingerprint::of(line.as_bytes()), steady: None }, None);
    let stored = known.stored("x", line, &RecordVersion::of(line, &[], NOW)).expect("known");
    assert_eq!(stored, RecordVersion::of(r#"{"a":2,"b":1}"#, &[], NOW));
}

#[test]
fn what_only_moves_is_stored_once_a_day() {
    let volatile = [vec!["seen".to_owned()]];
    let mut known = Known::default();
    known.replace("x", RecordVersion::of(r#"{"a":1,"seen":1}"#, &volatile, NOW), None);
    let moved = r#"{"seen":2,"a":1}"#;
    let stored =
        known.stored("x", moved, &RecordVersion::of(moved, &volatile, NOW + DAY - MILLISECOND)).expect("no change");
    assert_eq!(stored, RecordVersion::of(r#"{"a":1,"seen":1}"#, &volatile, NOW), "what is stored, and when");
    assert!(!is_stored(&known, "x", moved, &volatile, NOW + DAY));
    assert!(!is_stored(&known, "x", r#"{"seen":2,"a":3}"#, &volatile, NOW + MILLISECOND), "a change is stored at once");
    assert!(!is_stored(&known, "x", moved, &[], NOW + MILLISECOND), "and so is all where nothing is volatile");
}

#[test]
fn what_was_asked_for_is_asked_for_again_once_the_list_shows_another_record() {
    let mut known = known(&[("a", 1), ("b", 1)]);
    known.note_requested("a", NOW);
    assert_eq!((known.asked_at("a"), known.asked_at("b"), known.asked_at("c")), (Some(NOW), None, None));
    let mut forgetful = known.clone();
    forgetful.forget_request("a");
    assert_eq!(forgetful.asked_at("a"), None);
    let shows = |record| {
        let mut seen = Known::default();
        seen.add("a", version(record));
        seen.keep_request("a", &known);
        seen
    };
    assert_eq!((shows(1).asked_at("a"), shows(2).asked_at("a")), (Some(NOW), None));
    let mut seen = shows(2);
    seen.note_requested("a", NOW + TimeDelta::milliseconds(5));
    assert_eq!(seen.asked_at("a"), Some(NOW + TimeDelta::milliseconds(5)));
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let line = r#"{"id":"a","seen":["000000000000000000000000000000ff"],"missed":1}"#;
    let (id, entry) = Known::entry(line).expect("a line");
    let expected = KnownRecord { seen: vec![version(255)], missed: 1, ..KnownRecord::default() };
    assert_eq!((id.as_str(), entry), ("a", expected));
    assert_eq!(Known::entry(r#"{"id":"a","seen":["xyz"]}"#), None);
    let mut known = known(&[("a", 1), ("a", 2)]);
    known.add("a", RecordVersion { full: Fingerprint(3), steady: Some((Fingerprint(4), NOW)) });
    known.hold("a", &known.clone(), Some(NOW));
    known.note_requested("a", NOW);
    known.note_end("a", "2026-12-24".into());
    known.note_end("b", "2026-12-24".into());
    assert_eq!(known.ends().collect::<Vec<_>>(), [("a", "2026-12-24")], "b is unknown");
    let lines = crate::core::ndjson::lines(&known.packed().gzip).expect("gzip");
    assert_eq!(Known::of_lines(&lines), Some(known));
}
