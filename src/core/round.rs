//! The order in which a run requests many records or lists one by one, any of which may be stuck. New ones come first,
//! stuck ones that are due last. After three new failures in a row others are probed, to find out whether the API fails
//! as a whole. Without I/O.

use std::collections::{BTreeSet, VecDeque};

use crate::core::error_type::ErrorInfo;
use crate::core::stuck::{StuckItem, StuckList};
use crate::core::time::Millis;

/// After this many new failures in a row, the API may be failing as a whole.
const FAILURES_IN_A_ROW: usize = 3;
/// At most this many ids that answered before are probed, to see whether the API fails.
const WITNESSES: usize = 3;
/// After the witnesses, at most this many of the ids still to be requested are probed: however many fail for good, one
/// that answers must be found.
const PROBES: usize = 64;

pub struct Round {
    /// The list that is requested for each id, or none if it is the record itself.
    list: Option<&'static str>,
    new: VecDeque<String>,
    /// Stuck, and to be tried again.
    due: VecDeque<String>,
    /// Whether those being requested now were stuck before.
    is_at_due: bool,
    /// The stuck ids: not requested in this run unless due, or not again.
    stuck: BTreeSet<String>,
    /// Ids that are known to answer.
    witnesses: Vec<String>,
    /// New failures since the last answer. They may be the ids' fault or the API's.
    doubtful: Vec<(String, ErrorInfo)>,
    /// The ids to probe, once there are too many failures.
    probes: Option<Vec<String>>,
    /// Ids that were probed since the first of the doubtful failures.
    probed: BTreeSet<String>,
    /// The run's beginning. It selects the ids to probe, so each run probes other ones.
    began: Millis,
    has_answered: bool,
    judged: Judged,
}

/// The results of some requests.
#[derive(Debug, Default, PartialEq)]
pub struct Judged {
    pub answered: Vec<String>,
    healed: Vec<StuckItem>,
    failed: Vec<(StuckItem, ErrorInfo)>,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub enum RoundStep {
    /// Request these side by side.
    Request(Vec<String>),
    /// Request these once, side by side, only to learn whether any answers.
    Probe(Vec<String>),
    /// All have been requested.
    Done,
    /// Three or more ids failed in a row, and none that was probed answers: the API fails as a whole.
    ApiFails,
}

impl Round {
    /// `list` is the list that is requested for each id, or none for the record itself.
    pub fn new(list: Option<&'static str>, stuck: &StuckList, began: Millis) -> Self {
        let of_list = |what: &StuckItem| match (what, list) {
            (StuckItem::Id(id), None) => Some(id.clone()),
            (StuckItem::List { list, id: Some(id) }, Some(name)) if list == name => Some(id.clone()),
            _ => None,
        };
        Self {
            list,
            new: VecDeque::new(),
            due: VecDeque::new(),
            is_at_due: false,
            stuck: stuck.iter().filter_map(|stuck| of_list(&stuck.what)).collect(),
            witnesses: Vec::new(),
            doubtful: Vec::new(),
            probes: None,
            probed: BTreeSet::new(),
            began,
            has_answered: false,
            judged: Judged::default(),
        }
    }

    /// Adds ids in this order, except stuck ones.
    pub fn add(&mut self, ids: impl IntoIterator<Item = String>) {
        self.new.extend(ids.into_iter().filter(|id| !self.stuck.contains(id)));
    }

    /// Moves the new ids that are among `items` behind all other new ids.
    pub fn put_last(&mut self, items: &BTreeSet<StuckItem>) {
        if !items.is_empty() {
            let new = std::mem::take(&mut self.new);
            let (last, first): (Vec<_>, Vec<_>) = new.into_iter().partition(|id| items.contains(&self.item(id)));
            self.new.extend(first.into_iter().chain(last));
        }
    }

    /// Adds stuck ids, which are requested after all new ones.
    pub fn add_due(&mut self, ids: impl IntoIterator<Item = String>) {
        self.due.extend(ids);
    }

    /// Sets the ids that are known to answer. A few of them are probed if the API may be failing.
    pub fn set_witnesses<'a>(&mut self, ids: impl Iterator<Item = &'a str> + Clone) {
        let step = (ids.clone().count() / WITNESSES).max(1);
        let stuck = &self.stuck;
        let known = ids.step_by(step).filter(|id| !stuck.contains(*id));
        self.witnesses = known.take(WITNESSES).map(str::to_owned).collect();
    }

    /// Whether anything was answered.
    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// The number of ids that were probed, if so many failed in a row that the API may fail as a whole; otherwise none.
    pub fn doubt(&self) -> Option<usize> {
        (self.doubtful.len() >= FAILURES_IN_A_ROW).then_some(self.probed.len())
    }

    /// Notes that an answer can't be used.
    pub fn note_unusable(&mut self, id: &str, error: ErrorInfo) {
        self.judged.failed.push((self.item(id), error));
        self.stuck.insert(id.to_owned());
    }

    /// Whether those that are requested now were stuck before.
    pub fn is_at_due(&self) -> bool {
        self.is_at_due
    }

    pub fn is_over(&self) -> bool {
        self.new.is_empty() && self.due.is_empty() && self.doubtful.is_empty()
    }

    /// Returns the next step. At most `most` ids are requested side by side.
    pub fn next(&mut self, most: usize) -> RoundStep {
        if self.doubtful.len() >= FAILURES_IN_A_ROW {
            let probes = match self.probes.take() {
                Some(probes) => probes,
                None => self.to_probe(),
            };
            return self.probe_some_of(probes, most);
        }
        if self.new.is_empty() {
            self.judge_doubtful();
        }
        self.is_at_due = self.new.is_empty();
        let queue = if self.is_at_due { &mut self.due } else { &mut self.new };
        let ids: Vec<String> = queue.drain(..most.min(queue.len())).collect();
        if ids.is_empty() { RoundStep::Done } else { RoundStep::Request(ids) }
    }

    /// Notes an answer. It proves that the API works, so the failures before it are stuck.
    pub fn note_answer(&mut self, id: &str) {
        self.has_answered = true;
        self.judge_doubtful();
        self.add_witness(id);
        if self.stuck.remove(id) {
            self.judged.healed.push(self.item(id));
        }
        self.judged.answered.push(id.to_owned());
    }

    /// Notes a failure. That of an id that was stuck before says nothing about the API.
    pub fn note_failure(&mut self, id: &str, error: ErrorInfo) {
        if self.is_at_due {
            self.judged.failed.push((self.item(id), error));
        } else {
            self.doubtful.push((id.to_owned(), error));
        }
    }

    /// Notes that a probe was answered. The API works, so the failures before it are stuck.
    pub fn note_probe_answer(&mut self, id: &str) {
        self.add_witness(id);
        self.api_works();
    }

    /// Notes that the API works. So the failures before are of the ids themselves, and these are stuck.
    pub fn api_works(&mut self) {
        self.has_answered = true;
        self.judge_doubtful();
    }

    fn add_witness(&mut self, id: &str) {
        if self.witnesses.len() < WITNESSES && !self.witnesses.iter().any(|witness| witness == id) {
            self.witnesses.push(id.to_owned());
        }
    }

    /// The time is up. If the API has answered in this run, the failures before are stuck.
    pub fn note_time_up(&mut self) {
        if self.has_answered {
            self.judge_doubtful();
        }
    }

    /// The new failures of which nothing shows whether they are the API's.
    pub fn doubtful_items(&self) -> impl Iterator<Item = StuckItem> {
        self.doubtful.iter().map(|(id, _)| self.item(id))
    }

    /// Gives an id back that was requested and got no answer in time.
    pub fn give_back(&mut self, id: String) {
        if self.is_at_due { self.due.push_front(id) } else { self.new.push_front(id) }
    }

    /// The first id, in the order of ids, that is new or in doubt and not among `put_off`. None if there is none.
    pub fn first_left(&self, put_off: &BTreeSet<StuckItem>) -> Option<&str> {
        let doubtful = self.doubtful.iter().map(|(id, _)| id);
        let is_left = |id: &&String| put_off.is_empty() || !put_off.contains(&self.item(id));
        doubtful.chain(&self.new).filter(is_left).min().map(String::as_str)
    }

    /// Returns the results since the last call.
    pub fn take_judged(&mut self) -> Judged {
        std::mem::take(&mut self.judged)
    }

    fn judge_doubtful(&mut self) {
        self.probes = None;
        self.probed.clear();
        for (id, error) in std::mem::take(&mut self.doubtful) {
            self.judged.failed.push((self.item(&id), error));
            self.stuck.insert(id);
        }
    }

    /// Returns the ids to probe, the next one last: those that are known to answer, then some spread over the rest.
    fn to_probe(&self) -> Vec<String> {
        let unprobed = self.new.iter().filter(|id| !self.probed.contains(*id)).count();
        let step = (unprobed / PROBES).max(1);
        // Scatters the instants of runs that begin at regular intervals.
        let scattered = usize::try_from(self.began.0 / 1_000).unwrap_or(0).wrapping_mul(2_654_435_761) >> 16;
        let rest = self.new.iter().rev().filter(|id| !self.probed.contains(*id));
        let rest: Vec<&String> = rest.skip(scattered % step).step_by(step).take(PROBES).collect();
        let witnesses = self.witnesses.iter().filter(|id| !self.probed.contains(*id));
        rest.into_iter().rev().chain(witnesses).cloned().collect()
    }

    fn probe_some_of(&mut self, mut probes: Vec<String>, most: usize) -> RoundStep {
        let next = probes.split_off(probes.len().saturating_sub(most));
        if next.is_empty() {
            return RoundStep::ApiFails;
        }
        self.probes = Some(probes);
        self.probed.extend(next.iter().cloned());
        RoundStep::Probe(next)
    }

    /// The thing that is requested for an id.
    pub fn item(&self, id: &str) -> StuckItem {
        match self.list {
            None => StuckItem::Id(id.to_owned()),
            Some(list) => StuckItem::List { list: list.to_owned(), id: Some(id.to_owned()) },
        }
    }
}

impl Judged {
    /// Notes that a list that belongs to no record was read.
    pub fn list_answered(&mut self, list: &str) {
        self.healed.push(StuckItem::List { list: list.to_owned(), id: None });
    }

    pub fn list_failed(&mut self, list: &str, error: ErrorInfo) {
        self.failed.push((StuckItem::List { list: list.to_owned(), id: None }, error));
    }

    pub fn extend(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.healed.extend(other.healed);
        self.failed.extend(other.failed);
    }

    /// Removes what answered from the stuck list, and adds what failed.
    pub fn apply_to(&self, stuck: &mut StuckList, now: Millis) {
        for what in &self.healed {
            stuck.heal(what);
        }
        for (what, error) in &self.failed {
            stuck.fail(what.clone(), error.clone(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error_type::ErrorType;

    fn error() -> ErrorInfo {
        ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: "500".into() }
    }

    fn ids(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
        range.map(|id| id.to_string())
    }

    /// Requests everything. Returns the ids requested, the ids probed, and whether it reached the end.
    fn walk(round: &mut Round, fails: impl Fn(&str) -> bool) -> (Vec<String>, Vec<String>, bool) {
        let (mut asked, mut probed) = (Vec::new(), Vec::new());
        loop {
            match round.next(4) {
                RoundStep::Done => return (asked, probed, true),
                RoundStep::ApiFails => return (asked, probed, false),
                RoundStep::Probe(some) => {
                    some.iter().filter(|id| !fails(id)).for_each(|id| round.note_probe_answer(id));
                    probed.extend(some);
                }
                RoundStep::Request(some) => {
                    for id in some {
                        if fails(&id) {
                            round.note_failure(&id, error());
                        } else {
                            round.note_answer(&id);
                        }
                        asked.push(id);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_put_off_comes_last_and_is_not_what_is_left() {
        let mut round = Round::new(Some("members"), &StuckList::default(), Millis(0));
        round.add(["a", "b", "c", "d", "e"].map(str::to_owned));
        let put_off = BTreeSet::from([round.item("b")]);
        round.put_last(&put_off);
        assert_eq!(round.next(3), RoundStep::Request(["a", "c", "d"].map(str::to_owned).into()));
        for id in ["a", "c", "d"] {
            round.note_answer(id);
        }
        assert_eq!((round.first_left(&put_off), round.first_left(&BTreeSet::new())), (Some("e"), Some("b")));
    }

    #[test]
    fn what_was_given_back_before_one_that_failed_is_the_first_that_is_left() {
        let mut round = Round::new(Some("members"), &StuckList::default(), Millis(0));
        round.add(["a", "b", "c", "d"].map(str::to_owned));
        assert_eq!(round.next(3), RoundStep::Request(["a", "b", "c"].map(str::to_owned).into()));
        let error = ErrorInfo { error_type: ErrorType::ThirdPartyGenericError, message: "503".into() };
        round.note_failure("b", error);
        // There was no time for the others.
        round.give_back("c".into());
        round.give_back("a".into());
        round.note_time_up();
        assert_eq!(round.first_left(&BTreeSet::new()), Some("a"));
    }

    #[test]
    fn three_that_fail_side_by_side_stop_none_of_the_others() {
        for first in 0..38 {
            let bad: Vec<String> = ids(first..first + 3).collect();
            let mut round = Round::new(None, &StuckList::default(), Millis(0));
            round.add(ids(0..40));
            let (asked, probed, is_done) = walk(&mut round, |id| bad.iter().any(|bad| bad == id));
            assert!(is_done && asked.len() == 40 && probed.len() <= 4, "{first}: {probed:?}");
            let (judged, mut stuck) = (round.take_judged(), StuckList::default());
            judged.apply_to(&mut stuck, Millis(5));
            assert_eq!((judged.answered.len(), stuck.len()), (37, 3), "{first}");
        }
    }

    #[test]
    fn where_nobody_answers_it_is_the_api_and_nothing_is_stuck() {
        let mut round = Round::new(None, &StuckList::default(), Millis(0));
        round.add(ids(0..40));
        round.set_witnesses(["a", "b"].into_iter());
        let (asked, probed, is_done) = walk(&mut round, |_| true);
        assert!(!is_done && asked.len() == 4);
        let first = probed[..4].iter().filter(|id| *id == "a" || *id == "b").count();
        assert!(probed.len() == 38 && first == 2, "those that are known to answer first: {probed:?}");
        assert_eq!(round.take_judged(), Judged::default());
    }

    #[test]
    fn one_that_answers_is_found_among_many_that_fail_for_good() {
        for (count, good) in [(13, 12), (64, 3), (64, 63), (400, 17)] {
            let is_good = |id: &str| id == good.to_string();
            let mut stuck = StuckList::default();
            let runs = (0..200).find(|run| {
                let mut round = Round::new(None, &stuck, Millis(run * 300_000));
                round.add(ids(0..count));
                let (asked, probed, _) = walk(&mut round, |id| !is_good(id));
                assert!(probed.len() <= WITNESSES + PROBES + asked.len());
                round.take_judged().apply_to(&mut stuck, Millis(run * 300_000));
                asked.iter().any(|id| is_good(id))
            });
            assert!(runs.is_some_and(|runs| runs == 0 || count > 64), "{good} of {count}: {runs:?} runs");
            assert_eq!(stuck.len(), count as usize - 1);
        }
    }

    #[test]
    fn where_all_that_are_new_fail_and_one_that_is_known_answers_they_are_stuck() {
        let mut round = Round::new(Some("members"), &StuckList::default(), Millis(0));
        round.add(ids(0..7));
        round.set_witnesses(["known"].into_iter());
        let (asked, _, is_done) = walk(&mut round, |id| id != "known");
        assert!(is_done && asked.len() == 7);
        let mut stuck = StuckList::default();
        round.take_judged().apply_to(&mut stuck, Millis(5));
        assert_eq!(stuck.len(), 7);
        assert!(stuck.get(&StuckItem::List { list: "members".into(), id: Some("6".into()) }).is_some());
    }

    #[test]
    fn what_is_stuck_comes_last_and_only_where_it_is_due_and_its_failures_are_no_news() {
        let mut stuck = StuckList::default();
        for id in ids(0..6) {
            stuck.fail(StuckItem::Id(id), error(), Millis(0));
        }
        let mut round = Round::new(None, &stuck, Millis(0));
        round.add(ids(0..8));
        round.add_due(ids(0..5));
        let (asked, probed, is_done) = walk(&mut round, |id| ["1", "2", "3", "4"].contains(&id));
        assert_eq!(asked, ["6", "7", "0", "1", "2", "3", "4"]);
        assert!(is_done && probed.is_empty());
        round.take_judged().apply_to(&mut stuck, Millis(9));
        let attempts: Vec<u32> = stuck.iter().map(|stuck| stuck.attempts).collect();
        assert_eq!(attempts, [2, 2, 2, 2, 1], "the first is healed, the last was not tried");
    }

    #[test]
    fn out_of_time_only_those_are_stuck_beside_whom_the_api_answered() {
        for answers in [true, false] {
            let mut round = Round::new(None, &StuckList::default(), Millis(0));
            round.add(ids(0..8));
            round.next(4);
            if answers {
                round.note_answer("0");
            }
            round.note_failure("1", error());
            round.note_time_up();
            let mut stuck = StuckList::default();
            round.take_judged().apply_to(&mut stuck, Millis(0));
            assert_eq!(stuck.len(), usize::from(answers));
        }
    }
}
