//! Cuts a page into its records while it arrives.

mod page;
mod unended;

use serde_json::{Map, Value};

pub use self::page::{PageError, Place, Row};
use self::unended::Unended;
use crate::core::ndjson::find::{skip_blanks, value_end};
use crate::core::ndjson::lenient::{BYTE_ORDER_MARK, lenient, text};
use crate::core::ndjson::scan::{Scanned, Stop, scan};

/// An incomplete record is scanned again after 16 KB more have arrived, or once the buffer is twice as long.
const MORE: usize = 16 * 1024;

/// Cuts a page into its records while it arrives. It keeps at most one incomplete record. It finds the end of a record
/// by quotes and brackets alone. So a record with a bad escape, which no JSON parser reads, does no harm to the others
/// (the vendor sends `"\Everyone"`; SDK, `TEST_BAD_EVENT_JSON`).
pub struct Cutter {
    place: Place,
    /// The path of the field whose text is handed over with each record.
    field: &'static [&'static str],
    /// Bytes that have arrived and are not used up.
    buffer: Vec<u8>,
    /// The number of bytes that were used up.
    before: usize,
    /// The buffer is scanned again when it has this length, or when the row at its beginning is whole.
    again_at: usize,
    unfinished: Option<Unended>,
    expects: Expects,
    /// The next member stands in the object around the list.
    is_within: bool,
    has_list: bool,
    /// The answer is the list itself.
    is_bare: bool,
    /// All members of the answer but the list.
    envelope: Map<String, Value>,
    /// The last scanned value without the blanks between its tokens. Empty if it has no blanks.
    line: Vec<u8>,
}

/// The rest of a page, after all its rows were handed over.
pub struct PageRest {
    /// All members of the answer but the list.
    pub envelope: Map<String, Value>,
    /// Whether the answer had a list, which may be null, or was one record.
    pub has_list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Answer,
    FirstMember,
    Member,
    NextMember,
    FirstRow,
    Row,
    NextRow,
    End,
}

impl Cutter {
    /// `field` is the path of the field whose text is handed over with each record.
    pub fn new(place: Place, field: &'static [&'static str]) -> Self {
        Self {
            place,
            field,
            buffer: Vec::new(),
            before: 0,
            again_at: 0,
            unfinished: None,
            expects: Expects::Answer,
            is_within: false,
            has_list: matches!(place, Place::Top | Place::Alone),
            is_bare: false,
            envelope: Map::new(),
            line: Vec::new(),
        }
    }

    /// Takes the next bytes of the page. Calls `row` with each row as soon as it is whole.
    pub fn feed(&mut self, bytes: &[u8], mut row: impl FnMut(Row<'_>)) -> Result<(), PageError> {
        self.buffer.extend_from_slice(bytes);
        let may_go_on = match &mut self.unfinished {
            Some(unended) => unended.ends_in(&self.buffer),
            None => self.buffer.len() >= self.again_at,
        };
        if may_go_on { self.use_up(&mut row) } else { Ok(()) }
    }

    /// Called when all bytes have arrived. A page past the end may lack its list, or have null in its place.
    pub fn finish(mut self, mut row: impl FnMut(Row<'_>)) -> Result<PageRest, PageError> {
        self.use_up(&mut row)?;
        match self.expects {
            Expects::End => Ok(PageRest { envelope: self.envelope, has_list: self.has_list }),
            Expects::Answer => Err(self.not_an_answer(0)),
            _ => Err(PageError::NotJson { at: self.before }),
        }
    }

    /// Reads as much of the buffer as is complete, and keeps the rest.
    fn use_up(&mut self, row: &mut impl FnMut(Row<'_>)) -> Result<(), PageError> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        let went = loop {
            match self.step(&buffer, at, row) {
                Ok(Some(next)) => at = next,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.buffer = buffer;
        self.buffer.drain(..at);
        self.before += at;
        self.unfinished = if matches!(self.expects, Expects::FirstRow | Expects::Row) && went.is_ok() {
            Unended::at(&self.buffer)
        } else {
            None
        };
        self.again_at = if self.buffer.is_empty() { 0 } else { (2 * self.buffer.len()).min(self.buffer.len() + MORE) };
        went
    }

    /// Reads one bracket or comma of the page, one member, or one row. Returns its end, or none while it is incomplete.
    fn step(&mut self, bytes: &[u8], at: usize, row: &mut impl FnMut(Row<'_>)) -> Result<Option<usize>, PageError> {
        let mut at = skip_blanks(bytes, at);
        if matches!(self.expects, Expects::Answer) {
            let rest = &bytes[at..];
            if rest.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(rest) {
                return Ok(None);
            }
            at = if rest.starts_with(BYTE_ORDER_MARK) { skip_blanks(bytes, at + BYTE_ORDER_MARK.len()) } else { at };
        }

        let Some(byte) = bytes.get(at) else { return Ok(None) };
        let (expects, next) = match (self.expects, byte) {
            (Expects::Answer, b'{') => match self.place {
                Place::Under { .. } | Place::UnderOrTop { .. } => (Expects::FirstMember, at + 1),
                Place::Alone => return Ok(self.row(bytes, at, row)),
                Place::Top => return Err(self.not_an_answer(at)),
            },
            (Expects::Answer, b'[') if matches!(self.place, Place::Top | Place::UnderOrTop { .. }) => {
                (self.has_list, self.is_bare) = (true, true);
                (Expects::FirstRow, at + 1)
            }
            (Expects::Answer, _) => return Err(self.not_an_answer(at)),
            (Expects::FirstMember | Expects::NextMember, b'}') if self.is_within => {
                self.is_within = false;
                (Expects::NextMember, at + 1)
            }
            (Expects::FirstMember | Expects::NextMember, b'}') => (Expects::End, at + 1),
            (Expects::FirstMember | Expects::Member, b'"') => return self.member(bytes, at),
            (Expects::NextMember, b',') => (Expects::Member, at + 1),
            (Expects::FirstRow | Expects::NextRow, b']') => (self.after_list(), at + 1),
            (Expects::NextRow, b',') => (Expects::Row, at + 1),
            (Expects::FirstRow | Expects::Row, _) => return Ok(self.row(bytes, at, row)),
            _ => return Err(self.not_json(at)),
        };
        self.expects = expects;
        Ok(Some(next))
    }

    /// Reads a key, and its value unless that is the list.
    fn member(&mut self, bytes: &[u8], at: usize) -> Result<Option<usize>, PageError> {
        let Some((key, end)) = self.value(bytes, at)? else { return Ok(None) };
        let colon = skip_blanks(bytes, end);
        match bytes.get(colon) {
            None => return Ok(None),
            Some(b':') => {}
            Some(_) => return Err(self.not_json(colon)),
        }

        let start = skip_blanks(bytes, colon + 1);
        match bytes.get(start) {
            Some(b'[') if self.place.is_list(&key) => {
                self.has_list = true;
                self.expects = Expects::FirstRow;
                return Ok(Some(start + 1));
            }
            Some(b'{') if self.place.is_around(&key) && !self.is_within => {
                self.is_within = true;
                self.expects = Expects::FirstMember;
                return Ok(Some(start + 1));
            }
            _ => {}
        }

        let Some((value, end)) = self.value(bytes, start)? else { return Ok(None) };
        self.has_list |= value.is_null() && self.place.is_list(&key);
        if let Value::String(key) = key {
            self.envelope.insert(key, value);
        }
        self.expects = Expects::NextMember;
        Ok(Some(end))
    }

    /// Reads a value. Returns it and its end, or none while it is incomplete.
    fn value(&mut self, bytes: &[u8], at: usize) -> Result<Option<(Value, usize)>, PageError> {
        self.line.clear();
        match scan(bytes, at, &[], &mut self.line) {
            Ok(Scanned { end, .. }) => match lenient(&bytes[at..end]) {
                Some(value) => Ok(Some((value, end))),
                None => Err(self.not_json(at)),
            },
            Err(Stop::Incomplete) => Ok(None),
            Err(Stop::NotJson { at }) => Err(self.not_json(at)),
        }
    }

    /// Hands one row over. Returns its end, or none while it is incomplete.
    fn row(&mut self, bytes: &[u8], at: usize, row: &mut impl FnMut(Row<'_>)) -> Option<usize> {
        self.line.clear();
        let end = match scan(bytes, at, self.field, &mut self.line) {
            Err(Stop::Incomplete) => return None,
            Ok(scanned) => {
                row(self.whole(&bytes[at..scanned.end], scanned.field.map(|field| &bytes[field])));
                scanned.end
            }
            Err(Stop::NotJson { at: wrong }) => {
                let end = value_end(bytes, at)?;
                let why = format!("it is not JSON at its byte {}", wrong - at);
                row(Row::Unreadable { bytes: &bytes[at..end], why });
                end
            }
        };
        self.expects = if matches!(self.place, Place::Alone) { Expects::End } else { Expects::NextRow };
        Some(end)
    }

    fn after_list(&self) -> Expects {
        if self.is_bare { Expects::End } else { Expects::NextMember }
    }

    /// Makes a row of a value that was scanned into `line`.
    fn whole<'a>(&'a self, bytes: &'a [u8], field: Option<&'a [u8]>) -> Row<'a> {
        let unreadable = |why: String| Row::Unreadable { bytes, why };
        let line = if self.line.is_empty() { bytes } else { &self.line };
        match (std::str::from_utf8(line), field.and_then(text)) {
            (Err(error), _) => unreadable(error.to_string()),
            (Ok(line), _) if !line.starts_with('{') => unreadable("it is not a JSON object".into()),
            (Ok(_), None) => unreadable(format!("it has no {}", self.field.join("."))),
            (Ok(line), Some(field)) => Row::Record { bytes, line, field },
        }
    }

    fn not_an_answer(&self, at: usize) -> PageError {
        let at = self.before + at;
        if matches!(self.place, Place::Top) { PageError::NotAnArray { at } } else { PageError::NotAnObject { at } }
    }

    fn not_json(&self, at: usize) -> PageError {
        PageError::NotJson { at: self.before + at }
    }
}

/// Reads one record that stands by itself. Returns what `take` makes of it.
pub fn row<T>(bytes: &[u8], field: &'static [&'static str], mut take: impl FnMut(Row<'_>) -> T) -> T {
    let mut cutter = Cutter::new(Place::Alone, field);
    match scan(bytes, 0, field, &mut cutter.line) {
        Ok(scanned) => take(cutter.whole(bytes, scanned.field.map(|field| &bytes[field]))),
        Err(Stop::NotJson { at }) => take(Row::Unreadable { bytes, why: format!("it is not JSON at its byte {at}") }),
        Err(Stop::Incomplete) => take(Row::Unreadable { bytes, why: "it breaks off".into() }),
    }
}

#[cfg(test)]
mod tests;
