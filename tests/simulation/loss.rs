//! The state is lost, or set back, when everything was collected. The manifests make up for it: nothing is lost or twice,
//! and it is told. Or the API's own records are gone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault, Outcome};

use crate::chain;
use crate::objects;
use crate::oddities::Loss;
use crate::oracle::{self, CHECKPOINT, STATE, Wrong, wrong};
use crate::round::Change;
use crate::schedule::Stage;
use crate::streams;

/// More runs than anything takes.
const AT_MOST: usize = 12;
/// The whole list of cases is compared this often.
const WEEK: Duration = Duration::from_hours(7 * 24 + 1);
const HOUR: Duration = Duration::from_mins(61);

/// What must be told of a loss, in an answer or in a health record.
type Told = Vec<String>;

impl Stage<'_> {
    /// Notes the checkpoint as it is after a round, to be put back much later.
    pub async fn keep_the_checkpoint(&self, round: usize) {
        let rounds = self.plan.rounds.len() as u64;
        let is_older = matches!(self.plan.oddities.loss, Some(Loss::Older | Loss::OlderRecovered));
        if is_older && round as u64 == self.plan.seed % rounds && self.has_begun().await {
            // One that knows nothing is as good as none.
            let knows = oracle::checkpoint(&self.sim).await["manifests"]["head"].is_object();
            let object = self.sim.s3.object(self.sim.bucket(), CHECKPOINT).await;
            self.tenant.past().older = object.filter(|_| knows).map(|object| object.bytes);
        }
    }

    pub async fn outlives_a_loss(&self) -> Result<(), Wrong> {
        let Some(loss) = self.plan.oddities.loss.filter(|_| self.is_in_memory()) else { return Ok(()) };
        let in_the_end = |wrong: Wrong| Wrong { how: format!("after {loss:?}: {}", wrong.how), ..wrong };
        // Nothing that was sent can arrive any more, and no lease is left.
        tokio::time::sleep(Duration::from_mins(16)).await;
        let Some(expected) = self.suffers(loss).await.map_err(in_the_end)? else { return Ok(()) };
        self.tenant.apply(&[Change::FileEvents(7), Change::Audit(7), Change::User(3), Change::Case(1)]);
        let since = simulator::clock::now();
        let (mut last, mut told) = (None, String::new());
        for _ in 0..AT_MOST {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let outcome = self.calmly(&self.first, json!({"action": "collect"})).await;
            write!(told, "{outcome:?}").expect("a string");
            if matches!(&outcome, Outcome::Answer(answer) if answer["status"] == "complete")
                && self.nothing_is_owed(since).await
            {
                oracle::at_the_end(&self.sim, &self.tenant).await.map_err(in_the_end)?;
                self.is_told(&expected, &told, since).await.map_err(in_the_end)?;
                return chain::tells_every_object(&self.sim, &self.tenant).await.map_err(in_the_end);
            }
            if let Outcome::Failed { error_message, .. } = &outcome {
                let accepts = error_message.contains("accept_deletions");
                self.calmly(&self.first, json!({"action": "restart", "accept_deletions": accepts})).await;
            }
            last = Some(outcome);
        }
        Err(wrong("stuck", format!("after {loss:?} it never completes: {last:?}")))
    }

    /// Whether a loss is told loudly. What nobody has read since can't be.
    async fn is_told(&self, expected: &Told, told: &str, since: DateTime<Utc>) -> Result<(), Wrong> {
        let health = objects::lines_below(&self.sim, &self.tenant, oracle::HEALTH).await;
        let is_told = |what: &&String| told.contains(what.as_str()) || health.iter().any(|line| line.contains(*what));
        let read = self.sim.s3.requests().into_iter().filter(|request| request.method == "GET" && request.at > since);
        let read: BTreeSet<String> = read.map(|request| request.key).collect();
        let is_due = |what: &&String| !what.starts_with(STATE) || read.contains(*what);
        match expected.iter().filter(is_due).find(|what| !is_told(what)) {
            None => Ok(()),
            Some(what) => Err(wrong("untold", format!("neither a health record nor an answer says: {what}"))),
        }
    }

    /// None if there is nothing to lose.
    async fn suffers(&self, loss: Loss) -> Result<Option<Told>, Wrong> {
        let (s3, bucket) = (&self.sim.s3, self.sim.bucket());
        let says = |what: &str| Ok(Some(vec![what.to_owned()]));
        match loss {
            Loss::Case if self.plan.collects("cases") => return self.loses_a_case().await,
            Loss::Retention if self.plan.collects("file_events") => return self.forgets_file_events().await,
            Loss::Case | Loss::Retention => return Ok(None),
            Loss::Known | Loss::KnownOfAny => {
                let Some((stream, key)) = self.known_of(loss).await else { return Ok(None) };
                let Some(object) = s3.object(bucket, &key).await else { return Ok(None) };
                let mut bytes = object.bytes.to_vec();
                let middle = bytes.len() / 2;
                if loss == Loss::Known {
                    bytes[middle] ^= 1;
                } else {
                    bytes.truncate(middle);
                }
                s3.put_raw(bucket, &key, bytes).await;
                // A warm container knows it by heart.
                self.first.kill();
                self.tenant.past().lost = Some((loss, stream));
                return Ok(Some(vec![key]));
            }
            Loss::Checkpoint | Loss::Recovered => s3.delete_raw(bucket, CHECKPOINT).await,
            Loss::Older | Loss::OlderRecovered => {
                let Some(older) = self.tenant.past().older.take() else { return Ok(None) };
                s3.put_raw(bucket, CHECKPOINT, older).await;
                if loss == Loss::Older {
                    self.tenant.past().lost = Some((loss, ""));
                    // It may lack nothing.
                    return Ok(Some(Vec::new()));
                }
            }
        }
        self.tenant.past().lost = Some((loss, ""));
        if loss == Loss::Checkpoint {
            return says("the checkpoint is gone");
        }
        match self.calmly(&self.first, json!({"action": "recover"})).await {
            Outcome::Answer(answer) if answer["status"] == "complete" => says("the checkpoint was recovered from"),
            other => Err(wrong("stuck", format!("`recover` ends as {other:?}"))),
        }
    }

    /// The stream whose known records are lost, and their key.
    async fn known_of(&self, loss: Loss) -> Option<(&'static str, String)> {
        let checkpoint = oracle::checkpoint(&self.sim).await;
        let key =
            |kind: &str, stream: &str| checkpoint[kind][stream]["stored"]["known"]["key"].as_str().map(str::to_owned);
        if loss == Loss::Known {
            return Some(("cases", key("versions", "cases")?));
        }
        let mut known: Vec<(&'static str, String)> = streams::all()
            .filter_map(|stream| {
                ["inventory", "versions", "rescanned"]
                    .iter()
                    .find_map(|kind| Some((stream.name, key(kind, stream.name)?)))
            })
            .collect();
        let nth = usize::try_from(self.plan.seed).unwrap_or_default();
        (!known.is_empty()).then(|| known.swap_remove(nth % known.len()))
    }

    /// A case is deleted. It takes two whole lists without it, the first a week after the last, and the other an hour later.
    async fn loses_a_case(&self) -> Result<Option<Told>, Wrong> {
        let Some(number) = self.tenant.nth(Dataset::Cases, 1) else { return Ok(None) };
        self.tenant.apply(&[Change::CaseIsRemoved(1)]);
        for pause in [WEEK, HOUR, HOUR] {
            tokio::time::sleep(pause).await;
            self.calmly(&self.first, json!({"action": "collect"})).await;
        }
        let Some(cases) = streams::named("cases") else { return Ok(None) };
        let stored = objects::versions(&self.sim, &self.tenant, cases).await?;
        let of_it = stored.get(streams::key(Dataset::Cases, "", &number).as_str());
        match of_it.and_then(|lines| lines.last()) {
            Some(None) => Ok(Some(Vec::new())),
            _ => Err(wrong("lost", format!("cases: {number} is gone and has no tombstone"))),
        }
    }

    /// File events can't be read for longer than the tenant keeps them.
    async fn forgets_file_events(&self) -> Result<Option<Told>, Wrong> {
        self.sim.faults.always(Endpoint::FileEvents, Fault::Status(503, "{}".to_owned()));
        let forgotten = simulator::clock::now();
        self.tenant.apply(&[Change::FileEvents(5)]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.calmly(&self.first, json!({"action": "collect"})).await;
        // A gap is counted as a whole, unless an end of it is stuck. If it counts nothing, and ends where the API keeps its
        // records, all of it is covered, also what is too old. That is left out until it is mended.
        let stuck = oracle::checkpoint(&self.sim).await["stuck"]["file_events"].take();
        let is_apart = oracle::stuck_spans(&stuck).iter().any(|(from, to)| (*from..*to).contains(&forgotten));
        tokio::time::sleep(Duration::from_hours(26)).await;
        self.tenant.forget_file_events_since(forgotten);
        self.sim.faults.clear();
        for _ in 0..2 {
            self.calmly(&self.first, json!({"action": "collect"})).await;
        }
        let events = oracle::checkpoint(&self.sim).await["events"]["file_events"].take();
        let is_expired = holds(&events["expired"], forgotten) && !holds(&events["covered"], forgotten);
        if is_expired || !is_apart {
            return Ok(Some(Vec::new()));
        }
        Err(wrong("dishonest", format!("file events of {forgotten} are gone, and it says {events}")))
    }
}

fn holds(spans: &Value, at: DateTime<Utc>) -> bool {
    oracle::spans(spans).iter().any(|(from, to)| (*from..*to).contains(&at))
}
