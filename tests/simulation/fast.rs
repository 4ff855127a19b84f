//! The same schedules in memory and in virtual time: one thread each, one seed, the same requests in the same order.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use tokio::task::LocalSet;

use crate::figures::Figures;
use crate::happenings::locked;
use crate::oracle::{Found, Kept, Wrong, wrong};
use crate::plan::Plan;
use crate::schedule::{self, Ground, Wanted};
use crate::secrecy::{self, Log};
use crate::{Seeds, besieged, memory, named, oddities, rarities, small};

/// Seeds 1 to this are played in every check, and so many that have oddities or rarities, or are small, or end in a siege of
/// narrow faults. `MINUTES` (a soak) and `SCHEDULES` play new ones.
const SCHEDULES: u64 = 250;
const WITH_ODDITIES: usize = 450;
const WITH_RARITIES: usize = 300;
const SMALL: usize = 9_000;
const BESIEGED: usize = 400;
/// Seeds that have found a fault are played first.
const FOUND: [u64; 64] = [
    // A list went on in the next run, in another order and with a smaller total: the greater one of before was forgotten.
    69_406_727_584,
    // What was throttled was not noted any more, because its stream was not asked.
    84_751_022_381,
    // The list of matters was stuck, so custodians of matters that it didn't show could not be asked for.
    204_762_807_918,
    // The list of cases was whole again, and its cases still to be fetched, but counted as covered.
    93_568_441_358,
    // A smaller page of a list without a total was answered with the page before it.
    348_687_734_213,
    // A window at which three runs had died was left alone during a siege.
    3_726_090_019,
    // `recover` took the manifest of a dead run whose clock was ahead after the one that added to its objects.
    45_934_112_827,
    // One known user among several that were hidden was deleted, as one alone may be.
    729_067_463_367,
    // Lists that were throttled, and then failed together with all others, were not read in that pass any more.
    569_079_767_330,
    78_699_406_895,
    3_244_085_576,
    112_752_936,
    95_265_222_674,
    // A token that had just expired was taken for the missing permission of legal hold.
    77_687_770,
    // What a dead run stored late was taken for a record that the last run had to store.
    920_683_987,
    // The token ended in mid-run, and the answer to the sign-in was taken for that of an alert rule's users: it has none.
    100_000_003_305,
    // The first run failed, and its clock was ahead: collection began as much too late.
    693_277_734_561,
    // Two windows of two seconds at which runs die, each again and again.
    6_734_279_814_236,
    // A window was cut again while a write of another run that had resumed it was under way.
    13_278_567_531_200_912_669,
    // Lists were stored again after a manifest whose answer was lost.
    3_688_049_008_609_391_876,
    18_438_264_263_272_970_011,
    2_149_175_041_674_212_218,
    13_128_534_621_772_348_318,
    // Lists that were given back were passed over.
    3_665_540_545_797_226_460,
    1_522_970_911_967_517_151,
    // A pass was given up after it had stored something.
    17_067_922_939_605_947_147,
    // The list of a deleted record was never requested again.
    8_308_289_096_121_627_990,
    // The list of a deleted record can't be found.
    16_764_893_525_643_502_141,
    // A late record was also hidden from the only recount of an empty window.
    13_549_702_709_248_420_887,
    // Windows were tried again for another reason; their only row can't be parsed.
    13_279_231_287_233_305_110,
    12_011_799_794_462_679_563,
    6_016_002_450_827_840_666,
    // A span that was stuck, left to a shard, and merged.
    278,
    613,
    // A late record of a window whose last recount was on its way from a dead run.
    481,
    // A window that was left alone, and a part of it that was stuck before.
    2_746,
    // A legal hold whose first two answers were 401.
    1_092,
    // A dead run stored an actor's tombstone, and the list showed again what was known before.
    2_515_914_057,
    // A reading was resumed, and its members came in another order.
    11_310,
    // An earlier checkpoint was put back, and the process that had written it went on.
    20_053,
    // A list that could not be found, after an earlier checkpoint was put back.
    447_368_134,
    // A list of cases that was read later than the reading opened that stored them, before an earlier checkpoint was put back.
    1_806_585_617,
    4_152_716_532,
    // A user's paging shifted in all three readings, and hid another one.
    2_392_010_551,
    // A list of a user's roles was read again in the same pass, and a role had changed back.
    3_536_399_718,
    // The youngest slice of sessions failed, and the API's clock was ahead.
    366_724_718,
    // A profile that was stored by the run before was kept in the same pass, as it had been known before that.
    1_860_957_160,
    // A page of audit rows answered another window's request, and its rows were set aside.
    3_496_943_856,
    // Two malformed rows were left of a window of which too many could not be read.
    2_424_350_732,
    // A run died after its manifest of a merged shard. The next run's had the same number.
    1_301_923_882,
    1_234_367_041,
    // A stuck window was tried before its time.
    446_145_126,
    // A rule's list was covered with an earlier state of one member.
    3_775_518_737,
    // In a container whose clock was ahead, a window after the API's clock was read to see whether the API fails.
    22_572_582_354,
    // A checkpoint was gone, and a manifest that no checkpoint named was taken for the newest.
    503_873_457_142,
    // No manifest was answered, and each stream waited for an attempt of its own.
    40_747_763_788,
    57_835_022_261,
    // An older checkpoint reserved a shard that was merged since.
    164_716_245_229,
    686_009_277_735,
    // An older checkpoint reserved a span that a shard gave back, and that another one, or live runs, have read since.
    13_210_792_335,
    1_474_312_135,
    // The order of the pages turned round from request to request, and two readings with different pages came out the same.
    3_919_957_227,
    // A dead run's write landed after its key was looked up, and an agent had been seen again since.
    66_202_408_046,
    // A part of a failed slice of sessions was answered, and a session was missing in all its readings.
    1_279_222_069,
];

/// So many of each sort are played twice.
const REPLAYED: usize = 10;

/// Played in the guide's dialect.
const IN_GUIDE: [u64; 2] = [1, 2];

#[test]
fn whatever_goes_wrong_in_virtual_time_each_record_is_stored_exactly_once() {
    let figures = Arc::new(Figures::default());
    let is_asked = |variable| std::env::var_os(variable).is_some();
    let seeds = if ["SEED", "SCHEDULES", "MINUTES"].into_iter().any(is_asked) {
        Seeds::from_vars(SCHEDULES, Some("MINUTES"), drawn)
    } else {
        let with_oddities = oddities::SEEDS.take(WITH_ODDITIES);
        let with_rarities = rarities::SEEDS.take(WITH_RARITIES);
        let small = small::SEEDS.take(SMALL).chain(besieged::SEEDS.take(BESIEGED));
        Seeds::Named(small.chain(with_rarities).chain(with_oddities).chain(1..=SCHEDULES).collect())
    };
    let found = if is_asked("SEED") || is_asked("SCHEDULES") { Vec::new() } else { FOUND.to_vec() };
    let (seeds, found) = (Mutex::new(seeds), Mutex::new(found));
    let broken = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let again = locked(&found).pop();
                    let Some(seed) = again.or_else(|| locked(&seeds).next()) else { break };
                    figures.add("schedules", 1);
                    let played = played(&Plan::in_memory(seed), &figures, Wanted::default());
                    if let Err(Wrong { promise, how }) = played {
                        figures.note_broken(promise);
                        println!("SEED={seed} {promise}: {how}");
                        locked(&broken).push(format!("SEED={seed} {promise}"));
                    }
                }
            });
        }
    });
    println!("{figures}");
    let broken = locked(&broken);
    assert!(broken.is_empty(), "{} schedules failed:\n{}", broken.len(), broken.join("\n"));
}

/// `GUIDE=n,m` plays others. What the dialect can't promise is left out: a case is its list item, a late record is not
/// looked for, and a list that lies about itself is believed.
#[test]
fn in_the_guide_s_dialect_too_each_record_is_stored_exactly_once() {
    let figures = Figures::default();
    for seed in named("GUIDE").unwrap_or_else(|| IN_GUIDE.to_vec()) {
        let played = played(&Plan::in_guide(seed), &figures, Wanted::default());
        assert!(played.is_ok(), "SEED={seed} in the guide's dialect: {played:?}");
    }
}

/// Of all sorts of seeds.
#[test]
fn a_seed_replays_the_same_requests_at_the_same_instants_and_logs_the_same() {
    let figures = Figures::default();
    let mut has_logged = false;
    let later = [oddities::SEEDS, rarities::SEEDS, small::SEEDS, besieged::SEEDS]
        .into_iter()
        .flat_map(|seeds| seeds.take(REPLAYED));
    for seed in (1..).take(REPLAYED).chain(later) {
        let plan = Plan::in_memory(seed);
        let play_once = || {
            let (mut requests, mut log, mut kept) = (Vec::new(), String::new(), Kept::new());
            let wanted = Wanted { requests: Some(&mut requests), log: Some(&mut log), kept: Some(&mut kept) };
            let found = played(&plan, &figures, wanted);
            // The AWS SDK logs how long it really took.
            requests.extend(log.lines().filter(|line| line.contains("incydr_collector::")).map(str::to_owned));
            (requests, kept, found)
        };
        let (once, kept, found) = play_once();
        let (again, kept_again, found_again) = play_once();
        has_logged |= once.iter().any(|line| line.contains("incydr_collector::"));
        let differs = once.iter().zip(&again).find(|(once, again)| once != again);
        assert!(differs.is_none() && once.len() == again.len(), "SEED={seed}: {differs:?}");
        assert_eq!((kept, found), (kept_again, found_again), "SEED={seed}");
    }
    assert!(has_logged);
}

/// Else a seed that fails among others would not fail alone.
#[test]
fn what_another_thread_logs_changes_nothing_of_a_seed() {
    let figures = Figures::default();
    let requests = |seed| {
        let mut requests = Vec::new();
        let wanted = Wanted { requests: Some(&mut requests), ..Wanted::default() };
        let found = played(&Plan::in_memory(seed), &figures, wanted);
        (requests, found)
    };
    for seed in rarities::SEEDS.take(REPLAYED).chain(besieged::SEEDS.take(REPLAYED)) {
        let alone = requests(seed);
        let (logs, is_over) = (Barrier::new(2), Barrier::new(2));
        let beside = thread::scope(|scope| {
            scope.spawn(|| {
                let _taken = Log::default().begin();
                logs.wait();
                is_over.wait();
            });
            logs.wait();
            let beside = requests(seed);
            is_over.wait();
            beside
        });
        assert_eq!(alone, beside, "SEED={seed} beside another thread's log");
        assert_eq!(alone, requests(seed), "SEED={seed} after another thread's log");
    }
}

/// A random seed: most are small, as in every check, and the others are of each sort. `DRAWN=besieged` draws only those.
fn drawn() -> u64 {
    if std::env::var("DRAWN").is_ok_and(|sort| sort == "besieged") {
        return fastrand::u64(besieged::SEEDS);
    }
    match fastrand::u8(0..20) {
        0 => fastrand::u64(oddities::SEEDS),
        1 => fastrand::u64(rarities::SEEDS),
        2 => fastrand::u64(besieged::SEEDS),
        _ => fastrand::u64(small::SEEDS),
    }
}

/// Plays a plan on its own thread, so that nothing of an earlier one remains.
pub fn played(plan: &Plan, figures: &Figures, mut wanted: Wanted<'_>) -> Found {
    secrecy::draw_nothing_for_spans();
    thread::scope(|scope| {
        let played = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            LocalSet::new().block_on(&runtime.expect("a runtime"), async {
                memory::begin(plan.seed);
                if schedule::is_named() {
                    println!("{plan:#?}");
                }
                let (log, wanted_log) = (Log::default(), wanted.log.take());
                let _taken = (plan.rarities.has_echoes || wanted_log.is_some()).then(|| log.begin());
                let found = schedule::run(plan, Ground::Memory, figures, wanted).await;
                if let Some(wanted_log) = wanted_log {
                    *wanted_log = log.text();
                }
                found?;
                log.keeps_secrets()
            })
        });
        played.join().unwrap_or_else(|_| Err(wrong("panicked", "see above")))
    })
}
