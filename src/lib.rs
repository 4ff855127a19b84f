//! The collector reads Incydr's API and stores its records in S3.
//!
//! A run reads the enabled streams that are due: `audit` and `file_events` in windows that have settled, the others as
//! lists. It stores each reading as objects under keys that only that reading can have. It moves the checkpoint only
//! over stored records.
//!
//! # Layers
//!
//! From the top down. Each uses only those below it. `tests/layers.py` checks that, and draws `docs/layers.svg`.
//!
//! * [`edge`]: an event in, an answer out
//! * [`actions`]: collect, backfill, restart, recover, verify, probe, health, status. [`respond`]: the responder, a
//!   binary of its own, which uses neither `actions` nor `collect`
//! * [`collect`]: one stream in one run: windows, lists, objects, commit
//! * [`bucket`]: S3. [`incydr`]: the API. [`secrets`]: the API client's credentials. Of these only `incydr` uses
//!   another, `secrets`
//! * [`core`]: plain values without I/O
//!
//! `docs/develop.md` follows one record through them.
//!
//! # Glossary
//!
//! Each word has this meaning and no other, in the code, the pages, the answers and the log.
//!
//! | word | meaning |
//! |---|---|
//! | stream | one dataset of the API, by the name in `STREAMS`: `audit`, `users` |
//! | record | one JSON object of a stream, as the API sent it |
//! | run | one invocation |
//! | tick | one event of the schedule, which begins a run |
//! | live | of a run, prefix or checkpoint: that of the collection itself, not of a replay or of a backfill's shard |
//! | row | one element of a page, whether it is a record or can't be read |
//! | window | a span `[from, to)` of an event stream, in whole milliseconds, UTC, that is read at once |
//! | settle | how far behind now a window must end, because records become visible late; a window has settled when it does |
//! | reading | one window, or one list as it was at one instant, from its opening until it is stored |
//! | try | of a reading: one attempt to read all its rows; a window and a list get at most three |
//! | snapshot | a reading of a list, which is compared with the known records: only what is new or changed is stored |
//! | open | of a window or reading: on the checkpoint with its request, and not stored yet |
//! | stored | of a record or object: in the bucket |
//! | covered | of time: read, compared with the API's count, and stored |
//! | gap | time that is to be collected and is neither covered nor expired; `status`, metric and alarm tell those due for over 15 minutes |
//! | margin | the second before and after a window that its request asks for, too: the API's filter may cut at whole seconds |
//! | horizon | now minus settle: no window ends after it |
//! | lag | now minus the end of the covered time |
//! | expired | of a gap: the API keeps its records no longer |
//! | recount | a second or later count of a covered window, to find late records |
//! | late | of a record: it became visible after its window was covered |
//! | stuck | of a span, record or list: it can't be read, is tried again later, and holds up nothing else |
//! | stalled | of a stream: its runs end for lack of time or requests, without progress |
//! | drift | so many rows that can't be read that the API must have changed: more than a fifth, and more than three |
//! | nameless | of a list's row: set aside, or hidden by another of the same id; it may be a known record that is missing |
//! | throttled | of a stream, record or list: its own request got a 429 until a run's end; the next run asks for it last |
//! | set aside | of a row that can't become a record (not JSON, no id, a far time): its bytes lie outside the prefix |
//! | witness | an id that has answered; it is asked for again to see whether the API fails as a whole |
//! | known | of a list's record: its hash is kept, to find changes and deletions |
//! | tombstone | the record that says that a known record is deleted |
//! | checkpoint | the JSON object with each stream's covered time, open readings, stuck list; `ledger` is its code |
//! | lease | the part of the checkpoint that says which run may write, and until when |
//! | commit | the write of the checkpoint, which makes what a run stored count |
//! | manifest | finished readings, and the objects with their records; each names the one before by its hash: a chain |
//! | index | the object that holds all manifests of a day that is over |
//! | closed | of a reading: stored, and committed or about to be |
//! | lane | the right to read one window: a process has five at most |
//! | pass | the reading of one list with the lists below it, over one or more runs |
//! | part | of an inventory: one of its lists; with `is_index` it is read only for the lists of its records |
//! | sweep | a span of begin times of sessions that is due to be read again, slice by slice |
//! | slice | of a sweep, or of a window that has grown: the span that is read at once |
//! | shard | one day of one stream that is reserved for a backfill |

pub mod actions;
pub mod bucket;
pub mod collect;
pub mod core;
pub mod edge;
pub mod incydr;
pub mod respond;
pub mod secrets;
