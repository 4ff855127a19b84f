//! Spans that the API refuses to count.

use futures::future::join_all;
use serde_json::json;
use simulator::http::Request;
use simulator::{Endpoint, Fault, span_asked};

use crate::rig::{Rig, ago};

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_the_api_cannot_count_holds_up_nothing_younger_and_shrinks_to_what_is_wrong() {
    // The first three are an instant. The last is everything older, as if the API didn't keep it any more.
    let faults = [
        (Fault::Status(400, r#"{"message":"no"}"#.into()), false),
        (Fault::TimedOut, false),
        (Fault::Status(500, String::new()), false),
        (Fault::Status(400, r#"{"message":"too old"}"#.into()), true),
    ];
    join_all(faults.into_iter().map(async |(fault, is_all_older)| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit,file_events").env("LOOKBACK_MINUTES", "1440")).await;
        rig.sim.world.add_file_events(400, ago(80_000), ago(5));
        rig.sim.world.add_audit(400, ago(80_000), ago(5));
        let bad = ago(20_000);
        rig.sim.world.add_file_events(1, bad, bad);
        rig.sim.world.add_audit(1, bad, bad);
        let is_refused = move |request: &Request| {
            let [from, to] = span_asked(&request.json()).unwrap();
            from <= bad && (bad <= to || is_all_older)
        };
        for endpoint in [Endpoint::FileEvents, Endpoint::AuditCount, Endpoint::AuditSearch] {
            rig.sim.faults.when(endpoint, is_refused, fault.clone());
        }
        for _ in 0..4 {
            let (error_type, _) = rig.failure(json!({})).await;
            assert_eq!(error_type, "ThirdPartyGenericError");
        }
        for (stream, all) in [("file_events", rig.sim.world.file_events()), ("audit", rig.sim.world.audit())] {
            let stored = rig.stored(stream).await.len();
            let sound = all.iter().filter(|record| if is_all_older { record.time > bad } else { record.time != bad });
            assert_eq!(stored, sound.count(), "{fault:?}: {stream}");
        }
        rig.sim.faults.clear();
        rig.invoke(json!({"action": "restart"})).await.answer();
        rig.run().await;
        rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
        rig.assert_holds("audit", &rig.sim.world.audit()).await;
    }))
    .await;
}
