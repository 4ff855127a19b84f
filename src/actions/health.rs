//! Findings about agents, users and observers: reads the sources, applies the rules, answers. Stores the findings only
//! if the event names a prefix.

mod csv;

use std::collections::BTreeMap;

use serde::Serialize;
use tracing::{info, warn};

use crate::actions::answer::Status;
use crate::actions::call::Call;
use crate::actions::clients::Clients;
use crate::actions::invocation::{Format, HealthArgs};
use crate::bucket::ledger;
use crate::bucket::records::{Form, Records};
use crate::bucket::s3::Bucket;
use crate::collect::error::Error;
use crate::collect::health::finding::{Finding, FindingKind, LeftOut};
use crate::collect::health::findings::find;
use crate::collect::health::known_ends::{KnownEnds, known_ends};
use crate::collect::health::sources::Sources;
use crate::collect::health::{line, rules};
use crate::core::dialect::Dialect;
use crate::core::ndjson::{Packer, Packing};
use crate::core::settings::Settings;
use crate::core::stream::Stream;
use crate::core::tally::Calls;
use crate::core::time::Millis;
use crate::core::times::Times;
use crate::incydr::request::Caller;

/// Limit for the findings in the answer. All of them are stored.
const MOST_FINDINGS: usize = 1_000;

#[derive(Debug, Serialize)]
pub struct HealthAnswer {
    pub action: &'static str,
    pub run_id: String,
    /// `Partial` if a source failed for a reason that may pass.
    pub status: Status,
    pub summary: Summary,
    pub findings: Vec<Finding>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    pub left_out: Vec<LeftOut>,
    pub objects: Vec<ReportObject>,
}

/// Each count is null if its source could not be read.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub agents: Option<usize>,
    pub active_agents: Option<usize>,
    pub users: Option<usize>,
    /// The number of findings of each check that was made.
    pub findings: BTreeMap<FindingKind, u64>,
}

#[derive(Debug, Serialize)]
pub struct ReportObject {
    pub key: String,
    pub records: u64,
    pub bytes: u64,
}

pub async fn health(call: Call<'_>, asked: &HealthArgs) -> Result<HealthAnswer, Error> {
    let Call { settings, clients, run_id, deadline } = call;
    if settings.dialect == Dialect::Guide {
        let why = "an API of INCYDR_API_DIALECT \"guide\" has no agents, so \"health\" has nothing to check";
        return Err(Error::InvalidEvent(why.into()));
    }
    if let Some(prefix) = &asked.prefix {
        let refused = |why| Error::InvalidEvent(format!("\"prefix\" is {prefix:?}, but {why}"));
        settings.check_apart(&settings.bucket, prefix).map_err(refused)?;
    }

    let times = Times::new(Millis::now(), deadline);
    let calls = Calls::default();
    let caller = Caller::new(times.read_until, &calls);
    clients.api.sign_in(&caller).await?;
    let at = Millis::now();
    let known = known_ends_of(settings, clients, times.read_until).await;
    let sources = Box::pin(Sources::read(settings, &clients.api, &caller, at, &known)).await;
    if sources.is_nothing() {
        return Err(sources.into_error());
    }

    let mut report = Report::new(asked, settings);
    let left_out = find(&sources, &rules(settings, at), &mut |finding| report.take(finding));
    let status = if sources.may_do_better() { Status::Partial } else { Status::Complete };
    let summary = report.summary(&sources, &left_out);
    let Report { shown, truncated, packer, .. } = report;

    let mut objects = Vec::new();
    if let (Some(prefix), Some(packer)) = (&asked.prefix, packer) {
        let bucket = Bucket::of_records(settings, &clients.s3);
        let records = Records { bucket: &bucket, prefix, run_id, metadata: &settings.metadata, dry_run: false };
        let placed = packer.store(&records, at, times.store_until).await?;
        objects.extend(placed);
    }

    info!(%status, findings = ?summary.findings, left_out = left_out.len(), "checked the health of agents and users");
    let run_id = run_id.to_owned();
    Ok(HealthAnswer { action: "health", run_id, status, summary, findings: shown, truncated, left_out, objects })
}

/// The end dates that the stream `actor_profiles` has read, if it is enabled. Without the checkpoint none is known.
async fn known_ends_of(settings: &Settings, clients: &Clients, until: Millis) -> KnownEnds {
    if !settings.streams.contains(&Stream::ActorProfiles) {
        return KnownEnds::new();
    }
    let state = Bucket::of_state(settings, &clients.s3);
    let found = match ledger::load(&state, &settings.checkpoint_key, &settings.identity(None), until).await {
        Ok(found) => found,
        Err(error) => {
            warn!("the checkpoint can't be loaded, so all actor profiles are asked for: {error}");
            None
        }
    };
    let profiles = found.and_then(|mut found| found.checkpoint.inventory.remove(&Stream::ActorProfiles));
    match profiles {
        Some(profiles) => known_ends(settings, &state, &profiles, until).await,
        None => KnownEnds::new(),
    }
}

/// Collects the findings, for the answer and for the object.
struct Report {
    shown: Vec<Finding>,
    truncated: bool,
    counts: BTreeMap<FindingKind, u64>,
    packer: Option<Table>,
}

/// The object with the findings.
struct Table {
    packer: Packer,
    format: Format,
    rows: u64,
}

impl Report {
    fn new(asked: &HealthArgs, settings: &Settings) -> Self {
        let packing = match asked.format {
            Format::Json => settings.packing.clone(),
            // A CSV row can't take the suffix that is appended to JSON records.
            Format::Csv => Packing { suffix: String::new(), ..settings.packing.clone() },
        };
        let table = || Table { packer: Packer::new(&packing), format: asked.format, rows: 0 };
        let packer = asked.prefix.is_some().then(table);
        Self { shown: Vec::new(), truncated: false, counts: BTreeMap::new(), packer }
    }

    fn take(&mut self, finding: Finding) {
        *self.counts.entry(finding.finding).or_default() += 1;
        if let Some(table) = &mut self.packer {
            table.push(&finding);
        }
        if self.shown.len() < MOST_FINDINGS {
            self.shown.push(finding);
        } else {
            self.truncated = true;
        }
    }

    fn summary(&self, sources: &Sources, left_out: &[LeftOut]) -> Summary {
        let agents = sources.agents.as_ref().ok().map(|agents| &agents.by_id);
        let was_made = |check: &FindingKind| !left_out.iter().any(|left_out| left_out.check == *check);
        let made = FindingKind::ALL.into_iter().filter(was_made).map(|check| (check, 0));
        let mut findings: BTreeMap<FindingKind, u64> = made.collect();
        findings.extend(self.counts.iter().map(|(check, count)| (*check, *count)));
        Summary {
            agents: agents.map(BTreeMap::len),
            active_agents: agents.map(|agents| agents.values().filter(|agent| !agent.is_inactive).count()),
            users: sources.users.as_ref().ok().map(|users| users.by_id.len()),
            findings,
        }
    }
}

impl Table {
    fn push(&mut self, finding: &Finding) {
        match self.format {
            Format::Json => self.packer.push(&line(finding)),
            Format::Csv => {
                if self.rows == 0 {
                    self.push_row(&csv::header());
                }
                self.push_row(&csv::row(finding));
            }
        }
        self.rows += 1;
    }

    /// RFC 4180 ends a row with CR LF. The packer appends the LF.
    fn push_row(&mut self, row: &str) {
        self.packer.push(&format!("{row}\r"));
    }

    /// Stores nothing if there are no findings.
    async fn store(self, records: &Records<'_>, at: Millis, until: Millis) -> Result<Option<ReportObject>, Error> {
        if self.rows == 0 {
            return Ok(None);
        }
        let form = match self.format {
            Format::Json => Form::Ndjson,
            Format::Csv => Form::Csv,
        };
        let mut packed = self.packer.finish();
        // The header row is not a record.
        packed.records = self.rows;
        let placed = records.once_at(Stream::EnvironmentHealth, at, packed, form, until).await?;
        Ok(placed.map(|placed| ReportObject {
            key: placed.object.key,
            records: placed.object.records,
            bytes: placed.object.bytes,
        }))
    }
}
