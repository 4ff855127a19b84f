//! Claim, intent, read, send, read back, result: the story of one request.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::info;

use crate::core::retry::sleep_within;
use crate::core::time::Millis;
use crate::core::times::Times;
use crate::incydr::request::Caller;
use crate::respond::answer::{Answer, Outcome};
use crate::respond::api::{Api, Sent};
use crate::respond::error::{Kind, RespondError};
use crate::respond::goal::{Goal, Write};
use crate::respond::reads;
use crate::respond::request::{Approval, Request};
use crate::respond::resolve::Resolver;
use crate::respond::settings::{APPROVAL_LASTS, GRACE, RespondSettings};
use crate::respond::state::Asker;
use crate::respond::store::{Claim, Ended, Lock, Store};
use crate::respond::told::Told;

/// How often it is read back until what the API took shows.
const READ_BACKS: u32 = 4;
/// How often a goal is tried for: what may be repeated is, after it was read back.
const ROUNDS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

pub struct Run<'a> {
    pub settings: &'a RespondSettings,
    pub api: &'a Api,
    pub store: Store<'a>,
    pub caller: Caller<'a>,
    pub times: Times,
    /// Invoked under the name under which alone an approval is believed.
    pub may_approve: bool,
}

/// What sending came to: the last answer of the API, or the error that it ended with.
struct Sending {
    last: Result<Told, RespondError>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Taken,
    /// Refused, or never sent.
    NotTaken,
    Uncertain,
}

impl Run<'_> {
    /// Refusals and failures are answers, too; an error is one after which the same request may be tried again.
    pub async fn respond(&self, request: &Request) -> Answer {
        let acted = Box::pin(self.act(request)).await;
        let mut answer = acted.unwrap_or_else(|error| {
            let outcome = match error.kind {
                Kind::ApprovalRejected => Outcome::Rejected,
                _ => Outcome::Failed,
            };
            Answer::failed(&request.request_id, &request.name, outcome, &error)
        });
        answer.retries = self.caller.calls.retries.load(Ordering::Relaxed);
        answer
    }

    async fn act(&self, request: &Request) -> Result<Answer, RespondError> {
        self.check_allowed(request)?;
        if let crate::respond::action::Action::Read(read) = &request.action {
            let told = reads::read(read, self.api, &self.caller).await?;
            return Ok(Answer { told, ..answer(request, Outcome::Done) });
        }
        if request.dry_run || self.settings.dry_run {
            return self.rehearse(request).await;
        }
        let claim = self.store.claim(request, self.times.read_until).await?;
        if let Some(ended) = self.store.ended(&request.request_id, self.times.read_until).await? {
            return self.told(&claim, ended).await;
        }
        let newest = self.store.newest_lock(&request.request_id, self.times.read_until).await?;
        match newest {
            Some((n, lock)) => self.take_over(request, &claim, n, lock).await,
            None => self.begin(request, &claim).await,
        }
    }

    fn check_allowed(&self, request: &Request) -> Result<(), RespondError> {
        let permission = request.permission();
        if self.settings.allowed.contains(permission) {
            return Ok(());
        }
        let why = format!("{permission:?} is not among ALLOWED_ACTIONS");
        Err(RespondError::new(Kind::ActionNotAllowed, why))
    }

    /// What it would send, without a claim and without a record.
    async fn rehearse(&self, request: &Request) -> Result<Answer, RespondError> {
        let asker = self.asker();
        let goal = self.resolver(&asker).goal(request).await?;
        let before = asker.state(&goal).await?;
        let writes = goal.writes(&before);
        Ok(Answer {
            after: before.clone(),
            before,
            would_change: Some(!writes.is_empty()),
            requests: Some(writes),
            ..answer(request, Outcome::DryRun)
        })
    }

    /// Nothing was sent so far, whoever claimed it.
    async fn begin(&self, request: &Request, claim: &Claim) -> Result<Answer, RespondError> {
        let approved_by = match self.approval(request).await? {
            Approved::NotNeeded => None,
            Approved::By(name) => Some(name),
            Approved::Pending => {
                let hash = Some(request.hash.clone());
                return Ok(Answer { request_hash: hash, ..answer(request, Outcome::PendingApproval) });
            }
            Approved::Rejected(by, error) => return self.reject(request, claim, &by, &error).await,
        };
        let asker = self.asker();
        let goal = self.resolver(&asker).goal(request).await?;
        let before = asker.state(&goal).await?;
        let writes = goal.writes(&before);
        let intent = intent(request, claim, approved_by.as_deref(), &writes, &before);
        if writes.is_empty() {
            // Where another delivery has just done it, its lock was there before this one read.
            if let Some((n, held)) = self.store.newest_lock(&request.request_id, self.times.read_until).await? {
                return self.take_over(request, claim, n, held).await;
            }
            let answer = Answer { after: before.clone(), before, ..answer(request, Outcome::Already) };
            return self.end(request, claim, intent, answer).await;
        }
        self.store.take_place(&request.request_id, Millis::now(), self.times.read_until).await?;
        let lock = self.lock(goal, intent);
        if !self.store.lock(&request.request_id, 0, &lock, self.times.read_until).await? {
            let held = self.store.newest_lock(&request.request_id, self.times.read_until).await?;
            let (n, held) = held.ok_or_else(|| at_work(request))?;
            return self.take_over(request, claim, n, held).await;
        }
        // Where this fails nothing has been sent, and the lock goes to the next delivery.
        self.store.record(claim.at, &lock.intent, self.times.read_until).await?;
        self.send_and_end(request, claim, &lock, Some(writes)).await
    }

    /// Something may have been sent. While its sender may still be alive nobody else does anything; then it is read back.
    async fn take_over(&self, request: &Request, claim: &Claim, n: u32, held: Lock) -> Result<Answer, RespondError> {
        while Millis::now() < held.until + GRACE {
            if !sleep_within(PAUSE, self.times.read_until).await {
                return Err(at_work(request));
            }
            if let Some(ended) = self.store.ended(&request.request_id, self.times.read_until).await? {
                return self.told(claim, ended).await;
            }
        }
        let lock = Lock { intent: held.intent, ..self.lock(held.goal, Value::Null) };
        if !self.store.lock(&request.request_id, n + 1, &lock, self.times.read_until).await? {
            return Err(at_work(request));
        }
        info!(request_id = request.request_id, "taken over from a delivery that ended without a result");
        self.store.record(claim.at, &lock.intent, self.times.read_until).await?;
        self.send_and_end(request, claim, &lock, None).await
    }

    /// `writes` is what is left, where it was just read; of what was taken over that is read back first.
    async fn send_and_end(
        &self,
        request: &Request,
        claim: &Claim,
        lock: &Lock,
        writes: Option<Vec<Write>>,
    ) -> Result<Answer, RespondError> {
        let (asker, goal, before) = (self.asker(), &lock.goal, lock.intent["before"].clone());
        // What a delivery that died may have sent is as good as sent.
        let mut may_send = writes.is_some() || goal.may_be_repeated();
        let (mut after, mut left) = if let Some(writes) = writes {
            (before.clone(), writes)
        } else {
            let state = asker.state(goal).await?;
            let left = goal.writes(&state);
            (state, left)
        };
        let mut sending = Sending { last: Ok(Told::message(200, "OK", "done")), end: End::Taken };
        let mut in_doubt = !may_send;
        for _ in 0..ROUNDS {
            if left.is_empty() || !may_send {
                break;
            }
            sending = self.send(&left).await;
            in_doubt |= sending.end == End::Uncertain;
            match self.read_back(&asker, goal, sending.end == End::Taken).await {
                Ok((state, writes)) => (after, left) = (state, writes),
                Err(error) => {
                    in_doubt = true;
                    sending.last = sending.last.and(Err(error));
                    break;
                }
            }
            // Never again what the API took, or what it refuses; and nothing without a look.
            may_send = goal.may_be_repeated() && sending.end == End::Uncertain;
            if !left.is_empty() && may_send && !sleep_within(PAUSE, self.times.read_until).await {
                break;
            }
        }
        let answer = outcome(request, before, after, &left, sending, in_doubt);
        self.end(request, claim, lock.intent.clone(), answer).await
    }

    /// One after the other, up to the first that fails; events that are too many at once are sent in halves.
    async fn send(&self, writes: &[Write]) -> Sending {
        let mut last = Ok(Told::message(200, "OK", "done"));
        let mut queue: Vec<Write> = writes.iter().rev().cloned().collect();
        while let Some(write) = queue.pop() {
            let (error, end) = match self.api.write(&write, &self.caller).await {
                Sent::Done(told) => {
                    last = Ok(told);
                    continue;
                }
                Sent::Refused(error) => match write.halves().filter(|_| may_be_too_many(&error)) {
                    Some([first, second]) => {
                        queue.extend([second, first]);
                        continue;
                    }
                    None => (error, End::NotTaken),
                },
                Sent::NotSent(error) => (error, End::NotTaken),
                Sent::Uncertain(error) => (error, End::Uncertain),
            };
            return Sending { last: Err(error), end };
        }
        Sending { last, end: End::Taken }
    }

    /// The state, and what is left to send. What the API said it took may take a moment to show.
    async fn read_back(
        &self,
        asker: &Asker<'_>,
        goal: &Goal,
        must_show: bool,
    ) -> Result<(Value, Vec<Write>), RespondError> {
        for n in 1.. {
            let state = asker.state(goal).await?;
            let left = goal.writes(&state);
            let is_last = n == READ_BACKS || !must_show || left.is_empty();
            if is_last || !sleep_within(PAUSE * n, self.times.read_until).await {
                return Ok((state, left));
            }
        }
        unreachable!("it is read back a few times")
    }

    /// Whether it may be done now: where approval is needed another person has given it, to this very request.
    async fn approval(&self, request: &Request) -> Result<Approved, RespondError> {
        if !self.settings.needs_approval.contains(request.permission()) {
            return Ok(Approved::NotNeeded);
        }
        let Some(approval) = &request.approval else {
            self.store.wait_for_approval(request, self.times.read_until).await?;
            return Ok(Approved::Pending);
        };
        if !self.may_approve {
            let alias = &self.settings.approvals_alias;
            let why = format!("an approval is believed only where the function is invoked as its alias {alias:?}");
            return Err(RespondError::new(Kind::ApprovalRejected, why));
        }
        let since = self.store.waits_since(request, self.times.read_until).await?;
        let since = since.ok_or_else(|| {
            RespondError::new(
                Kind::ApprovalRejected,
                "this request never asked for approval: send it without one first",
            )
        })?;
        Ok(match rejection(request, approval, since, Millis::now()) {
            None => Approved::By(approval.approved_by.clone()),
            Some(why) => {
                Approved::Rejected(approval.approved_by.clone(), RespondError::new(Kind::ApprovalRejected, why))
            }
        })
    }

    async fn reject(
        &self,
        request: &Request,
        claim: &Claim,
        by: &str,
        error: &RespondError,
    ) -> Result<Answer, RespondError> {
        let intent = intent(request, claim, Some(by), &[], &Value::Null);
        self.end(request, claim, intent, failed(request, Outcome::Rejected, error)).await
    }

    /// The result, and the trail's two records. Whoever finds the result later makes sure of the records.
    async fn end(
        &self,
        request: &Request,
        claim: &Claim,
        intent: Value,
        mut answer: Answer,
    ) -> Result<Answer, RespondError> {
        answer.retries = self.caller.calls.retries.load(Ordering::Relaxed);
        let at = Millis::now().max(claim.at + 1);
        let mut result = json!({
            "request_id": request.request_id,
            "record": "result",
            "at": at,
            "action": request.name,
            "requested_by": claim.requested_by,
            "approved_by": intent["approved_by"],
            "outcome": answer.outcome,
            "status_code": answer.told.status_code,
            "before": answer.before,
            "after": answer.after,
            "retries": answer.retries,
        });
        if let Some(error) = &answer.error {
            result["error"] = json!(error);
        }
        let ended = Ended { at, answer, intent, result };
        let ended = self.store.end(&request.request_id, ended, self.times.store_until).await?;
        self.told(claim, ended).await
    }

    async fn told(&self, claim: &Claim, ended: Ended) -> Result<Answer, RespondError> {
        self.store.record(claim.at, &ended.intent, self.times.store_until).await?;
        self.store.record(ended.at, &ended.result, self.times.store_until).await?;
        Ok(ended.answer)
    }

    fn asker(&self) -> Asker<'_> {
        Asker { api: self.api, caller: &self.caller }
    }

    fn resolver<'a>(&'a self, asker: &'a Asker<'a>) -> Resolver<'a> {
        Resolver { asker, settings: self.settings, store: &self.store }
    }

    /// For as long as this run may send anything.
    fn lock(&self, goal: Goal, intent: Value) -> Lock {
        let run_id = self.store.run_id.to_owned();
        Lock { run_id, at: Millis::now(), until: self.times.read_until, goal, intent }
    }
}

/// The trail's first record.
fn intent(request: &Request, claim: &Claim, approved_by: Option<&str>, writes: &[Write], before: &Value) -> Value {
    json!({
        "request_id": request.request_id,
        "record": "intent",
        "at": claim.at,
        "action": request.name,
        "input": request.input,
        "requested_by": claim.requested_by,
        "reason": claim.reason,
        "approved_by": approved_by,
        "requests": writes,
        "before": before,
    })
}

fn outcome(request: &Request, before: Value, after: Value, left: &[Write], sending: Sending, in_doubt: bool) -> Answer {
    let answer = match sending.last {
        // Whatever the API said: it is so.
        Ok(told) if left.is_empty() => Answer { told, ..answer(request, Outcome::Done) },
        Err(error) if left.is_empty() => {
            info!(request_id = request.request_id, error = error.message, "read back: it took effect all the same");
            answer(request, Outcome::Done)
        }
        Err(error) if sending.end == End::NotTaken && !in_doubt => failed(request, Outcome::Failed, &error),
        Err(error) => {
            let why = format!("it may have been sent, and reading back doesn't show it: {}", error.message);
            failed(request, Outcome::Unknown, &RespondError { message: why, ..error })
        }
        Ok(told) => {
            let why = "reading back doesn't show that it took effect";
            let error = RespondError::new(Kind::ThirdPartyGenericError, why);
            failed(request, Outcome::Unknown, &RespondError { told: Some(Box::new(told)), ..error })
        }
    };
    Answer { before, after, ..answer }
}

fn answer(request: &Request, outcome: Outcome) -> Answer {
    Answer::new(&request.request_id, &request.name, outcome)
}

fn failed(request: &Request, outcome: Outcome, error: &RespondError) -> Answer {
    Answer::failed(&request.request_id, &request.name, outcome, error)
}

enum Approved {
    NotNeeded,
    Pending,
    By(String),
    Rejected(String, RespondError),
}

/// Why an approval is none.
fn rejection(request: &Request, approval: &Approval, since: Millis, now: Millis) -> Option<String> {
    let is_same = approval.approved_by.trim().eq_ignore_ascii_case(request.requested_by.trim());
    match () {
        () if approval.request_hash != request.hash => {
            Some("the approval is bound to another request_hash than this request's".into())
        }
        () if !approval.is_given => Some(format!("{} refused it", approval.approved_by)),
        () if is_same => Some(format!("{} asked for it and can't approve it", approval.approved_by)),
        () if now > since + APPROVAL_LASTS => Some(format!("it asked for approval on {since}, more than 24 hours ago")),
        () => None,
    }
}

fn at_work(request: &Request) -> RespondError {
    let why = format!(
        "another delivery of request_id {:?} is at work, or ended without a result: deliver it again later",
        request.request_id
    );
    RespondError::new(Kind::FirstPartyGenericError, why)
}

/// How many events one request takes, or a case holds, is not published. What the API says of a case is no matter of number.
fn may_be_too_many(error: &RespondError) -> bool {
    let is_400 = error.told.as_ref().is_some_and(|told| told.status_code == 400);
    is_400 && !["CLOSED", "ARCHIVED"].iter().any(|word| error.message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_is_bound_to_the_request_to_another_person_and_to_a_day() {
        let event = json!({"action": "rule.disable", "request_id": "r", "requested_by": "alice@example.com",
            "reason": "noise", "input": {"id": "rule-1"}});
        let request = Request::parse(event.as_object().expect("an object")).expect("good");
        let given =
            |by: &str, is_given, hash: &str| Approval { approved_by: by.into(), is_given, request_hash: hash.into() };
        let (since, in_time) = (Millis(0), Millis(APPROVAL_LASTS));
        assert_eq!(rejection(&request, &given("bob", true, &request.hash), since, in_time), None);
        for (approval, now, why) in [
            (given("bob", false, &request.hash), in_time, "refused"),
            (given(" Alice@Example.com", true, &request.hash), in_time, "can't approve"),
            (given("bob", true, "another"), in_time, "another request_hash"),
            (given("bob", true, &request.hash), in_time + 1, "24 hours"),
        ] {
            let rejected = rejection(&request, &approval, since, now).expect(why);
            assert!(rejected.contains(why), "{rejected}");
        }
    }
}
