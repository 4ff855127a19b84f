//! A collector continues from the checkpoint of an older version.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::{Endpoint, Record, compact, with_member};

use crate::oracle::{findings, gzip, millis, text_of};
use crate::rig::{CHECKPOINT, Rig, ago, assert_same, sha256, time};

/// A checkpoint of version 0.1.0 in format 1. The parts in angle brackets are replaced.
const FORMAT_1: &str = r#"{
  "format_version": 1,
  "revision": 41,
  "written_by": "5b1f0c52-0000-4000-8000-000000000001",
  "identity": {
    "tenant": "<tenant>",
    "base_url": "<base_url>",
    "bucket": "<bucket>",
    "prefix": "code42/"
  },
  "lease": {
    "run_id": "5b1f0c52-0000-4000-8000-000000000001",
    "until": "<lease_until>"
  },
  "events": {
    "file_events": {
      "live_from": "<live_from>",
      "covered": [
        [
          "<live_from>",
          "<open_from>"
        ]
      ],
      "window_rows": 40
    },
    "audit": {
      "live_from": "<live_from>",
      "covered": [
        [
          "<live_from>",
          "<open_from>"
        ]
      ],
      "open": [
        {
          "span": [
            "<open_from>",
            "<open_to>"
          ],
          "request": {
            "actorIds": null,
            "actorIpAddresses": null,
            "actorNames": null,
            "dateRange": {
              "endTime": <asked_to>.0,
              "startTime": <asked_from>.0
            },
            "eventTypes": null,
            "page": 0,
            "pageSize": 100,
            "resourceIds": null,
            "userTypes": null
          },
          "opened_at": "<opened_at>",
          "opened_by": {
            "run_id": "5b1f0c52-0000-4000-8000-000000000001",
            "until": "<lease_until>"
          }
        }
      ]
    }
  },
  "versions": {
    "cases": {
      "listed_to": "<listed_to>",
      "pending": [
        "11",
        "12"
      ],
      "stored": {
        "last": "<listed_to>",
        "known": {
          "key": "<known_cases>",
          "records": 10
        }
      }
    }
  },
  "inventory": {
    "users": {
      "covered_to": "<listed_to>",
      "stored": {
        "last": "<listed_to>",
        "known": {
          "key": "<known_users>",
          "records": 40
        }
      }
    }
  }
}
"#;

/// The world as that version had read it in part, and the objects that it left in the bucket.
struct Before {
    rig: Rig,
    live_from: DateTime<Utc>,
    open_from: DateTime<Utc>,
    open_to: DateTime<Utc>,
}

fn second(seconds_ago: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(ago(seconds_ago).timestamp(), 0).unwrap()
}

fn compact_time(at: DateTime<Utc>) -> String {
    at.format("%Y%m%dT%H%M%S%3fZ").to_string()
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| compact(&record.raw)).collect()
}

impl Before {
    async fn new() -> Self {
        let rig = Rig::new().await;
        rig.populate();
        let before = Self { rig, live_from: second(3_600), open_from: second(2_000), open_to: second(700) };
        before.store_events("audit", &before.rig.sim.world.audit()).await;
        before.store_events("file_events", &before.rig.sim.world.file_events()).await;
        before.store_half_of_the_open_window().await;
        let known_cases = before.store_known("cases", "number", &before.rig.sim.world.cases()[..10]).await;
        let known_users = before.store_known("users", "userId", &before.rig.sim.world.users()).await;
        let (asked_from, asked_to) = (before.open_from.timestamp() - 1, before.open_to.timestamp() + 1);
        let text = [
            ("<tenant>", before.rig.sim.api.behaviour().tenant),
            ("<base_url>", before.rig.sim.api.url()),
            ("<bucket>", before.rig.sim.bucket().to_owned()),
            ("<lease_until>", millis(second(500))),
            ("<opened_at>", millis(second(640))),
            ("<live_from>", millis(before.live_from)),
            ("<open_from>", millis(before.open_from)),
            ("<open_to>", millis(before.open_to)),
            ("<asked_from>", asked_from.to_string()),
            ("<asked_to>", asked_to.to_string()),
            ("<listed_to>", millis(second(650))),
            ("<known_cases>", known_cases),
            ("<known_users>", known_users),
        ]
        .into_iter()
        .fold(FORMAT_1.to_owned(), |text, (name, value)| text.replace(name, &value));
        before.rig.sim.s3.put_raw(before.rig.sim.bucket(), CHECKPOINT, text).await;
        before
    }

    /// Stores one object per hour, up to the end of the covered time.
    async fn store_events(&self, stream: &str, records: &[Record]) {
        self.store_span(stream, records, self.live_from, self.open_from, self.open_from).await;
    }

    /// Stores only the first half of the open window: its run died at the second hour's object or later.
    async fn store_half_of_the_open_window(&self) {
        let half = self.open_from + (self.open_to - self.open_from) / 2;
        self.store_span("audit", &self.rig.sim.world.audit(), self.open_from, self.open_to, half).await;
    }

    /// Stores a window's objects with only the records before `until`.
    async fn store_span(
        &self,
        stream: &str,
        records: &[Record],
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        until: DateTime<Utc>,
    ) {
        let mut at = from;
        while at < to {
            let next_hour = DateTime::from_timestamp(at.timestamp() / 3_600 * 3_600 + 3_600, 0).unwrap();
            let end = next_hour.min(to);
            let of_hour: Vec<Record> =
                records.iter().filter(|record| at <= record.time && record.time < end.min(until)).cloned().collect();
            if !of_hour.is_empty() {
                let folder = at.format("dt=%Y-%m-%d/hour=%H");
                let key = format!("code42/{stream}/{folder}/{}-{}.ndjson.gz", compact_time(at), compact_time(end));
                self.rig.put_lines(&key, &lines(&of_hour)).await;
            }
            at = end;
        }
    }

    /// Stores the known records, with the first half of each record's SHA-256.
    async fn store_known(&self, stream: &str, id: &str, records: &[Record]) -> String {
        let at = second(650);
        let key = format!("code42/{stream}/{}/{1}-{1}.ndjson.gz", at.format("dt=%Y-%m-%d/hour=%H"), compact_time(at));
        self.rig.put_lines(&key, &lines(records)).await;
        let line = |record: &Record| {
            let value: Value = serde_json::from_str(&record.raw).unwrap();
            let id = value[id].as_str().map_or_else(|| value[id].to_string(), str::to_owned);
            json!({"id": id, "seen": [&sha256(compact(&record.raw).as_bytes())[..32]]}).to_string()
        };
        let known: Vec<String> = records.iter().map(line).collect();
        let key = format!("incydr-collector/known/{stream}/{}.ndjson.gz", sha256(text_of(&known).as_bytes()));
        self.rig.sim.s3.put_raw(self.rig.sim.bucket(), &key, gzip(&known)).await;
        key
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_format_1_is_gone_on_from_and_nothing_is_lost_or_doubled() {
    let before = Before::new().await;
    let rig = &before.rig;
    let stored = rig.stored("audit").await.len();
    let answer = rig.invoke(json!({"action": "collect"})).await.answer();
    assert_eq!(answer["status"], "complete", "{answer:#}");
    assert_eq!(answer["streams"]["audit"]["records"], 200 - stored);
    assert_eq!(
        (&answer["streams"]["cases"]["records"], &answer["streams"]["users"]["status"]),
        (&json!(2), &json!("not_due"))
    );
    rig.assert_holds_everything().await;
    let checkpoint = rig.checkpoint().await;
    assert_eq!(checkpoint["format_version"], 5);
    assert!(checkpoint["revision"].as_u64().unwrap() > 41);
    assert_eq!(checkpoint["manifests"]["head"]["number"], 1);
    for stream in ["audit", "file_events"] {
        let covered = checkpoint["events"][stream]["covered"].as_array().unwrap();
        assert_eq!((covered.len(), time(&covered[0][0])), (1, before.live_from));
    }
    // The open window is requested with the request on the checkpoint.
    let asked = rig.sim.api.requests_to(Endpoint::AuditSearch);
    let (from, to) = (before.open_from.timestamp() - 1, before.open_to.timestamp() + 1);
    let range = format!(r#""dateRange":{{"endTime":{to}.0,"startTime":{from}.0}}"#);
    assert!(asked.iter().any(|request| request.body.contains(&range)), "{range}");
    for _ in 0..2 {
        rig.run().await;
    }
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_known_records_of_format_1_are_known_still() {
    let before = Before::new().await;
    let rig = &before.rig;
    rig.invoke(json!({"action": "collect"})).await.answer();
    let mut users = rig.stored("users").await;
    let changed = rig.sim.world.users()[7].id.to_string();
    let text = rig.sim.world.update_user(&changed, |raw| with_member(raw, "notes", "\"changed\""));
    users.push(compact(&text));
    rig.edit_checkpoint(|checkpoint| checkpoint["inventory"]["users"]["covered_to"] = json!(millis(ago(4_000)))).await;
    assert_eq!(rig.run().await["streams"]["users"]["records"], 1);
    assert_same("users", rig.stored("users").await, users);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_covered_before_there_were_manifests_is_told_as_such_and_the_rest_is_whole() {
    let before = Before::new().await;
    let rig = &before.rig;
    rig.invoke(json!({"action": "collect"})).await.answer();
    let verified =
        rig.verify_with(json!({"streams": ["audit", "file_events"], "from": millis(before.open_from)})).await;
    assert_eq!(verified["status"], "whole", "{verified:#}");
    assert!(verified["checked"]["records"].as_u64().unwrap() > 100);
    let verified =
        rig.verify_with(json!({"streams": ["audit", "file_events"], "from": millis(before.live_from)})).await;
    let spans: Vec<_> = findings(&verified).into_iter().filter(|(_, place, _)| !place.contains('/')).collect();
    assert_eq!(spans.len(), 2, "{verified:#}");
    for (_, from, wrong) in spans {
        assert_eq!((from, wrong.contains("no manifest lists")), (millis(before.live_from), true), "{verified:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_format_1_is_respected() {
    let before = Before::new().await;
    before
        .rig
        .edit_checkpoint(|checkpoint| checkpoint["lease"]["until"] = json!(millis(Utc::now() + TimeDelta::minutes(5))))
        .await;
    let held = before.rig.checkpoint().await;
    assert_eq!(before.rig.run().await["status"], "skipped");
    assert_eq!(before.rig.checkpoint().await, held, "and the checkpoint is left as it is");
}
