//! Legal-hold policies: asked for without a page, and by pages only where a full page came.

use serde_json::json;
use simulator::{Dataset, Endpoint, Fault};

use crate::rig::Rig;

async fn with_policies(policies: usize, page_size: &str) -> Rig {
    let rig = Rig::with(|lambda| lambda.env("STREAMS", "legal_hold").env("PAGE_SIZE", page_size)).await;
    rig.sim.world.add_records(Dataset::Policies, policies);
    rig
}

impl Rig {
    /// Makes a run that must store all policies. Returns the queries of the requests for them.
    async fn policies_asked(&self) -> Vec<String> {
        let answer = self.run().await;
        assert_eq!(answer["status"], "complete", "{answer:#}");
        self.assert_holds("legal_hold", &self.sim.world.all(Dataset::Policies)).await;
        self.sim.api.requests_to(Endpoint::Policies).into_iter().map(|request| request.query).collect()
    }

    /// All policies in one answer, as they are or in another order.
    fn all_policies(&self, is_reversed: bool) -> Fault {
        let records = self.sim.world.all(Dataset::Policies);
        let mut policies: Vec<&str> = records.iter().map(|record| &*record.raw).collect();
        if is_reversed {
            policies.reverse();
        }
        Fault::Status(200, format!(r#"{{"policies":[{}]}}"#, policies.join(",")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_policies_are_read_to_their_last_page_whatever_the_size_of_other_pages() {
    for page_size in ["500", "100", "60"] {
        let rig = with_policies(250, page_size).await;
        assert_eq!(rig.policies_asked().await, ["", "page=2&pageSize=100", "page=3&pageSize=100"], "{page_size}");
    }
    let rig = with_policies(200, "500").await;
    assert_eq!(rig.policies_asked().await.len(), 3, "the last is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_policies_take_one_request_without_parameters() {
    for page_size in ["500", "10"] {
        assert_eq!(with_policies(17, page_size).await.policies_asked().await, [""]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_knows_no_pages_of_policies_is_asked_once_more_at_most() {
    for (policies, page_size, requests) in [(100, "500", 2), (100, "60", 2), (130, "500", 1), (99, "60", 1)] {
        for is_reversed in [false, true] {
            let rig = with_policies(policies, page_size).await;
            rig.sim.faults.from(Endpoint::Policies, 1, rig.all_policies(false));
            rig.sim.faults.from(Endpoint::Policies, 2, rig.all_policies(is_reversed));
            assert_eq!(rig.policies_asked().await.len(), requests, "{policies} {page_size} {is_reversed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_policies_that_always_fails_holds_up_none_of_the_others() {
    let rig = with_policies(250, "500").await;
    let is_in_second = |request: &simulator::http::Request| {
        let number = |name| request.parameter(name).and_then(|text| text.parse::<u64>().ok());
        let (page, size) = (number("page").unwrap_or(1), number("pageSize").unwrap_or(100));
        (100..200).contains(&((page - 1) * size))
    };
    rig.sim.faults.when(Endpoint::Policies, is_in_second, Fault::Status(500, "{}".into()));
    let (error_type, answer) = rig.failure(json!({})).await;
    assert_eq!(error_type, "ThirdPartyGenericError", "{answer:#}");
    assert_eq!(rig.stored("legal_hold").await.len(), 150, "all but the second page");
    let asked = rig.sim.api.requests_to(Endpoint::Policies).len();
    assert!(asked < 25, "an API that fails as a whole is left soon: {asked} requests");
    rig.sim.faults.clear();
    assert_eq!(rig.run().await["status"], "complete");
    rig.assert_holds("legal_hold", &rig.sim.world.all(Dataset::Policies)).await;
}
