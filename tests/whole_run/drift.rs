//! Rows in a form that the collector doesn't know, where no window has many.

use chrono::DateTime;
use futures::future::join_all;
use serde_json::{Value, json};
use simulator::{Dataset, LambdaBuilder};

use crate::oracle::{STATE, millis, yesterday};
use crate::rig::{Rig, ago, logs_with_so_many};
use crate::stuck::{any_answer, assert_stuck};

/// Collects an hour of yesterday afternoon.
async fn collect(rig: &Rig, stream: &str, hour: i64) -> Value {
    let [from, to] = [hour, hour + 1].map(|hour| yesterday(3_600 * hour));
    any_answer(rig.invoke(json!({"action": "collect", "streams": [stream], "from": from, "to": to})).await)
}

const FORMS: [(&str, Dataset, &str); 2] = [
    ("audit", Dataset::Audit, r#"{"timestamp":AT,"n":N}"#),
    ("file_events", Dataset::FileEvents, r#"{"event":{"id":"N","inserted":AT}}"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_few_rows_of_another_century_are_set_aside_and_all_others_are_stored() {
    for (stream, dataset, form) in FORMS {
        let rig = Rig::with(|lambda: LambdaBuilder| lambda.env("STREAMS", stream)).await;
        let odd = ["1969-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"];
        for n in 0..40 {
            let shown_at = yesterday(60 * (n + 1));
            let time = odd.get(usize::try_from(n).unwrap() / 2).filter(|_| n % 2 == 1).map_or(&*shown_at, |odd| *odd);
            let raw = form.replace("AT", &json!(time).to_string()).replace('N', &n.to_string());
            let at = DateTime::parse_from_rfc3339(&shown_at).unwrap().to_utc();
            rig.sim.world.push_raw(dataset, &n.to_string(), at, raw);
        }
        let answer = collect(&rig, stream, 0).await;
        let told = &answer["streams"][stream];
        assert_eq!(
            (&answer["status"], &told["records"], &told["set_aside"]),
            (&json!("complete"), &json!(37), &json!(3))
        );
        let set_aside = format!("{STATE}set-aside/{stream}/");
        assert_eq!(rig.sim.s3.keys(rig.sim.bucket(), &set_aside).await.len(), 3);
        let logs = logs_with_so_many(&rig.lambda, "lies outside of what was asked for", 3).await;
        for time in odd {
            assert!(logs.iter().any(|line| line.contains(time)), "{time}: {logs:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_became_a_number_fails_its_window_and_sets_nothing_aside() {
    for (stream, dataset, form) in FORMS {
        let rig = Rig::with(|lambda: LambdaBuilder| lambda.env("STREAMS", stream)).await;
        for n in 0..400 {
            let at = DateTime::parse_from_rfc3339(&yesterday(8 * n)).unwrap().to_utc();
            let raw = form.replace("AT", &at.timestamp_millis().to_string()).replace('N', &n.to_string());
            rig.sim.world.push_raw(dataset, &n.to_string(), at, raw);
        }
        let answer = collect(&rig, stream, 0).await;
        let told = assert_stuck(&answer, stream, 1);
        assert_eq!((&told["set_aside"], &told["drift"]), (&json!(0), &json!(400)), "{answer:#}");
        let message = told["error"]["message"].to_string();
        assert!(message.contains("can't be read; of the first: its time"), "{answer:#}");
        assert!(message.contains("is not RFC 3339"), "{answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_window_of_which_a_quarter_cannot_be_read_the_rest_is_stored_and_nothing_set_aside() {
    for (stream, dataset, form) in FORMS {
        // 10 pages. Those with the newest records, or the oldest, have no readable row.
        let rig = Rig::with(|lambda: LambdaBuilder| {
            lambda.env("STREAMS", stream).env("FE_PAGE_SIZE", "30").env("AUDIT_PAGE_SIZE", "30")
        })
        .await;
        let (mut readable, mut odd) = (Vec::new(), Vec::new());
        for n in 0..100 {
            let at = yesterday(30 * (n + 1));
            let is_odd = [0..5, 30..35, 80..100].iter().any(|odd| odd.contains(&n));
            let of = |time: &str| form.replace("AT", &json!(time).to_string()).replace('N', &n.to_string());
            let raw = if is_odd { of("no time") } else { of(&at) };
            let push = |raw: &str| {
                rig.sim.world.push_raw(dataset, &n.to_string(), DateTime::parse_from_rfc3339(&at).unwrap().into(), raw)
            };
            push(&raw);
            if is_odd {
                odd.push((n.to_string(), at.clone(), raw, of(&at)));
            } else {
                readable.push(raw);
            }
        }
        readable.sort();
        for run in 0..3 {
            let answer = collect(&rig, stream, 0).await;
            let told = assert_stuck(&answer, stream, 1);
            assert_eq!(told["set_aside"], 0, "{answer:#}");
            // The third run waits for the window's next try.
            assert_eq!(told.get("drift"), (run < 2).then_some(&json!(30)), "{answer:#}");
            let mut stored = rig.stored(stream).await;
            stored.sort();
            assert_eq!(stored, readable, "each readable record once, by the first run");
        }
        let kept = rig.sim.s3.keys(rig.sim.bucket(), &format!("{STATE}set-aside/")).await;
        assert!(kept.is_empty(), "{kept:?}");
        let answer = rig.invoke(json!({"action": "verify", "streams": [stream]})).await.answer();
        let findings = answer["findings"].as_array().unwrap();
        assert!(
            findings.len() == 1 && findings[0]["wrong"].as_str().unwrap().contains("stuck"),
            "the stored objects of an open window are no strays: {answer:#}"
        );

        for (id, at, raw, healed) in odd {
            rig.sim.world.remove(dataset, &raw);
            rig.sim.world.push_raw(dataset, &id, DateTime::parse_from_rfc3339(&at).unwrap().into(), &*healed);
            readable.push(healed);
        }
        rig.assert_heals(stream).await;
        let mut stored = rig.stored(stream).await;
        stored.sort();
        readable.sort();
        assert_eq!(stored, readable);
        let answer = rig.invoke(json!({"action": "verify", "streams": [stream]})).await.answer();
        assert_eq!(answer["status"], "whole", "{answer:#}");
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_rows_have_lost_their_id_fails_each_run_and_sets_nothing_aside() {
    join_all(["users", "agents", "cases", "sessions", "watchlists"].into_iter().map(async |stream| {
        let rig = Rig::with(|lambda| lambda.env("STREAMS", stream).env("INVENTORY_INTERVAL_MINUTES", "0")).await;
        let (dataset, id) = match stream {
            "users" => (Dataset::Users, "userId"),
            "agents" => (Dataset::Agents, "agentId"),
            "cases" => (Dataset::Cases, "number"),
            "sessions" => (Dataset::Sessions, "sessionId"),
            _ => (Dataset::Watchlists, "watchlistId"),
        };
        for n in 0..12 {
            // Ten records have the new form.
            let name = if n < 2 { id } else { "renamed" };
            let at = ago(1_200 - n);
            let begin = at.timestamp_millis();
            let raw = format!(r#"{{"{name}":{n},"beginTime":{begin},"updatedAt":"{}","name":"x"}}"#, millis(at));
            let raw = if stream == "cases" { raw } else { raw.replace(&format!(":{n},"), &format!(r#":"{n}","#)) };
            rig.sim.world.push_raw(dataset, &n.to_string(), at, raw);
        }
        for run in 0..3 {
            let (error_type, answer) = rig.failure(json!({})).await;
            let told = &answer["streams"][stream];
            assert_eq!(error_type, "ThirdPartyGenericError", "{stream}: {answer:#}");
            let message = told["error"]["message"].as_str().unwrap();
            assert!(message.contains("10 rows of") && message.contains("can't be read"), "{stream}: {message}");
            // The third run asks only for cases that were updated since.
            let drift = if stream == "cases" && run == 2 { Value::Null } else { json!(10) };
            assert_eq!((&told["set_aside"], &told["drift"]), (&json!(0), &drift), "{stream}, run {run}: {told:#}");
        }
        let kept = rig.sim.s3.keys(rig.sim.bucket(), "incydr-collector/set-aside/").await;
        assert_eq!(kept, Vec::<String>::new(), "{stream}");
    }))
    .await;
}
