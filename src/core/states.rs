//! The streams' states, on the checkpoint. `health_records` reports each change once.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::error_type::ErrorInfo;
use crate::core::json::is_default;
use crate::core::stream::Stream;
use crate::core::stuck::StuckSummary;
use crate::core::time::Millis;

/// In the order in which a run passes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Enabled, and no run has begun with it.
    Pending,
    /// A run has begun with it.
    Started,
    /// The settings and the secret are read.
    Initialized,
    /// The sign-in succeeded.
    Authenticated,
    /// The API has answered the stream.
    Collecting,
    /// It failed, and the next run tries again. A stream that isn't permitted is tried once an hour.
    Error,
    /// Its configuration is wrong, and the checkpoint doesn't have that yet.
    Stopping,
    /// Not tried any more: its configuration is wrong, or it is not enabled.
    Stopped,
}

/// A stream's state on the checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamState {
    pub state: State,
    pub since: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// The settings and the secret with which an error stopped the stream. With other ones it is tried again. None if
    /// no error stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_with: Option<Setup>,
    /// The number of stuck spans and ids when it was last reported.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stuck: u64,
}

/// The settings and the secret that a stream was tried with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The hash of the settings.
    pub settings: String,
    /// Secrets Manager's version, never the value.
    pub secret_version: Option<String>,
}

pub type States = BTreeMap<Stream, StreamState>;

/// A state change, as it is reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub stream: Stream,
    pub state: State,
    pub previous: Option<State>,
    pub at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// The stuck spans and ids, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<StuckSummary>,
    /// Further facts: where collection began, or what was found about a lost or older checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Start-up milestones of a run.
#[derive(Clone, Copy, Debug)]
pub struct Milestones {
    pub started: Millis,
    pub initialized: Option<Millis>,
    pub authenticated: Option<Millis>,
}

/// The result of one stream in a run.
#[derive(Clone, Debug, PartialEq)]
pub enum RunResult {
    /// The API answered.
    Collected,
    /// No request was due. An error of an earlier run is over.
    Idle,
    /// The time was up before the API answered.
    Nothing,
    Failed(ErrorInfo),
    Misconfigured(ErrorInfo, Setup),
}

impl fmt::Display for State {
    /// The name in the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl StreamState {
    fn new(state: State, since: Millis) -> Self {
        Self { state, since, error: None, stopped_with: None, stuck: 0 }
    }

    /// Whether an error stopped it with these settings.
    pub fn is_stopped_with(&self, settings: &str) -> bool {
        self.stopped_with.as_ref().is_some_and(|with| with.settings == settings)
    }

    /// Whether the two would be reported alike: the same state, type of error and stop.
    fn is_like(&self, other: &Self) -> bool {
        let of = |state: &Self| state.error.as_ref().map(|error| error.error_type);
        self.state == other.state && of(self) == of(other) && self.stopped_with == other.stopped_with
    }
}

/// Sets a stream's state after a run. If it differs, returns every state that the run passed through. If only the
/// number of stuck things has grown or become 0, returns one change with that.
pub fn change(
    states: &mut States,
    stream: Stream,
    milestones: &Milestones,
    result: RunResult,
    stuck: Option<StuckSummary>,
    now: Millis,
) -> Vec<Change> {
    let before = states.get(&stream).cloned();
    let was = before.as_ref().map(|before| before.state);
    let count = stuck.as_ref().map_or(0, |stuck| stuck.count);
    let Some(after) = after(was, milestones, result, now) else { return Vec::new() };
    let after = StreamState { stuck: count, ..after };

    if let Some(before) = before.filter(|before| before.is_like(&after)) {
        // The error's text may differ even if its type doesn't.
        let (state, error) = (after.state, after.error.clone());
        states.insert(stream, StreamState { since: before.since, ..after });
        let is_news = count > before.stuck || count == 0 && before.stuck > 0;
        let change = Change { stream, state, previous: Some(state), at: now, error, stuck, note: None };
        return if is_news { vec![change] } else { Vec::new() };
    }

    let is_new = matches!(was, None | Some(State::Stopped));
    let steps = [
        is_new.then_some((State::Pending, milestones.started)),
        Some((State::Started, milestones.started)),
        milestones.initialized.map(|at| (State::Initialized, at)),
        milestones.authenticated.map(|at| (State::Authenticated, at)),
        (after.state == State::Stopped).then_some((State::Stopping, now)),
    ];
    let steps = steps.into_iter().flatten().filter(|(step, _)| *step < after.state);

    let mut changes = Vec::new();
    let mut previous = was;
    for (state, at) in steps.chain([(after.state, now)]) {
        let error = if state < State::Error { None } else { after.error.clone() };
        let stuck = stuck.clone().filter(|_| state >= State::Error || state == after.state);
        changes.push(Change { stream, state, previous, at, error, stuck, note: None });
        previous = Some(state);
    }
    states.insert(stream, after);
    changes
}

/// The new state, or none if it stays.
fn after(was: Option<State>, milestones: &Milestones, result: RunResult, now: Millis) -> Option<StreamState> {
    let state = match result {
        RunResult::Collected => State::Collecting,
        RunResult::Idle if was == Some(State::Error) => State::Collecting,
        RunResult::Idle | RunResult::Nothing => match was {
            Some(State::Collecting | State::Error) => return None,
            // The stream hasn't been read so far.
            _ => State::Authenticated,
        },
        RunResult::Failed(error) => {
            return Some(StreamState { error: Some(error), ..StreamState::new(State::Error, now) });
        }
        RunResult::Misconfigured(error, with) => {
            let (error, stopped_with) = (Some(error), Some(with));
            return Some(StreamState { error, stopped_with, ..StreamState::new(State::Stopped, now) });
        }
    };
    let since = milestones.authenticated.filter(|_| state == State::Authenticated).unwrap_or(now);
    Some(StreamState::new(state, since))
}

/// Stops streams that are no longer enabled, without an error. If one is enabled again, it is tried, whatever stopped
/// it before.
pub fn stop_disabled(states: &mut States, enabled: &[Stream], now: Millis) -> Vec<Change> {
    let mut changes = Vec::new();
    for (stream, state) in states.iter_mut().filter(|(stream, _)| !enabled.contains(stream)) {
        if state.state == State::Stopped {
            (state.error, state.stopped_with) = (None, None);
            continue;
        }
        changes.push(one_step(*stream, state, State::Stopped, now));
    }
    changes
}

/// Lets streams be tried again that an error stopped.
pub fn restart(states: &mut States, streams: &[Stream], now: Millis) -> Vec<Change> {
    let stopped = states.iter_mut().filter(|(stream, state)| streams.contains(stream) && state.stopped_with.is_some());
    stopped.map(|(stream, state)| one_step(*stream, state, State::Pending, now)).collect()
}

fn one_step(stream: Stream, from: &mut StreamState, to: State, now: Millis) -> Change {
    let previous = Some(std::mem::replace(from, StreamState::new(to, now)).state);
    Change { stream, state: to, previous, at: now, error: None, stuck: None, note: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error_type::ErrorType;

    const STREAM: Stream = Stream::Audit;
    const MILESTONES: Milestones =
        Milestones { started: Millis(1), initialized: Some(Millis(2)), authenticated: Some(Millis(3)) };

    fn told(error_type: ErrorType, message: &str) -> ErrorInfo {
        ErrorInfo { error_type, message: message.into() }
    }

    fn misconfigured(version: &str) -> RunResult {
        let with = Setup { settings: "hash".into(), secret_version: Some(version.into()) };
        RunResult::Misconfigured(told(ErrorType::ThirdPartyConfigError, "refused"), with)
    }

    fn names(changes: &[Change]) -> Vec<State> {
        for pair in changes.windows(2) {
            assert_eq!(pair[1].previous, Some(pair[0].state), "each follows on the one before");
            assert!(pair[0].at <= pair[1].at);
        }
        changes.iter().map(|change| change.state).collect()
    }

    #[test]
    fn a_steady_stream_has_nothing_to_tell() {
        use State::{Authenticated, Collecting, Initialized, Pending, Started};
        let mut states = States::new();
        let first = change(&mut states, STREAM, &MILESTONES, RunResult::Collected, None, Millis(9));
        assert_eq!(names(&first), [Pending, Started, Initialized, Authenticated, Collecting]);
        assert_eq!(first[0].previous, None);
        for result in [RunResult::Collected, RunResult::Idle, RunResult::Nothing] {
            assert_eq!(change(&mut states, STREAM, &MILESTONES, result, None, Millis(20)), []);
        }
        assert_eq!(states[&STREAM], StreamState::new(Collecting, Millis(9)));
    }

    #[test]
    fn an_error_is_told_once_for_each_type_and_again_when_it_is_over() {
        use State::{Authenticated, Collecting, Error, Initialized, Started};
        let failed = |error_type, message: &str| RunResult::Failed(told(error_type, message));
        let mut states = States::from([(STREAM, StreamState::new(Collecting, Millis(0)))]);
        let mut to = |result| change(&mut states, STREAM, &MILESTONES, result, None, Millis(9));
        let changes = to(failed(ErrorType::ThirdPartyGenericError, "500"));
        assert_eq!(names(&changes), [Started, Initialized, Authenticated, Error]);
        assert_eq!(changes[3].error, Some(told(ErrorType::ThirdPartyGenericError, "500")));
        assert!(changes[..3].iter().all(|change| change.error.is_none()));
        assert_eq!(to(failed(ErrorType::ThirdPartyGenericError, "503")), []);
        assert_eq!(to(RunResult::Nothing), []);
        assert_eq!(names(&to(failed(ErrorType::FirstPartyGenericError, "S3"))).last(), Some(&Error));
        assert_eq!(names(&to(RunResult::Idle)), [Started, Initialized, Authenticated, Collecting]);
    }

    #[test]
    fn the_newest_message_of_an_error_stands_with_its_first_time() {
        let failed = |message: &str| RunResult::Failed(told(ErrorType::ThirdPartyGenericError, message));
        let mut states = States::new();
        change(&mut states, STREAM, &MILESTONES, failed("500"), None, Millis(9));
        change(&mut states, STREAM, &MILESTONES, failed("503"), None, Millis(20));
        assert_eq!(states[&STREAM].error, Some(told(ErrorType::ThirdPartyGenericError, "503")));
        assert_eq!(states[&STREAM].since, Millis(9));
    }

    #[test]
    fn what_is_stopped_is_stopped_with_its_setup_until_it_is_restarted() {
        use State::{Initialized, Pending, Started, Stopped, Stopping};
        let milestones = Milestones { authenticated: None, ..MILESTONES };
        let mut states = States::new();
        let changes = change(&mut states, STREAM, &milestones, misconfigured("1"), None, Millis(9));
        assert_eq!(names(&changes), [Pending, Started, Initialized, Stopping, Stopped]);
        assert!(states[&STREAM].is_stopped_with("hash") && !states[&STREAM].is_stopped_with("other"));
        assert_eq!(change(&mut states, STREAM, &milestones, misconfigured("1"), None, Millis(20)), []);
        assert_eq!(
            names(&change(&mut states, STREAM, &milestones, misconfigured("2"), None, Millis(20))),
            [Pending, Started, Initialized, Stopping, Stopped],
            "another secret that is refused, too"
        );
        assert_eq!(restart(&mut states, &[Stream::Users], Millis(30)), []);
        assert_eq!(names(&restart(&mut states, &[STREAM], Millis(30))), [Pending]);
        assert_eq!(states[&STREAM], StreamState::new(Pending, Millis(30)));
        assert_eq!(restart(&mut states, &[STREAM], Millis(30)), []);
    }

    #[test]
    fn what_is_no_longer_enabled_is_stopped_without_an_error_and_begins_anew() {
        use State::{Authenticated, Pending, Started, Stopped};
        let mut states = States::new();
        change(&mut states, STREAM, &MILESTONES, misconfigured("1"), None, Millis(9));
        change(&mut states, Stream::Users, &MILESTONES, RunResult::Collected, None, Millis(9));
        assert_eq!(stop_disabled(&mut states, &[STREAM, Stream::Users], Millis(10)), []);
        assert_eq!(names(&stop_disabled(&mut states, &[], Millis(10))), [Stopped], "the other was stopped before");
        assert!(states.values().all(|state| state.state == Stopped && state.stopped_with.is_none()));
        assert_eq!(stop_disabled(&mut states, &[], Millis(11)), []);
        let milestones = Milestones { initialized: None, ..MILESTONES };
        assert_eq!(
            names(&change(&mut states, STREAM, &milestones, RunResult::Idle, None, Millis(20))),
            [Pending, Started, Authenticated]
        );
    }
}
