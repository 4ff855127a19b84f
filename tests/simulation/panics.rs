//! A panic is the error of the stream in which it happens.

use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use simulator::{Outcome, Simulator};
use tokio::task::LocalSet;

use crate::{memory, oracle};

#[test]
fn a_panic_is_one_stream_s_error_and_the_others_go_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        memory::begin(7);
        let sim = Simulator::in_memory(7);
        let now = simulator::clock::now();
        sim.world.add_audit(40, now - TimeDelta::minutes(50), now - TimeDelta::minutes(20));
        sim.world.add_users(5);
        let lambda = memory::start(sim.lambda(Path::new("none")).env("STREAMS", "audit,cases,users"), &sim);
        memory::panic_at(Some("/v1/users"));
        let Outcome::Failed { error_type, error_message } = run(&lambda).await else { panic!("a stream failed") };
        assert_eq!(error_type, "FirstPartyGenericError");
        let answer: Value = serde_json::from_str(&error_message).expect("JSON");
        let (streams, error) = (&answer["streams"], &answer["streams"]["users"]["error"]);
        assert!(error["message"].as_str().is_some_and(|why| why.contains("a fault of the collector")), "{answer:#}");
        assert_eq!((&streams["audit"]["status"], &streams["audit"]["records"]), (&json!("complete"), &json!(40)));
        assert_eq!(streams["cases"]["status"], "complete");
        assert!(oracle::checkpoint(&sim).await["lease"].is_null(), "committed and released");
        memory::panic_at(None);
        let Outcome::Answer(answer) = run(&lambda).await else { panic!("nothing panics any more") };
        assert_eq!((&answer["status"], &answer["streams"]["users"]["records"]), (&json!("complete"), &json!(5)));
    });
}

async fn run(lambda: &simulator::Lambda) -> Outcome {
    lambda.invoke(json!({}), Duration::from_mins(1)).await
}
