//! Answers in unusual forms are read, and incomplete ones are not taken for complete.

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Fault};

use crate::rig::Rig;

const LISTS: [Endpoint; 4] = [Endpoint::FileEvents, Endpoint::AuditSearch, Endpoint::CaseList, Endpoint::Users];

/// Replaces each total of a body by another form of it.
fn totals(body: &str, tell: impl Fn(u64) -> Value) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap();
    for key in ["totalCount", "totalResultCount", "totalNumResults"] {
        if let Some(total) = body.get(key).and_then(Value::as_u64) {
            body[key] = tell(total);
        }
    }
    body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_gzipped_in_members_is_read_whatever_it_is_called() {
    for name in ["gzip", "x-gzip"] {
        let rig = Rig::new().await;
        rig.sim.api.change(|api| (api.gzip_member, api.gzip_name) = (Some(4_096), name));
        rig.populate();
        assert_eq!(rig.run().await["status"], "complete", "{name}");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_as_text_or_with_a_fraction_is_a_total() {
    let as_text: fn(u64) -> Value = |total| json!(total.to_string());
    let with_fraction: fn(u64) -> Value = |total| serde_json::from_str(&format!("{total}.0")).unwrap();
    for tell in [as_text, with_fraction] {
        let rig = Rig::new().await;
        rig.populate();
        // The records must stay unchanged, so only the bodies without records are parsed.
        for endpoint in [Endpoint::AuditCount, Endpoint::CaseList] {
            rig.sim.faults.always(endpoint, Fault::edited(move |body| totals(body, tell)));
        }
        let users = move |body: &str| {
            let at = body.find("\"totalCount\":").unwrap() + 13;
            let end = at + body[at..].find([',', '}']).unwrap();
            format!("{}{}{}", &body[..at], tell(body[at..end].trim().parse().unwrap()), &body[end..])
        };
        rig.sim.faults.always(Endpoint::Users, Fault::edited(users));
        rig.sim.faults.always(Endpoint::FileEvents, Fault::edited(users));
        let answer = rig.run().await;
        assert_eq!(answer["status"], "complete", "{answer:#}");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_and_half_a_surrogate_pair_in_an_envelope_stop_nothing() {
    let rig = Rig::new().await;
    rig.populate();
    let halved = |body: &str| body.replacen('{', r#"{"note":"\ud83d","#, 1);
    rig.sim.faults.always(Endpoint::AuditCount, Fault::edited(halved));
    rig.sim.faults.always(Endpoint::Any, Fault::edited(|body| format!("\u{feff}{body}")));
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer:#}");
    rig.assert_holds_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_s_life_as_text_is_a_life() {
    let rig = Rig::new().await;
    rig.populate();
    rig.sim.faults.always(Endpoint::SignIn, Fault::edited(|body| body.replace(":900", ":\"900\"")));
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.run().await["status"], "complete");
    assert_eq!(rig.sim.api.sign_ins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_read_in_every_way_in_which_they_are_written() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "audit")).await;
    let at = crate::rig::ago(600);
    for (n, format) in ["%Y-%m-%dT%H:%M:%S%.6f+0000", "%Y-%m-%d %H:%M:%S+00", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d %H:%M:%S"]
        .iter()
        .enumerate()
    {
        let text = json!({"type$": "audit_log::x/1", "n": n, "timestamp": at.format(format).to_string()}).to_string();
        rig.sim.world.push_raw(Dataset::Audit, &n.to_string(), at, text);
    }
    let answer = rig.run().await;
    let audit = &answer["streams"]["audit"];
    assert_eq!((&answer["status"], &audit["records"], &audit["set_aside"]), (&json!("complete"), &json!(4), &json!(0)));
    rig.assert_holds("audit", &rig.sim.world.audit()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_page_is_no_page_and_rows_beside_problems_are_none() {
    for fault in [Fault::Under(206), Fault::Problems("a shard was not asked".into())] {
        let rig = Rig::new().await;
        rig.populate();
        for endpoint in LISTS {
            rig.sim.faults.always(endpoint, fault.clone());
        }
        let (error_type, answer) = rig.failure(json!({})).await;
        assert_eq!(error_type, "ThirdPartyGenericError");
        for stream in ["file_events", "audit", "cases", "users"] {
            let told = &answer["streams"][stream];
            assert_eq!((&told["status"], &told["records"]), (&json!("failed"), &json!(0)), "{stream}: {told:#}");
        }
        rig.sim.faults.clear();
        rig.sim.faults.once(Endpoint::Users, 1, fault);
        assert_eq!(rig.run().await["status"], "complete", "the next answer is whole");
        rig.assert_holds_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_surrogate_pair_beside_the_list_or_in_what_health_reads_fails_nothing() {
    let rig = Rig::new().await;
    rig.populate();
    for endpoint in LISTS {
        let add = |body: &str| body.replacen('{', r#"{"note":"\ud83d","more":{"\udc00":["\ud83d\ude80"]},"#, 1);
        rig.sim.faults.always(endpoint, Fault::edited(add));
    }
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds_everything().await;
    rig.sim.faults.clear();
    let agents = rig.sim.world.add_records(Dataset::Agents, 3);
    let raw = agents[0].raw.to_string();
    let host = raw.find("\"osHostname\"").expect("a host's name");
    let value = host + raw[host..].find(':').unwrap() + 1;
    let end = value + raw[value..].find([',', '}']).unwrap();
    let odd = format!("{}\"half \\ud83d\"{}", &raw[..value], &raw[end..]);
    rig.sim.world.remove(Dataset::Agents, &agents[0].id);
    rig.sim.world.push_raw(Dataset::Agents, &agents[0].id, agents[0].time, odd);
    let answer = rig.invoke(json!({"action": "health"})).await.answer();
    assert_eq!(
        answer["summary"]["agents"]["all"].as_u64().or(answer["summary"]["agents"].as_u64()),
        Some(3),
        "{answer:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_empty_and_name_a_next_one_for_ever_are_an_error() {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "file_events,audit")).await;
    rig.populate();
    let count = std::sync::atomic::AtomicU64::new(0);
    let empty = move |_: &str| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        json!({"totalCount": 300, "fileEvents": [], "nextPgToken": format!("token-{n}"), "problems": null}).to_string()
    };
    rig.sim.faults.always(Endpoint::FileEvents, Fault::echo(200, empty));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError");
    let message = answer["streams"]["file_events"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("empty, and each names a next one"), "{message}");
    assert_eq!(answer["streams"]["audit"]["status"], "complete");
    rig.sim.faults.clear();
    rig.run().await;
    rig.assert_holds("file_events", &rig.sim.world.file_events()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_told_with_where_to_and_no_token_is_sent_there() {
    let rig = Rig::new().await;
    rig.populate();
    let elsewhere = Rig::new().await;
    let location = format!("{}/v2/file-events?session=hunter2", elsewhere.sim.api.url());
    let fault = Fault::Reply(308, vec![("location", location)], "moved".into());
    rig.sim.faults.always(Endpoint::FileEvents, fault);
    let (_, answer) = rig.failure(json!({})).await;
    let message = answer["streams"]["file_events"]["error"]["message"].as_str().unwrap();
    let told = format!("308: it points to {}/v2/file-events; moved", elsewhere.sim.api.url());
    assert!(message.contains(&told) && !message.contains("hunter2"), "{message}");
    assert!(elsewhere.sim.api.requests().is_empty());
}
