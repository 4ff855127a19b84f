"""The OCSF views: their rows are valid by the OCSF schema, and are what the API showed."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import ocsf
import pytest
import views
from conftest import Record, World, Written
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from test_views import at, moment

SCHEMA = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=ocsf.VERSION))
VIEWS = list(ocsf.CLASSES)


@cache
def validator(view: str) -> Draft202012Validator:
    """A validator for the view's class, with the profiles that the view names."""
    said = [row["rule"] for row in views.rows("ocsf.csv") if row["view"] == view and row["ocsf"] == "metadata.profiles"]
    profiles = re.findall(r"'(\w+)'", "".join(said))
    return Draft202012Validator(SCHEMA.get_class_schema(class_name=ocsf.CLASSES[view], profiles=profiles))


def without_nothing(held: Any) -> Any:
    """Removes nulls, as a Parquet reader does."""
    if isinstance(held, dict):
        inner = {key: without_nothing(value) for key, value in held.items()}
        return {key: value for key, value in inner.items() if value not in (None, {})}
    return [without_nothing(value) for value in held] if isinstance(held, list) else held


def answers(world: World, view: str) -> list[Record]:
    found = [without_nothing(row) for row in world.lake.rows(f"SELECT * FROM {view}")]
    for row in found:
        del row["dt"], row["hour"]
    return found


def wrong(view: str, found: list[Record]) -> Iterator[str]:
    check = validator(view)
    for row in found:
        for error in check.iter_errors(row):
            yield f"{view}: {error.json_path}: {error.message[:200]}"


@pytest.mark.parametrize("view", VIEWS)
def test_each_answer_is_valid_ocsf(world: World, view: str) -> None:
    found = answers(world, view)
    assert found and list(wrong(view, found))[:5] == []


@pytest.mark.parametrize("view", VIEWS)
def test_so_is_each_of_a_random_tenant(any_world: World, view: str) -> None:
    assert list(wrong(view, answers(any_world, view)))[:5] == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_record_with_nothing_in_it_is_valid_ocsf_too(written: Written, view: str) -> None:
    stream = ocsf.stream_of(view)
    observed = {"ocsf_file_system_activity": "Endpoint", "ocsf_email_activity": "Gmail"}.get(view)
    keys = {"sessions": "sessionId", "cases": "number", "users": "userId", "agents": "agentId"}
    record: Record = {"event": {"observer": observed}} if observed else {keys.get(stream, "x"): 7}
    if view == "ocsf_authentication":
        record = {"type$": "audit_log::logged_in/1"}
    written.put(stream, [record])
    lake = written.lake()
    found = answers(World(lake, {}), view)
    assert len(found) == 1 and list(wrong(view, found)) == []


def test_the_schema_refuses_what_is_wrong(world: World) -> None:
    row = answers(world, "ocsf_data_security_finding")[0]
    assert list(wrong("ocsf_data_security_finding", [row | {"severity_id": 77}]))
    assert list(wrong("ocsf_data_security_finding", [row | {"risks": 1}]))
    assert list(wrong("ocsf_data_security_finding", [{key: value for key, value in row.items() if key != "finding_info"}]))


def test_each_file_event_is_in_one_view_and_says_what_it_was(world: World) -> None:
    shown = {event["event"]["id"]: event for event in world.shown["file_events"]}
    views = ["ocsf_file_hosting_activity", "ocsf_file_system_activity", "ocsf_email_activity"]
    found = {view: {row["metadata"]["uid"]: row for row in answers(world, view)} for view in views}
    ids = [id for rows in found.values() for id in rows]
    assert sorted(ids) == sorted(shown)
    for view, rows in found.items():
        for id, row in rows.items():
            event = shown[id]
            is_mail = event["event"]["action"] == "file-emailed" or event["event"]["observer"] == "Gmail"
            is_endpoint = event["event"]["observer"] == "Endpoint"
            assert view == views[2 if is_mail else 1 if is_endpoint else 0]
            assert row["time"] == pytest.approx(moment(event["@timestamp"]).replace(tzinfo=UTC).timestamp() * 1000, abs=1)
            assert row["severity_id"] == ocsf.SEVERITIES.get(event["risk"]["severity"], 0)
            assert row["type_uid"] == row["class_uid"] * 100 + row["activity_id"]
            assert json.loads(row["raw_data"]) == event
            if not is_mail:
                assert row["file"]["name"] == (event["file"]["name"] or "unknown")
                assert row["file"].get("size") == event["file"]["sizeInBytes"]
                hashes = {1: at(event, "file.hash.md5"), 3: at(event, "file.hash.sha256")}
                assert {one["algorithm_id"]: one["value"] for one in row["file"]["hashes"]} == {
                    key: value for key, value in hashes.items() if value
                }
    activities = {row["activity_id"] for row in found["ocsf_file_hosting_activity"].values()}
    assert {1, 4, 12, 99} <= activities


def test_audit_events_are_api_activity_or_authentication(world: World) -> None:
    of = {view: answers(world, view) for view in ["ocsf_api_activity", "ocsf_authentication"]}
    stored = world.lake.rows("SELECT record FROM audit_all")
    assert sum(map(len, of.values())) == len(stored)
    assert {row["metadata"]["event_code"] for row in of["ocsf_authentication"]} == {"audit_log::logged_in/1"}
    by_type = {row["metadata"]["event_code"]: row["activity_id"] for row in of["ocsf_api_activity"]}
    assert by_type == {
        "audit_log::search_issued/1": 2, "audit_log::federation_metadata_updated/1": 3, "audit_log::case_created/1": 1,
        "audit_log::user_added_to_watchlist/1": 1, "audit_log::api_client_created/1": 1,
    }  # fmt: skip
    # If there are several addresses, the first is the client's.
    addresses = {row["src_endpoint"].get("ip") for rows in of.values() for row in rows}
    assert addresses == {None, "203.0.113.9"}


def test_the_versions_of_a_session_create_update_and_close_its_finding(written: Written) -> None:
    session: Record = {"sessionId": "s", "actorName": "a@example.com", "lastUpdated": 1711134024842, "scores": [{"score": 3, "severity": 2}]}
    states = ["OPEN", "IN_PROGRESS", "OPEN_NEW_DATA", "CLOSED_TP", "OPEN_NEW_DATA"]
    for n, state in enumerate(states):
        history = [{"state": before} for before in states[: n + 1]]
        written.put("sessions", [session | {"states": history}], timedelta(hours=len(states) - n))
    found = written.lake().rows("SELECT * FROM ocsf_data_security_finding ORDER BY dt, hour")
    assert [row["activity_id"] for row in found] == [1, 2, 2, 3, 2]
    assert [row["status_id"] for row in found] == [1, 2, 1, 4, 1]
    assert {row["finding_info"]["uid"] for row in found} == {"s"}
    assert {(row["severity_id"], row["risk_score"], row["time"]) for row in found} == {(3, 3, 1711134024842)}


def test_the_versions_of_a_case_do_the_same_for_its_incident(written: Written) -> None:
    for n, status in enumerate(["OPEN", "OPEN", "CLOSED", "ARCHIVED"]):
        written.put("cases", [{"number": 4, "name": "Case", "status": status, "updatedAt": written.time()}], timedelta(hours=9 - n))
    found = written.lake().rows("SELECT * FROM ocsf_incident_finding ORDER BY dt, hour")
    assert [row["activity_id"] for row in found] == [1, 2, 3, 3] and [row["status_id"] for row in found] == [2, 2, 5, 5]


def test_inventory_is_each_version_and_no_tombstone(written: Written) -> None:
    written.put("users", [{"userId": "1", "username": "a@example.com", "active": True}], timedelta(hours=3))
    written.put("users", [{"userId": "1", "username": "a@example.com", "active": False}], timedelta(hours=2))
    written.put("users", [{"userId": "1", "_deleted": True, "_deletedAt": written.time()}], timedelta(hours=1))
    found = written.lake().rows("SELECT * FROM ocsf_user_inventory ORDER BY dt, hour")
    assert [row["status_detail"] for row in found] == ["active", "deactivated"]
    # A record without a time has that of the hour in which it is stored.
    hour = written.now - timedelta(hours=3)
    assert datetime.fromtimestamp(found[0]["time"] / 1000, UTC) == hour.replace(minute=0, second=0)


def test_the_mapping_names_columns_that_there_are_and_ecs_and_udm_for_most() -> None:
    known = {(field.stream, field.path) for field in views.fields()}
    rows = views.rows("ocsf.csv")
    for row in rows:
        special = row["path"] == "" or (row["stream"], row["path"]) in known or row["rule"] == "hashes"
        assert special, row
    assert sum(bool(row["ecs"]) for row in rows) > len(rows) * 0.7
    assert sum(bool(row["udm"]) for row in rows) > len(rows) * 0.7
    page = (views.HERE / "ocsf.md").read_text("utf-8")
    assert all(f"`{row['ocsf']}`" in page for row in rows)
