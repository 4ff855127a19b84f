//! Checks that nothing stuck is tried before the end of its back-off, whichever container runs.

use chrono::{DateTime, Utc};
use serde_json::Value;
use simulator::Simulator;

use crate::oracle::{self, Found, wrong};

/// The back-offs on the checkpoint, before a run.
pub struct Backoffs(Value);

impl Backoffs {
    pub async fn of(sim: &Simulator) -> Self {
        Self(oracle::checkpoint(sim).await["stuck"].take())
    }

    /// Checks that this run tried nothing whose next try was later.
    pub async fn are_kept(&self, sim: &Simulator) -> Found {
        let (now, after) = (simulator::clock::now(), oracle::checkpoint(sim).await["stuck"].take());
        for (stream, entries) in self.0.as_object().into_iter().flatten() {
            for before in entries.as_array().into_iter().flatten().filter(|before| next_try(before) > Some(now)) {
                let of_same = |entry: &&Value| entry["what"] == before["what"] && entry["since"] == before["since"];
                let after = after[stream].as_array().into_iter().flatten().find(of_same);
                if after.is_some_and(|after| after["attempts"].as_u64() > before["attempts"].as_u64()) {
                    let (what, next_try) = (&before["what"], &before["next_try"]);
                    return Err(wrong("impatient", format!("{stream}: {what} is tried before {next_try}")));
                }
            }
        }
        Ok(())
    }
}

fn next_try(entry: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(entry["next_try"].as_str()?).ok().map(|at| at.to_utc())
}
