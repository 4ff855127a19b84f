//! The protocol of checkpoint, lease, open windows and create-only objects, searched completely within bounds: real runs of
//! the collector, over three records in two windows, with all that S3, time and death can do between any two requests.
#![allow(clippy::print_stdout, clippy::cast_possible_truncation)]

mod seams;
mod search;
mod world;

use std::time::Instant;

use search::{Bounds, Explored, Fault, explore};
use world::TakenOut;

/// All that time, death and late arrivals can do to two runs.
const TWO_RUNS: Bounds = Bounds { runs: 2, unanswered: 0, too_large: 0, taken_out: None };
/// A run one of whose writes gets no answer.
const LOST_ANSWER: Bounds = Bounds { runs: 1, unanswered: 1, too_large: 0, taken_out: None };
/// A run that cuts a window, because the API takes too long over it.
const CUT_WINDOW: Bounds = Bounds { runs: 1, unanswered: 0, too_large: 1, taken_out: None };

/// The defaults of `RUNS`, `UNANSWERED` and `TOO_LARGE`.
fn bounds(usual: Bounds) -> Bounds {
    let number = |name: &str| -> Option<u8> {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number up to 255: {text:?}")))
    };
    Bounds {
        runs: number("RUNS").map_or(usual.runs, usize::from),
        unanswered: number("UNANSWERED").unwrap_or(usual.unanswered),
        too_large: number("TOO_LARGE").unwrap_or(usual.too_large),
        ..usual
    }
}

#[test]
fn whatever_two_runs_meet_each_record_is_stored_once_in_the_end() {
    nothing_goes_wrong(TWO_RUNS);
}

#[test]
fn whatever_answer_a_run_does_not_hear_each_record_is_stored_once_in_the_end() {
    nothing_goes_wrong(LOST_ANSWER);
}

#[test]
fn whatever_window_a_run_cuts_each_record_is_stored_once_in_the_end() {
    nothing_goes_wrong(CUT_WINDOW);
}

fn nothing_goes_wrong(usual: Bounds) {
    let (bounds, began) = (bounds(usual), Instant::now());
    let Explored { states, steps, positions, buckets, ends, fault } = explore(bounds);
    if let Some(Fault { what, steps }) = fault {
        panic!("{what}\n  {}", steps.join("\n  "));
    }
    println!(
        "{bounds:?}: {states} states, {steps} steps between them, {positions} positions of a run, {buckets} buckets in which \
         nothing is wrong; {ends} were left in the end and made whole; in {:.1} s",
        began.elapsed().as_secs_f64()
    );
}

/// The steps by which it goes wrong are printed.
fn goes_wrong_without(taken_out: TakenOut, usual: Bounds) {
    let began = Instant::now();
    let explored = explore(Bounds { taken_out: Some(taken_out), ..bounds(usual) });
    let Some(Fault { what, steps }) = explored.fault else {
        panic!("without {taken_out:?} nothing goes wrong in {} states", explored.states);
    };
    println!(
        "without {taken_out:?}, after {} states, in {:.1} s: {what}\n  {}",
        explored.states,
        began.elapsed().as_secs_f64(),
        steps.join("\n  ")
    );
}

#[test]
fn without_create_only_something_goes_wrong() {
    goes_wrong_without(TakenOut::CreateOnly, TWO_RUNS);
}

#[test]
fn without_windows_that_are_opened_before_they_are_read_something_goes_wrong() {
    goes_wrong_without(TakenOut::OpenBeforeRead, TWO_RUNS);
}

#[test]
fn without_if_match_something_goes_wrong() {
    goes_wrong_without(TakenOut::IfMatch, Bounds { unanswered: 1, too_large: 1, ..TWO_RUNS });
}

#[test]
fn without_leases_something_goes_wrong() {
    goes_wrong_without(TakenOut::Lease, Bounds { too_large: 1, ..TWO_RUNS });
}
