//! Finds the end of a row that arrives in pieces.

use crate::core::ndjson::find::skip_blanks;

/// The search for the end of an incomplete row. It continues where it stopped, so no byte is searched twice.
pub struct Unended {
    pub(super) at: usize,
    depth: usize,
    in_string: bool,
}

impl Unended {
    /// Begins a search at the first byte of a row. None if the row ends within `bytes`, or is neither object nor array:
    /// other values are short.
    pub fn at(bytes: &[u8]) -> Option<Self> {
        let at = skip_blanks(bytes, 0);
        let mut unended = Self { at, depth: 0, in_string: false };
        (matches!(bytes.get(at), Some(b'{' | b'[')) && !unended.ends_in(bytes)).then_some(unended)
    }

    /// Whether the row ends within `bytes`: the bytes of the last call and those that have arrived since.
    pub fn ends_in(&mut self, bytes: &[u8]) -> bool {
        while let Some(rest) = bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            if self.in_string {
                let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                    self.at = bytes.len();
                    return false;
                };
                // A backslash, and the byte that it escapes.
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
