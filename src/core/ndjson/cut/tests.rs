use super::unended::Unended;
use super::*;
use crate::core::ndjson::lenient::lenient;

#[derive(Debug, PartialEq, Eq)]
enum CutRow {
    /// The row's line and field.
    Record(String, String),
    Odd(Vec<u8>),
}

#[derive(Debug, PartialEq, Eq)]
struct Whole {
    rows: Vec<CutRow>,
    envelope: Map<String, Value>,
}

const ROWS: Place = Place::under(&["rows"]);

fn cut_in(place: Place, chunks: impl Iterator<Item = impl AsRef<[u8]>>) -> Result<Whole, PageError> {
    let mut rows = Vec::new();
    let mut note = |row: Row<'_>| {
        rows.push(match row {
            Row::Record { line, field, .. } => CutRow::Record(line.to_owned(), field.into_owned()),
            Row::Unreadable { bytes, .. } => CutRow::Odd(bytes.to_vec()),
        });
    };
    let mut cutter = Cutter::new(place, &["id"]);
    for chunk in chunks {
        cutter.feed(chunk.as_ref(), &mut note)?;
    }
    let envelope = cutter.finish(&mut note)?.envelope;
    Ok(Whole { rows, envelope })
}

fn cut(body: &str) -> Result<Whole, PageError> {
    cut_in(ROWS, [body].into_iter())
}

fn record(line: &str, id: &str) -> CutRow {
    CutRow::Record(line.to_owned(), id.to_owned())
}

fn odd(bytes: &str) -> CutRow {
    CutRow::Odd(bytes.as_bytes().to_vec())
}

#[test]
fn records_are_compact_and_the_envelope_is_read() {
    let page =
        cut(" {\"total\": 3, \"rows\" : [ {\"id\": \"]}\\\"\"} ,{\"b\":[{}], \"id\" : 7 }, 7 ], \"next\":\"x\"}\n")
            .expect("a page");
    assert_eq!(page.rows, [record("{\"id\":\"]}\\\"\"}", "]}\""), record("{\"b\":[{}],\"id\":7}", "7"), odd("7")]);
    assert_eq!((&page.envelope["total"], &page.envelope["next"]), (&Value::from(3), &Value::from("x")));
}

#[test]
fn a_byte_order_mark_before_the_page_is_no_part_of_it() {
    let whole = cut("{\"rows\":[{\"id\":\"x\"}]}").expect("a page");
    let marked = "\u{feff} {\"rows\":[{\"id\":\"x\"}]}";
    assert_eq!(cut(marked).expect("a page"), whole);
    assert_eq!(cut_in(ROWS, marked.as_bytes().chunks(1)).expect("a page"), whole);
    assert!(cut("\u{feff}").is_err() && cut("\u{fefe}{}").is_err());
}

#[test]
fn it_does_not_matter_where_the_answer_is_torn() {
    let body = "{\"a\":[1,{\"rows\":[]}],\"rows\":[{\"id\":\"x\\u00e9é\",\"n\":-1.5e+3},{\"owner\":\"\\Everyone\"},{\"t\":true}],\"total\":12}";
    let whole = cut(body).expect("a page");
    assert_eq!(whole.rows.len(), 3);
    for size in 1..body.len() {
        assert_eq!(cut_in(ROWS, body.as_bytes().chunks(size)).as_ref(), Ok(&whole), "in pieces of {size}");
    }
}

#[test]
fn records_are_found_where_they_stand() {
    let either = Place::Under { keys: &["rows", "other_rows"], within: Some("inner") };
    let open = Place::UnderOrTop { keys: &["rows"] };
    let two = [record(r#"{"id":1}"#, "1"), odd("2")];
    for (place, body) in [
        (open, r#"{"a":[],"rows":[{"id":1},2],"total":3}"#),
        (open, r#" [{"id": 1}, 2] "#),
        (Place::Top, r#" [{"id": 1}, 2] "#),
        (either, r#"{"other_rows":[{"id":1},2],"total":3}"#),
        (either, r#"{"a":{"rows":[4]},"inner":{"total":3,"rows":[{"id":1}, 2],"inner":{}},"b":1}"#),
    ] {
        for size in 1..=body.len() {
            let page = cut_in(place, body.as_bytes().chunks(size)).expect(body);
            assert_eq!(page.rows, two, "{body}");
            assert!(!body.contains("total") || page.envelope["total"] == 3, "{body}");
        }
    }
    let alone = cut_in(Place::Alone, [r#"{ "id": 1 }"#].iter()).expect("a record");
    assert_eq!(alone.rows, two[..1]);
    for (place, body) in [
        (open, "[] []"),
        (open, "7"),
        (Place::Top, r#"{"error":"x"}"#),
        (Place::Top, "[1"),
        (Place::Alone, "[]"),
        (Place::Alone, "{} {}"),
    ] {
        assert!(cut_in(place, [body].iter()).is_err(), "accepted {body:?}");
    }
}

#[test]
fn a_record_with_a_bad_escape_harms_no_other() {
    let page = cut(r#"{"rows":[{"id":1},{"id":2, "owner":"\Everyone"},{"id":3}]}"#).expect("a page");
    let expected = [record(r#"{"id":1}"#, "1"), odd(r#"{"id":2, "owner":"\Everyone"}"#), record(r#"{"id":3}"#, "3")];
    assert_eq!(page.rows, expected);
}

#[test]
fn a_record_without_the_field_keeps_its_bytes() {
    let page = cut(r#"{"rows":[{"a": 1},{"id":null},{"id":"\ud83d"},null]}"#).expect("a page");
    assert_eq!(page.rows, [odd(r#"{"a": 1}"#), odd(r#"{"id":null}"#), odd(r#"{"id":"\ud83d"}"#), odd("null")]);
}

#[test]
fn a_page_without_its_list_has_no_rows() {
    for body in ["{}", r#"{"rows":null}"#, r#"{"rows":[]}"#] {
        assert!(cut(body).expect(body).rows.is_empty(), "{body}");
    }
}

#[test]
fn what_is_not_a_whole_json_object_is_refused() {
    let whole = r#"{"rows":[{"a":"x"},{"b":[1,2]}],"total":2}"#;
    for end in 0..whole.len() {
        assert!(cut(&whole[..end]).is_err(), "accepted {:?}", &whole[..end]);
    }
    for body in [
        "<html>maintenance</html>",
        "[]",
        "null",
        r#"{"rows":[{}]} {}"#,
        r#"{"rows":[{} {}]}"#,
        r#"{"rows":[,]}"#,
        r#"{"rows":[{},]}"#,
    ] {
        assert!(cut(body).is_err(), "accepted {body:?}");
    }
}

#[test]
fn a_long_record_is_not_read_again_with_every_piece() {
    let rows = r#"{"s":"[\\\"","a":[]},"#.repeat(40_000);
    let long = format!(r#"{{"rows":[{{"id":"{}","list":[{rows}0]}},{{"id":2}}]}}"#, "x".repeat(1 << 20));
    let page = cut_in(ROWS, long.as_bytes().chunks(100)).expect("a page");
    assert_eq!(page.rows.len(), 2);
    // Each byte is scanned once for the end of the row, and once as JSON.
    let mut unended = Unended::at(&long.as_bytes()[9..1_000]).expect("no end yet");
    for end in (1_000..long.len() - 12).step_by(1_000) {
        assert!(!unended.ends_in(&long.as_bytes()[9..end]) && unended.at + 2 >= end - 9, "{end}");
    }
    assert!(unended.ends_in(&long.as_bytes()[9..]));
}

#[test]
fn half_a_surrogate_pair_beside_the_list_fails_no_page() {
    let page =
        cut(r#"{"a":"\ud83d","\udc00":{"b":["x\ud83dy","\ud83d\ude80","\\ud83d"]},"rows":[{"id":1}],"total":1}"#);
    let page = page.expect("a page");
    assert_eq!((page.rows.len(), &page.envelope["total"]), (1, &Value::from(1)));
    let told = &page.envelope["\u{fffd}"]["b"];
    assert_eq!(*told, Value::from(vec!["x\u{fffd}y", "\u{1f680}", "\\ud83d"]));
    assert_eq!(lenient(b"{\"a\":\"\xff\"}").expect("read")["a"], "\u{fffd}");
    assert_eq!(lenient(br#"{"a":"\Everyone"}"#), None);
}
