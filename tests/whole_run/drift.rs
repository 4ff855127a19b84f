//! Rows in a form that the collector doesn't know, where no window has many.

use chrono::DateTime;
use serde_json::{Value, json};
use simulator::{Dataset, LambdaBuilder};

use crate::oracle::{STATE, yesterday};
use crate::rig::Rig;
use crate::stuck::{any_answer, assert_stuck};

/// Collects an hour of yesterday afternoon.
async fn collect(rig: &Rig, stream: &str, hour: i64) -> Value {
    let [from, to] = [hour, hour + 1].map(|hour| yesterday(3_600 * hour));
    any_answer(rig.invoke(json!({"action": "collect", "streams": [stream], "from": from, "to": to})).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_few_rows_of_which_none_can_be_read_are_not_covered_one_after_the_other() {
    for (stream, dataset, good, renamed) in [
        ("audit", Dataset::Audit, r#"{"timestamp":"AT","n":N}"#, r#"{"time":"AT","n":N}"#),
        (
            "file_events",
            Dataset::FileEvents,
            r#"{"event":{"id":"N","inserted":"AT"}}"#,
            r#"{"event":{"id":"N","insertedAt":"AT"}}"#,
        ),
    ] {
        let rig = Rig::with(|lambda: LambdaBuilder| lambda.env("STREAMS", stream)).await;
        let push = |hour: i64, n: i64, form: &str| {
            let at = yesterday(3_600 * hour + 60 * n);
            let raw = form.replace("AT", &at).replace('N', &format!("{hour}{n}"));
            let at = DateTime::parse_from_rfc3339(&at).unwrap().to_utc();
            rig.sim.world.push_raw(dataset, &format!("{hour}-{n}"), at, raw);
        };
        for hour in 0..4 {
            push(hour, 1, renamed);
            push(hour, 2, renamed);
        }
        for hour in 0..2 {
            let answer = collect(&rig, stream, hour).await;
            let told = &answer["streams"][stream];
            assert_eq!((&answer["status"], &told["set_aside"]), (&json!("complete"), &json!(2)), "{answer:#}");
        }
        for hour in 2..4 {
            let answer = collect(&rig, stream, hour).await;
            let told = assert_stuck(&answer, stream, usize::try_from(hour).unwrap() - 1);
            assert_eq!((&told["set_aside"], &told["drift"]), (&json!(0), &json!(2)), "{answer:#}");
        }
        // Once a record can be read, it is those few rows that are damaged.
        push(4, 1, good);
        assert_eq!(collect(&rig, stream, 4).await["streams"][stream]["records"], 1);
        rig.assert_heals(stream).await;
        let set_aside = format!("{STATE}set-aside/{stream}/");
        assert_eq!(rig.sim.s3.keys(rig.sim.bucket(), &set_aside).await.len(), 8);
    }
}
