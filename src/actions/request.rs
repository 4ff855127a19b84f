//! What an invocation asks for.

use chrono::TimeDelta;

use crate::core::intervals::Span;
use crate::core::stream::Stream;
use crate::core::time::Millis;

#[derive(Clone, Debug, PartialEq)]
pub enum Invocation {
    /// The schedule, or `{}`: all that is owed, on all enabled streams.
    Scheduled,
    /// A person's own request.
    Collect(Collect),
    /// The same into another prefix, from nothing.
    Replay(Collect, String),
    Verify(Verify),
    /// What the API client may read, of these streams or of all that there are.
    Probe(Option<Vec<Stream>>),
    Health(HealthRequest),
    /// How collecting goes, as the checkpoint says.
    Status,
    /// What was stopped is tried again.
    Restart(Restart),
    /// The checkpoint is made again from the manifests.
    Recover,
    Plan(Plan),
    /// One shard of a backfill, by its id.
    Shard(String),
    Merge,
}

impl Invocation {
    /// What the answer names, where it was not to collect.
    pub fn action(&self) -> Option<&'static str> {
        match self {
            Self::Scheduled | Self::Collect(_) => None,
            Self::Replay(..) => Some("replay"),
            Self::Verify(_) => Some("verify"),
            Self::Probe(_) => Some("probe"),
            Self::Health(_) => Some("health"),
            Self::Status => Some("status"),
            Self::Restart(_) => Some("restart"),
            Self::Recover => Some("recover"),
            Self::Plan(_) => Some("plan"),
            Self::Shard(_) => Some("shard"),
            Self::Merge => Some("merge"),
        }
    }
}

/// Whether what was collected is whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verify {
    pub streams: Option<Vec<Stream>>,
    /// Without it, from where each stream begins. The epoch means the same: it is where to go on from when the time was
    /// over before anything was known.
    pub from: Option<Millis>,
    /// Without it, to the end of what is covered.
    pub to: Option<Millis>,
}

/// What is to be tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// These, or all that are enabled.
    pub streams: Option<Vec<Stream>>,
    /// What the next readings of the lists among them don't show is gone, however much it is.
    pub accept_deletions: bool,
}

/// How agents, users and observers are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthRequest {
    /// Where the findings are stored; without it they are only answered.
    pub prefix: Option<String>,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    Csv,
}

/// A backfill: a long span, to be covered by shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub streams: Option<Vec<Stream>>,
    pub span: Span,
    /// So many shards at a time share the budget.
    pub at_once: usize,
    /// For all shards together; without it half of `REQUESTS_PER_MINUTE`.
    pub requests_per_minute: Option<usize>,
    pub expires_after: TimeDelta,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collect {
    pub streams: Option<Vec<Stream>>,
    /// To be covered; without it the scheduled work is done.
    pub span: Option<Span>,
    pub dry_run: bool,
}
