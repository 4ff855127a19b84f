//! A page as it arrives: its records are cut out one by one, and nothing but an unfinished one is kept.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::core::ndjson::find::{skip_blanks, value_end};
use crate::core::ndjson::scan::{Scanned, Stop, scan};

/// After a record that wasn't there as a whole so much more must arrive before it is looked at again.
const MORE: usize = 16 * 1024;

/// Where the records of an answer stand.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// In a list under one of these keys; or under one within the object that has this key.
    Under { keys: &'static [&'static str], within: Option<&'static str> },
    /// The answer is the list.
    Top,
    /// The answer is the list, or holds it under one of these keys.
    UnderOrTop { keys: &'static [&'static str] },
    /// The answer is the one record.
    Alone,
}

impl Place {
    pub const fn under(keys: &'static [&'static str]) -> Self {
        Self::Under { keys, within: None }
    }

    fn is_list(self, key: &Value) -> bool {
        matches!(self, Self::Under { keys, .. } | Self::UnderOrTop { keys } if key.as_str().is_some_and(|key| keys.contains(&key)))
    }

    fn is_around(self, key: &Value) -> bool {
        matches!(self, Self::Under { within: Some(within), .. } if key == within)
    }
}

/// One row of a page's list.
#[derive(Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// The bytes as they were sent, the same without the blanks between tokens, and the field that was looked for.
    Record { bytes: &'a [u8], line: &'a str, field: Cow<'a, str> },
    /// Not JSON, not an object, or without the field: the bytes as they were sent, and why.
    Unreadable { bytes: &'a [u8], why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("the answer is not a JSON object (at byte {at})")]
    NotAnObject { at: usize },
    #[error("the answer is not a JSON array (at byte {at})")]
    NotAnArray { at: usize },
    #[error("the answer breaks off or is not JSON (at byte {at})")]
    NotJson { at: usize },
    #[error("the answer says that it is gzipped, and can't be unpacked ({why})")]
    NotGzip { why: String },
}

impl PageError {
    pub fn not_gzip(error: &std::io::Error) -> Self {
        Self::NotGzip { why: error.to_string() }
    }
}

/// Finding where a record ends needs only its quotes and brackets, so that a record with a bad escape, which no
/// JSON parser reads, harms no other (the vendor does send `"\Everyone"`; SDK, `TEST_BAD_EVENT_JSON`).
pub struct Cutter {
    place: Place,
    /// Where the field stands that is picked out of each.
    field: &'static [&'static str],
    /// What has arrived and is not used up.
    buffer: Vec<u8>,
    /// Of all bytes so far, how many were used up.
    before: usize,
    /// The buffer is looked at again when it is so long, or when the row that it begins with is whole.
    again_at: usize,
    unfinished: Option<Unended>,
    expects: Expects,
    /// Whether what is read stands in an object around the list.
    is_within: bool,
    has_list: bool,
    /// The answer is the list.
    is_bare: bool,
    /// All keys but the list's.
    envelope: Map<String, Value>,
    line: Vec<u8>,
}

/// A page whose rows were all handed over.
pub struct Cut {
    /// All its keys but the list's.
    pub envelope: Map<String, Value>,
    /// Whether there was a list at all, be it null, or the one record.
    pub has_list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Answer,
    FirstMember,
    Member,
    NextMember,
    FirstRow,
    Row,
    NextRow,
    End,
}

/// A row of which the end has not arrived: where the search for it goes on, so that no byte is looked at twice.
struct Unended {
    at: usize,
    depth: usize,
    in_string: bool,
}

impl Unended {
    /// None where the bytes don't begin with an object or an array: anything else is short.
    fn at(bytes: &[u8]) -> Option<Self> {
        let at = skip_blanks(bytes, 0);
        let mut unended = Self { at, depth: 0, in_string: false };
        (matches!(bytes.get(at), Some(b'{' | b'[')) && !unended.ends_in(bytes)).then_some(unended)
    }

    /// Whether its end is there.
    fn ends_in(&mut self, bytes: &[u8]) -> bool {
        while let Some(rest) = bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            if self.in_string {
                let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                    self.at = bytes.len();
                    return false;
                };
                // A backslash and whatever it escapes.
                let length = if rest[found] == b'"' { 1 } else { 2 };
                if found + length > rest.len() {
                    self.at += found;
                    return false;
                }
                self.in_string = length == 2;
                self.at += found + length;
                continue;
            }
            let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']')) else {
                self.at = bytes.len();
                return false;
            };
            self.at += found + 1;
            match rest[found] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                _ => self.depth = self.depth.saturating_sub(1),
            }
            if self.depth == 0 && !self.in_string {
                return true;
            }
        }
        false
    }
}

/// Why there is nothing more to be used up: all is well so far.
struct Unfinished;

impl Cutter {
    /// A page past the end may lack its list, or hold null.
    pub fn new(place: Place, field: &'static [&'static str]) -> Self {
        Self {
            place,
            field,
            buffer: Vec::new(),
            before: 0,
            again_at: 0,
            unfinished: None,
            expects: Expects::Answer,
            is_within: false,
            has_list: matches!(place, Place::Top | Place::Alone),
            is_bare: false,
            envelope: Map::new(),
            line: Vec::new(),
        }
    }

    /// Takes what has arrived; `row` is called with each row as soon as it is whole.
    pub fn feed(&mut self, bytes: &[u8], mut row: impl FnMut(Row<'_>)) -> Result<(), PageError> {
        self.buffer.extend_from_slice(bytes);
        let may_go_on = match &mut self.unfinished {
            Some(unended) => unended.ends_in(&self.buffer),
            None => self.buffer.len() >= self.again_at,
        };
        if may_go_on { self.use_up(&mut row) } else { Ok(()) }
    }

    /// All has arrived.
    pub fn finish(mut self, mut row: impl FnMut(Row<'_>)) -> Result<Cut, PageError> {
        self.use_up(&mut row)?;
        match self.expects {
            Expects::End => Ok(Cut { envelope: self.envelope, has_list: self.has_list }),
            Expects::Answer => Err(self.not_an_answer(0)),
            _ => Err(PageError::NotJson { at: self.before }),
        }
    }

    fn use_up(&mut self, row: &mut impl FnMut(Row<'_>)) -> Result<(), PageError> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        let went = loop {
            match self.step(&buffer, at, row) {
                Ok(Ok(next)) => at = next,
                Ok(Err(Unfinished)) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.buffer = buffer;
        self.buffer.drain(..at);
        self.before += at;
        self.unfinished = if matches!(self.expects, Expects::FirstRow | Expects::Row) && went.is_ok() {
            Unended::at(&self.buffer)
        } else {
            None
        };
        self.again_at = if self.buffer.is_empty() { 0 } else { (2 * self.buffer.len()).min(self.buffer.len() + MORE) };
        went
    }

    /// One token of the page's own, one member, or one row; answers where it ends.
    fn step(
        &mut self,
        bytes: &[u8],
        at: usize,
        row: &mut impl FnMut(Row<'_>),
    ) -> Result<Result<usize, Unfinished>, PageError> {
        let at = skip_blanks(bytes, at);
        let Some(byte) = bytes.get(at) else { return Ok(Err(Unfinished)) };
        let (expects, next) = match (self.expects, byte) {
            (Expects::Answer, b'{') => match self.place {
                Place::Under { .. } | Place::UnderOrTop { .. } => (Expects::FirstMember, at + 1),
                Place::Alone => return Ok(self.row(bytes, at, row)),
                Place::Top => return Err(self.not_an_answer(at)),
            },
            (Expects::Answer, b'[') if matches!(self.place, Place::Top | Place::UnderOrTop { .. }) => {
                (self.has_list, self.is_bare) = (true, true);
                (Expects::FirstRow, at + 1)
            }
            (Expects::Answer, _) => return Err(self.not_an_answer(at)),
            (Expects::FirstMember | Expects::NextMember, b'}') if self.is_within => {
                self.is_within = false;
                (Expects::NextMember, at + 1)
            }
            (Expects::FirstMember | Expects::NextMember, b'}') => (Expects::End, at + 1),
            (Expects::FirstMember | Expects::Member, b'"') => return self.member(bytes, at),
            (Expects::NextMember, b',') => (Expects::Member, at + 1),
            (Expects::FirstRow | Expects::NextRow, b']') => (self.after_list(), at + 1),
            (Expects::NextRow, b',') => (Expects::Row, at + 1),
            (Expects::FirstRow | Expects::Row, _) => return Ok(self.row(bytes, at, row)),
            _ => return Err(self.not_json(at)),
        };
        self.expects = expects;
        Ok(Ok(next))
    }

    fn member(&mut self, bytes: &[u8], at: usize) -> Result<Result<usize, Unfinished>, PageError> {
        let (key, colon) = match self.value(bytes, at)? {
            Some((key, end)) => (key, skip_blanks(bytes, end)),
            None => return Ok(Err(Unfinished)),
        };
        match bytes.get(colon) {
            None => return Ok(Err(Unfinished)),
            Some(b':') => {}
            Some(_) => return Err(self.not_json(colon)),
        }
        let start = skip_blanks(bytes, colon + 1);
        match bytes.get(start) {
            Some(b'[') if self.place.is_list(&key) => {
                self.has_list = true;
                self.expects = Expects::FirstRow;
                return Ok(Ok(start + 1));
            }
            Some(b'{') if self.place.is_around(&key) && !self.is_within => {
                self.is_within = true;
                self.expects = Expects::FirstMember;
                return Ok(Ok(start + 1));
            }
            _ => {}
        }
        let Some((value, end)) = self.value(bytes, start)? else { return Ok(Err(Unfinished)) };
        self.has_list |= value.is_null() && self.place.is_list(&key);
        if let Value::String(key) = key {
            self.envelope.insert(key, value);
        }
        self.expects = Expects::NextMember;
        Ok(Ok(end))
    }

    /// `None` while it isn't there as a whole.
    fn value(&mut self, bytes: &[u8], at: usize) -> Result<Option<(Value, usize)>, PageError> {
        self.line.clear();
        match scan(bytes, at, &[], &mut self.line) {
            Ok(Scanned { end, .. }) => match lenient(&bytes[at..end]) {
                Some(value) => Ok(Some((value, end))),
                None => Err(self.not_json(at)),
            },
            Err(Stop::Incomplete) => Ok(None),
            Err(Stop::NotJson { at }) => Err(self.not_json(at)),
        }
    }

    fn row(&mut self, bytes: &[u8], at: usize, row: &mut impl FnMut(Row<'_>)) -> Result<usize, Unfinished> {
        self.line.clear();
        let end = match scan(bytes, at, self.field, &mut self.line) {
            Err(Stop::Incomplete) => return Err(Unfinished),
            Ok(scanned) => {
                row(self.whole(&bytes[at..scanned.end], scanned.field.map(|field| &bytes[field])));
                scanned.end
            }
            Err(Stop::NotJson { at: wrong }) => {
                let end = value_end(bytes, at).ok_or(Unfinished)?;
                let why = format!("it is not JSON at its byte {}", wrong - at);
                row(Row::Unreadable { bytes: &bytes[at..end], why });
                end
            }
        };
        self.expects = if matches!(self.place, Place::Alone) { Expects::End } else { Expects::NextRow };
        Ok(end)
    }

    fn after_list(&self) -> Expects {
        if self.is_bare { Expects::End } else { Expects::NextMember }
    }

    fn whole<'a>(&'a self, bytes: &'a [u8], field: Option<&'a [u8]>) -> Row<'a> {
        let unreadable = |why: String| Row::Unreadable { bytes, why };
        let line = if self.line.is_empty() { bytes } else { &self.line };
        match (std::str::from_utf8(line), field.and_then(text)) {
            (Err(error), _) => unreadable(error.to_string()),
            (Ok(line), _) if !line.starts_with('{') => unreadable("it is not a JSON object".into()),
            (Ok(_), None) => unreadable(format!("it has no {}", self.field.join("."))),
            (Ok(line), Some(field)) => Row::Record { bytes, line, field },
        }
    }

    fn not_an_answer(&self, at: usize) -> PageError {
        let at = self.before + at;
        if matches!(self.place, Place::Top) { PageError::NotAnArray { at } } else { PageError::NotAnObject { at } }
    }

    fn not_json(&self, at: usize) -> PageError {
        PageError::NotJson { at: self.before + at }
    }
}

/// JSON in which half a surrogate pair may stand for nothing, and bytes that are no UTF-8: no parser reads these, and of
/// what only we read none needs to be kept.
pub fn lenient(json: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(json) {
        return Some(value);
    }
    let text = String::from_utf8_lossy(json);
    let mut whole = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let length = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(_), _) => {
                whole.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            (None, _) => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        whole.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    whole.push_str(rest);
    serde_json::from_str(&whole).ok()
}

/// What `\ud83d` at the beginning of a text stands for, if it is half of a pair.
fn surrogate(text: &str) -> Option<u32> {
    let code = u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    (0xd800..=0xdfff).contains(&code).then_some(code)
}

/// One record by itself.
pub fn row<T>(bytes: &[u8], field: &'static [&'static str], mut take: impl FnMut(Row<'_>) -> T) -> T {
    let mut cutter = Cutter::new(Place::Alone, field);
    match scan(bytes, 0, field, &mut cutter.line) {
        Ok(scanned) => take(cutter.whole(bytes, scanned.field.map(|field| &bytes[field]))),
        Err(Stop::NotJson { at }) => take(Row::Unreadable { bytes, why: format!("it is not JSON at its byte {at}") }),
        Err(Stop::Incomplete) => take(Row::Unreadable { bytes, why: "it breaks off".into() }),
    }
}

/// A string's or a number's.
pub fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    match value {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => std::str::from_utf8(inner).ok().map(Cow::Borrowed),
        [b'"', ..] => serde_json::from_slice::<String>(value).ok().map(Cow::Owned),
        [b'-' | b'0'..=b'9', ..] => std::str::from_utf8(value).ok().map(Cow::Borrowed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        /// Its line and field.
        Record(String, String),
        Odd(Vec<u8>),
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Whole {
        rows: Vec<Told>,
        envelope: Map<String, Value>,
    }

    const ROWS: Place = Place::under(&["rows"]);

    fn cut_in(place: Place, chunks: impl Iterator<Item = impl AsRef<[u8]>>) -> Result<Whole, PageError> {
        let mut rows = Vec::new();
        let mut note = |row: Row<'_>| {
            rows.push(match row {
                Row::Record { line, field, .. } => Told::Record(line.to_owned(), field.into_owned()),
                Row::Unreadable { bytes, .. } => Told::Odd(bytes.to_vec()),
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

    fn record(line: &str, id: &str) -> Told {
        Told::Record(line.to_owned(), id.to_owned())
    }

    fn odd(bytes: &str) -> Told {
        Told::Odd(bytes.as_bytes().to_vec())
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
        let expected =
            [record(r#"{"id":1}"#, "1"), odd(r#"{"id":2, "owner":"\Everyone"}"#), record(r#"{"id":3}"#, "3")];
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
        // Looked at once for its end, byte by byte, and once as JSON.
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
}
