//! Whole runs: the real binary, driven through the Runtime API, against the simulator or a third party's S3. Bucket
//! and API are compared record by record, byte by byte.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod api_faults;
mod backfill;
mod backfill_faults;
mod bad_input;
mod cases;
mod datasets;
mod deadline;
mod fields;
mod first_run;
mod formats;
mod guide;
mod health;
mod lanes;
mod manifests;
mod metrics;
mod oracle;
mod paging;
mod probe;
mod reconcile;
mod reconcile_faults;
mod replay;
mod retention;
mod rig;
mod sessions;
mod states;
mod stopped;
mod store;
mod stuck_records;
mod tls;
mod uncounted;
mod users;
mod verify;
mod verify_spans;
