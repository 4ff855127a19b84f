//! The canonical form of a record, by which two versions of it are compared.

use std::borrow::Cow;
use std::ops::Range;

use crate::core::ndjson::find::{elements, members, unquoted};

/// Values that are nested deeper are compared byte by byte.
const DEEPEST: usize = 128;

/// The path of a field in a record, from the outermost key inwards. On the way it goes through every element of a list.
pub type FieldPath = Vec<String>;

/// Returns the same bytes for all records that differ only in the order of keys or list elements, in blanks, in the
/// escapes of text, or in the fields `but_for`. The order of elements has no meaning, because all lists in these
/// records are sets: elements with an order carry their own time.
pub fn canonical(record: &[u8], but_for: &[FieldPath]) -> Vec<u8> {
    let but_for: Vec<&[String]> = but_for.iter().map(Vec::as_slice).collect();
    let mut written = Vec::with_capacity(record.len());
    write(record, &but_for, DEEPEST, &mut written);
    written
}

fn write(value: &[u8], but_for: &[&[String]], depth: usize, written: &mut Vec<u8>) {
    let nested = match value.first() {
        Some(b'{') if depth > 0 => object(value, but_for, depth - 1, written),
        Some(b'[') if depth > 0 => list(value, but_for, depth - 1, written),
        Some(b'"') => text(value, written),
        _ => None,
    };
    if nested.is_none() {
        written.extend_from_slice(value);
    }
}

/// Writes nothing and returns none if it isn't shaped like an object.
fn object(value: &[u8], but_for: &[&[String]], depth: usize, written: &mut Vec<u8>) -> Option<()> {
    let mut found: Vec<(Cow<str>, Range<usize>)> = Vec::new();
    let mut values = Vec::with_capacity(value.len());
    members(value, |name, range| {
        let inner: Vec<&[String]> = but_for
            .iter()
            .filter(|path| path.first().is_some_and(|first| *first == name))
            .map(|path| &path[1..])
            .collect();
        if inner.iter().any(|rest| rest.is_empty()) {
            return;
        }
        let from = values.len();
        write(&value[range], &inner, depth, &mut values);
        found.push((name, from..values.len()));
    })?;

    found.sort_by(|(a, of_a), (b, of_b)| (a, &values[of_a.clone()]).cmp(&(b, &values[of_b.clone()])));
    written.push(b'{');
    for (at, (name, of_member)) in found.into_iter().enumerate() {
        if at > 0 {
            written.push(b',');
        }
        quoted(&name, written);
        written.push(b':');
        written.extend_from_slice(&values[of_member]);
    }
    written.push(b'}');
    Some(())
}

fn list(value: &[u8], but_for: &[&[String]], depth: usize, written: &mut Vec<u8>) -> Option<()> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    elements(value, |range| {
        let mut of_element = Vec::new();
        write(&value[range], but_for, depth, &mut of_element);
        found.push(of_element);
    })?;
    found.sort();
    written.push(b'[');
    written.extend_from_slice(&found.join(&b','));
    written.push(b']');
    Some(())
}

fn text(value: &[u8], written: &mut Vec<u8>) -> Option<()> {
    quoted(&unquoted(value)?, written);
    Some(())
}

fn quoted(text: &str, written: &mut Vec<u8>) {
    if text.bytes().any(|byte| matches!(byte, ..b' ' | b'"' | b'\\')) {
        written.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    } else {
        written.push(b'"');
        written.extend_from_slice(text.as_bytes());
        written.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(record: &str) -> String {
        String::from_utf8(canonical(record.as_bytes(), &[])).expect("text")
    }

    #[test]
    fn order_blanks_and_escapes_say_nothing() {
        for (one, same) in [
            (r#"{"a":1,"b":[1,2,{"c":3,"d":4}]}"#, r#"{ "b":[{"d":4,"c":3},2 , 1],"a":1}"#),
            (r#"{"a":"\u00e9\/"}"#, r#"{"a":"é/"}"#),
            ("[]", "[ ]"),
            (r#"{"a":{}}"#, r#"{"a":{ }}"#),
        ] {
            assert_eq!(of(one), of(same), "{one}");
        }
    }

    #[test]
    fn everything_else_says_something() {
        for (one, other) in [
            (r#"{"a":[1,1,2]}"#, r#"{"a":[1,2,2]}"#),
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
            (r#"{"a":1.0}"#, r#"{"a":1}"#),
            (r#"{"a":null}"#, "{}"),
            (r#"{"a":"1"}"#, r#"{"a":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":1}"#),
            (r#"{"a":"\ud800"}"#, r#"{"a":"\ud801"}"#),
            (r#"{"a":[[1],[2]]}"#, r#"{"a":[[1,2]]}"#),
        ] {
            assert_ne!(of(one), of(other), "{one}");
        }
    }

    #[test]
    fn what_is_left_out_is_left_out_wherever_its_path_leads() {
        let path = |text: &str| -> FieldPath { text.split('.').map(str::to_owned).collect() };
        let but_for = |record: &str, paths: &[&str]| {
            let paths: Vec<FieldPath> = paths.iter().map(|text| path(text)).collect();
            String::from_utf8(canonical(record.as_bytes(), &paths)).expect("text")
        };
        let record = r#"{"a":1,"seen":2,"in":[{"seen":3,"b":4}]}"#;
        assert_eq!(but_for(record, &["seen"]), r#"{"a":1,"in":[{"b":4,"seen":3}]}"#);
        assert_eq!(but_for(record, &["in.seen", "other"]), r#"{"a":1,"in":[{"b":4}],"seen":2}"#);
    }

    #[test]
    fn what_is_no_json_or_nested_without_end_stands_as_it_is() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        for odd in [r#"{"a":}"#, r#"{"a""#, "", "nonsense", r#"{"a":"\E"}"#, deep.as_str()] {
            assert_eq!(of(odd), odd);
        }
    }
}
