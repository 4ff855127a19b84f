//! Reads values that strict JSON parsers refuse.

use std::borrow::Cow;

use serde_json::Value;

/// A byte order mark, before an answer.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Parses JSON, also behind a byte order mark. A lone surrogate, and bytes that are not UTF-8, become U+FFFD. So this
/// is only for values that the collector reads and does not store. None if it is no JSON even then.
pub fn lenient(json: &[u8]) -> Option<Value> {
    let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
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

/// The code of a surrogate at the beginning of a text, such as `\ud83d`.
fn surrogate(text: &str) -> Option<u32> {
    let code = u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    (0xd800..=0xdfff).contains(&code).then_some(code)
}

/// The text of a JSON string or number. None for any other value.
pub fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    match value {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => std::str::from_utf8(inner).ok().map(Cow::Borrowed),
        [b'"', ..] => serde_json::from_slice::<String>(value).ok().map(Cow::Owned),
        [b'-' | b'0'..=b'9', ..] => std::str::from_utf8(value).ok().map(Cow::Borrowed),
        _ => None,
    }
}
