//! The actions that an invocation can ask for, with their arguments.

use chrono::TimeDelta;

use crate::core::intervals::Span;
use crate::core::stream::Stream;
use crate::core::time::Millis;

#[derive(Clone, Debug, PartialEq)]
pub enum Invocation {
    /// The schedule, or `{}`: collects everything that is due on all enabled streams.
    Scheduled,
    /// A collect by hand.
    Collect(CollectArgs),
    /// Collects into another prefix, with a new checkpoint.
    Replay(CollectArgs, String),
    Verify(VerifyArgs),
    /// Probes these streams, or all.
    Probe(Option<Vec<Stream>>),
    Health(HealthArgs),
    /// Reports the streams' states from the checkpoint.
    Status,
    /// Lets stopped streams be tried again.
    Restart(RestartArgs),
    /// Rebuilds the checkpoint from the manifests.
    Recover,
    Plan(PlanArgs),
    /// One shard of a backfill, by its id.
    Shard(String),
    Merge,
}

impl Invocation {
    /// The action's name in the answer. None for `collect`.
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

/// Arguments of `verify`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerifyArgs {
    pub streams: Option<Vec<Stream>>,
    /// None means from each stream's beginning. So does the epoch, which the answer gives as `next_from` if the time
    /// was up before anything was known.
    pub from: Option<Millis>,
    /// None means to the end of what is covered.
    pub to: Option<Millis>,
}

/// Arguments of `restart`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartArgs {
    /// None means all enabled streams.
    pub streams: Option<Vec<Stream>>,
    /// Believe the next readings of inventories: what they lack is deleted, however much it is.
    pub accept_deletions: bool,
}

/// Arguments of `health`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthArgs {
    /// The key prefix below which the findings are stored. Without it they are only answered.
    pub prefix: Option<String>,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    Csv,
}

/// Arguments of `plan`: a long span, to be covered by shards.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanArgs {
    pub streams: Option<Vec<Stream>>,
    pub span: Span,
    /// The number of shards that run at a time and share the budget.
    pub at_once: usize,
    /// For all shards together. None means half of `REQUESTS_PER_MINUTE`.
    pub requests_per_minute: Option<usize>,
    pub expires_after: TimeDelta,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CollectArgs {
    pub streams: Option<Vec<Stream>>,
    /// The span to cover. None means the scheduled work.
    pub span: Option<Span>,
    pub dry_run: bool,
}

impl CollectArgs {
    /// The scheduled work of all enabled streams.
    pub const ALL: Self = Self { streams: None, span: None, dry_run: false };
}
