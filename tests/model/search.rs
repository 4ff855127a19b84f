//! Searches all interleavings breadth first, so the first fault that it finds has as few steps as possible.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::seams::{Answered, Asked, DEADLINE, Run, Waiting, Write};
use crate::world::{self, Objects, TakenOut};

/// The limits of the search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The number of runs. Two are alive at a time.
    pub runs: usize,
    /// The number of writes that get no answer while their run goes on.
    pub unanswered: u8,
    /// The number of times that the API takes too long over a window, which makes the run cut it.
    pub too_large: u8,
    pub taken_out: Option<TakenOut>,
}

/// The result of a search.
pub struct Explored {
    pub states: usize,
    pub steps: usize,
    /// The number of different positions of runs.
    pub positions: usize,
    /// The number of different contents of the bucket.
    pub buckets: usize,
    /// The number of contents that were left when all runs had ended. Undisturbed runs completed each of them.
    pub ends: usize,
    pub fault: Option<Fault>,
}

pub struct Fault {
    pub what: String,
    pub steps: Vec<String>,
}

#[derive(Clone)]
struct State {
    now: i64,
    runs: Vec<Phase>,
    objects: Arc<Objects>,
    /// Writes that were sent and have not arrived, with the number of their run.
    flying: Vec<(usize, Arc<Write>)>,
    unanswered: u8,
    too_large: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Phase {
    began: i64,
    /// The run's position, or none once it has ended.
    position: Option<u32>,
}

/// The position of a run, which its answers so far determine.
struct Position {
    before: Option<(u32, u32, Answered, i64)>,
    nth_run: usize,
    began: i64,
    waiting: Waiting,
    has_ended: bool,
}

/// A step of the search.
enum Step {
    Begins(usize),
    Answered { n: usize, asked: Arc<Asked>, is_refused: bool },
    Unanswered { n: usize, asked: Arc<Asked> },
    TooLarge { n: usize, asked: Arc<Asked> },
    Dies(usize),
    Arrives { n: usize, write: Arc<Write> },
    GoesBy { seconds: i64 },
}

type Steps = Vec<(Step, State)>;

struct Positions {
    all: Vec<Position>,
    after: HashMap<(u32, u32, u64, i64), u32>,
    first: HashMap<(usize, i64), u32>,
    /// The runs at the latest positions. A run that continues from one of them need not be repeated from its beginning.
    kept: VecDeque<(u32, Run)>,
}

/// In milliseconds, like all times in the search.
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const KEPT: usize = 400;
const TOLD_EVERY: usize = 200_000;

pub fn explore(bounds: Bounds) -> Explored {
    let mut search = Search {
        bounds,
        positions: Positions { all: Vec::new(), after: HashMap::new(), first: HashMap::new(), kept: VecDeque::new() },
        sound: HashSet::new(),
        whole: HashSet::new(),
    };
    let first = State {
        now: world::BEGIN,
        runs: Vec::new(),
        objects: Arc::new(world::at_first()),
        flying: Vec::new(),
        unanswered: bounds.unanswered,
        too_large: bounds.too_large,
    };
    let mut seen = HashSet::from([hash(&first)]);
    // For each state: the state before it, and the index of the step between them.
    let mut came_from: Vec<(u32, u16)> = vec![(0, 0)];
    let mut queue = VecDeque::from([(0_u32, first.clone())]);
    let mut steps = 0;
    let mut fault = None;
    'all: while let Some((id, state)) = queue.pop_front() {
        for (nth, (_, next)) in search.steps(&state).into_iter().enumerate() {
            steps += 1;
            if !seen.insert(hash(&next)) {
                continue;
            }
            let new = u32::try_from(came_from.len()).expect("fewer states");
            came_from.push((id, u16::try_from(nth).expect("fewer steps")));
            if let Some(what) = search.fault(&next, &state) {
                fault = Some(Fault { what, steps: search.way_to(&first, &came_from, new) });
                break 'all;
            }
            queue.push_back((new, next));
            if seen.len().is_multiple_of(TOLD_EVERY) {
                println!("{} states so far, {} of them to be looked at", seen.len(), queue.len());
            }
        }
    }
    Explored {
        states: seen.len(),
        steps,
        positions: search.positions.all.len(),
        buckets: search.sound.len(),
        ends: search.whole.len(),
        fault,
    }
}

struct Search {
    bounds: Bounds,
    positions: Positions,
    /// Hashes of contents without a fault.
    sound: HashSet<u128>,
    /// Hashes of contents that undisturbed runs completed.
    whole: HashSet<u128>,
}

impl Search {
    /// Returns all next steps. If a run waits for an answer of the API, or for an object outside of the protocol, that
    /// answer is the only next step: its order makes no difference to the other run.
    fn steps(&mut self, state: &State) -> Steps {
        let mut steps = Vec::new();
        for n in 0..state.runs.len() {
            let first = self.waiting(state, n).into_iter().find(|(_, asked)| comes_first(asked));
            if let Some((nth, asked)) = first {
                self.answer_at_once(state, n, nth, asked, &mut steps);
                return steps;
            }
        }
        for n in (0..state.runs.len()).filter(|n| state.runs[*n].position.is_some()) {
            let waiting = self.waiting(state, n);
            for (nth, asked) in &waiting {
                self.answer(state, n, *nth, asked, &mut steps);
                self.leave_unanswered(state, n, *nth, asked, &mut steps);
            }
            let mut next = state.clone();
            next.runs[n].position = None;
            next.flying.extend(sent(n, &waiting));
            steps.push((Step::Dies(n), next));
        }
        for at in 0..state.flying.len() {
            let mut next = state.clone();
            let (n, write) = next.flying.remove(at);
            world::write(Arc::make_mut(&mut next.objects), &write, self.bounds.taken_out);
            steps.push((Step::Arrives { n, write }, next));
        }
        let alive = state.runs.iter().filter(|run| run.position.is_some()).count();
        if state.runs.len() < self.bounds.runs && alive < 2 {
            let (mut next, n) = (state.clone(), state.runs.len());
            let position = Some(self.positions.first(n, state.now));
            next.runs.push(Phase { began: state.now, position });
            steps.push((Step::Begins(n), next));
        }
        if let Some(next) = state.later() {
            steps.push((Step::GoesBy { seconds: (next.now - state.now) / 1_000 }, next));
        }
        steps
    }

    fn waiting(&self, state: &State, n: usize) -> Waiting {
        let position = state.runs[n].position;
        position.map_or_else(Vec::new, |position| self.positions.all[position as usize].waiting.clone())
    }

    fn answer_at_once(&mut self, state: &State, n: usize, nth: u32, asked: Arc<Asked>, steps: &mut Steps) {
        self.answer(state, n, nth, &asked, steps);
        if !matches!(*asked, Asked::Api { .. }) {
            return;
        }
        // The run is frozen until its time to read is over.
        if let Some(next) = state.later().filter(|next| next.now == reads_until(state.runs[n].began)) {
            steps.push((Step::GoesBy { seconds: (next.now - state.now) / 1_000 }, next));
        }
        if state.too_large > 0 {
            let mut next = state.clone();
            next.too_large -= 1;
            self.positions.go_on(&mut next, n, nth, world::too_large());
            steps.push((Step::TooLarge { n, asked }, next));
        }
    }

    fn answer(&mut self, state: &State, n: usize, nth: u32, asked: &Arc<Asked>, steps: &mut Steps) {
        let mut next = state.clone();
        let answered = match &**asked {
            Asked::Put(write) => world::write(Arc::make_mut(&mut next.objects), write, self.bounds.taken_out),
            asked => world::read(&next.objects, asked, self.bounds.taken_out),
        };
        let is_refused = answered == Answered::Refused;
        self.positions.go_on(&mut next, n, nth, answered);
        steps.push((Step::Answered { n, asked: asked.clone(), is_refused }, next));
    }

    fn leave_unanswered(&mut self, state: &State, n: usize, nth: u32, asked: &Arc<Asked>, steps: &mut Steps) {
        let Asked::Put(write) = &**asked else { return };
        if state.unanswered > 0 {
            let mut next = state.clone();
            next.unanswered -= 1;
            next.flying.push((n, write.clone()));
            self.positions.go_on(&mut next, n, nth, Answered::Nothing);
            steps.push((Step::Unanswered { n, asked: asked.clone() }, next));
        }
    }

    fn fault(&mut self, state: &State, before: &State) -> Option<String> {
        let bucket = hash_of(&state.objects);
        if !Arc::ptr_eq(&state.objects, &before.objects) {
            if let Some(what) = world::replaced(&state.objects, &before.objects) {
                return Some(what);
            }
            if self.sound.insert(bucket)
                && let Some(what) = world::wrong(&state.objects)
            {
                return Some(what);
            }
        }
        let has_ended = state.runs.iter().all(|run| run.position.is_none()) && !state.runs.is_empty();
        if has_ended && self.whole.insert(bucket) {
            return self.fault_in_the_end(state);
        }
        None
    }

    /// Returns a fault if undisturbed runs, long after all others, don't store the rest.
    fn fault_in_the_end(&self, state: &State) -> Option<String> {
        let mut objects = (*state.objects).clone();
        for n in 0..3 {
            let began = world::BEGIN + 3 * DAY + n * HOUR;
            let mut run = Run::begin(10 + usize::try_from(n).unwrap_or(0), began);
            while let Some((nth, asked)) = run.waiting().into_iter().next() {
                let answered = match &*asked {
                    Asked::Put(write) => world::write(&mut objects, write, self.bounds.taken_out),
                    asked => world::read(&objects, asked, self.bounds.taken_out),
                };
                run.answer(nth, answered, began);
            }
            if let Some(what) = world::fault(&objects, &state.objects) {
                return Some(format!("{what}, after a later run that nothing disturbed"));
            }
            if world::is_complete(&objects, began) {
                return None;
            }
        }
        Some("three later runs don't make it whole".to_owned())
    }

    /// Describes the steps to a state.
    fn way_to(&mut self, first: &State, came_from: &[(u32, u16)], to: u32) -> Vec<String> {
        let mut way = Vec::new();
        let mut at = to;
        while at != 0 {
            let (before, nth) = came_from[at as usize];
            way.push(nth);
            at = before;
        }
        let mut state = first.clone();
        let mut told = Vec::new();
        for nth in way.into_iter().rev() {
            let (step, next) = self.steps(&state).swap_remove(usize::from(nth));
            told.push(step.told());
            state = next;
        }
        told
    }
}

fn comes_first(asked: &Asked) -> bool {
    match asked {
        Asked::Api { .. } | Asked::List { .. } => true,
        Asked::Get { key } => !world::is_of_the_protocol(key),
        Asked::Put(write) => !world::is_of_the_protocol(&write.key),
    }
}

/// The writes that a run has sent without an answer when it ends.
fn sent(n: usize, waiting: &Waiting) -> Vec<(usize, Arc<Write>)> {
    let write = |asked: &Asked| if let Asked::Put(write) = asked { Some(write.clone()) } else { None };
    waiting.iter().filter_map(|(_, asked)| Some((n, write(asked)?))).collect()
}

impl Step {
    fn told(&self) -> String {
        match self {
            Self::Begins(n) => format!("run {n} begins"),
            Self::Answered { n, asked, is_refused: false } => format!("run {n} {}", world::told(asked)),
            Self::Answered { n, asked, .. } => format!("run {n} {}, and is refused", world::told(asked)),
            Self::Unanswered { n, asked } => format!("run {n} {}, and hears no answer", world::told(asked)),
            Self::TooLarge { n, asked } => format!("run {n} {}, and the API takes too long", world::told(asked)),
            Self::Dies(n) => format!("run {n} dies"),
            Self::Arrives { n, write } => {
                format!("what run {n} had sent arrives, and {}", world::told(&Asked::Put(write.clone())))
            }
            Self::GoesBy { seconds } => format!("{seconds} s go by"),
        }
    }
}

/// The end of a run's time to read.
fn reads_until(began: i64) -> i64 {
    began + DEADLINE - 10_000 + 1
}

/// The end of a run's lease.
fn leased_until(began: i64) -> i64 {
    began + DEADLINE + 5_000 + 1
}

/// After this instant none of a run's writes can arrive.
fn arrives_until(began: i64) -> i64 {
    leased_until(began) + 15 * MINUTE
}

impl State {
    /// Moves the time to the next instant at which a run's time to read, its lease or its writes on their way end.
    fn later(&self) -> Option<Self> {
        let instants = |run: &Phase| [reads_until(run.began), leased_until(run.began), arrives_until(run.began)];
        let now = self.runs.iter().flat_map(instants).filter(|at| *at > self.now).min()?;
        let mut next = self.clone();
        next.now = now;
        next.flying.retain(|(n, _)| now < arrives_until(self.runs[*n].began));
        Some(next)
    }
}

impl Positions {
    fn first(&mut self, nth_run: usize, began: i64) -> u32 {
        if let Some(position) = self.first.get(&(nth_run, began)) {
            return *position;
        }
        let position = self.keep(Run::begin(nth_run, began), None, nth_run, began);
        self.first.insert((nth_run, began), position);
        position
    }

    fn go_on(&mut self, state: &mut State, n: usize, nth: u32, answered: Answered) {
        let Some(from) = state.runs[n].position else { return };
        let to = self.after(from, nth, answered, state.now);
        let Position { waiting, has_ended, .. } = &self.all[to as usize];
        state.runs[n].position = (!has_ended).then_some(to);
        if *has_ended {
            state.flying.extend(sent(n, waiting));
        }
    }

    fn after(&mut self, from: u32, nth: u32, answered: Answered, now: i64) -> u32 {
        let mut hasher = DefaultHasher::new();
        answered.hash(&mut hasher);
        let key = (from, nth, hasher.finish(), now);
        if let Some(position) = self.after.get(&key) {
            return *position;
        }
        let mut run = self.take(from);
        run.answer(nth, answered.clone(), now);
        let (nth_run, began) = (self.all[from as usize].nth_run, self.all[from as usize].began);
        let position = self.keep(run, Some((from, nth, answered, now)), nth_run, began);
        self.after.insert(key, position);
        position
    }

    /// Returns a run at this position: a kept one, or one that is repeated from its answers.
    fn take(&mut self, position: u32) -> Run {
        if let Some(at) = self.kept.iter().position(|(kept, _)| *kept == position)
            && let Some((_, run)) = self.kept.remove(at)
        {
            return run;
        }
        let mut answers = Vec::new();
        let mut at = position;
        while let Some((before, nth, answered, now)) = &self.all[at as usize].before {
            answers.push((*nth, answered.clone(), *now));
            at = *before;
        }
        let mut run = Run::begin(self.all[at as usize].nth_run, self.all[at as usize].began);
        for (nth, answered, now) in answers.into_iter().rev() {
            run.answer(nth, answered, now);
        }
        run
    }

    fn keep(&mut self, run: Run, before: Option<(u32, u32, Answered, i64)>, nth_run: usize, began: i64) -> u32 {
        let id = u32::try_from(self.all.len()).expect("fewer positions");
        let (waiting, has_ended) = (run.waiting(), run.has_ended);
        self.all.push(Position { before, nth_run, began, waiting, has_ended });
        if !has_ended {
            self.kept.push_back((id, run));
            if self.kept.len() > KEPT {
                self.kept.pop_front();
            }
        }
        id
    }
}

fn hash(state: &State) -> u128 {
    let mut flying: Vec<u128> =
        state.flying.iter().map(|(n, write)| twice(|hasher| of_write(*n, write, hasher))).collect();
    flying.sort_unstable();
    let bucket = hash_of(&state.objects);
    twice(|hasher| {
        (state.now, &state.runs, bucket, &flying, state.unanswered, state.too_large).hash(hasher);
    })
}

fn of_write(n: usize, write: &Write, hasher: &mut DefaultHasher) {
    (n, &write.key, &write.bytes, &write.only_if).hash(hasher);
}

fn hash_of(objects: &Objects) -> u128 {
    twice(|hasher| objects.iter().for_each(|(key, object)| (key, &object.etag, &object.metadata).hash(hasher)))
}

/// A hash of 128 bits, made of two of 64 bits.
fn twice(hash: impl Fn(&mut DefaultHasher)) -> u128 {
    let of = |first: u8| {
        let mut hasher = DefaultHasher::new();
        first.hash(&mut hasher);
        hash(&mut hasher);
        u128::from(hasher.finish())
    };
    of(0) << 64 | of(1)
}
