//! Sends the writes of a goal and reads back. A write is sent once, or again if a second one has the same effect. The
//! outcome depends on the state that was read back.

use std::time::Duration;

use serde_json::Value;
use tracing::info;

use crate::core::retry::sleep_within;
use crate::core::time::Millis;
use crate::incydr::request::Caller;
use crate::respond::answer::{ActionAnswer, ActionOutcome};
use crate::respond::api::{ResponderApi, Sent};
use crate::respond::connector_answer::ConnectorAnswer;
use crate::respond::error::{ErrorCause, RespondError};
use crate::respond::goal::{ApiWrite, Goal};
use crate::respond::request::ActionRequest;
use crate::respond::state::Asker;
use crate::respond::store::Lock;

/// The most times that the state is read until it shows a write that the API accepted.
const READ_BACKS: u32 = 4;
/// The most times that the writes of a repeatable goal are sent, with a read in between.
const ROUNDS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

pub struct Sender<'a> {
    pub api: &'a ResponderApi,
    pub caller: &'a Caller<'a>,
    pub asker: Asker<'a>,
    pub until: Millis,
}

/// The result of sending: the API's last answer, or the error that ended it.
struct Sending {
    last: Result<ConnectorAnswer, RespondError>,
    end: End,
    /// Whether the API took a write, perhaps before the one that failed.
    has_taken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Taken,
    /// The write was refused or never sent.
    NotTaken,
    Uncertain,
}

impl Sender<'_> {
    /// `writes` are the missing writes, if the state was just read. None after taking over a lock: the state is read
    /// first.
    pub async fn send_and_read_back(
        &self,
        request: &ActionRequest,
        lock: &Lock,
        writes: Option<Vec<ApiWrite>>,
    ) -> Result<ActionAnswer, RespondError> {
        let (goal, before) = (&lock.goal, lock.intent["before"].clone());

        // The run that held the lock may have sent a write that must not be repeated.
        let mut may_send = writes.is_some() || goal.may_be_repeated();
        let (mut after, mut left) = if let Some(writes) = writes {
            (before.clone(), writes)
        } else {
            let state = self.asker.state(goal).await?;
            let left = goal.writes(&state);
            (state, left)
        };

        let mut sending =
            Sending { last: Ok(ConnectorAnswer::message(200, "OK", "done")), end: End::Taken, has_taken: false };
        let mut in_doubt = !may_send;
        for _ in 0..ROUNDS {
            if left.is_empty() || !may_send {
                break;
            }

            sending = self.send(&left).await;
            in_doubt |= sending.end == End::Uncertain;
            match self.read_back(goal, sending.end == End::Taken).await {
                Ok((state, writes)) => (after, left) = (state, writes),
                Err(error) => {
                    // If nothing was taken, nothing has changed, whatever the state is.
                    in_doubt |= sending.end != End::NotTaken || sending.has_taken;
                    sending.last = sending.last.and(Err(error));
                    break;
                }
            }

            // Send again only writes that may be repeated and whose result is unknown. Not those that the API took or
            // refused.
            may_send = goal.may_be_repeated() && sending.end == End::Uncertain;
            if !left.is_empty() && may_send && !sleep_within(PAUSE, self.until).await {
                break;
            }
        }

        Ok(outcome(request, before, after, &left, sending, in_doubt))
    }

    /// Sends the writes in order until one fails. Splits a write with too many events in halves.
    async fn send(&self, writes: &[ApiWrite]) -> Sending {
        let mut last = Ok(ConnectorAnswer::message(200, "OK", "done"));
        let mut has_taken = false;
        let mut queue: Vec<ApiWrite> = writes.iter().rev().cloned().collect();
        while let Some(write) = queue.pop() {
            let (error, end) = match self.api.write(&write, self.caller).await {
                Sent::Done(told) => {
                    last = Ok(told);
                    has_taken = true;
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
            return Sending { last: Err(error), end, has_taken };
        }

        Sending { last, end: End::Taken, has_taken }
    }

    /// Reads the state, and returns it with the missing writes. With `must_show` it reads up to four times, because an
    /// accepted write may show late.
    async fn read_back(&self, goal: &Goal, must_show: bool) -> Result<(Value, Vec<ApiWrite>), RespondError> {
        for n in 1.. {
            let state = self.asker.state(goal).await?;
            let left = goal.writes(&state);
            let is_last = n == READ_BACKS || !must_show || left.is_empty();
            if is_last || !sleep_within(PAUSE * n, self.until).await {
                return Ok((state, left));
            }
        }
        unreachable!("it is read back a few times")
    }
}

/// The answer, by the state that was read back. `left` are the writes that are still missing; `in_doubt` means that one
/// of them may have been sent.
fn outcome(
    request: &ActionRequest,
    before: Value,
    after: Value,
    left: &[ApiWrite],
    sending: Sending,
    in_doubt: bool,
) -> ActionAnswer {
    let answer = match sending.last {
        // The goal is reached, whatever the API answered.
        Ok(told) if left.is_empty() => ActionAnswer { told, ..ActionAnswer::new(Some(request), ActionOutcome::Done) },
        Err(error) if left.is_empty() => {
            info!(
                request_id = request.request_id,
                error = error.message,
                "reading back shows that it took effect despite the error"
            );
            ActionAnswer::new(Some(request), ActionOutcome::Done)
        }
        Err(error) if sending.end == End::NotTaken && !in_doubt => {
            ActionAnswer::failed(Some(request), ActionOutcome::Failed, &error)
        }
        Err(error) => {
            let why = format!("it may have been sent, and reading back doesn't show it: {}", error.message);
            ActionAnswer::failed(Some(request), ActionOutcome::Unknown, &RespondError { message: why, ..error })
        }
        Ok(told) => {
            let why = "reading back doesn't show that it took effect";
            let error = RespondError::new(ErrorCause::ThirdPartyGenericError, why);
            ActionAnswer::failed(
                Some(request),
                ActionOutcome::Unknown,
                &RespondError { told: Some(Box::new(told)), ..error },
            )
        }
    };

    ActionAnswer { before, after, ..answer }
}

/// Whether a 400 may mean too many events. The API's limit is not published. An error about a closed or archived case
/// has another cause.
fn may_be_too_many(error: &RespondError) -> bool {
    let is_400 = error.told.as_ref().is_some_and(|told| told.status_code == 400);
    is_400 && !["CLOSED", "ARCHIVED"].iter().any(|word| error.message.contains(word))
}
