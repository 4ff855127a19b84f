//! A list of one record that doesn't fit a run goes on in the next one.

use std::time::Duration;

use serde_json::json;
use simulator::{ApiRequest, Endpoint, Fault};

use crate::inventories::stream_named;

/// The pages that were requested of a record's list, in their order.
fn pages_of(requests: &[ApiRequest], id: &str) -> Vec<u64> {
    let of_it = requests.iter().filter(|request| request.path.contains(id));
    let page =
        |request: &ApiRequest| request.query.split('&').find_map(|pair| pair.strip_prefix("page=")?.parse().ok());
    of_it.map(|request| page(request).expect("a page")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_one_record_goes_on_from_the_page_that_a_run_did_not_reach() {
    for (name, endpoint) in [("legal_hold", Endpoint::Custodians), ("watchlists", Endpoint::WatchlistMembers)] {
        let stream = stream_named(name);
        let rig = stream.rig(5).await;
        let mut ids: Vec<_> = stream.populate(&rig.sim.world, 3).into_iter().map(|record| record.id).collect();
        ids.sort_unstable();
        rig.sim.world.add_children(stream.lists[0].0, &ids[0], 40);
        // The first pages of the three lists are requested at once, then further pages of the first list.
        rig.sim.faults.from(endpoint, 7, Fault::Hang);
        let answer = rig.run_within(Duration::from_secs(3)).await;
        assert_eq!(answer["status"], "partial", "{name}: {answer:#}");
        let asked = pages_of(&rig.sim.api.requests_to(endpoint), &ids[0]);
        assert_eq!(asked.last(), Some(&(asked[0] + 4)), "{name}: {asked:?}");
        rig.sim.faults.clear();
        rig.sim.api.clear_log();
        assert_eq!(rig.run().await["status"], "complete", "{name}");
        let rest = pages_of(&rig.sim.api.requests_to(endpoint), &ids[0]);
        assert_eq!(rest.iter().min(), asked.last(), "{name}: {rest:?}");
        stream.assert_holds(&rig, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_one_record_that_disagrees_with_its_total_is_read_again_from_its_beginning() {
    let stream = stream_named("watchlists");
    let rig = stream.rig(5).await;
    let records = stream.populate(&rig.sim.world, 1);
    let children = rig.sim.world.add_children(stream.lists[0].0, &records[0].id, 40);
    rig.sim.faults.from(Endpoint::WatchlistMembers, 5, Fault::Hang);
    rig.run_within(Duration::from_secs(3)).await;
    rig.sim.faults.clear();
    rig.sim.api.clear_log();
    rig.sim.faults.once(Endpoint::WatchlistMembers, 1, Fault::TotalOff(3));
    let is_first = |line: &String| line.contains(&*children[0].id);
    let before: Vec<String> = stream.lines(&rig.sim.world).into_iter().filter(is_first).take(1).collect();
    rig.sim.world.change_child(stream.lists[0].0, &records[0].id, &children[0].id, |raw| {
        raw.replacen('{', r#"{"changed":1,"#, 1)
    });
    assert_eq!(rig.run().await["status"], "complete");
    let asked = pages_of(&rig.sim.api.requests_to(Endpoint::WatchlistMembers), &records[0].id);
    assert!(asked[0] > 1 && asked.contains(&1), "{asked:?}");
    stream.assert_holds(&rig, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_a_total_that_goes_on_with_a_page_it_has_shown_is_not_taken_for_whole() {
    let stream = stream_named("actors");
    let rig = stream.rig(5).await;
    stream.populate(&rig.sim.world, 30);
    rig.sim.faults.from(Endpoint::Actors, 4, Fault::Hang);
    rig.run_within(Duration::from_secs(3)).await;
    rig.sim.faults.clear();
    rig.sim.faults.once(Endpoint::Actors, 1, Fault::RepeatPage);
    let (_, answer) = rig.failure(json!({})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("the pages repeat") && message.contains("; it begins: {"), "{answer:#}");
    assert_eq!(rig.run().await["status"], "complete");
    stream.assert_holds(&rig, &[]).await;
}
