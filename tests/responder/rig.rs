//! A small tenant whose records are all known, and the real binary in it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Dataset, Endpoint, Lambda, LambdaBuilder, Outcome, Simulator};

use crate::facts::HeldAgainstFacts;

pub const TRAIL: &str = "code42/response_actions/";
pub const REQUESTS: &str = "incydr-responder/requests/";
/// Enough for any request that nothing delays.
pub const DEADLINE: Duration = Duration::from_mins(1);

const ALL: &str = "session.add_note,session.set_state,session.set_state_where,case.create,case.update,case.close,\
                   case.archive,case.delete,case.add_events,case.remove_event,watchlist.add,watchlist.remove,\
                   watchlist.exclude,watchlist.unexclude,actor.update,leavers.sync,user.deactivate,user.activate,\
                   agent.deactivate,agent.activate,legal_hold.add,legal_hold.remove,trust.add,trust.update,\
                   trust.delete,rule.enable,rule.disable,case.list,case.search,case.get,case.events,session.get,\
                   session.search,session.events,file_events.search";

pub struct Rig {
    pub sim: Simulator,
    pub lambda: Lambda,
    #[expect(dead_code, reason = "its drop is the check")]
    held: HeldAgainstFacts,
}

impl Rig {
    /// All actions are allowed, and none needs approval.
    pub async fn new() -> Self {
        Self::with(|lambda| lambda).await
    }

    pub async fn with(settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        println!("SEED={seed}");
        let sim = Simulator::start(seed).await;
        populate(&sim);
        let lambda = settings(builder(&sim)).start();
        let held = HeldAgainstFacts(sim.api.clone());
        Self { sim, lambda, held }
    }

    /// Another container on the same tenant.
    pub fn container(&self, settings: impl FnOnce(LambdaBuilder) -> LambdaBuilder) -> Lambda {
        settings(builder(&self.sim)).start()
    }

    pub async fn ask(&self, event: Value) -> Value {
        self.lambda.invoke(event, DEADLINE).await.answer()
    }

    pub async fn refused(&self, event: Value) -> (String, Value) {
        failure_of(self.lambda.invoke(event, DEADLINE).await)
    }

    /// The trail's records of a request, in the order of their keys.
    pub async fn trail(&self, request_id: &str) -> Vec<Value> {
        let lines = self.sim.stored_lines(TRAIL).await;
        let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        records.filter(|record| record["request_id"] == *request_id).collect()
    }

    /// Asserts that the trail has one intent and one result, and that no object was changed.
    pub async fn assert_trail(&self, request_id: &str, outcome: &str) {
        let trail = self.trail(request_id).await;
        let told: Vec<&Value> = trail.iter().map(|record| &record["record"]).collect();
        assert_eq!(told, ["intent", "result"], "{request_id}: {trail:#?}");
        assert_eq!(trail[1]["outcome"], outcome, "{:#}", trail[1]);
        assert_eq!(self.sim.s3.overwritten_or_deleted(""), Vec::<String>::new());
    }

    /// The writes that were sent, as method and path.
    pub fn writes(&self) -> Vec<String> {
        let writes = self.sim.api.requests_to(Endpoint::Write);
        writes.iter().map(|write| format!("{} {}", write.method, write.path)).collect()
    }

    pub fn record(&self, dataset: Dataset, id: &str) -> Option<Value> {
        let found = self.sim.world.all(dataset).into_iter().find(|record| *record.id == *id);
        found.map(|record| serde_json::from_str(&record.raw).expect("JSON"))
    }

    pub fn notes_with(&self, session: &str, part: &str) -> usize {
        let session = self.record(Dataset::Sessions, session).expect("the session");
        let notes = session["notes"].as_array().expect("a list");
        notes.iter().filter(|note| note["content"].as_str().is_some_and(|content| content.contains(part))).count()
    }

    pub fn state_of(&self, session: &str) -> Value {
        let session = self.record(Dataset::Sessions, session).expect("the session");
        session["states"].as_array().and_then(|states| states.last()).expect("a state")["state"].clone()
    }

    pub fn children(&self, dataset: Dataset, parent: &str) -> Vec<String> {
        let mut ids: Vec<String> =
            self.sim.world.children(dataset, parent).iter().map(|record| record.id.to_string()).collect();
        ids.sort();
        ids
    }
}

pub fn builder(sim: &Simulator) -> LambdaBuilder {
    sim.lambda(Path::new(env!("CARGO_BIN_EXE_responder")))
        .env("ALLOWED_ACTIONS", ALL)
        .env("NEEDS_APPROVAL", "none")
        .env("REQUESTS_PER_MINUTE", "100000")
}

pub fn failure_of(outcome: Outcome) -> (String, Value) {
    let (error_type, message) = outcome.error();
    assert!(!message.contains('\n'), "the answer is one line: {message}");
    let answer: Value = serde_json::from_str(&message).unwrap_or_else(|_| panic!("not an answer: {message}"));
    assert_eq!(answer["error"]["type"], error_type, "{answer:#}");
    (error_type, answer)
}

pub fn request(request_id: &str, action: &str, input: &Value) -> Value {
    json!({"action": action, "request_id": request_id, "requested_by": "alice@example.com", "reason": "ticket 4711",
           "input": input})
}

pub fn note(request_id: &str) -> Value {
    request(request_id, "session.add_note", &json!({"id": "s-1", "noteContent": "seen"}))
}

fn populate(sim: &Simulator) {
    let world = &sim.world;
    let at = "2026-01-01T00:00:00.000Z";
    for (id, name) in [("1", "ann@example.com"), ("2", "bob@example.com"), ("3", "cid@example.com")] {
        world.push_user(
            json!({"userId": format!("u-{id}"), "username": name, "active": true, "blocked": false,
                   "modificationDate": at})
            .to_string(),
        );
        world.push_record(
            Dataset::Actors,
            json!({"actorId": format!("a-{id}"), "name": name, "active": true, "notes": null, "startDate": null,
                   "endDate": null, "parentActorId": null})
            .to_string(),
        );
        for n in 0..2 {
            world.push_record(
                Dataset::Agents,
                json!({"agentId": format!("g-{id}{n}"), "userId": format!("u-{id}"), "name": "laptop", "active": true,
                       "modificationDate": at, "agentHealthIssueTypes": []})
                .to_string(),
            );
        }
    }
    for n in 1..=4 {
        world.push_record(
            Dataset::Sessions,
            json!({"sessionId": format!("s-{n}"), "actorId": "a-1", "beginTime": 1_767_225_600_000_i64 + n,
                   "endTime": 1_767_225_700_000_i64, "type": "STANDARD", "triggeredAlerts": [{"alertId": "x"}],
                   "notes": [], "scores": [], "states": [{"state": "OPEN", "stateV2": "OPEN", "sourceTimestamp": 1}]})
            .to_string(),
        );
    }
    for (number, status) in [(1, "OPEN"), (2, "CLOSED")] {
        world.push_case(
            json!({"number": number, "name": format!("case {number}"), "status": status, "createdAt": at,
                   "updatedAt": at, "description": "d", "findings": "", "subject": null, "subjectUsername": null,
                   "assignee": "u-1", "assigneeUsername": "ann@example.com"})
            .to_string(),
        );
    }
    for n in 0..24 {
        world.push_file_event(
            json!({"@timestamp": at, "event": {"id": format!("e-{n:02}"), "inserted": at},
                   "user": {"email": "ann@example.com"}})
            .to_string(),
        );
    }
    for (id, kind, title) in
        [("w-1", "DEPARTING_EMPLOYEE", "Leavers"), ("w-2", "CUSTOM", "Watch"), ("w-3", "CUSTOM", "Look")]
    {
        world.push_record(
            Dataset::Watchlists,
            json!({"watchlistId": id, "listType": kind, "title": title, "description": null}).to_string(),
        );
    }
    for (id, active) in [("m-1", true), ("m-2", false)] {
        world.push_record(
            Dataset::Matters,
            json!({"matterId": id, "name": format!("matter {id}"), "active": active, "creationDate": at}).to_string(),
        );
    }
    world.push_record(
        Dataset::AlertRules,
        json!({"id": "r-1", "name": "rule", "isEnabled": true, "modifiedAt": at, "filters": {}}).to_string(),
    );
    world.push_record(
        Dataset::TrustedActivities,
        json!({"activityId": 7, "type": "DOMAIN", "value": "old.example.com", "description": null,
               "isHighValueSource": false, "activityActionGroups": groups(), "updateTime": at})
        .to_string(),
    );
}

pub fn groups() -> Value {
    json!([{"name": "DEFAULT", "activityActions": [{"type": "CLOUD_SHARE", "providers": [{"name": "BOX"}]}]}])
}
