//! A siege: lasting faults, runs that meet them again and again, and what must hold meanwhile. Healthy records are
//! stored by the second run (liveness). No run is complete while a record is missing (honesty).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use simulator::{Behaviour, Dataset, Endpoint, Fault, Outcome, S3Fault};

use crate::beyond::{Phase, Siege};
use crate::happenings::locked;
use crate::lasting::{How, Lasting, children, event_stream};
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
                if !(lasting == Lasting::Halved && is_being_read) {
                    self.arm_lasting(lasting, case.as_deref());
                }
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            if let Some(steps) = phase.death {
                self.first.die_after(steps);
                self.run_under(siege, phase).await?;
                // By then the dead run's lease is over.
                tokio::time::sleep(DEADLINE + TICK).await;
            }
            let since = simulator::clock::now() - TimeDelta::seconds(1);
            for _ in 0..2 {
                self.run_under(siege, phase).await?;
                tokio::time::sleep(TICK).await;
            }
            let is_healthy = |stream: &str| !siege.lasting.iter().any(|lasting| lasting.holds_up(stream));
            // With few requests in a minute two runs are too short for that.
            if self.plan.rarities.requests_per_minute.is_none() {
                oracle::is_told_to(&self.sim, &self.tenant, since, is_healthy)
                    .await
                    .map_err(|wrong| Wrong { promise: "held up", ..wrong })?;
            }
            tokio::time::sleep(phase.pause).await;
        }
        self.comes_to_rest();
        self.tenant.show_all_users();
        Ok(())
    }

    /// Makes one run, and checks that it reports what is wrong.
    async fn run_under(&self, siege: &Siege, phase: &Phase) -> Result<(), Wrong> {
        let (began, backoffs) = (simulator::clock::now(), Backoffs::of(&self.sim).await);
        let outcome = self.ask(&self.first, json!({"source": "aws.scheduler"}), DEADLINE).await?;
        oracle::at_any_instant(&self.sim, &self.tenant).await?;
        backoffs.are_kept(&self.sim).await?;
        let is_complete = matches!(&outcome, Outcome::Answer(answer) if answer["status"] == "complete");
        if !is_complete {
            return Ok(());
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
        oracle::is_told_to(&self.sim, &self.tenant, told_to, is_permitted)
            .await
            .map_err(|wrong| Wrong { promise: "dishonest", ..wrong })
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
            Lasting::Halved => self.tenant.hide_half_of_the_users(),
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
        }
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
