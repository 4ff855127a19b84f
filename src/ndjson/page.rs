//! One page as the API sent it: the records of its list, each with its own bytes, and the rest of its envelope.

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value};

/// Finding where a record ends needs only its quotes and brackets, so that a record with a bad escape, which no
/// JSON parser reads, harms no other (the vendor does send `"\Everyone"`; SDK, `TEST_BAD_EVENT_JSON`).
#[derive(Debug)]
pub struct Page {
    body: Bytes,
    rows: Vec<Range<usize>>,
    /// All keys but the list's.
    pub envelope: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("the answer is not a JSON object (at byte {at})")]
    NotAnObject { at: usize },
    #[error("the answer breaks off or is not JSON (at byte {at})")]
    NotJson { at: usize },
}

impl Page {
    /// `list` is the key of the page's records; a page past the end may lack it, or hold null.
    pub fn parse(body: Bytes, list: &str) -> Result<Self, PageError> {
        let bytes = body.as_ref();
        let mut rows = Vec::new();
        let mut envelope = Map::new();
        let end = members(bytes, skip_blanks(bytes, 0), |key, value| {
            if key == list && bytes[value.start] == b'[' {
                rows = elements(bytes, value.start)?;
            } else {
                let not_json = |_| PageError::NotJson { at: value.start };
                envelope.insert(key.to_owned(), serde_json::from_slice(&bytes[value.clone()]).map_err(not_json)?);
            }
            Ok(())
        })?;
        match skip_blanks(bytes, end) {
            at if at == bytes.len() => Ok(Self { body, rows, envelope }),
            at => Err(PageError::NotJson { at }),
        }
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.rows.iter().map(|row| &self.body[row.clone()])
    }

    /// Where in its object a body that is one record begins and ends, if it is shaped like one object at all.
    pub fn single(body: &[u8]) -> Result<&[u8], PageError> {
        let start = skip_blanks(body, 0);
        if body.get(start) != Some(&b'{') {
            return Err(PageError::NotAnObject { at: start });
        }
        let end = value_end(body, start).ok_or(PageError::NotJson { at: body.len() })?;
        match skip_blanks(body, end) {
            at if at == body.len() => Ok(&body[start..end]),
            at => Err(PageError::NotJson { at }),
        }
    }
}

/// The text or number under a key of a record that need not be JSON elsewhere.
pub fn member(record: &[u8], key: &str) -> Option<String> {
    let mut found = None;
    members(record, 0, |name, value| {
        if name == key {
            found = match serde_json::from_slice(&record[value]) {
                Ok(Value::String(text)) => Some(text),
                Ok(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
        }
        Ok(())
    })
    .ok()?;
    found
}

/// Calls `member` with each key and the range of its value; answers where the object ends.
fn members(
    bytes: &[u8],
    start: usize,
    mut member: impl FnMut(&str, Range<usize>) -> Result<(), PageError>,
) -> Result<usize, PageError> {
    if bytes.get(start) != Some(&b'{') {
        return Err(PageError::NotAnObject { at: start });
    }
    sequence(bytes, start, b'}', |at| {
        let not_json = PageError::NotJson { at };
        let key_end = string_end(bytes, at).ok_or_else(|| not_json.clone())?;
        let key: String = serde_json::from_slice(&bytes[at..key_end]).map_err(|_| not_json.clone())?;
        let colon = skip_blanks(bytes, key_end);
        if bytes.get(colon) != Some(&b':') {
            return Err(PageError::NotJson { at: colon });
        }
        let value = skip_blanks(bytes, colon + 1);
        let end = value_end(bytes, value).ok_or(PageError::NotJson { at: value })?;
        member(&key, value..end)?;
        Ok(end)
    })
}

fn elements(bytes: &[u8], start: usize) -> Result<Vec<Range<usize>>, PageError> {
    let mut rows = Vec::new();
    sequence(bytes, start, b']', |at| {
        let end = value_end(bytes, at).ok_or(PageError::NotJson { at })?;
        rows.push(at..end);
        Ok(end)
    })?;
    Ok(rows)
}

/// Walks `[a, b, …]` or `{a, b, …}` from its opening bracket; `item` answers where the item that begins there ends.
fn sequence(
    bytes: &[u8],
    start: usize,
    close: u8,
    mut item: impl FnMut(usize) -> Result<usize, PageError>,
) -> Result<usize, PageError> {
    let mut at = skip_blanks(bytes, start + 1);
    if bytes.get(at) == Some(&close) {
        return Ok(at + 1);
    }
    loop {
        at = skip_blanks(bytes, item(at)?);
        match bytes.get(at) {
            Some(b',') => at = skip_blanks(bytes, at + 1),
            Some(byte) if *byte == close => return Ok(at + 1),
            _ => return Err(PageError::NotJson { at }),
        }
    }
}

fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    from + bytes[from..].iter().take_while(|byte| blank(byte)).count()
}

/// Where the string that begins at `start` ends, its closing quote included.
pub fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2; // a backslash and whatever it escapes
    }
}

/// Where the value that begins at `start` ends; `None` when it breaks off or there is none.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            let mut at = start;
            loop {
                at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
                match bytes[at] {
                    b'"' => at = string_end(bytes, at)?,
                    b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
                    _ if depth == 1 => return Some(at + 1),
                    _ => (depth, at) = (depth - 1, at + 1),
                }
            }
        }
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            let length = bytes[start..].iter().position(ends).unwrap_or(bytes.len() - start);
            (length > 0).then_some(start + length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Page, PageError> {
        Page::parse(Bytes::copy_from_slice(body.as_bytes()), "rows")
    }

    fn rows(page: &Page) -> Vec<&str> {
        page.rows().map(|row| std::str::from_utf8(row).expect("UTF-8")).collect()
    }

    #[test]
    fn records_keep_their_bytes_and_the_envelope_is_read() {
        let page = parse(" {\"total\": 3, \"rows\" : [ {\"a\": \"]}\\\"\"} ,{\"b\":[{}]}, 7 ], \"next\":\"x\"}\n")
            .expect("a page");
        assert_eq!(rows(&page), ["{\"a\": \"]}\\\"\"}", "{\"b\":[{}]}", "7"]);
        assert_eq!(page.envelope["total"], 3);
        assert_eq!(page.envelope["next"], "x");
    }

    #[test]
    fn a_record_with_a_bad_escape_harms_no_other() {
        let page = parse(r#"{"rows":[{"a":1},{"owner":"\Everyone"},{"b":2}]}"#).expect("a page");
        assert_eq!(rows(&page), [r#"{"a":1}"#, r#"{"owner":"\Everyone"}"#, r#"{"b":2}"#]);
    }

    #[test]
    fn a_page_without_its_list_has_no_rows() {
        for body in ["{}", r#"{"rows":null}"#, r#"{"rows":[]}"#] {
            assert_eq!(parse(body).expect(body).rows().len(), 0, "{body}");
        }
    }

    #[test]
    fn what_is_not_a_whole_json_object_is_refused() {
        let whole = r#"{"rows":[{"a":"x"},{"b":[1,2]}],"total":2}"#;
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "accepted {:?}", &whole[..cut]);
        }
        for body in
            ["<html>maintenance</html>", "[]", "null", r#"{"rows":[{}]} {}"#, r#"{"rows":[{} {}]}"#, r#"{"rows":[,]}"#]
        {
            assert!(parse(body).is_err(), "accepted {body:?}");
        }
    }

    #[test]
    fn a_field_is_read_of_a_record_that_is_damaged_elsewhere() {
        assert_eq!(member(br#"{"name":"\Everyone","x":"\E","number":42}"#, "number").as_deref(), Some("42"));
        assert_eq!(member(br#"{"number":"\E"}"#, "number"), None);
        assert_eq!(member(b"[1]", "number"), None);
    }

    #[test]
    fn a_body_that_is_one_record_is_found_whole() {
        assert_eq!(Page::single(b" {\"a\": {}}\n"), Ok(&b"{\"a\": {}}"[..]));
        assert!(Page::single(b"{\"a\":").is_err());
        assert!(Page::single(b"{} {}").is_err());
    }
}
