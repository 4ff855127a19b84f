//! A page's bytes, cut into records, checked, and packed as gzipped NDJSON. No record is ever built as a value and
//! written again: numbers, key order, escapes and unknown fields survive byte for byte.

mod pack;
mod page;
mod pick;

pub use pack::{Fingerprint, Packed, Packer, hex, lines, sha256_of};
pub use page::{Page, PageError, member};
pub use pick::pick;

/// A record's text without the blanks and line breaks between its tokens.
pub fn compact(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(quote) = memchr::memchr(b'"', rest.as_bytes()) {
        push_without_blanks(&mut line, &rest[..quote]);
        let end = page::string_end(rest.as_bytes(), quote).unwrap_or(rest.len());
        line.push_str(&rest[quote..end]);
        rest = &rest[end..];
    }
    push_without_blanks(&mut line, rest);
    line
}

fn push_without_blanks(line: &mut String, between_strings: &str) {
    line.extend(between_strings.split([' ', '\t', '\n', '\r']));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_tokens_is_removed() {
        let sent = "{ \"a b\" :\r\n\t[ 1.10 , 1e3, 12345678901234567890 ] , \"c\": \" \\\" } \\\\\" ,\"d\" : null }";
        assert_eq!(compact(sent), r#"{"a b":[1.10,1e3,12345678901234567890],"c":" \" } \\","d":null}"#);
    }

    #[test]
    fn a_compact_record_stays_as_it_is() {
        for text in [r#"{"a":"\u00e9é\/ 👀","b":{}}"#, "{}", r#"{"":""}"#] {
            assert_eq!(compact(text), text);
        }
    }
}
