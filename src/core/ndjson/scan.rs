//! Scans a record once, without building a value. Finds its end and one of its fields, checks that it is JSON, and
//! copies it without the blanks between tokens.

use std::ops::Range;

use crate::core::ndjson::lenient::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end before the value does.
    Incomplete,
    /// It is not JSON. The first wrong byte is at `at`.
    NotJson { at: usize },
}

/// The result of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// The index after the value's last byte.
    pub end: usize,
    /// The range of the field's value, quotes included. If a key stands twice, the last one counts.
    pub field: Option<Range<usize>>,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes from here to `at` are not copied yet.
    copied: usize,
    line: &'a mut Vec<u8>,
    path: &'a [&'a str],
    /// The number of keys of the path that lead to the innermost open container.
    matched: usize,
    field: Option<Range<usize>>,
    /// One bit for each of the innermost open containers, at most 64: 1 for an object, 0 for a list.
    open: u64,
    /// The bits of the other open containers, 64 at a time.
    outer: Vec<u64>,
    depth: u32,
}

/// Scans the value that begins at `start`, and appends it to `line` without its blanks. If it has no blanks, nothing is
/// copied, because its own bytes are the line.
pub fn scan(bytes: &[u8], start: usize, path: &[&str], line: &mut Vec<u8>) -> Result<Scanned, Stop> {
    let (field, outer) = (None, Vec::new());
    let mut scan = Scan { bytes, at: start, copied: start, line, path, matched: 0, field, open: 0, outer, depth: 0 };
    scan.value()?;
    if scan.copied > start {
        scan.line.extend_from_slice(&bytes[scan.copied..scan.at]);
    }
    Ok(Scanned { end: scan.at, field: scan.field })
}

impl Scan<'_> {
    /// Scans one value in a loop, without recursion, however deep it is nested.
    fn value(&mut self) -> Result<(), Stop> {
        let mut is_field = false;
        loop {
            // A value begins here.
            let began = self.at;
            match self.peek()? {
                b'"' => self.string()?,
                b'{' => {
                    self.enter(true);
                    self.blanks();
                    if self.peek()? == b'}' {
                        self.leave();
                    } else {
                        is_field = self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.enter(false);
                    self.blanks();
                    if self.peek()? == b']' {
                        self.leave();
                    } else {
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return Err(self.not_json()),
            }
            if is_field {
                self.field = Some(began..self.at);
                is_field = false;
            }

            // After a value: its container goes on, or ends.
            loop {
                if self.depth == 0 {
                    return Ok(());
                }
                self.blanks();
                let is_object = self.open & 1 == 1;
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        self.blanks();
                        if is_object {
                            is_field = self.key()?;
                        }
                        break;
                    }
                    b'}' if is_object => self.leave(),
                    b']' if !is_object => self.leave(),
                    _ => return Err(self.not_json()),
                }
            }
        }
    }

    /// Scans a key and its colon. Returns whether the field's value follows.
    fn key(&mut self) -> Result<bool, Stop> {
        let began = self.at;
        if self.peek()? != b'"' {
            return Err(self.not_json());
        }
        self.string()?;
        let key = began..self.at;
        self.blanks();
        if self.peek()? != b':' {
            return Err(self.not_json());
        }
        self.at += 1;
        self.blanks();

        if self.depth as usize != self.matched + 1 || self.matched >= self.path.len() {
            return Ok(false);
        }
        if !is_key(&self.bytes[key], self.path[self.matched]) {
            return Ok(false);
        }

        self.field = None;
        if self.matched + 1 == self.path.len() {
            return Ok(!matches!(self.peek()?, b'{' | b'['));
        }
        if self.peek()? == b'{' {
            self.matched += 1;
        }
        Ok(false)
    }

    fn enter(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(u64::BITS) {
            self.outer.push(self.open);
        }
        self.open = self.open << 1 | u64::from(is_object);
        self.depth += 1;
        self.at += 1;
    }

    fn leave(&mut self) {
        self.open >>= 1;
        self.depth -= 1;
        if self.depth.is_multiple_of(u64::BITS)
            && let Some(open) = self.outer.pop()
        {
            self.open = open;
        }
        self.matched = self.matched.min(self.depth.saturating_sub(1) as usize);
        self.at += 1;
    }

    fn string(&mut self) -> Result<(), Stop> {
        let mut at = self.at + 1;
        loop {
            at = special(self.bytes, at).ok_or(Stop::Incomplete)?;
            match self.bytes[at] {
                b'"' => {
                    self.at = at + 1;
                    return Ok(());
                }
                b'\\' => match self.bytes.get(at + 1).ok_or(Stop::Incomplete)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                    b'u' => {
                        let digits = self.bytes.get(at + 2..at + 6).ok_or(Stop::Incomplete)?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err(Stop::NotJson { at });
                        }
                        at += 6;
                    }
                    _ => return Err(Stop::NotJson { at }),
                },
                _ => return Err(Stop::NotJson { at }),
            }
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Stop> {
        let held = &self.bytes[self.at..self.bytes.len().min(self.at + word.len())];
        if held == word {
            self.at += word.len();
            return Ok(());
        }
        Err(if word.starts_with(held) { Stop::Incomplete } else { self.not_json() })
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits()?,
            _ => return Err(self.not_json()),
        }
        // Only the next byte shows that a number has ended. Within a container there always is one.
        if self.peek()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek()?, b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Scans at least one digit.
    fn digits(&mut self) -> Result<(), Stop> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            self.peek()?;
            return Err(self.not_json());
        }
        self.at += count;
        Ok(())
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    /// Leaves blanks out of the line. Most records have none.
    #[inline]
    fn blanks(&mut self) {
        if self.bytes.get(self.at).is_some_and(|byte| *byte <= b' ') {
            self.leave_out_blanks();
        }
    }

    #[inline(never)]
    fn leave_out_blanks(&mut self) {
        let began = self.at;
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        if self.at > began {
            self.line.extend_from_slice(&self.bytes[self.copied..began]);
            self.copied = self.at;
        }
    }

    fn not_json(&self) -> Stop {
        Stop::NotJson { at: self.at }
    }
}

/// Whether a quoted key is this name. Any of its letters may be escaped.
fn is_key(key: &[u8], name: &str) -> bool {
    let inner = &key[1..key.len() - 1];
    inner == name.as_bytes() || inner.len() > name.len() && inner.contains(&b'\\') && text(key).as_deref() == Some(name)
}

/// Finds the next byte that ends a string, begins an escape, or is not allowed in a string.
fn special(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = from;
    let mut words = bytes.get(from..)?.chunks_exact(8);
    for word in words.by_ref() {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        let word = u64::from_le_bytes(eight);
        let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGH;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let escape = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = quote | escape | control;
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    words.remainder().iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).map(|n| at + n)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn read(text: &str, path: &[&str]) -> Result<(String, Option<String>), Stop> {
        let mut line = Vec::new();
        let scanned = scan(text.as_bytes(), 0, path, &mut line)?;
        assert_eq!(scanned.end, text.len(), "{text}");
        let line = if line.is_empty() { text.into() } else { line };
        let field = scanned.field.map(|field| text[field].to_owned());
        Ok((String::from_utf8(line).expect("UTF-8"), field))
    }

    #[test]
    fn only_what_stands_between_tokens_is_left_out() {
        let sent = "{ \"a b\" :\r\n\t[ 1.10 , 1e3, 12345678901234567890 ] , \"c\": \" \\\" } \\\\\" ,\"d\" : null }";
        let (line, _) = read(sent, &[]).expect("JSON");
        assert_eq!(line, r#"{"a b":[1.10,1e3,12345678901234567890],"c":" \" } \\","d":null}"#);
        for text in [r#"{"a":"\u00e9é\/ 👀","b":{}}"#, "{}", r#"{"":""}"#, r"[[],{},-0.0,true,false]"] {
            assert_eq!(read(text, &[]).expect(text).0, text);
        }
    }

    #[test]
    fn the_field_is_found_wherever_it_stands_and_the_last_one_counts() {
        let path = ["event", "inserted"];
        for (text, found) in [
            (r#"{"event":{"id":"a","inserted":"x"},"inserted":"no"}"#, Some("\"x\"")),
            (r#"{"inserted":"no","event":{"deep":{"inserted":"no"},"inserted":7}}"#, Some("7")),
            (r#"{"event":{"inserted":"1"},"event":{"inserted":"2"}}"#, Some("\"2\"")),
            (r#"{"event":{"inserted":"1","inserted":"2"}}"#, Some("\"2\"")),
            (r#"{"event":{"inserted":"1"},"event":null}"#, None),
            (r#"{"event":[{"inserted":"1"}]}"#, None),
            (r#"{"other":{"inserted":"1"},"event":{}}"#, None),
            (r#"{"event":{"inserted":{"x":1}}}"#, None),
            (r#"[{"event":{"inserted":"1"}}]"#, None),
            (r#"{"ev\u0065nt":{"\u0069nserted":"1"}}"#, Some("\"1\"")),
            (r#"{"ev\u0065nt":{"inserte\u0064\u0064":"1"},"ev\/nt":{}}"#, None),
        ] {
            assert_eq!(read(text, &path).expect(text).1.as_deref(), found, "{text}");
        }
    }

    #[test]
    fn what_is_torn_is_told_from_what_is_wrong() {
        let whole = r#"{"a":["x\u00e9",-1.5e+3,true,null],"b":{"c":false}}"#;
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end], &[]), Err(Stop::Incomplete), "{}", &whole[..end]);
        }
        for (text, at) in [
            (r#"{"a":"x","owner":"\Everyone"}"#, 18),
            (r#"{"a":"x","b":01}"#, 14),
            (r#"{"a":[1,]}"#, 8),
            ("{\"b\":\"line\nbreak\"}", 10),
            (r#"{"a":"\u12g4"}"#, 6),
            (r#"{"a" "b"}"#, 5),
            (r"{a:1}", 1),
            (r#"{"a":nul}"#, 5),
            (r#"{"a":-}"#, 6),
            (r#"{"a":1.}"#, 7),
            (r"[1}", 2),
        ] {
            assert_eq!(read(text, &[]), Err(Stop::NotJson { at }), "{text}");
        }
    }

    #[test]
    fn a_record_may_be_nested_as_deep_as_it_likes() {
        for depth in [63, 64, 65, 127, 128, 129, 1_000, 100_000] {
            let (open, close) = (r#"{"a":["#.repeat(depth), "]}".repeat(depth));
            let sent = format!(r#"{{"deep":{open}1{close},"event":{{"inserted":"x"}}}}"#);
            let (line, field) = read(&sent, &["event", "inserted"]).expect("JSON");
            assert!(line == sent && field.as_deref() == Some("\"x\""), "{depth}");
            assert_eq!(read(&sent[..sent.len() - 1], &[]), Err(Stop::Incomplete));
            let wrong = sent.replace(&close, &close.replacen(']', "}", 1));
            assert!(matches!(read(&wrong, &[]), Err(Stop::NotJson { .. })), "{depth}");
        }
    }

    /// Compares with serde's parser, for whole records and for random changes of them.
    #[test]
    fn it_takes_what_a_json_parser_takes_and_nothing_else() {
        let whole = r#"{"a":[1,-0.5e-7,"x\n\u00e9é",{"b":null}],"c d":true,"":[],"e":{},"f":[[false]], "g" : "\\" }"#;
        let pieces: Vec<char> = r#"{}[]",:\-+.eEu0129atrufalsn é"#.chars().chain(['\n', '\u{1}']).collect();
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let mut text: Vec<char> = whole.chars().collect();
            for _ in 0..random.usize(0..4) {
                let at = random.usize(..text.len());
                match random.u8(0..3) {
                    0 => text[at] = pieces[random.usize(..pieces.len())],
                    1 => text.insert(at, pieces[random.usize(..pieces.len())]),
                    _ => drop(text.remove(at)),
                }
            }
            // In a list, so that a byte follows the value.
            let text = format!("[{}]", String::from_iter(text));
            let judged = serde_json::from_str::<&RawValue>(&text).is_ok();
            let mut line = Vec::new();
            let scanned = scan(text.as_bytes(), 0, &[], &mut line).is_ok_and(|scanned| scanned.end == text.len());
            assert_eq!(scanned, judged, "{text}, seed {seed}");
            if judged {
                let line = if line.is_empty() { text.clone().into_bytes() } else { line };
                let same = serde_json::from_slice::<serde_json::Value>(&line).ok();
                assert_eq!(same, serde_json::from_str(&text).ok(), "{text}, seed {seed}");
            }
        }
    }
}
