//! A siege: lasting faults, runs that meet them again and again, and what must hold meanwhile. Healthy records are
//! stored by the second run (liveness). No run is complete while a record is missing (honesty).

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::http::Request;
use simulator::{Behaviour, Dataset, Endpoint, Fault, Outcome, S3Fault, span_asked};

use crate::beyond::{Phase, Siege};
use crate::classes::class;
use crate::happenings::locked;
use crate::history::Stored;
use crate::lasting::{How, Lasting, children, event_stream};
use crate::objects;
use crate::oddities;
use crate::oracle::{self, Wrong, wrong};
use crate::patience::Backoffs;
use crate::rarities::{self, Trouble};
use crate::round::Change;
use crate::schedule::Stage;
use crate::streams;

/// Enough time for any run.
const DEADLINE: Duration = Duration::from_mins(5);
const TICK: Duration = Duration::from_mins(1);
/// So many runs may die in a phase: four at a deadly window before it is left alone, as many at its neighbour, whose margin
/// reaches into it, and at both of the last phase's.
const MOST_DEATHS: u32 = 16;

impl Stage<'_> {
    pub async fn siege(&self) -> Result<(), Wrong> {
        let Some(siege) = &self.plan.beyond.siege else { return Ok(()) };
        if !self.has_begun().await {
            return Ok(());
        }
        self.comes_to_rest();
        self.free_the_lease().await;
        for phase in &siege.phases {
            self.tenant.apply(&phase.changes);
            self.sim.faults.clear();
            self.tenant.show_all_users();
            self.sim.s3.faults.clear();
            *locked(&self.refused_key) = None;
            self.mend_the_secret();
            let case = phase.changes.iter().find_map(|change| match change {
                Change::Case(n) => self.tenant.nth(Dataset::Cases, *n),
                _ => None,
            });
            // What strikes every request comes last, because only one fault strikes.
            let strikes_all = |lasting: &Lasting| matches!(lasting, Lasting::Aged(_) | Lasting::Firewall);
            let (last, first): (Vec<_>, Vec<_>) = siege.lasting.iter().copied().partition(strikes_all);
            // A reading that began with all users would lack some of them, and not half.
            let is_being_read = oracle::checkpoint(&self.sim).await["inventory"]["users"]["pass"].is_object();
            for lasting in first.into_iter().chain(last) {
                if lasting != Lasting::Halved {
                    self.arm_lasting(lasting, case.as_deref());
                } else if !is_being_read {
                    self.tenant.hide_half_of_the_users(&self.stored_users().await?);
                }
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            if let Some(steps) = phase.death {
                self.first.die_after(steps);
                self.run_under(siege, phase).await?;
                // By then the dead run's lease is over.
                tokio::time::sleep(DEADLINE + TICK).await;
            }
            let began = simulator::clock::now();
            let since = self.runs_in(siege, phase).await?;
            self.nothing_else_is_stuck(siege, began).await?;
            let is_healthy = |stream: &str| !siege.lasting.iter().any(|lasting| lasting.holds_up(stream));
            // With few requests in a minute two runs are too short for that.
            if self.plan.rarities.requests_per_minute.is_none() {
                oracle::is_told_to(&self.sim, &self.tenant, since, is_healthy, self.refused_span())
                    .await
                    .map_err(|wrong| Wrong { promise: "held up", ..wrong })?;
            }
            tokio::time::sleep(phase.pause).await;
        }
        self.comes_to_rest();
        self.tenant.show_all_users();
        Ok(())
    }

    /// Makes two runs that end, and returns when the first of them began. Before them a deadly window may kill some; meanwhile
    /// more records come.
    async fn runs_in(&self, siege: &Siege, phase: &Phase) -> Result<DateTime<Utc>, Wrong> {
        for died in 0..=MOST_DEATHS {
            let since = simulator::clock::now() - TimeDelta::seconds(1);
            if self.run_under(siege, phase).await? {
                tokio::time::sleep(TICK).await;
                if self.run_under(siege, phase).await? {
                    tokio::time::sleep(TICK).await;
                    return Ok(since);
                }
            }
            tokio::time::sleep(DEADLINE + TICK).await;
            if died == 0 {
                self.tenant.apply(&phase.changes);
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        Err(wrong("held up", format!("more than {MOST_DEATHS} runs have died")))
    }

    /// Checks that only what a lasting fault strikes became stuck.
    async fn nothing_else_is_stuck(&self, siege: &Siege, since: DateTime<Utc>) -> Result<(), Wrong> {
        let stuck = oracle::checkpoint(&self.sim).await["stuck"].take();
        for (stream, entries) in stuck.as_object().into_iter().flatten() {
            // A window at which runs died before the siege is left alone during it, or read in parts.
            // A record that is gone has no list, which is stuck until its parent's list is read again.
            let tells =
                |entry: &Value, what| entry["error"]["message"].as_str().is_some_and(|told| told.contains(what));
            let is_new = |entry: &&Value| {
                entry["alone"] != true
                    && !tells(entry, "runs died while they read")
                    && !tells(entry, "answers 404")
                    && oracle::time(&entry["since"]).is_some_and(|began| began >= since)
            };
            let is_struck = siege.lasting.iter().any(|lasting| lasting.may_stick(stream));
            if let Some(entry) = entries.as_array().into_iter().flatten().find(is_new)
                && !is_struck
            {
                return Err(wrong("stuck without a reason", format!("{stream}: {entry}")));
            }
        }
        Ok(())
    }

    /// Makes one run, and checks that it reports what is wrong. Returns whether it lived.
    async fn run_under(&self, siege: &Siege, phase: &Phase) -> Result<bool, Wrong> {
        let (began, backoffs) = (simulator::clock::now(), Backoffs::of(&self.sim).await);
        let outcome = self.ask(&self.first, json!({"source": "aws.scheduler"}), DEADLINE).await?;
        oracle::at_any_instant(&self.sim, &self.tenant).await?;
        backoffs.are_kept(&self.sim).await?;
        let is_complete = matches!(&outcome, Outcome::Answer(answer) if answer["status"] == "complete");
        if !is_complete {
            return Ok(!matches!(outcome, Outcome::Died(_)));
        }
        is_clock_told(siege, &outcome)?;
        // A stream without permission is reported as that, whatever else is wrong with it.
        let is_forbidden = siege.lasting.iter().any(|lasting| matches!(lasting, Lasting::Endpoint(_, How::Forbidden)));
        if let Some(lasting) =
            siege.lasting.iter().find(|lasting| lasting.must_be_told(phase, &self.plan.pages) && !is_forbidden)
        {
            return Err(wrong("dishonest", format!("it is complete under {lasting:?}: {outcome:?}")));
        }
        let behind = self.sim.api.behaviour().clock_offset.min(TimeDelta::zero());
        let told_to = began + behind - TimeDelta::seconds(1);
        // Lists note on the checkpoint when they were read, which is checked there.
        let is_permitted = |stream: &str| streams::named(stream).is_none() && !forbids(siege, stream);
        oracle::is_told_to(&self.sim, &self.tenant, told_to, is_permitted, None)
            .await
            .map_err(|wrong| Wrong { promise: "dishonest", ..wrong })?;
        Ok(true)
    }

    async fn stored_users(&self) -> Result<Stored, Wrong> {
        match self.tenant.streams().find(|stream| stream.name == "users") {
            Some(users) => objects::versions(&self.sim, &self.tenant, users).await,
            None => Ok(Stored::default()),
        }
    }

    /// Arms a lasting fault.
    fn arm_lasting(&self, lasting: Lasting, case: Option<&str>) {
        let (faults, s3) = (&self.sim.faults, &self.sim.s3.faults);
        let (from, to) = (simulator::clock::now() - TimeDelta::seconds(1), forever());
        let endpoint =
            |audit| if audit { [Endpoint::AuditSearch, Endpoint::AuditCount] } else { [Endpoint::FileEvents; 2] };
        match lasting {
            Lasting::NeverAgrees { audit, by } => {
                for endpoint in endpoint(audit).into_iter().take(1 + usize::from(audit)) {
                    faults.count_unseen(endpoint, by, from, to);
                }
            }
            Lasting::Capped { audit, most } => {
                for endpoint in endpoint(audit).into_iter().take(1 + usize::from(audit)) {
                    faults.cap_total(endpoint, most);
                }
            }
            Lasting::Endpoint(endpoint, how) => faults.always(endpoint, fault(how)),
            Lasting::Case(how) => {
                if let Some(case) = case {
                    faults.ail_at(format!("/v1/cases/{case}"), fault(how));
                }
            }
            Lasting::SignIn(how) => {
                self.sim.api.revoke_tokens();
                self.first.kill();
                faults.always(Endpoint::SignIn, fault(how));
            }
            Lasting::Store { class, status } => {
                let part = class.map(|class| format!("/{class}/")).unwrap_or_default();
                s3.always("PUT", &part, S3Fault::Status(status));
            }
            Lasting::Date(hours) => self.sim.api.change(|api| api.clock_offset = TimeDelta::hours(hours)),
            Lasting::Undercounted(endpoint) => faults.always(endpoint, Fault::TotalOff(-3)),
            Lasting::Renamed { audit } | Lasting::Epoch { audit } => {
                let fault = oddities::unreadable(audit, matches!(lasting, Lasting::Epoch { .. }));
                self.tenant.may_set_aside_more(event_stream(audit));
                faults.always(if audit { Endpoint::AuditSearch } else { Endpoint::FileEvents }, fault);
            }
            Lasting::EmptyPages => faults.always(Endpoint::FileEvents, oddities::empty_page()),
            // It needs to know who is stored.
            Lasting::Halved => {}
            Lasting::Aged(hours) => {
                self.sim.api.change(|api| api.clock_offset = -TimeDelta::hours(hours));
                faults.always(Endpoint::Any, Fault::Header("age", (3_600 * hours).to_string()));
            }
            Lasting::Firewall => faults.always(Endpoint::Any, oddities::firewall()),
            Lasting::Secret(trouble) => {
                self.sim.api.revoke_tokens();
                self.first.kill();
                self.troubles_the_secret(trouble);
            }
            Lasting::Silent(class) => s3.always("PUT", &format!("/{class}/"), S3Fault::Hang),
            Lasting::ListOf(endpoint) => {
                if let Some(parent) = children(endpoint).and_then(|dataset| self.tenant.parent_of_some(dataset)) {
                    let path = format!("/{parent}/");
                    faults.ail(endpoint, move |request| request.path.contains(&path), fault(How::NotFound));
                }
            }
            Lasting::FullPages(endpoint, size) => faults.always(endpoint, rarities::counts_full_pages(size)),
            Lasting::Session(n) => {
                if let Some(session) = self.tenant.nth(Dataset::Sessions, n) {
                    faults.ail_at(format!("/v1/sessions/{session}/events"), Fault::TotalOff(2));
                }
            }
            Lasting::Key { method, class: refused, status } => {
                let first = self.refused_key.clone();
                s3.decide(class, move |request, of_key, _| {
                    let is_one = request.method == method && of_key.split(' ').next() == Some(refused);
                    let is_first = || *locked(&first).get_or_insert_with(|| request.key.clone()) == request.key;
                    (is_one && is_first()).then_some(S3Fault::Status(status))
                });
            }
            Lasting::Deadly { audit } => {
                // The phase's new records are of this instant.
                let at = simulator::clock::now();
                let endpoint = if audit { Endpoint::AuditSearch } else { Endpoint::FileEvents };
                let container = self.first.clone();
                faults.ail(endpoint, move |request| reads(request, at), Fault::run(move || container.kill()));
            }
        }
    }

    /// The span of the key that S3 refuses. Where a stream had nothing else to store, its window isn't stuck yet.
    fn refused_span(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let refused = locked(&self.refused_key).clone()?;
        let (from, to) = refused.rsplit('/').next()?.split_once('-')?;
        let time = |text: &str| {
            let parsed = NaiveDateTime::parse_from_str(text.get(..19)?, "%Y%m%dT%H%M%S%3fZ").ok()?;
            Some(parsed.and_utc())
        };
        Some((time(from)?, time(to)?))
    }

    pub fn troubles_the_secret(&self, trouble: Trouble) {
        match trouble {
            Trouble::Fault(fault) => self.sim.secrets.fail(Some(fault)),
            Trouble::Wrong => {
                *locked(&self.is_secret_wrong) = true;
                self.sim.secrets.set_secret(r#"{"client_id":"key-42-simulated","client_secret":"of-another-client"}"#);
            }
        }
    }

    pub fn mend_the_secret(&self) {
        self.sim.secrets.fail(None);
        if std::mem::take(&mut *locked(&self.is_secret_wrong)) {
            let Behaviour { client_id, client_secret, .. } = self.sim.api.behaviour();
            let right = json!({"client_id": client_id, "client_secret": client_secret});
            self.sim.secrets.set_secret(right.to_string());
        }
    }

    /// Removes all faults, and sets all clocks right.
    pub fn comes_to_rest(&self) {
        self.sim.faults.clear();
        self.sim.s3.faults.clear();
        self.mend_the_secret();
        self.sim.api.change(|api| {
            api.clock_offset = TimeDelta::zero();
            api.latency = Duration::ZERO;
            api.requests_per_minute = None;
        });
        for lambda in [&self.first, &self.second, &self.third] {
            lambda.set_clock_ahead(TimeDelta::zero());
            lambda.die_after(u64::MAX);
        }
    }
}

/// Whether a request reads the rows of this instant, rather than only counting them.
fn reads(request: &Request, at: DateTime<Utc>) -> bool {
    let body = request.json();
    body["pgSize"] != 1 && span_asked(&body).is_some_and(|[from, to]| from <= at && at <= to)
}

fn forever() -> DateTime<Utc> {
    simulator::clock::now() + TimeDelta::days(1_000)
}

fn fault(how: How) -> Fault {
    match how {
        How::Forbidden => Fault::Forbidden,
        How::Firewall => oddities::firewall(),
        How::ServerError => Fault::Status(503, "{}".to_owned()),
        How::Html => Fault::Html,
        How::Dropped => Fault::Dropped,
        How::Refused => Fault::Status(401, r#"{"error":"invalid_client"}"#.to_owned()),
        How::Unauthorized => Fault::Status(400, r#"{"error":"unauthorized_client"}"#.to_owned()),
        How::NotFound => Fault::Status(404, "{}".to_owned()),
        How::InPart => Fault::Under(206),
        How::TooManyRequests => Fault::RateLimited { retry_after: None },
        How::Silent => Fault::Hang,
    }
}

/// A `Date` that is hours off is told. One before 1970 is none. Where an answer has an `Age`, it tells no time.
fn is_clock_told(siege: &Siege, outcome: &Outcome) -> Result<(), Wrong> {
    // Of several only the last one holds.
    let date = siege.lasting.iter().rev().find(|lasting| matches!(lasting, Lasting::Date(_)));
    let is_aged = siege.lasting.iter().any(|lasting| matches!(lasting, Lasting::Aged(_)));
    let is_off = matches!(date, Some(Lasting::Date(-490_000..))) && !is_aged;
    match outcome {
        Outcome::Answer(answer) if is_off && !answer["clock"].is_object() => {
            Err(wrong("untold", format!("the API's clock is hours off, and it says nothing of that: {answer}")))
        }
        _ => Ok(()),
    }
}

fn forbids(siege: &Siege, stream: &str) -> bool {
    let mut forbidden = siege.lasting.iter().filter(|lasting| matches!(lasting, Lasting::Endpoint(_, How::Forbidden)));
    forbidden.any(|lasting| lasting.holds_up(stream))
}
