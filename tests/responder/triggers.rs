//! The sources of requests, and the answer that each of them gets.

use serde_json::{Value, json};

use crate::rig::{Rig, note};

fn sqs(id: &str, body: impl Into<String>) -> Value {
    json!({"messageId": id, "eventSource": "aws:sqs", "body": body.into()})
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_those_that_fail_are_told_and_the_others_are_done() {
    let rig = Rig::new().await;
    let mut missing = note("missing");
    missing["input"]["id"] = json!("s-99");
    let batch = json!({"Records": [
        sqs("m-1", note("1").to_string()),
        sqs("m-2", "no JSON"),
        sqs("m-3", missing.to_string()),
        sqs("m-4", note("4").to_string()),
    ]});
    let answer = rig.ask(batch.clone()).await;
    let failed = json!({"batchItemFailures": [{"itemIdentifier": "m-2"}, {"itemIdentifier": "m-3"}]});
    assert_eq!(answer, failed);
    assert_eq!(rig.notes_with("s-1", "[request 1]") + rig.notes_with("s-1", "[request 4]"), 2);
    assert_eq!(rig.ask(batch).await, failed, "delivered again");
    assert_eq!(rig.writes().len(), 2);
    rig.assert_trail("1", "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sns_and_eventbridge_carry_a_request_and_its_failure_is_the_function_s() {
    let rig = Rig::new().await;
    let sns =
        |request: &Value| json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": request.to_string()}}]});
    assert_eq!(rig.ask(sns(&note("sns"))).await[0]["outcome"], "done");
    let bridge = |request: &Value| json!({"source": "our.soar", "detail-type": "Respond", "detail": request});
    assert_eq!(rig.ask(bridge(&note("bridge"))).await["outcome"], "done");
    let mut missing = note("missing");
    missing["input"]["id"] = json!("s-99");
    for event in [sns(&missing), bridge(&missing)] {
        assert_eq!(rig.refused(event).await.0, "ThirdPartyRefused");
    }
}
