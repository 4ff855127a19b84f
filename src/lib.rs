//! On each tick, every enabled stream is read in closed windows, each window is stored as one object under a key that
//! only that window can have, and the checkpoint moves only over what is stored.
//!
//! The order in which to read it:
//!
//! * [`handler`]: an event in, an answer out
//! * [`run`]: the lease, every stream side by side, the commit; and a backfill, in shards beside it
//! * [`collect`]: one stream, one run: windows, pages, objects, commit: the story
//! * [`checkpoint`]: [`intervals`], readings, lease: plain values; [`ledger`] keeps them in the bucket
//! * [`manifest`]: what was read and where it is stored; [`chain`] keeps it, [`verify`] checks it
//! * [`state`]: what state each stream is in, and [`collector_health`], where every change of it is a record
//! * [`stream`]: one file a stream: where its records are, how it is paged and timed
//! * [`api`]: client, token, retries, request budget, pages
//! * [`probe`]: what the API client may read; [`health`]: how agents, users and observers are
//! * [`ndjson`]: a page's bytes, cut into records, gzipped
//! * [`store`]: S3: what is created is never changed
//! * [`aws`]: its clients, [`event`], [`answer`], [`settings`], [`secrets`], [`error`], [`known`], [`retry`], [`time`], [`logging`], [`metrics`]

pub mod answer;
pub mod api;
pub mod aws;
pub mod chain;
pub mod checkpoint;
pub mod collect;
pub mod collector_health;
pub mod error;
pub mod event;
pub mod handler;
pub mod health;
pub mod intervals;
pub mod known;
pub mod ledger;
pub mod logging;
pub mod manifest;
pub mod metrics;
pub mod ndjson;
pub mod probe;
pub mod retry;
pub mod run;
pub mod secrets;
pub mod settings;
pub mod state;
pub mod store;
pub mod stream;
pub mod time;
pub mod verify;
