//! Spans that fail for good, and spans that heal.

use super::*;
use crate::core::density::cut;

fn bad_spans(random: &mut fastrand::Rng, length: i64) -> Vec<(Span, Bad)> {
    (0..random.usize(1..=12))
        .map(|_| {
            let from = random.i64(0..length);
            let longest = *random.choice([1, 1, 5_000, 5 * MINUTE].iter()).unwrap();
            let span = Span { from: Millis(from), to: Millis(from + random.i64(1..=longest)) };
            let bad = *random.choice(ALL_BAD.iter()).unwrap();
            (span, bad)
        })
        .collect()
}

/// The most requests for finding the edges of all bad spans: for halving each down to the minimum length, and for
/// retries.
fn isolation(world: &World, length: i64) -> u64 {
    let steps = |span: i64| u64::from((span.max(2_000) / 2_000).ilog2()) + 1;
    let spans =
        world.bad.iter().map(|(span, _)| 6 * steps(length) + 12 * steps(span.length().num_milliseconds() + 4_000) + 30);
    spans.sum()
}

#[test]
fn what_fails_for_good_holds_up_nothing_that_is_sound() {
    for seed in seeds(400) {
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (sound, length) = anything(&mut random);
        let lasts = *random.choice([3_000, 10_000, 25_000, MINUTE, 4 * MINUTE, 15 * MINUTE].iter()).unwrap();
        let sound = sound.that_fits(lasts);
        let bad = World { bad: bad_spans(&mut random, length), ..sound.clone() };
        let horizon = Millis(length);
        let (plain, ..) = runs_until_whole(&sound, horizon, lasts, 1_000);
        let (runs, _, stuck) = runs_until_whole(&bad, horizon, lasts, 2_000);
        // The requests that one lane has time for in a run. Half of it may pass with retries.
        let a_run = u64::try_from(lasts / LATENCY).unwrap() / 2;
        let later = if isolation(&bad, length) <= a_run { 1 } else { 1 + isolation(&bad, length).div_ceil(a_run) };
        let told = format!(
            "{} runs of {lasts} ms instead of {}, {} lanes, {} bad, {} stuck",
            runs.len(),
            plain.len(),
            sound.lanes,
            bad.bad.len(),
            stuck.len()
        );
        assert!(runs.len() as u64 <= plain.len() as u64 + later, "{told}, at most {later} more");
        assert!(stuck.len() <= 100 * bad.bad.len(), "{told}");
    }
}

#[test]
fn many_bad_seconds_all_over_a_long_backlog_hold_up_nothing_that_is_sound() {
    for seed in seeds(8) {
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let spots = random.i64(30..120);
        let sound = World { lanes: 4, ..World::new(at_random(&mut random, 500, 0, DAY), 100) };
        let kind = *random.choice([Bad::Fails, Bad::PagesFail, Bad::Disagrees, Bad::TooLarge].iter()).unwrap();
        let spot = |number: i64| {
            let from = Millis(number * DAY / spots + random.i64(0..DAY / spots));
            (Span { from, to: from + millis(1) }, kind)
        };
        let bad = World { bad: (0..spots).map(spot).collect(), ..sound };
        let (mut state, mut stuck) = begun(0);
        for run in 0..2 {
            let now = Millis(DAY + run * 15 * MINUTE);
            bad.run_at(&mut state, &mut stuck, Millis(DAY), now, 15 * MINUTE);
        }
        let around = TimeDelta::seconds(10);
        let near: Intervals =
            bad.bad.iter().map(|(span, _)| Span { from: span.from - around, to: span.to + around }).collect();
        let unread = state.unopened_gaps(Millis(DAY)).without(&near);
        assert!(unread.is_empty(), "{spots} spots of kind {kind:?}: {unread:?}");
    }
}

#[test]
fn what_stays_stuck_costs_little_and_is_read_as_soon_as_it_can_be() {
    for seed in seeds(100) {
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (sound, length) = anything(&mut random);
        let bad = World { bad: bad_spans(&mut random, length), ..sound.clone() };
        let horizon = Millis(length);
        let (runs, mut state, mut stuck) = runs_until_whole(&bad, horizon, 15 * MINUTE, 50);
        let mut now = horizon + millis(i64::try_from(runs.len()).unwrap() * 15 * MINUTE);
        // The back-off doubles, so each span is tried about a dozen times in a day.
        let mut requests = 0;
        for _ in 0..96 {
            let run = bad.run_at(&mut state, &mut stuck, horizon, now, 15 * MINUTE);
            requests += run.requests;
            let in_time = bad.lanes as u64 * u64::try_from(15 * MINUTE / LATENCY).unwrap();
            assert!(5 * run.on_bad <= in_time, "{} of {in_time} requests of a run for bad spans", run.on_bad);
            now = now + millis(15 * MINUTE);
        }
        let entries = stuck.len() as u64;
        assert!(requests <= 12 * 12 * (entries + 12), "{requests} requests in a day for {entries} stuck spans");
        stuck.try_now(now);
        for _ in 0..3 {
            sound.run_at(&mut state, &mut stuck, horizon, now, 15 * MINUTE);
            now = now + millis(15 * MINUTE);
        }
        assert!(state.unopened_gaps(horizon).is_empty() && stuck.is_empty(), "{stuck:?}");
    }
}

#[test]
fn many_stuck_spans_that_can_be_read_again_take_a_request_each() {
    for seed in seeds(20) {
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (horizon, spans) = (Millis(DAY), 300);
        let sound = World::new(at_random(&mut random, 2_000, 0, DAY), 100);
        let (mut state, mut stuck) = begun(0);
        for number in 0..spans {
            let from = Millis(number * DAY / spans + random.i64(0..100) * 1_000);
            stuck.fail(StuckItem::Span(Span { from, to: from + millis(2_000) }), error(), Millis(0));
        }
        state.covered =
            [Span { from: Millis(0), to: horizon }].into_iter().collect::<Intervals>().without(&stuck.spans());
        stuck.try_now(horizon);
        let run = sound.run(&mut state, &mut stuck, horizon, 5 * MINUTE);
        assert!(state.unopened_gaps(horizon).is_empty() && stuck.is_empty(), "{stuck:?}");
        assert!(run.requests <= u64::try_from(spans).unwrap() + 10, "{} requests for {spans} spans", run.requests);
    }
}

#[test]
fn what_is_stuck_is_tried_after_all_else() {
    let (horizon, left) = (Millis(HOUR), millis(HOUR));
    let held = Span { from: Millis(0), to: Millis(10 * MINUTE) };
    for lanes in [1, 4] {
        let (mut state, mut stuck) = begun(0);
        stuck.fail(StuckItem::Span(held), error(), Millis(0));
        let mut schedule = Schedule::new(&state, Sizes { full_page: 100 }, horizon, None, None, VecDeque::new());
        let (mut order, mut under_way) = (Vec::new(), VecDeque::new());
        loop {
            let step =
                if under_way.len() < lanes { schedule.next(&state, &stuck, horizon, plenty(left)) } else { Step::Wait };
            match step {
                Step::Done => break,
                Step::Wait => under_way.pop_front().map_or_else(
                    || panic!("nothing to wait for"),
                    |outcome| schedule.apply(&mut state, &mut stuck, horizon, outcome),
                ),
                Step::Count { span, .. } => {
                    order.push(held.intersection(span).is_some());
                    under_way.push_back(Outcome::Counted { span, rows: 1_000 });
                }
                Step::Open(plan) => {
                    let (span, rows) = (plan.span, plan.most_rows);
                    order.push(held.intersection(span).is_some());
                    state.cover(span);
                    under_way.push_back(Outcome::Read {
                        span,
                        rows,
                        inside: rows,
                        bytes: 1,
                        took: TimeDelta::milliseconds(1),
                    });
                }
                step => panic!("{step:?}"),
            }
        }
        assert!(order.is_sorted() && order.contains(&false) && order.contains(&true), "{lanes} lanes: {order:?}");
    }
}

#[test]
fn nothing_else_is_read_beside_a_sample_of_a_span_at_which_a_run_died() {
    let (mut state, mut stuck) = begun(0);
    let horizon = Millis(DAY);
    let whole = Span { from: Millis(0), to: horizon };
    stuck.split(whole, cut(whole, 40), &error(), horizon, true);
    let mut schedule = Schedule::new(&state, Sizes { full_page: 100 }, horizon, None, None, VecDeque::new());
    let Step::Open(sample) = schedule.next(&state, &stuck, horizon, plenty(millis(HOUR))) else {
        panic!("a part is sampled")
    };
    assert_eq!(sample.span.length(), millis(2_000));
    state.open.push(window(sample.span));
    assert_eq!(schedule.next(&state, &stuck, horizon, plenty(millis(HOUR))), Step::Wait);
}
