//! The parts of an answer: the place of its records, one row, and the errors of the answer as a whole.

use std::borrow::Cow;

use serde_json::Value;

/// The place of the records in an answer.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// In a list under one of these keys: at the top, or in the object under the key `within`.
    Under { keys: &'static [&'static str], within: Option<&'static str> },
    /// The answer is the list itself.
    Top,
    /// The answer is the list itself, or holds it under one of these keys.
    UnderOrTop { keys: &'static [&'static str] },
    /// The answer is one record.
    Alone,
}

impl Place {
    pub const fn under(keys: &'static [&'static str]) -> Self {
        Self::Under { keys, within: None }
    }

    pub(super) fn is_list(self, key: &Value) -> bool {
        matches!(self, Self::Under { keys, .. } | Self::UnderOrTop { keys } if key.as_str().is_some_and(|key| keys.contains(&key)))
    }

    pub(super) fn is_around(self, key: &Value) -> bool {
        matches!(self, Self::Under { within: Some(within), .. } if key == within)
    }
}

/// One row of a page's list.
#[derive(Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// The bytes as sent, the same without blanks between tokens, and the text of the cutter's field.
    Record { bytes: &'a [u8], line: &'a str, field: Cow<'a, str> },
    /// Not JSON, not an object, or without the field: the bytes as sent, and the reason.
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
