"""The saved queries, which the dashboards use too. Each finds what is counted here from what the API showed."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any

import dashboards
import engine
import pytest
import queries
import template
from conftest import RESPONSES, Record, World, Written
from test_views import at, equal, moment, text

QUERIES = {query.name: query for query in queries.all()}
RISKY = {"LOW", "MODERATE", "HIGH", "CRITICAL"}
Row = tuple[Any, ...]


def untrusted(events: Iterable[Record]) -> list[Record]:
    return [
        event for event in events if event["risk"].get("trusted") is not True and event["risk"]["severity"] in RISKY
    ]


def total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def grouped(records: Iterable[Record], key: Callable[[Record], Any]) -> dict[Any, list[Record]]:
    found = defaultdict(list)
    for record in records:
        found[key(record)].append(record)
    return found


def figures(events: list[Record]) -> Row:
    """The number of events, how many of them are grave, their bytes and their risk."""
    return (
        len(events),
        sum(event["risk"]["severity"] in {"HIGH", "CRITICAL"} for event in events),
        total(event["file"].get("sizeInBytes") for event in events),
        total(event["risk"]["score"] for event in events),
    )


def person(event: Record) -> str | None:
    email = event["user"]["email"]
    return email.lower() if email else None


def inserted(event: Record) -> datetime:
    return moment(event["event"]["inserted"])


def day_of(event: Record) -> datetime:
    return inserted(event).replace(hour=0, minute=0, second=0, microsecond=0)


def rows(world: World, name: str) -> list[Record]:
    return world.lake.rows(QUERIES[name].sql)


def values(found: list[Record], *names: str) -> set[Row]:
    made = [tuple(row[name] for name in names) for row in found]
    assert len(set(made)) == len(made)
    return set(made)


def ordered(found: list[Record], *keys: str) -> None:
    """Asserts that the rows are sorted by these keys, greatest first and null last."""
    sort = [tuple((row[key] is not None, row[key]) for key in keys) for row in found]
    assert all(not (after > before) for before, after in zip(sort, sort[1:], strict=False))


BY: dict[str, tuple[list[str], Callable[[Record], Row]]] = {
    "exposure_by_user": (["person"], lambda event: (person(event),)),
    "exposure_by_destination": (
        ["destination_category", "destination_name"],
        lambda event: (event["destination"]["category"], event["destination"]["name"]),
    ),
    "exposure_by_vector": (["vector"], lambda event: (event["event"]["vector"],)),
    "exposure_by_file_category": (["category"], lambda event: (event["file"]["category"],)),
    "exposure_by_device": (["device"], lambda event: (event["user"]["deviceUid"],)),
}


@pytest.mark.parametrize("name", BY)
def test_what_left_to_untrusted_places_is_counted_by(world: World, name: str) -> None:
    columns, key = BY[name]
    events = untrusted(world.shown["file_events"])
    if name == "exposure_by_device":
        events = [event for event in events if event["user"]["deviceUid"]]
    counted = {(*group, *figures(of)) for group, of in grouped(events, key).items()}
    found = rows(world, name)
    assert values(found, *columns, "events", "high_or_critical", "bytes", "risk") == counted
    assert len(counted) > 2
    ordered(found, "risk", "events")
    assert sum(row["events"] for row in found) < len(world.shown["file_events"])


def test_a_person_went_to_so_many_destinations_last_then(world: World) -> None:
    groups = grouped(untrusted(world.shown["file_events"]), person)
    for row in rows(world, "exposure_by_user"):
        of = groups[row["person"]]
        assert row["destinations"] == len({event["destination"]["name"] for event in of} - {None})
        assert equal(row["last_seen"], max(map(inserted, of)), "time")


def test_the_last_person_at_a_device(world: World) -> None:
    groups = grouped(untrusted(world.shown["file_events"]), lambda event: event["user"]["deviceUid"])
    for row in rows(world, "exposure_by_device"):
        of = groups[row["device"]]
        last = max(map(inserted, of))
        assert row["last_person"] in {event["user"]["email"] for event in of if inserted(event) == last}


def test_days_weeks_and_vectors(world: World) -> None:
    events = untrusted(world.shown["file_events"])
    by_day = grouped(events, lambda event: (day_of(event), event["risk"]["severity"]))
    counted = {(*key, len(of), total(event["file"]["sizeInBytes"] for event in of)) for key, of in by_day.items()}
    assert values(rows(world, "exposure_by_day"), "day", "severity", "events", "bytes") == counted
    by_vector = grouped(events, lambda event: (day_of(event), event["event"]["vector"]))
    counted = {(*key, len(of)) for key, of in by_vector.items()}
    assert values(rows(world, "vectors_by_day"), "day", "vector", "events") == counted
    weeks = grouped(events, lambda event: day_of(event) - timedelta(days=day_of(event).weekday()))
    found = rows(world, "risky_users_by_week")
    assert {row["week"] for row in found} == set(weeks)
    for week, of in weeks.items():
        risks = [(total(event["risk"]["score"] for event in theirs) or 0, len(theirs), who)
                 for who, theirs in grouped(of, person).items()]  # fmt: skip
        risks.sort(key=lambda row: (-row[0], -row[1], row[2] or "~"))
        ours = [(row["risk"], row["events"], row["person"]) for row in found if row["week"] == week]
        assert ours == risks[:10] and len(risks) > 10
        assert [row["nth"] for row in found if row["week"] == week] == list(range(1, 11))


def test_departments(world: World) -> None:
    departments = {profile["name"]: profile["department"] for profile in world.shown["actor_profiles"]}
    groups = grouped(untrusted(world.shown["file_events"]), lambda event: departments.get(person(event)))
    counted = {
        (name, len({person(event) for event in of} - {None}), len(of), figures(of)[2], figures(of)[3])
        for name, of in groups.items()
    }
    assert values(rows(world, "departments"), "department", "people", "events", "bytes", "risk") == counted
    assert {"Sales", "Legal", None} == set(groups)


def test_file_types(world: World) -> None:
    def ending(event: Record) -> str | None:
        name = event["file"]["name"]
        if name is None:
            return None
        last = name.rsplit(".", 1)[1].lower() if "." in name else ""
        # DuckDB returns "" where Athena returns null. Both mean none.
        return last if last.isascii() and last.isalnum() else ""

    groups = grouped(untrusted(world.shown["file_events"]), lambda event: (ending(event), event["file"]["category"]))
    counted = {(*key, len(of), figures(of)[2]) for key, of in groups.items()}
    assert values(rows(world, "untrusted_file_types"), "ending", "category", "events", "bytes") == counted
    assert {"docx", "rs", "gz"} < {key[0] for key in groups}


def activity(world: World, name: str, **given: str) -> list[Record]:
    query = QUERIES[name]
    literals = {variable: f"'{given.get(variable, held)}'" for variable, held in query.variables.items()}
    return world.lake.rows(query.with_variables(literals))


@pytest.mark.parametrize(
    "name, given, belongs",
    [
        ("activity_of_person", {"person": "PERSON3@example.com"}, lambda event: person(event) == "person3@example.com"),
        ("activity_of_device", {"device": "device-2"}, lambda event: event["user"]["deviceUid"] == "device-2"),
        ("activity_of_hash", {"hash": f"{7:032X}"}, lambda event: at(event, "file.hash.md5") == f"{7:032x}"),
        ("activity_of_hash", {"hash": f"{9:064x}"}, lambda event: at(event, "file.hash.sha256") == f"{9:064x}"),
        ("activity_of_person", {"person": "nobody@example.com"}, lambda event: False),
    ],
)
def test_the_activity_of_one(world: World, name: str, given: dict[str, str], belongs: Callable[[Record], bool]) -> None:
    found = activity(world, name, **given)
    mine = [event for event in world.shown["file_events"] if belongs(event)]
    assert len(found) == len(mine) and bool(mine) == (given.get("person") != "nobody@example.com")
    wanted = sorted((moment(event["@timestamp"]) for event in mine), reverse=True)
    assert all(equal(row["happened"], time, "time") for row, time in zip(found, wanted, strict=True))
    columns = ["person", "action", "file_name", "bytes", "destination_name", "severity", "trusted"]
    paths = ["user.email", "event.action", "file.name", "file.sizeInBytes", "destination.name", "risk.severity", "risk.trusted"]
    key = [tuple(map(repr, (at(event, path) for path in paths))) for event in mine]
    assert sorted(tuple(repr(row[column]) for column in columns) for row in found) == sorted(key)


def test_leavers(world: World) -> None:
    today = world.lake.rows("SELECT current_date AS today")[0]["today"]
    leave = {
        profile["name"]: profile
        for profile in world.shown["actor_profiles"]
        if profile["endDate"] and today <= date.fromisoformat(profile["endDate"]) <= today + timedelta(days=30)
    }
    assert set(leave) == {"person1@example.com", "person2@example.com"}
    events = grouped(world.shown["file_events"], person)
    counted = {
        (name, date.fromisoformat(profile["endDate"]), profile["department"], len(events[name]),
         len(untrusted(events[name])), figures(events[name])[2], figures(events[name])[3])
        for name, profile in leave.items()
    }  # fmt: skip
    columns = ["person", "end_date", "department", "events", "untrusted", "bytes", "risk"]
    assert values(rows(world, "leavers"), *columns) == counted
    found = rows(world, "leavers_files")
    mine = [event for name in leave for event in untrusted(events[name])]
    assert sorted((row["person"], repr(row["file_name"])) for row in found) == sorted(
        (person(event), repr(event["file"]["name"])) for event in mine
    )
    assert len(mine) > 5


def test_what_members_of_watchlists_moved(world: World, written: Written) -> None:
    titles = {row["watchlistId"]: row["title"] or row["listType"] for row in world.shown["watchlists"]}
    events = grouped(untrusted(world.shown["file_events"]), person)
    counted = set()
    for key, _ in grouped(
        world.shown["members"], lambda row: (titles[row["_watchlistId"]], row["actorname"].lower())
    ).items():
        if events.get(key[1]):
            counted.add((*key, len(events[key[1]]), figures(events[key[1]])[3]))
    assert counted and values(rows(world, "watchlists_moved"), "watchlist", "person", "events", "risk") == counted


def test_open_sessions_are_the_newest_versions(world: World) -> None:
    opened = {
        session["sessionId"]: session
        for session in world.shown["sessions"]
        if session["states"][-1]["state"] in {"OPEN", "OPEN_NEW_DATA", "IN_PROGRESS"}
    }
    found = rows(world, "sessions_open")
    assert {row["session_id"] for row in found} == set(opened) != set()
    for row in found:
        session = opened[row["session_id"]]
        assert (row["severity"], row["score"]) == (session["scores"][-1]["severity"], session["scores"][-1]["score"])
        assert row["indicators"] == ", ".join(text(item["name"]) for item in session["riskIndicators"])
        assert row["critical_events"] == session["criticalEvents"]
    ordered(found, "severity", "score")


def test_a_session_that_was_closed_is_no_open_one(written: Written) -> None:
    session: Record = {"sessionId": "s", "states": [{"state": "OPEN"}], "scores": [{"score": 9, "severity": 4}]}
    written.put("sessions", [session], timedelta(hours=2))
    (row,) = written.lake().rows(QUERIES["sessions_open"].sql)
    assert row["severity"] == 4
    written.put("sessions", [session | {"states": [{"state": "OPEN"}, {"state": "CLOSED_FP"}]}])
    assert written.lake().rows(QUERIES["sessions_open"].sql) == []


def test_open_cases_and_silent_agents(world: World, written: Written) -> None:
    opened = [case for case in world.shown["cases"] if case["status"] == "OPEN"]
    found = rows(world, "cases_open")
    assert {row["number"] for row in found} == {case["number"] for case in opened} != set()
    agents = [
        {"agentId": "new", "active": True, "lastConnected": written.time(), "agentHealthIssueTypes": []},
        {"agentId": "never", "active": True, "lastConnected": None, "agentHealthIssueTypes": []},
        {"agentId": "old", "active": True, "lastConnected": written.time(timedelta(days=9)), "agentHealthIssueTypes": []},
        {"agentId": "ill", "active": True, "lastConnected": written.time(), "agentHealthIssueTypes": ["A", "B"]},
        {"agentId": "off", "active": False, "lastConnected": None, "agentHealthIssueTypes": ["A"]},
    ]
    written.put("agents", agents)
    found = written.lake().rows(QUERIES["agents_silent"].sql)
    assert {(row["agent_id"], row["issues"]) for row in found} == {("never", ""), ("old", ""), ("ill", "A, B")}


def test_the_collectors_state_is_its_last(world: World) -> None:
    found = rows(world, "collector_state")
    assert {row["stream"] for row in found} > {"audit", "file_events", "environment_health"}
    assert {row["state"] for row in found} == {"collecting"}


def test_what_the_responder_was_asked_for_and_what_became_of_it(world: World, written: Written) -> None:
    found = rows(world, "responses")
    asked = {(request["request_id"], request["action"], request["requested_by"], request["reason"]) for request in RESPONSES}
    assert values(found, "request_id", "action", "requested_by", "reason") == asked
    assert [row["outcome"] for row in reversed(found)] == ["done", "done", "failed"]
    assert [row["asked"] < row["ended"] for row in found] == [True] * 3
    assert ["NO_EDITS_ONCE_CLOSED" in (row["error_message"] or "") for row in found] == [True, False, False]
    # A run that died leaves no result. The approver is in both records.
    intent: Record = {"request_id": "r", "record": "intent", "at": written.time(timedelta(hours=1)), "approved_by": "bob@example.com"}
    written.put("response_actions", [intent])
    (row,) = written.lake().rows(QUERIES["responses"].sql)
    assert (row["request_id"], row["outcome"], row["ended"], row["approved_by"]) == ("r", None, None, "bob@example.com")


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if "days" in query.variables])
def test_a_query_reads_so_many_days_and_no_more(written: Written, name: str) -> None:
    """Queries today and the days before. Older objects are not gzip, so reading them would fail."""
    (stream,) = {"collector_health", "response_actions", "file_events"} & set(engine.tables(QUERIES[name].sql.replace("_all", "")))
    event = {
        "@timestamp": written.time(), "event": {"id": "1", "inserted": written.time(), "vector": "V"},
        "user": {"email": "somebody@example.com", "deviceUid": "1068825680073059135"},
        "file": {"hash": {"md5": "d41d8cd98f00b204e9800998ecf8427e"}},
        "risk": {"severity": "HIGH", "score": 9, "trusted": False}, "stream": "audit", "state": "error", "at": written.time(),
        "record": "intent",
    }  # fmt: skip
    written.put(stream, [event], timedelta(days=30))
    written.put("actor_profiles", [{"actorId": "1", "name": "somebody@example.com", "endDate": f"{written.now:%Y-%m-%d}"}])
    written.put("watchlists", [
        {"watchlistId": "w", "title": "x"}, {"_list": "members", "_watchlistId": "w", "actorname": "somebody@example.com"},
    ])  # fmt: skip
    for days in [31, 60]:
        path = engine.store(written.directory, stream, f"{written.now - timedelta(days=days):%Y%m%dT%H%M%S000Z}-x", [])
        path.write_bytes(b"no gzip")
    assert len(written.lake().rows(QUERIES[name].sql)) == 1


def test_the_template_has_each_query() -> None:
    kept = {found["Name"]: found for found in template.resources("AWS::Athena::NamedQuery").values()}
    for query in QUERIES.values():
        assert kept[query.title]["QueryString"] == query.sql
        # Athena's limits for saved queries.
        assert len(query.title) <= 128 and len(query.says) <= 1024 and len(query.sql) <= 262144


def test_each_panel_shows_a_saved_query_and_each_query_of_a_panels_kind_is_shown() -> None:
    shown = []
    for name in dashboards.DASHBOARDS:
        path = dashboards.queries.HERE / "dashboards" / f"grafana-{name}.json"
        dashboard = json.loads(path.read_text("utf-8"))
        variables = {variable["name"]: variable.get("query") for variable in dashboard["templating"]["list"]}
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in dashboard["panels"]:
            (target,) = panel["targets"]
            sql = target["rawSQL"]
            for variable, held in variables.items():
                sql = sql.replace(f"${{{variable}:sqlstring}}", f"'{held}'")
            (query,) = [query for query in QUERIES.values() if query.sql == sql]
            shown.append(query.name)
            assert "${" not in sql
            assert panel["type"] in {"table", "timeseries", "piechart", "barchart"}
    assert sorted(shown) == sorted(QUERIES)




def test_who_is_held_and_deactivated(written: Written) -> None:
    old = written.time(timedelta(days=31))
    written.put("users", [{"userId": str(n), "username": f"u{n}@example.com", "active": n not in {1, 5}} for n in range(7)])
    written.put("legal_hold", [
        {"matterId": "m", "active": True},
        *({"_list": "custodians", "_matterId": "m", "userId": user, "membershipActive": active}
          for user, active in [("1", True), ("2", True), ("5", False), ("6", True)]),
    ])  # fmt: skip
    written.put("cases", [{"number": 9, "status": "OPEN", "subjectUsername": "U3@example.com"},
                          {"number": 8, "status": "CLOSED", "subjectUsername": "u5@example.com"}])  # fmt: skip
    written.put("agents", [
        {"agentId": "a2", "userId": "2", "active": False, "lastConnected": written.time()},
        {"agentId": "a3", "userId": "3", "active": True, "lastConnected": old},
        {"agentId": "a6", "userId": "6", "active": True, "lastConnected": written.time()},
    ])  # fmt: skip
    found = written.lake().rows(QUERIES["held_deactivated"].sql)
    assert [(row["why"], row["user_id"], row["user_is_active"], row["agent_id"]) for row in found] == [
        ("case 9", "3", True, "a3"), ("legal hold m", "1", False, None), ("legal hold m", "2", True, "a2"),
    ]  # fmt: skip


def test_who_is_on_a_list_or_has_a_profile_twice_counts_once(written: Written) -> None:
    """Two actors may have the same name, and two lists the same title."""
    event = {"event": {"id": "e", "inserted": written.time()}, "user": {"email": "A@example.com"}, "@timestamp": written.time(),
             "risk": {"severity": "HIGH", "score": 7, "trusted": False}}  # fmt: skip
    written.put("file_events", [event])
    member = {"_list": "members", "actorname": "a@example.com"}
    written.put("watchlists", [
        {"watchlistId": "w", "title": "Leavers"}, {"watchlistId": "v", "title": "Leavers"},
        member | {"_watchlistId": "w", "actorId": "1"}, member | {"_watchlistId": "w", "actorId": "2"},
        member | {"_watchlistId": "v", "actorId": "1"},
    ])  # fmt: skip
    today = f"{written.now:%Y-%m-%d}"
    written.put("actor_profiles", [{"actorId": n, "name": "a@example.com", "endDate": today, "department": "Sales"} for n in "12"])
    lake = written.lake()
    found = lake.rows(QUERIES["watchlists_moved"].sql)
    assert [(row["watchlist"], row["events"], row["risk"]) for row in found] == [("Leavers", 1, 7)] * 2
    assert len(lake.rows(QUERIES["leavers_files"].sql)) == 1
    assert [row["events"] for row in lake.rows(QUERIES["departments"].sql)] == [1]
