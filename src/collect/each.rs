//! Requests many records or lists one by one. An item that always fails holds up no other.

use futures::future::join_all;

use super::Collector;
use crate::collect::error::Error;
use crate::core::error_type::ErrorInfo;
use crate::core::round::{Round, RoundStep};
use crate::core::stream::{Class, Stream};
use crate::core::stuck::StuckItem;
use crate::core::tally::SIGNIFICANT_WAIT;
use crate::core::time::Millis;
use crate::incydr::request::Caller;

pub const FETCHES_AT_ONCE: usize = 4;
/// After this many failures in a run each further item is requested once only.
const PATIENCE_ENDS_AFTER: usize = 6;

impl Collector<'_> {
    /// Returns the stuck things that are due. Those that this run has tried in vain and put off are not due any more.
    pub(super) fn due(&self) -> Vec<StuckItem> {
        let now = Millis::now();
        self.stuck(|stuck| stuck.iter().filter(|stuck| stuck.next_try <= now).map(|stuck| stuck.what.clone()).collect())
    }

    /// Requests at most `most` items of a round. `ask` is called for several at once, `take` for one answer after the
    /// other.
    pub(super) async fn request_each<T>(
        &self,
        round: &mut Round,
        most: usize,
        ask: impl AsyncFn(&str, &Caller<'_>) -> Result<T, Error>,
        mut take: impl AsyncFnMut(&str, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut left, began) = (most, Millis::now());
        let mut failures = Failures::default();
        round.put_last(&self.throttled.items);
        while left > 0 {
            match round.next(FETCHES_AT_ONCE.min(left)) {
                RoundStep::Done => break,
                // The stream's own list answers, so it is permitted, and each of these is refused by itself.
                RoundStep::ApiFails if failures.are_all_refusals() && self.stream.class() == Class::Versions => {
                    failures.forget();
                    round.api_works();
                }
                RoundStep::ApiFails => return Err(failures.of_api(self.stream)),
                RoundStep::Probe(ids) => {
                    let caller = Caller { retry_until: None, retries_forbidden: false, ..self.caller() };
                    let answers = join_all(ids.iter().map(|id| ask(id, &caller))).await;

                    let mut ended = None;
                    for (id, answer) in ids.iter().zip(answers) {
                        match answer {
                            Ok(_) => {
                                round.note_probe_answer(id);
                                failures.forget();
                            }
                            Err(error) if error.may_be_local_or_refused() => failures.note(error),
                            Err(error) => ended = Some(error),
                        }
                    }
                    if let Some(error) = ended {
                        self.note_time_up(round, &failures, &error);
                        return Err(error);
                    }
                }
                RoundStep::Request(ids) => {
                    left -= ids.len();
                    // A 403 may be about this one item only, so it isn't retried.
                    let asked_at = Millis::now();
                    // One request waits at most half of the remaining time. The rest is for the other requests and for
                    // the report.
                    let longest_silence = Some(SIGNIFICANT_WAIT.max(self.run.times.read_until.since(asked_at) / 2));
                    let caller = self.caller();
                    let retry_until = caller.retry_until.filter(|_| failures.count < PATIENCE_ENDS_AFTER);
                    let caller = Caller { retry_until, longest_silence, retries_forbidden: false, ..caller };
                    // Waits for all answers before it takes the first. A request that nobody polls might hold the lock
                    // on the token while another one waits for it.
                    let answers = join_all(ids.iter().map(|id| ask(id, &caller))).await;
                    let answers: Vec<_> = ids.into_iter().zip(answers).collect();

                    let long = SIGNIFICANT_WAIT.max(self.run.times.read_until.since(began) / 2);
                    let waited_long = Millis::now().since(asked_at) >= long;
                    self.take_each(round, answers, &mut take, &mut failures, waited_long).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes the answers. An error that is not about one item (the time is up, S3 fails) ends the round. If these
    /// requests waited for half of a run (`waited_long`), an item without an answer becomes stuck, provided that
    /// another item answered or that it was stuck before. Otherwise every later run would wait for it first. An item
    /// that the API throttled until the run's end comes last in the next run, and is stuck if that happens again.
    async fn take_each<T>(
        &self,
        round: &mut Round,
        answers: Vec<(String, Result<T, Error>)>,
        take: &mut impl AsyncFnMut(&str, T) -> Result<(), Error>,
        failures: &mut Failures,
        waited_long: bool,
    ) -> Result<(), Error> {
        let (mut ended, mut unanswered, mut has_answered) = (None, Vec::new(), false);
        for (id, answer) in answers {
            let is_silent = answer.as_ref().is_err_and(|error| !error.is_budget_spent());
            has_answered |= answer.is_ok();
            let taken = match answer {
                Ok(answer) => take(&id, answer).await,
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => {
                    self.tally.calls.throttled_items.lock().remove(&round.item(&id));
                    round.note_answer(&id);
                    failures.forget();
                }
                Err(error) if error.may_be_local_or_refused() => {
                    round.note_failure(&id, error.info_for_one());
                    failures.note(error);
                }
                Err(error) => {
                    let is_held_up = error.is_out_of_time() && !error.is_budget_spent();
                    unanswered.push((id, is_silent, is_held_up));
                    ended.get_or_insert(error);
                }
            }
        }

        // The API works, though its answer could not be used, or there was no time for it.
        if has_answered {
            round.api_works();
        }

        let Some(error) = ended else { return Ok(()) };
        let throttled = self.tally.calls.last_throttle.lock().clone();
        for (id, is_silent, is_held_up) in unanswered.into_iter().rev() {
            if let Some(said) = throttled.clone().filter(|_| is_held_up) {
                let item = round.item(&id);
                if round.is_at_due() || self.throttled.items.contains(&item) {
                    round.note_unusable(&id, ErrorInfo { error_type: error.error_type(), message: said });
                } else {
                    self.tally.calls.throttled_items.lock().insert(item);
                    round.give_back(id);
                }
                continue;
            }
            // The time may also have been up before all pages of a list that answered were read.
            if is_silent && error.is_out_of_time() && (has_answered || round.is_at_due()) && waited_long {
                let message = format!("{id}: no answer before the run's time was up");
                round.note_failure(&id, ErrorInfo { error_type: error.error_type(), message });
            } else {
                round.give_back(id);
            }
        }
        self.note_time_up(round, failures, &error);
        Err(error)
    }

    /// Items that failed while nothing shows whether the API works come last in the next run. Otherwise each run would spend
    /// its time on the same ones.
    fn note_time_up(&self, round: &mut Round, failures: &Failures, error: &Error) {
        round.note_time_up();
        self.tally.calls.throttled_items.lock().extend(round.doubtful_items());
        if error.is_out_of_time() {
            *self.tally.calls.last_failure.lock() = failures.last.as_ref().map(Error::info_for_one);
        }
    }
}

/// The failures since the last answer.
#[derive(Default)]
struct Failures {
    last: Option<Error>,
    /// True if any of them is not a 403.
    has_other_errors: bool,
    /// The number of all failures, including those before the last answer.
    count: usize,
}

impl Failures {
    /// Something was answered.
    fn forget(&mut self) {
        *self = Self { count: self.count, ..Self::default() };
    }

    fn note(&mut self, error: Error) {
        self.count += 1;
        self.has_other_errors |= !error.is_forbidden();
        self.last = Some(error);
    }

    fn are_all_refusals(&self) -> bool {
        self.last.is_some() && !self.has_other_errors
    }

    /// The error of the stream. If all failures are 403s, the stream is refused.
    fn of_api(self, stream: Stream) -> Error {
        match self.last {
            Some(error) if self.has_other_errors => error.as_failure_of_one(),
            Some(error) => error,
            None => Error::Inconsistent(format!("too many records or lists of {stream} in a row can't be read")),
        }
    }
}
