//! Tests the schedule against a simulated API.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

mod stuck;
mod world;

use std::collections::VecDeque;

use chrono::TimeDelta;

use self::world::{ALL_BAD, Bad, LATENCY, Run, World, error, recount, window};
use super::*;
use crate::core::density::Left;
use crate::core::stuck::{StuckItem, StuckList};
use crate::core::time::millis;

/// The time is what limits the run.
fn plenty(time: TimeDelta) -> Left {
    Left { time, requests: u64::MAX }
}

/// In milliseconds, like all times in these tests.
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn begun(from: i64) -> (EventsState, StuckList) {
    (EventsState { live_from: Some(Millis(from)), ..EventsState::default() }, StuckList::default())
}

fn spread(rows: u64, from: i64, to: i64) -> impl Iterator<Item = i64> {
    let rows = i64::try_from(rows).unwrap();
    (0..rows).map(move |row| from + (to - from) * row / rows.max(1))
}

fn at_random(random: &mut fastrand::Rng, rows: u64, from: i64, to: i64) -> Vec<i64> {
    (0..rows).map(|_| random.i64(from..to)).collect()
}

fn profiles(rows: u64, length: i64, random: &mut fastrand::Rng) -> Vec<(&'static str, Vec<i64>)> {
    let day_and_night = |random: &mut fastrand::Rng, part: i64| {
        let mut times = Vec::new();
        for _ in 0..rows {
            loop {
                let at = random.i64(0..length);
                let is_day = (at / part) % 2 == 0;
                if is_day || random.u8(..) < 6 {
                    times.push(at);
                    break;
                }
            }
        }
        times
    };
    let tenth = rows / 10;
    vec![
        ("even", spread(rows, 0, length).collect()),
        ("random", at_random(random, rows, 0, length)),
        ("all in the last fifth", at_random(random, rows, length * 4 / 5, length)),
        ("all in the first fifth", at_random(random, rows, 0, length / 5)),
        ("90 % in one hundredth", {
            let begin = random.i64(0..length * 99 / 100);
            let mut times = at_random(random, 9 * tenth, begin, begin + length / 100);
            times.extend(at_random(random, tenth, 0, length));
            times
        }),
        ("day and night", day_and_night(random, length / 2)),
        ("four days and nights", day_and_night(random, length / 8)),
        ("at the two ends", {
            let mut times = at_random(random, rows / 2, 0, length / 20);
            times.extend(at_random(random, rows / 2, length * 19 / 20, length));
            times
        }),
        ("all within a minute", {
            let begin = random.i64(0..length - MINUTE);
            at_random(random, rows, begin, begin + MINUTE)
        }),
        (
            "denser and denser",
            (0..rows)
                .map(|_| {
                    let at = random.f64().powf(0.25);
                    (at * length as f64) as i64
                })
                .collect(),
        ),
        (
            "five bursts",
            (0..rows)
                .map(|row| {
                    let begin = length / 5 * (row as i64 % 5) + length / 17;
                    begin + random.i64(0..5 * MINUTE)
                })
                .collect(),
        ),
        ("nothing", Vec::new()),
        ("one", vec![random.i64(0..length)]),
    ]
}

/// The seeds to play. They are always the same, because the checks must not fail by chance. `SEED` replays one,
/// `RANDOM` plays random ones.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None if std::env::var_os("RANDOM").is_some() => (0..count).map(|_| fastrand::u64(..)).collect(),
        None => (0..count).collect(),
    }
}

#[test]
fn a_long_span_takes_few_more_requests_than_full_pages_however_its_rows_lie() {
    for seed in seeds(40) {
        let mut random = fastrand::Rng::with_seed(seed);
        for (rows, length, page) in [(16_000, 8 * HOUR, 100), (60_000, 7 * DAY, 5_000)] {
            for (name, times) in profiles(rows, length, &mut random) {
                for lanes in [1, 2, 5] {
                    let world = World { lanes, ..World::new(times.iter().copied(), page) };
                    let (mut state, mut stuck) = begun(0);
                    let run = world.run(&mut state, &mut stuck, Millis(length), 4 * HOUR);
                    let full = (times.len() as u64).div_ceil(page) as f64;
                    let search = 2.0 * (length as f64 / 2_000.0).log2();
                    let bound = 1.25 * full + search * edges(name) + several_lanes(name, lanes);
                    assert!(run.is_done && stuck.is_empty(), "SEED={seed} {name}");
                    assert!(
                        run.requests as f64 <= bound,
                        "SEED={seed} {name}, {lanes} lanes: {} requests for {full} full pages, at most {bound:.0}",
                        run.requests
                    );
                    assert!(name != "even" || rows < 10_000 || run.busiest == lanes.min(5), "lanes are used");
                }
            }
        }
    }
}

#[test]
fn decades_with_a_few_rows_are_not_read_day_by_day() {
    for seed in seeds(40) {
        let mut random = fastrand::Rng::with_seed(seed);
        let length = 56 * 365 * DAY;
        let world = World { lanes: 5, ..World::new(at_random(&mut random, 3, 0, length), 500) };
        let (mut state, mut stuck) = begun(0);
        let run = world.run(&mut state, &mut stuck, Millis(length), HOUR);
        assert!(run.is_done && run.requests <= 150, "SEED={seed}: {} requests for 20,440 days", run.requests);
    }
}

#[test]
fn where_the_budget_limits_a_run_no_window_is_begun_that_it_cannot_end() {
    for seed in seeds(40) {
        let mut random = fastrand::Rng::with_seed(seed);
        for budget in [8, 10, 15, 20, 40] {
            let times = at_random(&mut random, 3_000, 0, 10 * HOUR);
            let world = World { lanes: 5, budget, ..World::new(times, 20) };
            let (mut state, mut stuck) = begun(0);
            let (mut requests, mut in_vain, mut runs) = (0, 0, 0);
            loop {
                let run = world.run(&mut state, &mut stuck, Millis(10 * HOUR), 20_000);
                (requests, in_vain, runs) = (requests + run.requests, in_vain + run.in_vain, runs + 1);
                if run.is_done {
                    break;
                }
                assert!(runs < 100, "SEED={seed}, {budget} a run: no end, {in_vain} of {requests} requests in vain");
            }
            println!("VAIN {budget}: {in_vain} of {requests} in {runs} runs");
            assert!(in_vain * 10 <= requests, "SEED={seed}, {budget} a run: {in_vain} of {requests} in vain");
        }
    }
}

/// Weighs the sudden changes of density in a profile: each makes the schedule search for the right length again.
fn edges(name: &str) -> f64 {
    match name {
        "five bursts" => 4.0,
        "all within a minute" => 5.0,
        "four days and nights" => 1.5,
        _ => 1.0,
    }
}

/// The additional requests for windows that were under way when the density changed, and so have the wrong length.
fn several_lanes(name: &str, lanes: usize) -> f64 {
    if name == "90 % in one hundredth" { 3.0 * lanes as f64 } else { 0.0 }
}

fn anything(random: &mut fastrand::Rng) -> (World, i64) {
    let length = random.i64(10 * MINUTE..24 * HOUR);
    let rows = random.u64(0..6_000);
    let mut all = profiles(rows, length, random);
    let (_, times) = all.swap_remove(random.usize(..all.len()));
    let page = *random.choice([20, 50, 100, 500, 5_000].iter()).unwrap();
    (World { lanes: random.usize(1..=8), ..World::new(times, page) }, length)
}

/// The bad spans and their surroundings, which can't be read either: windows of minimum length and their margins.
fn near(world: &World) -> Intervals {
    let around = TimeDelta::seconds(6);
    world.bad.iter().map(|(span, _)| Span { from: span.from - around, to: span.to + around }).collect()
}

/// Plays one run every 5 minutes until everything outside of the bad spans is covered.
fn runs_until_whole(world: &World, horizon: Millis, lasts: i64, most: usize) -> (Vec<Run>, EventsState, StuckList) {
    let (mut state, mut stuck) = begun(0);
    let mut runs = Vec::new();
    let near = near(world);
    while !state.unopened_gaps(horizon).without(&near).is_empty() {
        assert!(runs.len() < most, "not whole after {most} runs");
        // New events appear between the runs. All of them can be read.
        let began = horizon + millis(i64::try_from(runs.len()).unwrap() * lasts.max(5 * MINUTE));
        runs.push(world.run_at(&mut state, &mut stuck, began, began, lasts));
    }
    (runs, state, stuck)
}

#[test]
fn an_api_that_fails_as_a_whole_makes_nothing_stuck() {
    let world =
        World { bad: vec![(Span { from: Millis(-HOUR), to: Millis(2 * HOUR) }, Bad::Fails)], ..World::new([], 100) };
    let (mut state, mut stuck) = begun(0);
    let run = world.run(&mut state, &mut stuck, Millis(HOUR), MINUTE);
    assert!(run.api_fails && stuck.is_empty() && run.requests < 20, "{run:?} {stuck:?}");
}

#[test]
fn counts_that_stop_at_a_cap_are_read_in_windows_below_it() {
    for (cap, page) in [(10_000, 5_000), (1_000, 500), (777, 100), (100, 100), (10_000, 10_000)] {
        for lanes in [1, 4] {
            let mut random = fastrand::Rng::with_seed(7);
            let times = at_random(&mut random, 6 * cap, 0, HOUR);
            let world = World { lanes, cap, ..World::new(times, page) };
            let (runs, _, stuck) = runs_until_whole(&world, Millis(HOUR), 4 * MINUTE, 2);
            let requests: u64 = runs.iter().map(|run| run.requests).sum();
            let full = (6 * cap).div_ceil(page);
            assert!(stuck.is_empty() && requests <= 3 * full + 40, "cap {cap}: {requests} for {full}");
        }
    }
}

#[test]
fn what_was_too_much_for_an_earlier_run_is_soon_forgotten_where_there_is_nothing_to_read() {
    let world = World::new([], 100);
    let (mut state, mut stuck) = begun(0);
    state.window_length = millis(2_000);
    let run = world.run(&mut state, &mut stuck, Millis(DAY), 15 * MINUTE);
    assert!(run.is_done && run.requests < 40, "{} requests for a day without events", run.requests);
}

/// Returns the next window that a run opens of the stuck spans.
fn opened(state: &EventsState, stuck: &StuckList, horizon: Millis) -> (Schedule, WindowPlan) {
    let mut schedule = Schedule::new(state, Sizes { full_page: 100 }, horizon, None, None, VecDeque::new());
    loop {
        match schedule.next(state, stuck, horizon, plenty(millis(MINUTE))) {
            Step::Open(plan) => return (schedule, plan),
            Step::Count { span, .. } => {
                let counted = Outcome::Counted { span, rows: 16 };
                schedule.apply(&mut state.clone(), &mut stuck.clone(), horizon, counted);
            }
            step => panic!("nothing is opened, but {step:?}"),
        }
    }
}

#[test]
fn a_window_of_which_too_many_rows_cannot_be_read_keeps_its_bounds_and_is_read_again_last() {
    let horizon = Millis(HOUR);
    let (mut state, mut stuck) = begun(0);
    let (mut schedule, plan) = opened(&state, &stuck, horizon);
    assert_eq!((plan.unreadable_beside, plan.keeps_shown), (0, true));
    let kept = window(plan.span);
    state.open.push(kept.clone());
    let (error, why) = (error(), UnreadReason::Kept { unreadable: 9 });
    schedule.apply(&mut state, &mut stuck, horizon, Outcome::Unread { window: kept.clone(), error, why });
    assert_eq!((state.open.len(), stuck.spans()), (1, [plan.span].into_iter().collect()));
    let later = horizon + millis(MINUTE);
    let recount = recount(Span { from: Millis(-HOUR), to: Millis(0) });
    let mut schedule = Schedule::new(&state, Sizes { full_page: 100 }, later, None, None, [recount.clone()].into());
    let Step::Count { span, .. } = schedule.next(&state, &stuck, later, plenty(millis(MINUTE))) else {
        panic!("a gap is first")
    };
    state.cover(span);
    schedule.apply(&mut state, &mut stuck, later, Outcome::Counted { span, rows: 0 });
    let step = schedule.next(&state, &stuck, later, plenty(millis(MINUTE)));
    assert_eq!(step, Step::Recount(recount));
    let step = schedule.next(&state, &stuck, later, plenty(millis(MINUTE)));
    assert_eq!(step, Step::Resume { window: kept, alone: false });
}

#[test]
fn parts_of_a_span_of_which_too_many_rows_could_not_be_read_set_none_aside() {
    let horizon = Millis(HOUR);
    let (mut state, mut stuck) = begun(0);
    let (mut schedule, plan) = opened(&state, &stuck, horizon);
    let why = UnreadReason::Unreadable { rows: 9 };
    schedule.apply(&mut state, &mut stuck, horizon, Outcome::Unread { window: window(plan.span), error: error(), why });
    assert_eq!((state.open.len(), stuck.len()), (0, 1), "it is not cut");
    // The next run reads the stuck spans from the checkpoint.
    let stuck: StuckList = serde_json::from_str(&serde_json::to_string(&stuck).unwrap()).unwrap();
    state.window_length = plan.span.length() / 4;
    let (_, part) = opened(&state, &stuck, horizon);
    assert!(part.span.length() < plan.span.length(), "{:?}", part.span);
    assert_eq!((part.tries, part.unreadable_beside), (Tries::Once, 9));
}

#[test]
fn a_failure_is_not_looked_into_after_a_horizon_that_was_lowered_meanwhile() {
    let (state, mut stuck) = begun(0);
    let (ours, the_api_s) = (Millis(MINUTE), Millis(MINUTE / 2));
    let mut schedule = Schedule::new(&state, Sizes { full_page: 100 }, ours, None, None, VecDeque::new());
    let Step::Count { span, .. } = schedule.next(&state, &stuck, ours, plenty(millis(MINUTE))) else {
        panic!("a count is first")
    };
    assert_eq!(span.to, ours);
    schedule.lower_horizon(the_api_s);
    let mut failed = Outcome::NotCounted { span, error: error() };
    for _ in 0..6 {
        schedule.apply(&mut state.clone(), &mut stuck, ours, failed);
        let Step::Open(probe) = schedule.next(&state, &stuck, ours, plenty(millis(MINUTE))) else {
            panic!("it is looked into")
        };
        assert!(probe.span.to <= the_api_s, "{:?}", probe.span);
        failed = Outcome::Unread { window: window(probe.span), error: error(), why: UnreadReason::Failed };
    }
}

#[test]
fn a_window_that_ends_too_early_is_a_gap_again_if_this_run_opened_it() {
    for (leaves, is_ours) in [(Leftover::Planned, true), (Leftover::Stored, false)] {
        let (mut state, mut stuck) = begun(0);
        let (mut schedule, plan) = opened(&state, &stuck, Millis(MINUTE));
        state.open.push(window(plan.span));
        schedule.apply(&mut state, &mut stuck, Millis(MINUTE), Outcome::TooEarly { span: plan.span, leaves });
        assert_eq!((state.open.is_empty(), stuck.is_empty()), (is_ours, true), "otherwise some of it may be stored");
        assert_eq!(state.unopened_gaps(Millis(MINUTE)).within(plan.span).is_empty(), !is_ours);
    }
}

/// Opens the next window, which S3 takes or doesn't.
fn stores(schedule: &mut Schedule, state: &mut EventsState, stuck: &mut StuckList, is_taken: bool) -> Step {
    let now = Millis(HOUR);
    let step = schedule.next(state, stuck, now, plenty(millis(HOUR)));
    let Step::Open(plan) = &step else { return step };
    let (span, rows) = (plan.span, plan.expected.unwrap_or(1));
    let outcome = if is_taken {
        state.cover(span);
        Outcome::Read { span, rows, inside: rows, bytes: rows, took: millis(1) }
    } else {
        state.open.push(window(span));
        Outcome::NotStored { window: window(span), error: error() }
    };
    schedule.apply(state, stuck, now, outcome);
    step
}

/// A schedule of many windows.
fn many_windows(state: &mut EventsState, stuck: &mut StuckList) -> Schedule {
    let horizon = Millis(HOUR);
    let mut schedule = Schedule::new(state, Sizes { full_page: 20 }, horizon, None, None, VecDeque::new());
    let Step::Count { span, .. } = schedule.next(state, stuck, horizon, plenty(millis(HOUR))) else {
        panic!("a count is first")
    };
    schedule.apply(state, stuck, horizon, Outcome::Counted { span, rows: 2_000 });
    schedule
}

#[test]
fn a_window_that_s3_does_not_take_is_stuck_where_s3_takes_others() {
    let outcomes = |taken: &[bool]| {
        let (mut state, mut stuck) = begun(0);
        let mut schedule = many_windows(&mut state, &mut stuck);
        for is_taken in taken {
            assert!(matches!(stores(&mut schedule, &mut state, &mut stuck, *is_taken), Step::Open(_)), "{taken:?}");
        }
        (stuck.len(), state.open.len(), schedule.unclear().is_some(), schedule.failure().is_some())
    };
    assert_eq!(outcomes(&[false]), (0, 1, true, false), "S3 may fail for all");
    assert_eq!(outcomes(&[false, true]), (1, 1, false, false), "it keeps its bounds");
    assert_eq!(outcomes(&[true, false]), (1, 1, false, false));
    assert_eq!(outcomes(&[false, false, true, false]), (3, 3, false, false));
    assert_eq!(outcomes(&[false, false, false]), (0, 3, true, true), "S3 fails as a whole, and nothing is stuck");
}

#[test]
fn after_three_windows_in_a_row_that_s3_does_not_take_no_further_one_is_begun() {
    let (mut state, mut stuck) = begun(0);
    let mut schedule = many_windows(&mut state, &mut stuck);
    for is_taken in [true, false, false, false] {
        stores(&mut schedule, &mut state, &mut stuck, is_taken);
    }
    assert_eq!(stores(&mut schedule, &mut state, &mut stuck, true), Step::Done);
    assert!(schedule.failure().is_some());
}

#[test]
fn an_old_failure_of_s3_says_nothing_about_all_of_it() {
    let (mut state, mut stuck) = begun(0);
    let mut schedule = many_windows(&mut state, &mut stuck);
    for _ in 0..5 {
        let old = window(Span { from: Millis(-HOUR), to: Millis(0) });
        stuck.fail(StuckItem::Span(old.span), error(), Millis(0));
        schedule.apply(&mut state, &mut stuck, Millis(HOUR), Outcome::NotStored { window: old, error: error() });
    }
    assert!(matches!(stores(&mut schedule, &mut state, &mut stuck, true), Step::Open(_)));
    assert!(schedule.failure().is_none());
}

#[test]
fn beside_a_window_under_way_none_is_begun_for_which_there_is_no_time() {
    let (mut state, mut stuck) = begun(0);
    let horizon = Millis(HOUR);
    let mut schedule = Schedule::new(&state, Sizes { full_page: 20 }, horizon, None, None, VecDeque::new());
    let Step::Count { span, .. } = schedule.next(&state, &stuck, horizon, plenty(millis(MINUTE))) else {
        panic!("a count is first")
    };
    schedule.apply(&mut state, &mut stuck, horizon, Outcome::Counted { span, rows: 2_000 });
    let Step::Open(first) = schedule.next(&state, &stuck, horizon, plenty(millis(MINUTE))) else {
        panic!("a window is second")
    };
    state.covered.insert(first.span);
    // A page took a second, and nothing else was under way.
    let read = Outcome::Read { span: first.span, rows: 20, inside: 20, bytes: 6_000, took: millis(1_000) };
    schedule.apply(&mut state, &mut stuck, horizon, read);
    // If the API answers one request after the other, each of two takes two seconds.
    let little = plenty(millis(3_000));
    assert!(matches!(schedule.next(&state, &stuck, horizon, little), Step::Open(_)));
    assert_eq!(schedule.next(&state, &stuck, horizon, little), Step::Wait);
    assert!(matches!(schedule.next(&state, &stuck, horizon, plenty(millis(MINUTE))), Step::Open(_)));
}

#[test]
fn windows_that_memory_or_time_limits_to_a_page_are_read_several_at_once() {
    // A row has 800 bytes, so that a window is limited to one page of 10,000.
    let (mut state, mut stuck) = begun(0);
    let horizon = Millis(HOUR);
    let mut schedule = Schedule::new(&state, Sizes { full_page: 10_000 }, horizon, None, None, VecDeque::new());
    let Step::Count { span, .. } = schedule.next(&state, &stuck, horizon, plenty(millis(HOUR))) else {
        panic!("a count is first")
    };
    schedule.apply(&mut state, &mut stuck, horizon, Outcome::Counted { span, rows: 305_000 });
    let Step::Open(first) = schedule.next(&state, &stuck, horizon, plenty(millis(HOUR))) else {
        panic!("a window is second")
    };
    let rows = first.expected.unwrap();
    let read = Outcome::Read { span: first.span, rows, inside: rows, bytes: rows * 800, took: millis(900) };
    state.covered.insert(first.span);
    schedule.apply(&mut state, &mut stuck, horizon, read);
    for lane in 1..=5 {
        let step = schedule.next(&state, &stuck, horizon, plenty(millis(HOUR)));
        assert!(matches!(&step, Step::Open(plan) if plan.most_rows == 10_000), "lane {lane}: {step:?}");
    }
}
