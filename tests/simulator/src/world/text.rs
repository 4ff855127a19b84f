//! Handles JSON as text, so that reading a record never changes its form. Written for the simulator alone, in a simple
//! way, and shared with nothing under test: [`compact`] is the oracle.

use std::ops::Range;

/// Removes spaces and line breaks between tokens. Strings stay unchanged, including bad escapes.
pub fn compact(raw: &str) -> String {
    // Works on bytes. The bytes it looks for are never part of a longer character.
    let mut kept = Vec::with_capacity(raw.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in raw.bytes() {
        if in_string || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            kept.push(byte);
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    String::from_utf8(kept).expect("only ASCII is removed")
}

/// Tracks whether a character is inside a string, and how many brackets are open.
#[derive(Default)]
struct Scan {
    in_string: bool,
    escaped: bool,
    depth: usize,
}

impl Scan {
    fn step(&mut self, c: char) {
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.in_string => self.escaped = true,
            '"' => self.in_string = !self.in_string,
            '{' | '[' if !self.in_string => self.depth += 1,
            '}' | ']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// One `"name": value` of an object, as byte ranges. The value's range is without spaces around it.
struct Member {
    name: String,
    whole: Range<usize>,
    value: Range<usize>,
}

/// The top-level members of an object's text.
fn members(raw: &str) -> Vec<Member> {
    members_to(raw, None)
}

/// The top-level members up to the named one, so that the rest need not be read.
fn members_to(raw: &str, last: Option<&str>) -> Vec<Member> {
    let mut found = Vec::new();
    let mut scan = Scan::default();
    let (mut start, mut colon) = (0, None);
    for (at, c) in raw.char_indices() {
        let (was_in_string, was_deep) = (scan.in_string, scan.depth);
        scan.step(c);
        if was_in_string {
            continue;
        }
        match (c, was_deep) {
            ('{', 0) => start = at + 1,
            (':', 1) => colon = colon.or(Some(at)),
            (',' | '}', 1) => {
                if let Some(colon) = colon.take() {
                    found.push(member(raw, start, colon, at));
                }
                start = at + 1;
                if last.is_some() && found.last().map(|member| &*member.name) == last {
                    return found;
                }
            }
            _ => {}
        }
    }
    found
}

fn member(raw: &str, start: usize, colon: usize, end: usize) -> Member {
    let name = raw[start..colon].trim().trim_matches('"').to_owned();
    let text = &raw[colon + 1..end];
    let from = colon + 1 + (text.len() - text.trim_start().len());
    Member { name, whole: start..end, value: from..from + text.trim().len() }
}

/// The text of a top-level member's value.
pub fn member_text<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    let found = members_to(raw, Some(name)).pop().filter(|member| member.name == name);
    found.map(|member| &raw[member.value])
}

/// The text of a nested value, for example at `["event", "id"]`.
pub fn text_at<'a>(raw: &'a str, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(raw, |text, name| member_text(text, name))
}

/// The string at a path, unescaped. Unchanged if it has a bad escape.
pub fn string_at(raw: &str, path: &[&str]) -> Option<String> {
    let text = text_at(raw, path)?;
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    Some(serde_json::from_str(text).unwrap_or_else(|_| inner.to_owned()))
}

/// Removes some top-level members from an object's text.
pub fn without_members(raw: &str, names: &[&str]) -> String {
    let kept: Vec<&str> = members(raw)
        .into_iter()
        .filter(|member| !names.contains(&member.name.as_str()))
        .map(|member| &raw[member.whole])
        .collect();
    format!("{{{}}}", kept.join(","))
}

/// The same object with its top-level members in reverse.
pub fn reordered(raw: &str) -> String {
    let reversed: Vec<&str> = members(raw).into_iter().rev().map(|member| raw[member.whole].trim()).collect();
    format!("{{{}}}", reversed.join(","))
}

/// Replaces a top-level member's value, or adds the member at the end. `value` is JSON.
pub fn with_member(raw: &str, name: &str, value: &str) -> String {
    if let Some(member) = members(raw).into_iter().find(|member| member.name == name) {
        return format!("{}{value}{}", &raw[..member.value.start], &raw[member.value.end..]);
    }
    let end = raw.rfind('}').unwrap_or(raw.len());
    let comma = if members(raw).is_empty() { "" } else { "," };
    format!("{}{comma}\"{name}\":{value}{}", &raw[..end], &raw[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_tokens_is_taken_out() {
        let raw = "{ \"a b\" :\t\"x \\\" y\" ,\r\n \"n\": [ 1.10, 1e3 ] }";
        assert_eq!(compact(raw), r#"{"a b":"x \" y","n":[1.10,1e3]}"#);
        assert_eq!(compact("\"\\Everyone \\\\\" "), "\"\\Everyone \\\\\"");
    }

    #[test]
    fn members_are_cut_out_and_replaced_as_text() {
        let raw = "{\"number\" : 7,\n \"findings\":\"a, \\\"b\\\" }\", \"deep\":{\"findings\":1}, \"last\":null}";
        assert_eq!(without_members(raw, &["findings"]), "{\"number\" : 7, \"deep\":{\"findings\":1}, \"last\":null}");
        assert_eq!(with_member(r#"{"a": 1 ,"b":2}"#, "a", "[3]"), r#"{"a": [3] ,"b":2}"#);
        assert_eq!(with_member("{}", "a", "1"), r#"{"a":1}"#);
        assert_eq!(reordered(r#"{"a": 1 ,"b":[2,3] }"#), r#"{"b":[2,3],"a": 1}"#);
        assert_eq!(string_at(raw, &["findings"]).as_deref(), Some("a, \"b\" }"));
        assert_eq!(text_at(raw, &["deep", "findings"]), Some("1"));
    }
}
