"""The responder and the vendor's SDK have the same effect, in two worlds that began alike."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import incydr
import pytest
import requests
from conftest import sign_in
from lambda_function import Function
from simulator import BINARIES, Simulator

AT = "2026-01-01T00:00:00.000Z"
GROUPS = [{"name": "DEFAULT", "activityActions": [{"type": "CLOUD_SHARE", "providers": [{"name": "BOX"}]}]}]
# Members that only say when something happened.
TIMES = {"sourceTimestamp", "updatedAt", "createdAt", "modificationDate", "addedTime", "updateTime", "membershipCreationDate"}

Sdk = Callable[[incydr.Client], Any]
ACTIONS: list[tuple[str, dict[str, Any], str, Sdk]] = [
    (
        "session.add_note",
        {"id": "s-1", "noteContent": "seen"},
        "sessions",
        lambda sdk: sdk.sessions.v1.add_note("s-1", "seen\n\n[request r]"),
    ),
    (
        "session.set_state",
        {"ids": ["s-1", "s-2"], "newState": "CLOSED_FP"},
        "sessions",
        lambda sdk: sdk.sessions.v1.update_state_by_id(["s-1", "s-2"], "CLOSED_FP"),
    ),
    (
        "session.set_state_where",
        {"criteria": {"actor_id": "a-1"}, "newState": "CLOSED"},
        "sessions",
        lambda sdk: sdk.sessions.v1.update_state_by_criteria(new_state="CLOSED", actor_id="a-1"),
    ),
    (
        "case.create",
        {"name": "new", "description": "why", "subject": "a-1", "assignee": "u-1"},
        "cases",
        lambda sdk: sdk.cases.v1.create("new", description="why", subject="a-1", assignee="u-1"),
    ),
    (
        "case.update",
        {"number": 1, "findings": "nothing", "status": "CLOSED"},
        "cases",
        lambda sdk: sdk.cases.v1.update(changed(sdk.cases.v1.get_case(1), findings="nothing", status="CLOSED")),
    ),
    ("case.delete", {"number": 1}, "cases", lambda sdk: sdk.cases.v1.delete(1)),
    (
        "case.add_events",
        {"number": 1, "events": ["e-1", "e-2"]},
        "case_file_events",
        lambda sdk: sdk.cases.v1.add_file_events_to_case(1, ["e-1", "e-2"]),
    ),
    (
        "watchlist.add",
        {"watchlist": "w-1", "people": ["ann@example.com"]},
        "watchlist_members",
        lambda sdk: sdk.watchlists.v2.add_included_actors("w-1", "a-1"),
    ),
    (
        "watchlist.exclude",
        {"watchlist": "Leavers", "people": ["a-1"]},
        "excluded_actors",
        lambda sdk: sdk.watchlists.v2.add_excluded_actors("w-1", "a-1"),
    ),
    (
        "actor.update",
        {"actor": "a-1", "notes": "leaves", "endDate": "2026-12-31"},
        "actors",
        lambda sdk: sdk.actors.v1.update_actor("a-1", notes="leaves", end_date="2026-12-31"),
    ),
    ("user.deactivate", {"user": "ann@example.com"}, "users", lambda sdk: sdk.users.v1.deactivate("u-1")),
    ("agent.deactivate", {"ids": ["g-1"]}, "agents", lambda sdk: sdk.agents.v1.deactivate("g-1")),
    (
        "legal_hold.add",
        {"matter": "m-1", "user": "u-1"},
        "custodians",
        lambda sdk: sdk.legal_hold.v1.add_custodian("m-1", "u-1"),
    ),
    (
        "trust.add",
        {"type": "DOMAIN", "value": "a.example.com", "activityActionGroups": GROUPS},
        "trusted_activities",
        lambda sdk: sdk.trusted_activities.v2.add_domain("a.example.com", cloud_share_services=["BOX"]),
    ),
    ("trust.delete", {"id": 7}, "trusted_activities", lambda sdk: sdk.trusted_activities.v2.delete(7)),
    ("rule.disable", {"id": "r-1"}, "alert_rules", lambda sdk: sdk.alert_rules.v2.disable_rules("r-1")),
]


def changed(case: Any, **members: Any) -> Any:
    for name, value in members.items():
        setattr(case, name, value)
    return case


def world() -> Simulator:
    simulator = Simulator("--seed", 5, "--users", 0, "--cases", 0, "--audit", 0, "--file-events", 0)
    for n in (1, 2):
        session = {"sessionId": f"s-{n}", "tenantId": "t", "actorId": "a-1", "beginTime": 1_767_225_600_000 + n}
        lists = {"notes": [], "scores": [], "triggeredAlerts": [{"alertId": "x"}], "states": [{"state": "OPEN", "sourceTimestamp": 1}]}
        simulator.push("sessions", json.dumps(session | lists | {"endTime": 1_767_225_700_000}))
        simulator.push("file_events", json.dumps({"@timestamp": AT, "event": {"id": f"e-{n}", "inserted": AT}}))
    user = {"userId": "u-1", "username": "ann@example.com", "active": True, "blocked": False, "modificationDate": AT}
    actor = {"actorId": "a-1", "name": "ann@example.com", "active": True, "notes": None, "startDate": None, "endDate": None}
    case = {"number": 1, "name": "one", "status": "OPEN", "createdAt": AT, "updatedAt": AT, "description": "d"}
    watchlist = {"watchlistId": "w-1", "listType": "DEPARTING_EMPLOYEE", "title": "Leavers", "tenantId": "t"}
    trusted = {"activityId": 7, "type": "DOMAIN", "value": "old.example.com", "activityActionGroups": GROUPS, "updateTime": AT}
    for dataset, record in [
        ("users", user),
        ("actors", actor),
        ("agents", {"agentId": "g-1", "userId": "u-1", "name": "laptop", "active": True, "modificationDate": AT}),
        ("cases", case),
        ("watchlists", watchlist),
        ("legal_hold_matters", {"matterId": "m-1", "name": "matter", "active": True, "creationDate": AT}),
        ("alert_rules", {"id": "r-1", "name": "rule", "isEnabled": True, "modifiedAt": AT}),
        ("trusted_activities", trusted),
    ]:
        simulator.push(dataset, json.dumps(record))
    return simulator


def without_times(value: Any) -> Any:
    match value:
        case dict():
            return {name: without_times(held) for name, held in value.items() if name not in TIMES}
        case list():
            return [without_times(held) for held in value]
    return value


def records(simulator: Simulator, dataset: str) -> list[Any]:
    return sorted((without_times(json.loads(raw)) for raw in simulator.world(dataset)), key=json.dumps)


@pytest.fixture
def worlds() -> Iterator[tuple[Simulator, Simulator]]:
    with world() as ours, world() as theirs:
        yield ours, theirs


def respond(simulator: Simulator, action: str, given: dict[str, Any]) -> dict[str, Any]:
    environment = simulator.places["environment"] | {"ALLOWED_ACTIONS": allowed(action, given), "NEEDS_APPROVAL": "none"}
    request = {"action": action, "request_id": "r", "requested_by": "alice", "reason": "a test", "input": given}
    with Function(BINARIES / "responder", environment | {"REQUESTS_PER_MINUTE": "100000"}) as function:
        kind, answer = function.invoke(request)
    return json.loads(answer["errorMessage"]) if kind == "error" else answer


def allowed(action: str, given: dict[str, Any]) -> str:
    return "case.close" if given.get("status") == "CLOSED" else action


@pytest.mark.parametrize(("action", "given", "dataset", "by_sdk"), ACTIONS, ids=[action for action, *_ in ACTIONS])
def test_an_action_leaves_what_the_sdk_s_own_call_leaves(worlds, action, given, dataset, by_sdk):
    ours, theirs = worlds
    before = records(ours, dataset)
    assert before == records(theirs, dataset)
    assert respond(ours, action, given)["outcome"] == "done"
    by_sdk(sign_in(theirs))
    assert records(ours, dataset) == records(theirs, dataset) != before


def test_the_sdk_sees_what_an_action_did(worlds):
    ours, _ = worlds
    sdk = sign_in(ours)
    respond(ours, "session.add_note", {"id": "s-1", "noteContent": "seen"})
    # Read without the SDK's model, which needs more members of a session.
    notes = sdk.session.get("/v1/sessions/s-1").json()["notes"]
    assert [note["content"] for note in notes] == ["seen\n\n[request r]"]
    answer = respond(ours, "case.update", {"number": 1, "findings": "nothing"})
    assert answer["error"]["type"] == "IdempotencyConflict", "the id was used for another request"


def test_what_the_openapi_says_is_refused_is_refused(worlds):
    _, theirs = worlds
    sdk = sign_in(theirs)
    for call in [
        lambda: sdk.cases.v1.create("one"),
        lambda: sdk.cases.v1.create("x" * 50, subject="nobody"),
        lambda: sdk.cases.v1.add_file_events_to_case(1, "e-99"),
        lambda: sdk.sessions.v1.update_state_by_id(["s-99"], "CLOSED"),
        lambda: sdk.agents.v1.deactivate(["g-1", "g-99"]),
        lambda: sdk.trusted_activities.v2.add_domain("old.example.com", cloud_share_services=["BOX"]),
        lambda: sdk.alert_rules.v2.disable_rules("r-99"),
    ]:
        with pytest.raises(requests.HTTPError) as refused:
            call()
        assert refused.value.response.status_code in (400, 404, 409)
    assert len(records(theirs, "cases")) == 1
