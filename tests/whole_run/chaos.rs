//! Schedules of faults, deaths and overlaps that a seed decides; then exactly what the API holds is in the bucket.
//! `SEED` replays one.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use simulator::{Endpoint, Fault, Outcome, Record, S3Fault, compact, with_member};

use crate::rig::{PREFIX, Rig, ago, assert_same};

const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_each_record_is_stored_once_in_the_end() {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => std::iter::repeat_with(|| fastrand::u64(..)).take(count()).collect(),
    };
    for side_by_side in seeds.chunks(4) {
        futures::future::join_all(side_by_side.iter().map(|seed| schedule(*seed))).await;
    }
}

/// `SCHEDULES` runs more of them.
fn count() -> usize {
    std::env::var("SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(8)
}

/// All versions that a user or case ever had.
#[derive(Default)]
struct Versions(BTreeSet<String>);

impl Versions {
    fn note(&mut self, records: &[Record]) {
        self.0.extend(records.iter().map(|record| compact(&record.raw)));
    }
}

async fn schedule(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let (fe_page, audit_page, page) = (random.u32(15..60), random.u32(15..60), random.u32(5..20));
    let rig = Rig::seeded(seed, |lambda| {
        lambda
            .env("FE_PAGE_SIZE", fe_page.to_string())
            .env("AUDIT_PAGE_SIZE", audit_page.to_string())
            .env("PAGE_SIZE", page.to_string())
            .env("INVENTORY_INTERVAL_MINUTES", "0")
    })
    .await;
    let other = rig.container(|lambda| {
        lambda
            .env("FE_PAGE_SIZE", fe_page.to_string())
            .env("AUDIT_PAGE_SIZE", audit_page.to_string())
            .env("PAGE_SIZE", page.to_string())
            .env("INVENTORY_INTERVAL_MINUTES", "0")
    });
    let world = &rig.sim.world;
    world.add_file_events(random.usize(50..500), ago(3_000), ago(5));
    world.add_audit(random.usize(50..400), ago(3_000), ago(5));
    world.add_users(30);
    world.add_cases(15, ago(80_000), ago(900));
    let (mut users, mut cases) = (Versions::default(), Versions::default());
    for _ in 0..ROUNDS {
        users.note(&world.users());
        cases.note(&world.cases());
        arm(&rig, &mut random);
        let deadline = Duration::from_millis(random.u64(2_500..6_000));
        let late = random.u64(0..1_500);
        let both = random.bool();
        let second = async {
            if both {
                tokio::time::sleep(Duration::from_millis(late)).await;
                other.invoke(json!({"action": "collect"}), deadline).await;
            }
        };
        tokio::join!(rig.lambda.invoke(json!({}), deadline), second);
        rig.sim.faults.clear();
        rig.sim.s3.faults.clear();
        if random.u8(0..4) > 0 {
            rig.free_the_lease().await;
        }
        world.add_file_events(random.usize(0..30), ago(0), ago(0));
        world.add_audit(random.usize(0..30), ago(0), ago(0));
        let user = world.users()[random.usize(0..30)].id.to_string();
        world.update_user(&user, |raw| with_member(raw, "notes", &format!("\"{late}\"")));
        world.update_case(random.u32(1..16), |raw| with_member(raw, "name", &format!("\"{late}\"")));
    }
    users.note(&world.users());
    cases.note(&world.cases());
    // What was on its way when its writer died has landed by now.
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    make_good(&rig, seed).await;
    for (stream, records) in [("file_events", world.file_events()), ("audit", world.audit())] {
        let expected = records.iter().map(|record| compact(&record.raw));
        assert_same(&format!("{stream}, SEED={seed}"), rig.stored(stream).await, expected);
    }
    for (stream, versions, last) in [("users", users, world.users()), ("cases", cases, world.cases())] {
        let stored = rig.stored(stream).await;
        let once: BTreeSet<&String> = stored.iter().collect();
        assert_eq!(once.len(), stored.len(), "{stream}: a version is stored twice, SEED={seed}");
        assert!(once.iter().all(|line| versions.0.contains(*line)), "{stream}: no such version, SEED={seed}");
        assert!(last.iter().all(|record| once.contains(&compact(&record.raw))), "{stream}: lost, SEED={seed}");
    }
    let wrong = rig.sim.s3.overwritten_or_deleted(PREFIX);
    assert!(wrong.is_empty(), "not append-only: {wrong:?}, SEED={seed}");
}

async fn make_good(rig: &Rig, seed: u64) {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        if let Outcome::Answer(answer) = rig.invoke(json!({"action": "collect"})).await
            && answer["status"] == "complete"
        {
            // What was added last is closed only now.
            tokio::time::sleep(Duration::from_millis(2_100)).await;
            rig.run().await;
            return;
        }
    }
    panic!("it never completes, SEED={seed}");
}

fn arm(rig: &Rig, random: &mut Rng) {
    let endpoints = [
        Endpoint::SignIn,
        Endpoint::FileEvents,
        Endpoint::AuditSearch,
        Endpoint::AuditCount,
        Endpoint::Users,
        Endpoint::CaseList,
        Endpoint::CaseDetail,
    ];
    for _ in 0..random.usize(0..6) {
        let fault = match random.u8(0..15) {
            0 => Fault::RateLimited { retry_after: Some("1".into()) },
            1 => Fault::RateLimited { retry_after: None },
            2 => Fault::Status(500, "{}".into()),
            3 => Fault::Status(503, String::new()),
            4 => Fault::CutBody,
            5 => Fault::BrokenJson,
            6 => Fault::Html,
            7 => Fault::Dropped,
            8 => Fault::Unauthorized,
            9 => {
                // Within a reading; what a count or a list of before said is not for the collector to doubt.
                let is_page = |request: &simulator::http::Request| {
                    !String::from_utf8_lossy(&request.body).contains("\"pgSize\":1,")
                };
                let endpoint = [Endpoint::FileEvents, Endpoint::AuditSearch][random.usize(0..2)];
                rig.sim.faults.when_times(endpoint, 1, is_page, Fault::RepeatPage);
                continue;
            }
            10 => Fault::ShiftPages(random.i64(-3..4)),
            11 => Fault::NoList,
            12 => Fault::NewestFirst,
            13 => Fault::Late(Duration::from_millis(random.u64(50..3_000))),
            _ => Fault::InvalidPageToken,
        };
        rig.sim.faults.once(endpoints[random.usize(0..endpoints.len())], random.u64(1..8), fault);
    }
    for _ in 0..random.usize(0..5) {
        let victim = rig.lambda.clone();
        let fault = match random.u8(0..11) {
            0 => S3Fault::Status(409),
            1 => S3Fault::Status(500),
            2 => S3Fault::Status(503),
            3 => S3Fault::Dropped,
            4 | 5 => S3Fault::LostAnswer,
            6 => S3Fault::Late(Duration::from_millis(random.u64(50..2_000))),
            7 | 8 => S3Fault::LandsLate(Duration::from_millis(random.u64(50..3_000))),
            9 => S3Fault::before(move || victim.kill()),
            _ => S3Fault::after(move || victim.kill()),
        };
        let method = if random.u8(0..4) == 0 { "GET" } else { "PUT" };
        rig.sim.s3.faults.once(method, "", random.u64(1..14), fault);
    }
}
