//! Cuts a page into records while it arrives, checks them, and packs them as gzipped NDJSON. No record is parsed into a
//! value and serialised again, so its numbers, key order, escapes and unknown fields survive byte for byte.

mod canonical;
mod cut;
mod find;
mod lenient;
mod pack;
mod scan;

pub use canonical::{FieldPath, canonical};
pub use cut::{Cutter, PageError, PageRest, Place, Row, row};
pub use find::{member, single};
pub use lenient::{BYTE_ORDER_MARK, lenient};
pub use pack::{Fingerprint, Packed, Packer, Packing, bare, each_line, hex, lines, sha256_of};

/// Returns the string or number at `path` of a record, which must be valid JSON. None if there is none.
pub fn field(record: &str, path: &[&str]) -> Option<String> {
    let scanned = scan::scan(record.as_bytes(), 0, path, &mut Vec::new()).ok()?;
    lenient::text(record.as_bytes().get(scanned.field?)?).map(std::borrow::Cow::into_owned)
}
