"""The vendor's command line, over plain http on loopback, prints exactly the records."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from incydr import EventQuery
from records import difference, millis, moment
from simulator import Simulator

Record = dict[str, Any]


@pytest.fixture
def incydr(simulator: Simulator, tmp_path: Path):
    """Runs a command without other settings. Returns its lines as values."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
        "INCYDR_URL": simulator.places["api"],
        "INCYDR_API_CLIENT_ID": simulator.places["client_id"],
        "INCYDR_API_CLIENT_SECRET": simulator.places["client_secret"],
        "INCYDR_USE_RICH": "false",
    }

    def run(*arguments: str) -> list[Record]:
        # If the choices are an enum, newer versions of click use the names of its members.
        form = "json_lines" if arguments[0] == "audit-log" else "json-lines"
        command = [Path(sys.executable).with_name("incydr"), *arguments, "--format", form]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.split("\n") if line]

    return run


def world(simulator: Simulator, dataset: str) -> list[Record]:
    return [json.loads(record) for record in simulator.world(dataset)]


def in_any_order(records: list[Record]) -> list[str]:
    return sorted(json.dumps(record, sort_keys=True) for record in records)


def test_file_events_search_prints_every_event(simulator: Simulator, incydr) -> None:
    # Without this option it leaves out events with a risk score of 0 or 1.
    printed = incydr("file-events", "search", "--start", "2020-01-01", "--risk-score", "0")
    assert in_any_order(printed) == in_any_order(world(simulator, "file_events"))


def test_file_events_search_prints_what_its_options_ask_for(simulator: Simulator, incydr) -> None:
    events = world(simulator, "file_events")
    email = events[0]["user"]["email"]
    printed = incydr("file-events", "search", "--start", "2020-01-01", "--risk-score", "9", "--username", email)
    fitting = [event for event in events if event["risk"]["score"] > 9 and event["user"]["email"] == email]
    assert fitting
    assert in_any_order(printed) == in_any_order(fitting)


def test_file_events_search_takes_a_window_as_a_query(simulator: Simulator, incydr) -> None:
    events = world(simulator, "file_events")
    times = sorted(millis(event["event"]["inserted"]) for event in events)
    start, end = times[100], times[300]
    query = EventQuery(sort_key="event.inserted").date_range("event.inserted", moment(start), moment(end))
    printed = incydr("file-events", "search", "--advanced-query", query.json())
    fitting = [event for event in events if start <= millis(event["event"]["inserted"]) <= end]
    assert in_any_order(printed) == in_any_order(fitting)


def test_audit_log_search_prints_every_event(simulator: Simulator, incydr) -> None:
    assert in_any_order(incydr("audit-log", "search")) == in_any_order(world(simulator, "audit"))


def test_audit_log_search_prints_what_its_options_ask_for(simulator: Simulator, incydr) -> None:
    events = world(simulator, "audit")
    printed = incydr("audit-log", "search", "--user-types", "USER,SYSTEM", "--event-types", events[0]["type$"])
    fitting = [e for e in events if e["actorType"] in ("USER", "SYSTEM") and e["type$"] == events[0]["type$"]]
    assert in_any_order(printed) == in_any_order(fitting)


def test_users_list_prints_everybody_and_on_demand_the_leavers(simulator: Simulator, incydr) -> None:
    users = world(simulator, "users")
    for printed, expected in [
        (incydr("users", "list"), users),
        (incydr("users", "list", "--inactive"), [user for user in users if not user["active"]]),
    ]:
        assert [user["userId"] for user in printed] == [user["userId"] for user in expected]
        assert [difference(*pair) for pair in zip(expected, printed, strict=True)] == [None] * len(expected)


def test_cases_list_prints_every_case(simulator: Simulator, incydr) -> None:
    cases = world(simulator, "cases")
    for case in cases:
        del case["description"], case["findings"]
    printed = incydr("cases", "list")
    assert [difference(*pair) for pair in zip(cases, printed, strict=True)] == [None] * len(cases)
