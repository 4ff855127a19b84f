//! The hot loop, for the counts and the benchmarks.

use incydr_collector::core::ndjson::{Cutter, Fingerprint, Packer, Packing, Place, Row};
use incydr_collector::core::time::Millis;
use simulator::WorldHandle;

/// The size of a piece as it arrives from a socket.
const PIECE: usize = 64 * 1024;

/// A page with a number of file events, always the same ones.
pub fn page(records: usize) -> Vec<u8> {
    let world = WorldHandle::new(42);
    let now = Millis(1_795_000_000_000).date_time();
    let events = world.add_file_events(records, now, now + chrono::TimeDelta::hours(1));
    let rows: Vec<&str> = events.iter().map(|event| &*event.raw).collect();
    format!(r#"{{"totalCount":{records},"fileEvents":[{}],"nextPgToken":null}}"#, rows.join(",")).into_bytes()
}

fn each_row(page: &[u8], mut take: impl FnMut(Row<'_>)) {
    let mut cutter = Cutter::new(Place::under(&["fileEvents"]), &["event", "inserted"]);
    for piece in page.chunks(PIECE) {
        cutter.feed(piece, &mut take).unwrap();
    }
    cutter.finish(&mut take).unwrap();
}

pub fn cut(page: &[u8]) -> usize {
    let mut rows = 0;
    each_row(page, |_| rows += 1);
    rows
}

pub fn cut_and_pack(page: &[u8]) -> u64 {
    let mut packer = Packer::new(&Packing::default());
    let mut fingerprints = 0_u128;
    each_row(page, |row| {
        if let Row::Record { line, field, .. } = row {
            fingerprints ^= Fingerprint::quick(line.as_bytes()).0;
            packer.push_at(Millis::parse(&field).unwrap(), line);
        }
    });
    std::hint::black_box(fingerprints);
    packer.finish().records
}
