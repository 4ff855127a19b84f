//! Formats state as JSON: indented, but each element of a list on one line, so that a person can read it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut json, Layout::default());
    // Neither plain values with text keys nor writes to memory fail.
    let _ = value.serialize(&mut serializer);
    json.push(b'\n');
    json
}

/// Reads a count as APIs send it: `60`, `60.0`, or either as text. None if it is no whole number from 0.
pub fn count(told: &Value) -> Option<u64> {
    match told {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok().or_else(|| whole(text.trim().parse().ok()?)),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> Option<u64> {
    // Up to this value an `f64` holds every whole number exactly.
    const MOST: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && (0.0..=MOST).contains(&number)).then_some(number as u64)
}

/// For serde: skip fields with the default value.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Default)]
struct Layout {
    depth: usize,
    /// The number of open lists. There are no line breaks inside an element of a list.
    lists: usize,
    is_empty: bool,
}

impl Layout {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8], in_lines: bool) -> io::Result<()> {
        self.depth -= 1;
        if in_lines && !self.is_empty {
            self.line(writer)?;
        }
        self.is_empty = false;
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool, in_lines: bool) -> io::Result<()> {
        self.is_empty = false;
        if !first {
            writer.write_all(b",")?;
        }
        if in_lines { self.line(writer) } else { Ok(()) }
    }

    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Layout {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.lists += 1;
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.lists -= 1;
        let in_lines = self.lists == 0;
        self.close(writer, b"]", in_lines)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        let in_lines = self.lists == 1;
        self.next(writer, first, in_lines)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let in_lines = self.lists == 0;
        self.close(writer, b"}", in_lines)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        let in_lines = self.lists == 0;
        self.next(writer, first, in_lines)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.lists == 0 { b": " } else { b":" })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_count_is_read_however_it_is_told() {
        for told in [json!(60), json!(60.0), json!("60"), json!(" 60.0 "), json!(6e1)] {
            assert_eq!(count(&told), Some(60), "{told}");
        }
        assert_eq!(count(&json!(u64::MAX)), Some(u64::MAX));
        for told in
            [json!(-1), json!(60.5), json!("many"), json!(""), json!("NaN"), json!(null), json!([60]), json!(true)]
        {
            assert_eq!(count(&told), None, "{told}");
        }
    }

    #[test]
    fn each_element_of_a_list_stands_on_one_line() {
        let value = json!({"a": {"b": [{"c": [1, 2], "d": {}}, []], "e": {}}, "f": []});
        let text = String::from_utf8(to_json(&value)).expect("text");
        let expected = "{\n  \"a\": {\n    \"b\": [\n      {\"c\":[1,2],\"d\":{}},\n      []\n    ],\n    \"e\": {}\n  },\n  \"f\": []\n}\n";
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }
}
