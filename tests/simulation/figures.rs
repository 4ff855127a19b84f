//! Counts what was simulated, and each fault.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use simulator::Simulator;

const HEADLINES: [&str; 7] =
    ["schedules", "runs", "records", "late records", "deaths", "overlaps", "steps of a backfill"];
/// The promises whose counts are always printed. Others are printed if they were broken.
const BROKEN: [&str; 2] = ["lost", "twice"];

#[derive(Default)]
pub struct Figures(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    plain: BTreeMap<&'static str, u64>,
    api: BTreeMap<&'static str, u64>,
    s3: BTreeMap<&'static str, u64>,
    broken: BTreeMap<&'static str, u64>,
}

impl Figures {
    pub fn add(&self, what: &'static str, count: u64) {
        *self.counts().plain.entry(what).or_default() += count;
    }

    pub fn note_broken(&self, promise: &'static str) {
        *self.counts().broken.entry(promise).or_default() += 1;
    }

    pub fn note_faults(&self, sim: &Simulator) {
        let counts = &mut *self.counts();
        for (all, struck) in
            [(&mut counts.api, sim.faults.struck_by_kind()), (&mut counts.s3, sim.s3.faults.struck_by_kind())]
        {
            for (kind, count) in struck {
                *all.entry(kind).or_default() += count;
                if kind.starts_with("death") {
                    *counts.plain.entry("deaths").or_default() += count;
                }
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        for name in HEADLINES {
            writeln!(f, "  {name:<42} {:>9}", counts.plain.get(name).unwrap_or(&0))?;
        }
        let faults: u64 = counts.api.values().chain(counts.s3.values()).sum();
        writeln!(f, "  {:<42} {faults:>9}", "faults")?;
        for (place, kinds) in [("API", &counts.api), ("S3", &counts.s3)] {
            for (kind, count) in kinds {
                writeln!(f, "  {:<42} {count:>9}", format!("{place}: {kind}"))?;
            }
        }
        for name in BROKEN {
            writeln!(f, "  {name:<42} {:>9}", counts.broken.get(name).unwrap_or(&0))?;
        }
        for (promise, count) in counts.broken.iter().filter(|(promise, _)| !BROKEN.contains(promise)) {
            writeln!(f, "  {promise:<42} {count:>9}")?;
        }
        Ok(())
    }
}
