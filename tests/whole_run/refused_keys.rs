//! S3 refuses one key, or all of a stream.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use serde_json::json;
use simulator::{Record, S3Fault};

use crate::hard_windows::in_small_windows;
use crate::oracle::span_of;
use crate::rig::{Rig, ago, failure_of};
use crate::stuck::assert_stuck;

/// S3 fails with `fault` for the third window's object of a stream. All others are stored, the window is told as stuck, and it
/// is stored once S3 takes it.
async fn one_key_is_refused(stream: &'static str, fault: S3Fault) {
    let rig = Rig::with(|lambda| in_small_windows(lambda, stream)).await;
    let records = match stream {
        "audit" => rig.sim.world.add_audit(400, ago(3_400), ago(5)),
        _ => rig.sim.world.add_file_events(400, ago(3_400), ago(5)),
    };
    let (refused, puts) = (Arc::new(Mutex::new(None::<String>)), AtomicU32::new(0));
    let key = refused.clone();
    rig.sim.s3.faults.decide(
        |_| String::new(),
        move |request, _, _| {
            if request.method != "PUT" || !request.key.starts_with(&format!("code42/{stream}/")) {
                return None;
            }
            let mut refused = key.lock().unwrap();
            if refused.is_none() && puts.fetch_add(1, Relaxed) == 2 {
                *refused = Some(request.key.clone());
            }
            (refused.as_ref() == Some(&request.key)).then(|| fault.clone())
        },
    );
    for _ in 0..2 {
        let (error_type, answer) = failure_of(rig.invoke(json!({})).await);
        assert_eq!(error_type, "FirstPartyGenericError", "{answer:#}");
        let told = assert_stuck(&answer, stream, 1);
        let key = refused.lock().unwrap().clone().expect("a third window");
        assert!(told["stuck"]["error"]["message"].as_str().unwrap().contains(&key), "{answer:#}");
        let (from, to) = span_of(&key);
        let others: Vec<Record> =
            records.iter().filter(|record| record.time < from || to <= record.time).cloned().collect();
        assert!(others.len() >= 300, "{from} to {to}");
        rig.assert_holds(stream, &others).await;
    }
    rig.sim.s3.faults.clear();
    rig.assert_heals(stream).await;
    rig.assert_holds(stream, &records).await;
    rig.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_whose_key_s3_refuses_is_stuck_and_holds_up_no_other() {
    for stream in ["file_events", "audit"] {
        one_key_is_refused(stream, S3Fault::Status(403)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_for_which_s3_is_never_ready() {
    one_key_is_refused("audit", S3Fault::Status(503)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_s3_takes_no_window_none_is_stuck_and_all_are_stored_by_the_first_run_after_it() {
    let rig = Rig::with(|lambda| in_small_windows(lambda, "audit")).await;
    let records = rig.sim.world.add_audit(400, ago(3_400), ago(5));
    rig.sim.s3.faults.always("PUT", "code42/audit/", S3Fault::Status(403));
    for _ in 0..4 {
        let (error_type, answer) = failure_of(rig.invoke(json!({})).await);
        let audit = &answer["streams"]["audit"];
        assert_eq!((error_type.as_str(), audit.get("stuck")), ("FirstPartyGenericError", None), "{answer:#}");
        assert!(audit["error"]["message"].as_str().unwrap().contains("AccessDenied"), "{answer:#}");
    }
    rig.sim.s3.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("audit", &records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_key_s3_refuses_is_stored_under_another_one_by_the_next_run() {
    for stream in ["users", "cases"] {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0")).await;
        rig.populate();
        let refused = Arc::new(Mutex::new(None::<String>));
        rig.sim.s3.faults.decide(
            |_| String::new(),
            move |request, _, _| {
                let is_record = request.method == "PUT" && request.key.starts_with(&format!("code42/{stream}/"));
                let mut refused = refused.lock().unwrap();
                let is_it = is_record && *refused.get_or_insert_with(|| request.key.clone()) == request.key;
                is_it.then_some(S3Fault::Status(403))
            },
        );
        assert_eq!(rig.failure(json!({})).await.0, "FirstPartyGenericError");
        assert_eq!(rig.run().await["status"], "complete");
        rig.assert_whole().await;
        assert!(!rig.stored(stream).await.is_empty());
    }
}
