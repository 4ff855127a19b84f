use serde_json::{Value, json};

use super::*;

#[test]
fn a_deployment_that_went_wrong_is_told_by_what_the_agent_lacks_or_shares() {
    let with = |first: Value, second: Value| {
        let agents = rows([("a1", agent(&first)), ("a2", agent(&second))]);
        let reporting = counts(&[("a1", 5), ("a2", 5)]);
        found(&Sources { agents: Ok(agents), reporting: Ok(reporting), ..well() }, &rules()).0
    };
    let issues = |findings: Vec<Finding>| -> Vec<(String, String)> {
        let hints = findings.into_iter().filter(|finding| finding.finding == FindingKind::Deployment);
        hints.map(|hint| (hint.agent_id.expect("an agent"), hint.issue.expect("an issue"))).collect()
    };
    let of = |agent: &str, issue: &str| (agent.to_owned(), issue.to_owned());
    assert_eq!(issues(with(json!({}), json!({}))), []);
    assert_eq!(issues(with(json!({}), json!({"userId": null}))), [of("a2", "NO_USER")]);
    assert_eq!(issues(with(json!({}), json!({"userId": null, "active": false}))), []);
    let new = |days| json!({"lastConnected": null, "creationDate": ago(days)});
    assert_eq!(issues(with(json!({}), new(3))), [of("a2", "NEVER_CONNECTED")]);
    assert_eq!(issues(with(json!({}), new(0))), [], "it was installed today");
    assert_eq!(issues(with(json!({}), new(31))), [], "it is stale");
    let device = |serial: &str, machine: Value| json!({"serialNumber": serial, "machineId": machine});
    let twice = [of("a1", "SAME_DEVICE"), of("a2", "SAME_DEVICE")];
    assert_eq!(issues(with(device("s", json!("m")), device("s", json!("m")))), twice);
    assert_eq!(issues(with(device("s", json!("m")), device("s", json!("n")))), []);
    assert_eq!(
        issues(with(device("s", Value::Null), device("s", Value::Null))),
        [],
        "many have no serial of their own"
    );
    let mut replaced = device("s", json!("m"));
    replaced["lastConnected"] = json!(ago(40));
    assert_eq!(issues(with(device("s", json!("m")), replaced)), [], "it is superseded");
}
