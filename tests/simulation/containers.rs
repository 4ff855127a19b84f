//! The collector's containers in a schedule, with their settings.

use std::path::{Path, PathBuf};

use simulator::{LambdaBuilder, Simulator};

use crate::oddities::Loss;
use crate::plan::Plan;

pub fn builder(plan: &Plan, sim: &Simulator, name: &str) -> LambdaBuilder {
    // The default streams, and those that the seed picks.
    let default = ["audit", "file_events", "sessions", "cases", "users", "agents"];
    let further = plan.further.streams.iter().copied().filter(|name| !default.contains(name));
    // Nobody asks for what isn't there, so that a small schedule is a short one.
    let default = default
        .into_iter()
        .filter(|name| plan.collects(name))
        .filter(|name| !plan.oddities.is_small || !matches!(*name, "sessions" | "agents") || plan.further.has(name));
    let streams: Vec<&str> = default.chain(further).collect();
    let (streams, dialect) =
        if plan.in_guide { ("audit,file_events,cases,users".to_owned(), "guide") } else { (streams.join(","), "sdk") };
    let keeps_for_a_day = plan.oddities.loss == Some(Loss::Retention);
    sim.lambda(&collector())
        .env("STREAMS", streams)
        .env("INCYDR_API_DIALECT", dialect)
        .env("AWS_SDK_UA_APP_ID", name)
        .env("GZIP_LEVEL", "1")
        .env("SETTLE_SECONDS", "0")
        .env("RECONCILE_MINUTES", "0")
        .env("INVENTORY_INTERVAL_MINUTES", "0")
        .env("REQUESTS_PER_MINUTE", plan.rarities.requests_per_minute.unwrap_or(100_000).to_string())
        .env("FILE_EVENTS_RETENTION_DAYS", if keeps_for_a_day { "1" } else { "90" })
        .env("FE_PAGE_SIZE", plan.pages.file_events.to_string())
        .env("AUDIT_PAGE_SIZE", plan.pages.audit.to_string())
        .env("PAGE_SIZE", plan.pages.others.to_string())
}

/// The binary: the one that `COLLECTOR` names, or the one just built.
fn collector() -> PathBuf {
    let named = std::env::var_os("COLLECTOR").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_incydr-collector")).to_owned())
}
