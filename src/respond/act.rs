//! The steps of a request: claim, intent, read, send, read back, result. [`approval`] checks who may ask for it, and
//! [`sending`] sends.
//!
//! [`approval`]: crate::respond::approval
//! [`sending`]: crate::respond::sending

use std::time::Duration;

use serde_json::{Value, json};
use tracing::info;

use crate::core::retry::sleep_within;
use crate::core::time::{MILLISECOND, Millis};
use crate::core::times::Times;
use crate::incydr::request::Caller;
use crate::respond::action::Action;
use crate::respond::answer::{ActionAnswer, ActionOutcome};
use crate::respond::api::ResponderApi;
use crate::respond::approval::{Approved, approval};
use crate::respond::error::{ErrorCause, RespondError};
use crate::respond::goal::{ApiWrite, Goal};
use crate::respond::reads;
use crate::respond::request::ActionRequest;
use crate::respond::resolve::Resolver;
use crate::respond::sending::Sender;
use crate::respond::settings::{GRACE, RespondSettings};
use crate::respond::state::Asker;
use crate::respond::store::{ActionStore, Claim, Ended, Lock};

/// The pause between two looks for the result of another delivery.
const PAUSE: Duration = Duration::from_millis(500);

pub struct ActionRun<'a> {
    pub settings: &'a RespondSettings,
    pub api: &'a ResponderApi,
    pub store: ActionStore<'a>,
    pub caller: Caller<'a>,
    pub times: Times,
    /// Whether the function was invoked through the alias that may approve.
    pub may_approve: bool,
}

impl ActionRun<'_> {
    /// Does what a request asks for. A refusal or a failure is an answer, too. After an answer with an error, the same
    /// request may be sent again.
    pub async fn respond(&self, request: &ActionRequest) -> ActionAnswer {
        let acted = Box::pin(self.act(request)).await;
        let mut answer = acted.unwrap_or_else(|error| ActionAnswer::refused(Some(request), &error));
        answer.retries = self.caller.calls.retries.get();
        answer
    }

    async fn act(&self, request: &ActionRequest) -> Result<ActionAnswer, RespondError> {
        self.check_allowed(request)?;
        if let Action::Read(read) = &request.action {
            let told = reads::read(read, self.api, &self.caller).await?;
            return Ok(ActionAnswer { told, ..ActionAnswer::new(Some(request), ActionOutcome::Done) });
        }
        if request.dry_run || self.settings.dry_run {
            return self.rehearse(request).await;
        }

        let claim = self.store.claim(request, self.times.read_until).await?;
        if let Some(ended) = self.store.ended(&request.request_id, self.times.read_until).await? {
            return self.finish_trail(&claim, ended).await;
        }

        let newest = self.store.newest_lock(&request.request_id, self.times.read_until).await?;
        match newest {
            Some((n, lock)) => self.take_over(request, &claim, n, lock).await,
            None => self.begin(request, &claim).await,
        }
    }

    fn check_allowed(&self, request: &ActionRequest) -> Result<(), RespondError> {
        let permission = request.permission();
        if self.settings.allowed.contains(permission) {
            return Ok(());
        }
        let why = format!("{permission:?} is not among ALLOWED_ACTIONS");
        Err(RespondError::new(ErrorCause::ActionNotAllowed, why))
    }

    /// Returns the writes that the request would send. Makes no claim and no record.
    async fn rehearse(&self, request: &ActionRequest) -> Result<ActionAnswer, RespondError> {
        let asker = self.asker();
        let goal = self.resolver(&asker).goal(request).await?;
        let before = asker.state(&goal).await?;
        let writes = goal.writes(&before);
        Ok(ActionAnswer {
            after: before.clone(),
            before,
            would_change: Some(!writes.is_empty()),
            requests: Some(writes),
            ..ActionAnswer::new(Some(request), ActionOutcome::DryRun)
        })
    }

    /// Called if no lock exists for the request: nothing has been sent.
    async fn begin(&self, request: &ActionRequest, claim: &Claim) -> Result<ActionAnswer, RespondError> {
        let approved_by = match approval(
            request,
            claim,
            self.settings,
            &self.store,
            self.may_approve,
            self.times.read_until,
        )
        .await?
        {
            Approved::NotNeeded => None,
            Approved::By(name) => Some(name),
            Approved::Pending => {
                let hash = Some(request.hash.clone());
                return Ok(ActionAnswer {
                    request_hash: hash,
                    ..ActionAnswer::new(Some(request), ActionOutcome::PendingApproval)
                });
            }
            Approved::Rejected(by, error) => return self.reject(request, claim, &by, &error).await,
        };

        let asker = self.asker();
        let goal = self.resolver(&asker).goal(request).await?;
        let before = asker.state(&goal).await?;
        let writes = goal.writes(&before);
        let intent = intent(request, claim, approved_by.as_deref(), &writes, &before);

        if writes.is_empty() {
            // If another delivery has just done it, that delivery's lock was created before this one read the state.
            if let Some((n, held)) = self.store.newest_lock(&request.request_id, self.times.read_until).await? {
                return self.take_over(request, claim, n, held).await;
            }
            let answer = ActionAnswer {
                after: before.clone(),
                before,
                ..ActionAnswer::new(Some(request), ActionOutcome::Already)
            };
            return self.end(request, claim, intent, answer).await;
        }

        self.store.take_place(&request.request_id, Millis::now(), self.times.read_until).await?;
        let lock = self.lock(goal, intent);
        if !self.store.lock(&request.request_id, 0, &lock, self.times.read_until).await? {
            let held = self.store.newest_lock(&request.request_id, self.times.read_until).await?;
            let (n, held) = held.ok_or_else(|| at_work(request))?;
            return self.take_over(request, claim, n, held).await;
        }

        // If this fails, nothing has been sent. The next delivery takes over the lock.
        self.store.record(claim.at, &lock.intent, self.times.read_until).await?;
        self.send_and_end(request, claim, lock, Some(writes)).await
    }

    /// Called if a lock exists: its holder may have sent something. Waits until the holder can't be running any more.
    /// Then takes over the lock and reads back.
    async fn take_over(
        &self,
        request: &ActionRequest,
        claim: &Claim,
        n: u32,
        held: Lock,
    ) -> Result<ActionAnswer, RespondError> {
        while Millis::now() < held.until + GRACE {
            if !sleep_within(PAUSE, self.times.read_until).await {
                return Err(at_work(request));
            }
            if let Some(ended) = self.store.ended(&request.request_id, self.times.read_until).await? {
                return self.finish_trail(claim, ended).await;
            }
        }

        let lock = Lock { intent: held.intent, ..self.lock(held.goal, Value::Null) };
        if !self.store.lock(&request.request_id, n + 1, &lock, self.times.read_until).await? {
            return Err(at_work(request));
        }

        info!(request_id = request.request_id, "taken over from a run that ended without a result");
        self.store.record(claim.at, &lock.intent, self.times.read_until).await?;
        self.send_and_end(request, claim, lock, None).await
    }

    async fn send_and_end(
        &self,
        request: &ActionRequest,
        claim: &Claim,
        lock: Lock,
        writes: Option<Vec<ApiWrite>>,
    ) -> Result<ActionAnswer, RespondError> {
        let until = self.times.read_until;
        let sender = Sender { api: self.api, caller: &self.caller, asker: self.asker(), until };
        let answer = sender.send_and_read_back(request, &lock, writes).await?;
        self.end(request, claim, lock.intent, answer).await
    }

    /// Ends a request whose approval is a refusal or is not valid. Nothing was sent.
    async fn reject(
        &self,
        request: &ActionRequest,
        claim: &Claim,
        by: &str,
        error: &RespondError,
    ) -> Result<ActionAnswer, RespondError> {
        let intent = intent(request, claim, Some(by), &[], &Value::Null);
        self.end(request, claim, intent, ActionAnswer::failed(Some(request), ActionOutcome::Rejected, error)).await
    }

    /// Stores the result, then the two records of the trail. Whoever finds the result later writes the records again if
    /// they are missing.
    async fn end(
        &self,
        request: &ActionRequest,
        claim: &Claim,
        intent: Value,
        mut answer: ActionAnswer,
    ) -> Result<ActionAnswer, RespondError> {
        answer.retries = self.caller.calls.retries.get();
        let at = Millis::now().max(claim.at + MILLISECOND);

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
        self.finish_trail(claim, ended).await
    }

    /// Makes sure that both records of an ended request are in the trail, and returns its answer.
    async fn finish_trail(&self, claim: &Claim, ended: Ended) -> Result<ActionAnswer, RespondError> {
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

    /// A lock that lasts as long as this run may send.
    fn lock(&self, goal: Goal, intent: Value) -> Lock {
        let run_id = self.store.run_id.to_owned();
        Lock { run_id, at: Millis::now(), until: self.times.read_until, goal, intent }
    }
}

/// The first record of the trail.
fn intent(
    request: &ActionRequest,
    claim: &Claim,
    approved_by: Option<&str>,
    writes: &[ApiWrite],
    before: &Value,
) -> Value {
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

fn at_work(request: &ActionRequest) -> RespondError {
    let why = format!(
        "another delivery of request_id {:?} is running, or ended without a result: deliver the request again later",
        request.request_id
    );
    RespondError::new(ErrorCause::FirstPartyGenericError, why)
}
