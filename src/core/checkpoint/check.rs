//! Checks a checkpoint for contradictions. A contradiction is a fault of the collector, and should be found before it
//! costs a record. Debug builds check before each commit, and so do all tests that make one.

use crate::core::checkpoint::{Checkpoint, EventsState};
use crate::core::intervals::{Intervals, Span};
use crate::core::stuck::StuckList;

impl Checkpoint {
    /// The error names the stream and the two spans that contradict each other.
    pub fn check(&self) -> Result<(), String> {
        let nothing = StuckList::default();
        for (stream, state) in &self.events {
            let stuck = self.stuck.get(stream).unwrap_or(&nothing);
            state.check(stuck).map_err(|what| format!("{stream}: {what}"))?;
        }
        Ok(())
    }
}

impl EventsState {
    fn check(&self, stuck: &StuckList) -> Result<(), String> {
        let open = || self.open.iter().map(|window| window.span);
        let reserved = || self.reserved.iter().map(|reserved| reserved.span);
        let (covered, expired) = ((&self.covered, "covered time"), (&self.expired, "expired time"));
        apart("expired time", self.expired.iter(), covered)?;
        apart("an open window", open(), covered)?;
        apart("an open window", open(), (&reserved().collect(), "time reserved for a shard"))?;
        apart("time reserved for a shard", reserved(), covered)?;
        apart("stuck time", stuck.spans().iter(), covered)?;
        apart("stuck time", stuck.spans().iter(), expired)?;
        each_apart("open windows", open())?;
        each_apart("shards", reserved())
    }
}

fn apart(what: &str, spans: impl Iterator<Item = Span>, (others, other): (&Intervals, &str)) -> Result<(), String> {
    for span in spans {
        if let Some(both) = others.within(span).first() {
            return Err(format!("{what} {} meets {other} in {}", told(span), told(both)));
        }
    }
    Ok(())
}

fn each_apart(what: &str, spans: impl Iterator<Item = Span>) -> Result<(), String> {
    let mut before = Intervals::default();
    for span in spans {
        if let Some(both) = before.within(span).first() {
            return Err(format!("two {what} meet in {}", told(both)));
        }
        before.insert(span);
    }
    Ok(())
}

fn told(span: Span) -> String {
    format!("{} to {}", span.from, span.to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::checkpoint::{Lease, Reserved, Window};
    use crate::core::error_type::{ErrorInfo, ErrorType};
    use crate::core::identity::Identity;
    use crate::core::stream::Stream;
    use crate::core::stuck::StuckItem;
    use crate::core::time::Millis;
    use serde_json::Value;

    type Change = fn(&mut EventsState, &mut StuckList);

    fn span(from: i64, to: i64) -> Span {
        Span::new(Millis(from), Millis(to)).expect("not empty")
    }

    fn window(from: i64, to: i64) -> Window {
        let opened_by = Lease { run_id: "a".into(), until: Millis(0) };
        Window { span: span(from, to), request: Value::Null, opened_at: Millis(0), opened_by, resumed: 0 }
    }

    fn shard(from: i64, to: i64) -> Reserved {
        let until = Millis(0);
        Reserved { shard: from.to_string(), span: span(from, to), requests_per_minute: 3, at_once: None, until }
    }

    fn fail(stuck: &mut StuckList, from: i64, to: i64) {
        let error = ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: "503".into() };
        stuck.fail(StuckItem::Span(span(from, to)), error, Millis(0));
    }

    #[test]
    fn spans_that_contradict_each_other_are_told() {
        let identity = Identity::example();
        let check = |change: Change| {
            let mut checkpoint = Checkpoint::new(identity.clone());
            let (state, stuck) = checkpoint.events_and_stuck(Stream::Audit);
            state.cover(span(0, 10));
            state.open = vec![window(10, 20)];
            state.reserved = vec![shard(20, 30)];
            state.expired.insert(span(40, 50));
            fail(stuck, 30, 40);
            change(state, stuck);
            checkpoint.check().err().unwrap_or_default()
        };

        assert_eq!(check(|_, _| {}), "");

        let wrong: [(Change, &str); 8] = [
            (|state, _| state.expired.insert(span(9, 12)), "audit: expired time 1970-01-01T00:00:00.009Z to "),
            (|state, _| state.open.push(window(5, 6)), "an open window"),
            (|state, _| state.open.push(window(19, 21)), "meets time reserved for a shard"),
            (|state, _| state.reserved.push(shard(5, 6)), "time reserved for a shard"),
            (
                |_, stuck| fail(stuck, 5, 6),
                "stuck time 1970-01-01T00:00:00.005Z to 1970-01-01T00:00:00.006Z meets covered time",
            ),
            (|_, stuck| fail(stuck, 45, 46), "meets expired time"),
            (|state, _| state.open.push(window(15, 18)), "two open windows meet in 1970-01-01T00:00:00.015Z"),
            (|state, _| state.reserved.push(shard(25, 35)), "two shards meet in 1970-01-01T00:00:00.025Z"),
        ];
        for (change, told) in wrong {
            assert!(check(change).contains(told), "{} instead of {told}", check(change));
        }
    }
}
