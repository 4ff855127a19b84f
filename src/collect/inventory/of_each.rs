//! Reads the lists that each record has, such as the members of each watchlist. A list may fail for one record, or for
//! every one.

use std::collections::BTreeSet;

use super::key::alone;
use super::list::ListReading;
use super::pass::PassReading;
use crate::collect::Collector;
use crate::collect::error::Error;
use crate::core::drift::is_drifted;
use crate::core::error_type::ErrorInfo;
use crate::core::round::Round;
use crate::core::stuck::StuckItem;
use crate::core::tally::SIGNIFICANT_WAIT;
use crate::core::time::Millis;
use crate::incydr::facts::{Inventory, Part};
use crate::incydr::request::Caller;

impl Collector<'_> {
    /// Reads the list of each record. Stuck ones come last. If the list fails for every record, it is stuck as a whole,
    /// and the other lists are read.
    pub(super) async fn read_of_each(
        &self,
        facts: &'static Inventory,
        part: &'static Part,
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let all: BTreeSet<String> = reading.ids_of(facts, &facts.parts[0]).collect();
        if !self.may_lack_parents(facts, reading) {
            // A record that is gone has no list, so nothing of it is stuck.
            self.stuck(|stuck| stuck.retain(|stuck| parent_of(&stuck.what, part).is_none_or(|id| all.contains(id))));
            self.inventory_state(|state| state.keep_empty(part.name, |id| all.contains(id)));
            let mut throttled = self.tally.calls.throttled_items.lock();
            throttled.retain(|item| parent_of(item, part).is_none_or(|id| all.contains(id)));
        }

        let mut round = self.stuck(|stuck| Round::new(Some(part.name), stuck, Millis::now()));
        let last = reading.pass.parent.clone();
        let put_off = &self.throttled.items;
        let is_put_off = |id: &String| !put_off.is_empty() && put_off.contains(&round.item(id));
        let is_to_be_read = |id: &String| last.as_ref().is_none_or(|last| id > last) || is_put_off(id);
        let parents: Vec<String> = all.into_iter().filter(is_to_be_read).collect();
        let parents = match part.every {
            Some(every) => self.to_ask(facts, part, every, parents, reading),
            None => parents,
        };
        round.add(parents.iter().cloned());

        let asked_at = Millis::now();
        let (rows, unreadable) = (reading.pass.rows, reading.unreadable);
        let read = self.read_lists(facts, part, &mut round, reading).await;
        let (rows, unreadable) = (reading.pass.rows - rows, reading.unreadable - unreadable);

        let left = round.first_left(put_off);
        let is_read = |id: &&String| left.is_none_or(|left| id.as_str() < left);
        let parent = parents.iter().rev().find(is_read).cloned();
        reading.pass.parent = parent.max(reading.pass.parent.take());

        match read {
            Err(error)
                if !round.has_answered() && self.fails_for_every(facts, &error, reading.began, asked_at).await =>
            {
                let ErrorInfo { error_type, message } = error.info_for_one();
                let message = format!("it can't be read for any of the {}: {message}", facts.parts[0].name);
                reading.judged.list_failed(part.name, ErrorInfo { error_type, message });
                if error.is_out_of_time() { Err(error) } else { Ok(()) }
            }
            Ok(()) if is_drifted(unreadable, rows, 0) => {
                self.tally.drift.add(unreadable);
                let message = format!(
                    "{unreadable} of {rows} rows can't be read, spread over the lists of many {}",
                    facts.parts[0].name
                );
                reading.judged.list_failed(part.name, ErrorInfo::from(&Error::Inconsistent(message)));
                Ok(())
            }
            Ok(()) => {
                reading.judged.list_answered(part.name);
                Ok(())
            }
            Err(error) => {
                if round.has_answered() {
                    reading.judged.list_answered(part.name);
                }
                Err(error)
            }
        }
    }

    /// Whether a record may still be there though this pass has not seen it.
    fn may_lack_parents(&self, facts: &'static Inventory, reading: &PassReading) -> bool {
        self.inventory_state(|state| state.may_lack(&reading.pass, facts.parts[0].name))
    }

    /// Whether this list fails for every record, and not the API. That is so if the first list answers now; or, if
    /// `error` says that the time is up, if the API has answered in this run and left this list unanswered for half of
    /// the stream's time. False if the first list's records aren't stored: then the stream fails. `began` is when the
    /// stream was begun, `asked_at` when the list was asked for.
    async fn fails_for_every(&self, facts: &'static Inventory, error: &Error, began: Millis, asked_at: Millis) -> bool {
        let records = &facts.parts[0];
        if records.is_index || error.is_budget_spent() {
            return false;
        }
        if error.is_out_of_time() {
            let long = SIGNIFICANT_WAIT.max(self.run.times.read_until.since(began) / 2);
            return self.run.api.clock().has_answered() && Millis::now().since(asked_at) >= long;
        }
        error.may_be_local_or_refused() && self.answers(records).await
    }

    /// Requests the lists of the records in `round`, one for each record, and takes their rows.
    pub(super) async fn read_lists(
        &self,
        facts: &'static Inventory,
        part: &'static Part,
        round: &mut Round,
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let under_way = reading.list_under_way(facts, part);
        let ask =
            async |parent: &str, caller: &Caller<'_>| self.list_of(part, parent, under_way.as_ref(), caller).await;

        let take = async |parent: &str, list: ListReading<'_>| {
            let whole = self.read_list(facts, list, reading).await;
            if !whole.as_ref().is_err_and(Error::is_out_of_time) {
                reading.pass.end_list(parent);
                if reading.pass.list.is_none() {
                    reading.pass.runs_since_restart = None;
                }
            }
            let whole = whole?;
            reading.note(&whole);
            if part.every.is_some() && whole.nameless == Some(0) && whole.rows > 0 {
                reading.note_requested(parent, Millis::now());
            }
            Ok(())
        };
        let read = Box::pin(self.request_each(round, usize::MAX, ask, take)).await;
        reading.judged.extend(round.take_judged());
        read
    }

    /// Reads the records' lists that are stuck and due, after all others: one that never answers takes the rest of the
    /// run.
    pub(super) async fn read_lists_due(
        &self,
        facts: &'static Inventory,
        due: &[StuckItem],
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let all: BTreeSet<String> = reading.ids_of(facts, &facts.parts[0]).collect();
        // A partial pass may lack ids of existing records. So it tries every stuck list: only the answer shows that a
        // record is gone.
        let may_lack_some = self.may_lack_parents(facts, reading);
        let may_be_there = |id: &&str| may_lack_some || all.contains(*id);
        for part in facts.parts.iter().filter(|part| part.parent.is_some()) {
            let mut round = self.stuck(|stuck| Round::new(Some(part.name), stuck, Millis::now()));
            round.add_due(parents_due(due, part).filter(may_be_there).map(str::to_owned));
            self.read_lists(facts, part, &mut round, reading).await?;
        }
        Ok(())
    }

    /// Reads the lists that are stuck for every record, and due. If one answers and doesn't fit the run, the next run
    /// continues the pass with it.
    pub(super) async fn read_lists_stuck_for_all(
        &self,
        facts: &'static Inventory,
        due: &[StuckItem],
        reading: &mut PassReading,
    ) -> Result<(), Error> {
        let end = reading.pass.part;
        let is_due = |(_, part): &(usize, &Part)| part.parent.is_some() && due.contains(&alone(part));
        for (index, part) in facts.parts.iter().enumerate().filter(is_due) {
            (reading.pass.part, reading.pass.parent) = (index, None);
            let read = self.read_of_each(facts, part, reading).await;
            if read.is_ok() || reading.pass.parent.is_none() {
                reading.pass.part = end;
            }
            read?;
        }
        Ok(())
    }
}

/// The record whose list is stuck, if it is a list of this part.
fn parent_of<'a>(what: &'a StuckItem, part: &Part) -> Option<&'a String> {
    match what {
        StuckItem::List { list, id } if list == part.name => id.as_ref(),
        _ => None,
    }
}

pub(super) fn parents_due<'a>(due: &'a [StuckItem], part: &'static Part) -> impl Iterator<Item = &'a str> {
    due.iter().filter_map(|what| parent_of(what, part)).map(String::as_str)
}
