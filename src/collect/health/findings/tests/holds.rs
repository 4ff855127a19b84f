//! What legal hold and open cases forbid.

use serde_json::json;

use super::*;
use crate::collect::health::records::{Held, Hold};

fn matter() -> Hold {
    Hold::Matter { id: "m1".into(), name: None }
}

fn case() -> Hold {
    Hold::Case { number: "7".into(), name: None }
}

#[expect(clippy::unnecessary_wraps, reason = "as the sources have it")]
fn held(id: Option<&str>, name: Option<&str>, by: Hold) -> Result<HeldList, Error> {
    let held = Held { id: id.map(str::to_owned), username: name.map(str::to_owned), by, since: None };
    Ok(HeldList { held: vec![held], unreadable: 0 })
}

#[test]
fn who_is_held_must_not_be_deactivated_nor_any_agent_of_theirs() {
    let matter = Hold::Matter { id: "m1".into(), name: Some("Doe v. Roe".into()) };
    let sources =
        Sources { custodians: held(Some("u1"), None, matter), subjects: held(Some("x2"), None, case()), ..well() };
    let findings = found(&sources, &rules()).0;
    assert_eq!(kinds(&findings), [FindingKind::MustNotBeDeactivated; 3]);
    let ids = |finding: &Finding| (finding.agent_id.clone(), finding.matter_id.clone(), finding.case_number);
    assert_eq!(ids(&findings[0]), (None, Some("m1".into()), None));
    assert_eq!(ids(&findings[1]), (Some("a1".into()), Some("m1".into()), None));
    assert_eq!(ids(&findings[2]), (None, None, Some(7)));
    assert_eq!(findings[0].username.as_deref(), Some("ann@example.com"));
    assert_eq!(findings[0].why, "the user is a custodian of the legal hold matter \"Doe v. Roe\"");
    let unknown = "the user is the subject of the open case 7 (subject x2, which is no user that was listed)";
    assert_eq!((findings[2].why.as_str(), findings[2].user_id.as_deref()), (unknown, None));
    assert_eq!(findings[0].since.as_deref(), Some(NOW_IN_MS), "the hold has no date");

    let late = Sources { users: Ok(rows([("u1", user(true))])), ..sources };
    let findings = found(&late, &rules()).0;
    let told = findings.iter().find(|finding| finding.finding == FindingKind::MustNotBeDeactivated);
    assert!(told.is_some_and(|finding| finding.why.ends_with(", and deactivated already")));
}

/// Looks at all findings about a user in legal hold or a case, with every kind of fault.
#[test]
fn nobody_is_told_to_deactivate_what_legal_hold_or_a_case_forbids() {
    let worlds = |custodians: Result<HeldList, Error>, subjects: Result<HeldList, Error>| Sources {
        agents: Ok(rows([("a1", agent(&json!({}))), ("a2", agent(&json!({"lastConnected": ago(42)})))])),
        actors: Ok(rows([("x1", Actor { name: Some("ann@example.com".into()), is_inactive: true, end: None })])),
        custodians,
        subjects,
        ..well()
    };
    let advice = |sources: &Sources| {
        let findings = found(sources, &rules()).0.into_iter();
        let about = |finding: &Finding| finding.finding != FindingKind::MustNotBeDeactivated;
        let told: Vec<String> = findings.filter(about).map(|finding| finding.advice).collect();
        assert_eq!(told.len(), 2, "the agent and the user: {told:#?}");
        told
    };
    let none = || Ok(HeldList::default());
    let free = worlds(none(), none());
    assert!(advice(&free).iter().all(|advice| advice.contains("deactivate") && !advice.contains("first check")));
    // The user is named by id, by name, and by the actor's id.
    for (custodians, subjects) in [
        (held(Some("u1"), None, matter()), none()),
        (none(), held(Some("u1"), None, case())),
        (none(), held(Some("x9"), Some("Ann@example.com"), case())),
        (none(), held(None, Some("Ann@example.com"), case())),
        (none(), held(Some("x1"), None, case())),
    ] {
        let told = advice(&worlds(custodians, subjects));
        assert!(told.iter().all(|advice| advice.starts_with("deactivate nothing: the user is ")), "{told:#?}");
    }
    // Who is held is not known, or not all of those who are.
    let failed = || Err(Error::Inconsistent("it differs".into()));
    let unreadable = || Ok(HeldList { unreadable: 1, held: Vec::new() });
    for (custodians, subjects, says) in [
        (failed(), none(), "legal hold could not be read"),
        (none(), failed(), "open cases could not be read"),
        (unreadable(), none(), "1 of the rows of legal hold can't be read"),
        (none(), unreadable(), "1 of the rows of open cases can't be read"),
        (none(), held(Some("x9"), None, case()), "the subject of the open case 7 is no user that was listed"),
        (none(), held(None, Some("zoe"), case()), "the subject of the open case 7 is no user that was listed"),
    ] {
        let told = advice(&worlds(custodians, subjects));
        let doubt = format!("; but first check legal hold and cases: {says}");
        assert!(told.iter().all(|advice| advice.ends_with(&doubt)), "{told:#?}");
    }
    let told = found(&worlds(none(), unreadable()), &rules()).1;
    assert_eq!(told.iter().map(|left_out| left_out.check).collect::<Vec<_>>(), [FindingKind::MustNotBeDeactivated]);
}

/// Without actors or users a subject's actor id means nobody, and without users also a name does.
#[test]
fn where_the_subject_of_a_case_cannot_be_told_nobody_is_plainly_told_to_deactivate() {
    let failed = || Error::Inconsistent("it differs".into());
    let old = || Ok(rows([("a1", agent(&json!({}))), ("a2", agent(&json!({"lastConnected": ago(42)})))]));
    let of = |subject: Result<HeldList, Error>, has_users: bool| Sources {
        agents: old(),
        subjects: subject,
        users: if has_users { Ok(rows([("u1", user(false))])) } else { Err(failed()) },
        actors: Err(failed()),
        ..well()
    };
    for sources in [
        of(held(Some("x1"), None, case()), true),
        of(held(Some("x1"), None, case()), false),
        of(held(None, Some("ann@example.com"), case()), false),
    ] {
        let findings = found(&sources, &rules()).0;
        let superseded =
            findings.iter().find(|finding| finding.finding == FindingKind::SupersededAgent).expect("it is superseded");
        let doubt = "but first check legal hold and cases: the subject of the open case 7 is no user that was listed";
        assert!(superseded.advice.ends_with(doubt), "{superseded:#?}");
    }
    // The agents know the user.
    let findings = found(&of(held(Some("u1"), None, case()), false), &rules()).0;
    let told: Vec<_> = findings.iter().map(|finding| (finding.finding, finding.user_id.as_deref())).collect();
    let kept = (FindingKind::MustNotBeDeactivated, Some("u1"));
    assert_eq!(told, [(FindingKind::SupersededAgent, Some("u1")), kept, kept, kept]);
    assert!(findings[0].advice.starts_with("deactivate nothing"), "{findings:#?}");
}

#[test]
fn all_users_of_one_name_are_kept() {
    let users = rows([("u1", user(false)), ("u2", user(true))]);
    let sources = Sources { users: Ok(users), subjects: held(None, Some("ANN@example.com"), case()), ..well() };
    let findings = found(&sources, &rules()).0;
    let kept = findings.iter().filter(|finding| finding.finding == FindingKind::MustNotBeDeactivated);
    let users: Vec<_> = kept.map(|finding| (finding.user_id.as_deref(), finding.agent_id.as_deref())).collect();
    assert_eq!(users, [(Some("u1"), None), (Some("u1"), Some("a1")), (Some("u2"), None)]);
}

#[test]
fn who_holds_an_agent_keeps_it_also_where_it_was_deployed_twice() {
    let device = json!({"serialNumber": "s", "machineId": "m"});
    let agents = rows([("a1", agent(&device)), ("a2", agent(&device))]);
    let sources = Sources { agents: Ok(agents), custodians: held(Some("u1"), None, matter()), ..well() };
    let hints: Vec<Finding> = found(&sources, &rules()).0;
    let hints: Vec<&Finding> = hints.iter().filter(|hint| hint.finding == FindingKind::Deployment).collect();
    assert_eq!(hints.len(), 2);
    assert!(hints.iter().all(|hint| hint.advice.starts_with("deactivate nothing")), "{hints:#?}");
}
