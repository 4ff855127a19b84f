//! Finds values in JSON that may be damaged elsewhere: only quotes and brackets count.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

/// Returns the one record that a body consists of, without the blanks around it. None if the body isn't shaped like one
/// object.
pub fn single(body: &[u8]) -> Option<&[u8]> {
    let start = skip_blanks(body, 0);
    if body.get(start) != Some(&b'{') {
        return None;
    }
    let end = value_end(body, start)?;
    (skip_blanks(body, end) == body.len()).then(|| &body[start..end])
}

/// Returns the text or number under a key of a record, which may be damaged elsewhere. None if there is none.
pub fn member(record: &[u8], key: &str) -> Option<String> {
    let mut found = None;
    members(record, |name, value| {
        if name == key {
            found = match serde_json::from_slice(&record[value]) {
                Ok(Value::String(text)) => Some(text),
                Ok(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
        }
    })?;
    found
}

/// Calls `member` with each key and the range of its value. None if the bytes aren't shaped like an object.
pub(super) fn members<'a>(bytes: &'a [u8], mut member: impl FnMut(Cow<'a, str>, Range<usize>)) -> Option<()> {
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let mut at = skip_blanks(bytes, 1);
    if bytes.get(at) == Some(&b'}') {
        return Some(());
    }
    loop {
        let key_end = string_end(bytes, at)?;
        let key = unquoted(&bytes[at..key_end])?;
        let colon = skip_blanks(bytes, key_end);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let value = skip_blanks(bytes, colon + 1);
        let end = value_end(bytes, value)?;
        member(key, value..end);
        at = skip_blanks(bytes, end);
        match bytes.get(at) {
            Some(b',') => at = skip_blanks(bytes, at + 1),
            Some(b'}') => return Some(()),
            _ => return None,
        }
    }
}

/// The text of a JSON string, which is mostly the bytes between its quotes. None if it is damaged.
pub(super) fn unquoted(string: &[u8]) -> Option<Cow<'_, str>> {
    let inner = string.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.iter().any(|byte| matches!(byte, ..b' ' | b'"' | b'\\')) {
        return serde_json::from_slice(string).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

/// Calls `element` with the range of each element of a list. None if the bytes aren't shaped like a list.
pub(super) fn elements(bytes: &[u8], mut element: impl FnMut(Range<usize>)) -> Option<()> {
    if bytes.first() != Some(&b'[') {
        return None;
    }
    let mut at = skip_blanks(bytes, 1);
    if bytes.get(at) == Some(&b']') {
        return Some(());
    }
    loop {
        let end = value_end(bytes, at)?;
        element(at..end);
        at = skip_blanks(bytes, end);
        match bytes.get(at) {
            Some(b',') => at = skip_blanks(bytes, at + 1),
            Some(b']') => return Some(()),
            _ => return None,
        }
    }
}

pub fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    from + bytes[from..].iter().take_while(|byte| blank(byte)).count()
}

/// Returns the end of the string that begins at `start`, after its closing quote.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2; // a backslash, and the character that it escapes
    }
}

/// Returns the end of the value that begins at `start`. None if it is incomplete or missing.
pub fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
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

    #[test]
    fn a_field_is_read_of_a_record_that_is_damaged_elsewhere() {
        assert_eq!(member(br#"{"name":"\Everyone","x":"\E","number":42}"#, "number").as_deref(), Some("42"));
        assert_eq!(member(br#"{"number":"\E"}"#, "number"), None);
        assert_eq!(member(b"[1]", "number"), None);
        assert_eq!(member(b"{}", "number"), None);
    }

    #[test]
    fn a_body_that_is_one_record_is_found_whole() {
        assert_eq!(single(b" {\"a\": {}}\n"), Some(&b"{\"a\": {}}"[..]));
        for body in ["{\"a\":", "{} {}", "", "[]", "null"] {
            assert_eq!(single(body.as_bytes()), None, "{body}");
        }
    }
}
