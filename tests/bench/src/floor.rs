//! The least CPU time for storing these events gzipped: compression alone, of lines in memory.

use std::{fs, io::Write, time::Instant};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::{Failure, USAGE, event::Bodies, print, value_of};

/// As many as the collector puts into one object.
const EVENTS_PER_STREAM: u64 = 20_000;

pub fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Failure> {
    let (mut events, mut level) = (600_000_u64, 6_u32);
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--events" => events = value_of(&option, &mut arguments)?,
            "--level" => level = value_of(&option, &mut arguments)?,
            _ => return Err(USAGE.into()),
        }
    }
    let bodies = Bodies::new();
    let mut writer = bodies.writer();
    let (mut lines, mut gzip) = (Vec::new(), Vec::new());
    let (mut bytes, mut gzip_bytes, mut cpu_ns, mut wall) = (0, 0, 0, 0.0);
    for first in (0..events).step_by(usize::try_from(EVENTS_PER_STREAM)?) {
        lines.clear();
        for event in first..events.min(first + EVENTS_PER_STREAM) {
            writer.write(event, 1_795_300_000_000 + i64::try_from(event)?, &mut lines);
            lines.push(b'\n');
        }
        gzip.clear();
        let (began, cpu_before) = (Instant::now(), cpu_of_this_thread()?);
        let mut encoder = GzEncoder::new(&mut gzip, Compression::new(level));
        encoder.write_all(&lines)?;
        encoder.finish()?;
        cpu_ns += cpu_of_this_thread()? - cpu_before;
        wall += began.elapsed().as_secs_f64();
        bytes += lines.len();
        gzip_bytes += gzip.len();
    }
    #[expect(clippy::cast_precision_loss)]
    let cpu_seconds = cpu_ns as f64 / 1e9;
    print(&json!({"bytes": bytes, "gzip_bytes": gzip_bytes, "cpu_seconds": cpu_seconds, "wall_seconds": wall}))
}

/// Returns nanoseconds of CPU time (Linux, Documentation/scheduler/sched-stats.rst).
fn cpu_of_this_thread() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().ok_or("schedstat is empty")?.parse()?)
}
