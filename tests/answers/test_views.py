"""The typed views: their rows for the binary's stored records are what the simulated API showed."""

import base64
import copy
import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import engine
import known
import ocsf
import pytest
import queries
import sqlglot
import template
import views
from conftest import RESPONSES, Record, World, Written
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

TYPED = list(views.views())
ALL = [*TYPED, *ocsf.views()]
BY_STREAM = {stream: [field for field in views.fields() if field.stream == stream] for stream in views.keys()}
# Words that a SELECT may name only in quotes (Athena's user guide, reserved keywords in SQL SELECT statements).
RESERVED = set(
    """alter and as between by case cast constraint create cross cube current_catalog current_date current_path
    current_schema current_time current_timestamp current_user deallocate delete describe distinct drop else end escape
    except exists extract false first for from full grouping group having in inner insert intersect into is join last
    left like listagg localtime localtimestamp natural normalize not null on or order outer prepare recursive right
    rollup select skip table then trim true uescape union unnest using values when where with""".split()
)


# The records, read again by other means.


def at(record: Record, path: str) -> Any:
    held: Any = record
    for step in path.split(".") if path not in record else [path]:
        held = held.get(step) if isinstance(held, dict) else None
    return held


def text(held: Any) -> str | None:
    if isinstance(held, bool):
        return str(held).lower()
    return None if held is None or isinstance(held, (dict, list)) else str(held)


def moment(held: Any) -> datetime | None:
    if not isinstance(held, str):
        return None
    cut = re.sub(r"(\.\d{6})\d+", r"\1", held)
    return datetime.fromisoformat(cut).astimezone(UTC).replace(tzinfo=None)


def expected(record: Record, field: views.Field) -> Any:
    held = at(record, field.path)
    kind, _, member = field.kind.partition(":")
    if kind in {"last", "lasttext", "most", "texts"} and member:
        if not isinstance(held, list):
            return None
        found = [at(item, member) for item in held]
        if kind == "texts":
            return [text(item) for item in found]
        if not found:
            return None
        return max(found) if kind == "most" else found[-1]
    match kind:
        case "text":
            return text(held)
        case "json":
            return None if held is None else held
        case "int":
            # A case's number is text in its events.
            whole = type(held) is int or isinstance(held, str) and held.isdigit()
            return int(held) if whole and abs(int(held)) < 2**63 else None
        case "bool":
            return held if type(held) is bool else None
        case "date":
            return date.fromisoformat(held) if isinstance(held, str) else None
        case "time":
            return moment(held)
        case "millis":
            return None if held is None else datetime.fromtimestamp(held / 1000, UTC).replace(tzinfo=None)
        case "texts":
            return [text(item) for item in held] if isinstance(held, list) else None
    raise AssertionError(field)


def equal(found: Any, wanted: Any, kind: str) -> bool:
    if kind == "json" and found is not None:
        return json.loads(found) == wanted
    if isinstance(found, datetime) and isinstance(wanted, datetime):
        # DuckDB rounds to the millisecond, Athena cuts.
        return abs(found - wanted) <= timedelta(milliseconds=1)
    return found == wanted


def compare(found: list[Record], shown: list[Record], stream: str) -> None:
    """Asserts that each record has one row, with the record's value at the path of each column."""
    rows = {json.dumps(json.loads(row["record"]), sort_keys=True): row for row in found}
    assert len(rows) == len(found)
    assert len(shown) == len(found) > 0, stream
    for record in shown:
        row = rows[json.dumps(record, sort_keys=True)]
        for field in BY_STREAM[stream]:
            wanted = expected(record, field)
            assert equal(row[field.column], wanted, field.kind), (stream, field, row[field.column], wanted)


def with_list(records: list[Record], name: str) -> list[Record]:
    return [{"_list": name, **record} for record in records]


@pytest.mark.parametrize("stream", [stream for stream, key in views.keys().items() if key and key != ["*"]])
def test_the_newest_version_of_each_record_is_what_the_api_shows(world: World, stream: str) -> None:
    shown = {
        **world.shown,
        "watchlists": world.shown["watchlists"] + with_list(world.shown["members"], "members"),
        "legal_hold": [
            *world.shown["legal_hold_matters"], *world.shown["legal_hold_policies"],
            *with_list(world.shown["custodians"], "custodians"),
        ],
        # The events of an archived case can't be read.
        "case_file_events": [
            {"_caseNumber": str(record["_caseNumber"]), **{k: v for k, v in record.items() if k != "_caseNumber"}}
            for record in world.shown["case_file_events"]
            if {case["number"]: case["status"] for case in world.shown["cases"]}[record["_caseNumber"]] != "ARCHIVED"
        ],
    }[stream]  # fmt: skip
    found = world.lake.rows(f"SELECT * FROM {stream}_now")
    if stream == "watchlists":
        found = [row for row in found if row["list"] in {None, "members"}]
    compare(found, shown, stream)
    assert world.lake.rows(f"SELECT * FROM {stream}_deleted") == []


@pytest.mark.parametrize("stream", ["file_events", "audit"])
def test_each_event_has_a_row_of_what_the_api_shows(world: World, stream: str) -> None:
    found = world.lake.rows(f"SELECT * FROM {stream}_all")
    # Audit events may be equal in every byte.
    unlike = {json.dumps(json.loads(row["record"]), sort_keys=True): row for row in found}
    shown = {json.dumps(record, sort_keys=True): record for record in world.shown[stream]}
    oldest = min(unlike.values(), key=lambda row: row["dt"] + row["hour"])
    assert oldest and set(unlike) <= set(shown) and len(unlike) > 20
    compare(list(unlike.values()), [shown[key] for key in unlike], stream)


def test_the_collectors_own_records_are_rows(world: World) -> None:
    found = world.lake.rows("SELECT * FROM collector_health_all")
    compare(found, [json.loads(row["record"]) for row in found], "collector_health")
    found = world.lake.rows("SELECT * FROM environment_health_now")
    compare(found, [json.loads(row["record"]) for row in found], "environment_health")


def test_the_responders_trail_is_rows(world: World) -> None:
    found = world.lake.rows("SELECT * FROM response_actions_all ORDER BY at")
    compare(found, [json.loads(row["record"]) for row in found], "response_actions")
    asked = {row["request_id"]: row for row in found if row["kind"] == "intent"}
    assert set(asked) == {request["request_id"] for request in RESPONSES} and len(found) == 2 * len(asked)
    for request in RESPONSES:
        row = asked[request["request_id"]]
        assert json.loads(row["input"]) == request["input"]
        columns = ["action", "requested_by", "reason"]
        assert [row[column] for column in columns] == [request[column] for column in columns]
    # Each column has a value in some row, except the approver: no approval was needed.
    empty = {field.column for field in BY_STREAM["response_actions"] if all(row[field.column] is None for row in found)}
    assert empty == {"approved_by"}


def test_the_newest_version_counts_wherever_it_is_stored_and_what_is_deleted_is_apart(written: Written) -> None:
    day = timedelta(days=1)
    user = {"userId": "1", "username": "old@example.com", "active": True}
    written.put("users", [user, {"userId": "2", "username": "gone@example.com", "active": True}], 3 * day)
    written.put("users", [user | {"username": "newer@example.com"}], 2 * day)
    # Two readings of one hour, and one in a later hour of the day before.
    written.put("users", [user | {"username": "newest@example.com", "active": False}], timedelta(minutes=-1))
    written.put("users", [{"userId": "2", "_deleted": True, "_deletedAt": written.time(day)}], day)
    written.put("users", [{"userId": "3", "_deleted": True, "_deletedAt": written.time(2 * day)}], 3 * day / 2)
    written.put("users", [{"userId": "3", "username": "back@example.com"}], day / 2)
    lake = written.lake()
    found = lake.rows("SELECT user_id, username, active FROM users_now ORDER BY user_id")
    assert [tuple(row.values()) for row in found] == [("1", "newest@example.com", False), ("3", "back@example.com", None)]
    (gone,) = lake.rows("SELECT * FROM users_deleted")
    assert gone["user_id"] == "2" and gone["deleted_at"] == moment(written.time(day))
    assert len(lake.rows("SELECT * FROM users_all")) == 7
    assert [row["user_id"] for row in lake.rows("SELECT user_id FROM users_all WHERE deleted ORDER BY 1")] == ["2", "3"]


def test_what_is_on_a_list_is_told_apart_by_the_list_and_its_id(written: Written) -> None:
    day = timedelta(days=1)
    lists = [{"watchlistId": "w", "title": "Leavers", "listType": "CUSTOM"}]
    member = {"_list": "members", "_watchlistId": "w", "actorId": "7", "actorname": "a@example.com"}
    group = {"_list": "included_directory_groups", "_watchlistId": "w", "groupId": "g", "name": "A"}
    department = {"_list": "included_departments", "_watchlistId": "w", "name": "Sales"}
    written.put("watchlists", [*lists, member, member | {"_list": "included_actors"}, group, department], 2 * day)
    gone = {"_deleted": True, "_deletedAt": written.time(day)}
    written.put("watchlists", [
        {"_list": "members", "_watchlistId": "w", "actorId": "7", **gone},
        {"_list": "included_directory_groups", "_watchlistId": "w", "groupId": "g", **gone},
        {"_list": "included_departments", "_watchlistId": "w", "name": "Sales", **gone},
    ], day)  # fmt: skip
    lake = written.lake()
    assert {row["list"] for row in lake.rows("SELECT list FROM watchlists_now")} == {None, "included_actors"}
    assert len(lake.rows("SELECT * FROM watchlists_deleted")) == 3


@pytest.mark.parametrize("stream", views.keys())
def test_a_field_that_is_missing_new_or_of_another_type_is_no_error(written: Written, stream: str) -> None:
    odd: list[Any] = [None, True, -1, 1.5, 1e300, "text", "9" * 40, "", [], ["x"], [[1]], [{"name": {}}], {}, {"new": [1]}]
    records: list[Record] = [{}, {"never": {"seen": ["before"]}}]
    for value in odd:
        record: Record = {}
        for field in BY_STREAM[stream]:
            *parents, last = field.path.split(".") if field.path[0] != "@" else [field.path]
            inner = record
            for parent in parents:
                inner = inner.setdefault(parent, {}) if isinstance(inner, dict) else {}
            if isinstance(inner, dict):
                inner.setdefault(last, copy.deepcopy(value))
        records.append(record | {"more": value})
        # An object's place may also hold a value of another type.
        records.append({field.path.split(".")[0]: value for field in BY_STREAM[stream]})
    written.put(stream, records)
    lake = written.lake()
    assert len(lake.rows(f"SELECT * FROM {stream}_all")) == len(records)
    for view in ALL:
        if f"FROM {stream}_all" in view.sql() or view.name == f"{stream}_all":
            lake.rows(f"SELECT * FROM {view.name}")


@pytest.mark.parametrize("stream", views.keys())
def test_to_select_a_day_reads_that_day(written: Written, stream: str) -> None:
    """Objects of other days are not gzip, so reading them would fail."""
    written.put(stream, [{"at": "x"}])
    for days in [1, 2, 30]:
        path = engine.store(written.directory, stream, f"{written.now - timedelta(days=days):%Y%m%dT%H%M%S000Z}-x", [])
        path.write_bytes(b"no gzip")
    lake = written.lake()
    assert len(lake.rows(f"SELECT * FROM {stream}_all WHERE dt = '{written.now:%Y-%m-%d}'")) == 1
    with pytest.raises(engine.duckdb.Error):
        lake.rows(f"SELECT * FROM {stream}_all")


def schema() -> dict[str, dict[str, str]]:
    line = {"record": "varchar", "dt": "varchar", "hour": "varchar", "$path": "varchar"}
    made = {view.name: {column.name: views.type_names(column.type)[0] for column in view.columns} for view in ALL}
    return {stream: line for stream in views.keys()} | made


def valid(sql: str) -> None:
    """Asserts that the SQL is Athena's, with existing columns and functions that sqlglot knows of Athena."""
    tree = sqlglot.parse_one(sql, read="athena")
    qualify(tree.copy(), schema=schema(), dialect="athena")
    assert {table.name for table in tree.find_all(exp.Table)} <= set(schema())
    assert [call.sql() for call in tree.find_all(exp.Anonymous)] == []


@pytest.mark.parametrize("view", ALL, ids=lambda view: view.name)
def test_a_view_is_athenas_sql_and_names_nothing_that_is_reserved(view: views.View) -> None:
    valid(view.sql())
    names = [column.name for column in view.columns]
    assert len(names) == len(set(names)) and not set(names) & RESERVED
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


@pytest.mark.parametrize("query", queries.all(), ids=lambda query: query.name)
def test_a_saved_query_is_athenas_sql(query: queries.Query) -> None:
    valid(query.sql)


def test_a_column_that_there_is_not_is_refused() -> None:
    with pytest.raises(sqlglot.errors.SqlglotError):
        valid("SELECT user_emial FROM file_events_all")


def test_columns_are_named_as_the_vendor_names_them() -> None:
    def snake(path: str) -> str:
        words = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", path.lstrip("@_").rstrip("$"))
        return words.replace(".", "_").lower()

    others = {(field.path, field.column) for field in views.fields() if field.column != snake(field.path)}
    assert others == {
        ("type$", "event_type"), ("do", "advice"), ("scores", "score"), ("scores", "severity"), ("scores", "highest_severity"),
        ("states", "state"), ("triggeredAlerts", "triggered_alert_ids"), ("triggeredAlerts", "triggered_rule_ids"),
        ("triggeredAlerts", "triggered_rule_names"), ("_watchlistId", "of_watchlist_id"), ("_ruleId", "of_rule_id"),
        ("_matterId", "of_matter_id"), ("record", "kind"),
    }  # fmt: skip


UNKNOWN = {
    # In the simulator after a sample of the SDK's tests. No model has it.
    ("file_events", "user.groups"),
    ("session_events", "user.groups"),
    ("case_file_events", "user.groups"),
    # In a demo tenant's sample and in the OpenAPI of 2024. The SDK's model has its successor.
    ("sessions", "contentInspectionResults.status"),
    # Members of a custodian, in the OpenAPI of 2024.
    ("legal_hold", "username"),
}


def test_what_the_vendors_sdk_does_not_know_is_told() -> None:
    """Audit events have no model. The others are in the vendor's samples or OpenAPI, or are the collector's own."""
    unknown = {
        (field.stream, field.path)
        for field in views.fields()
        if field.stream in known.MODELS
        and field.path.partition(".")[0][0] != "_"
        and not ({field.path, f"{field.path}.{field.kind.partition(':')[2]}".rstrip(".")} & known.of(field.stream))
    }
    assert unknown == UNKNOWN
    without = {stream for stream in views.keys() if stream not in known.MODELS}
    assert without == {"audit", "collector_health", "response_actions", "departments", "environment_health"}


def test_the_template_has_each_view_as_athena_keeps_it() -> None:
    kept = template.views()
    for view in ALL:
        table = kept[view.name]
        (head, variables) = table["ViewOriginalText"]["Sub"]
        assert head == "/* Presto View: ${View} */"
        text = variables["View"]["Fn::Base64"]["Sub"].replace("${Database}", "db")
        definition = json.loads(base64.b64decode(base64.b64encode(text.encode())))
        assert definition["originalSql"] == view.sql() and definition["schema"] == "db"
        names = [(column.name, *views.type_names(column.type)) for column in view.columns]
        glue = [(column["Name"], column["Type"]) for column in table["StorageDescriptor"]["Columns"]]
        athena = [(column["name"], column["type"]) for column in definition["columns"]]
        assert [(name, ours) for name, ours, _ in names] == athena
        assert [(name, theirs) for name, _, theirs in names] == glue


def test_the_types_that_a_view_says_are_those_of_its_columns(world: World) -> None:
    def plain(type: str, dialect: str) -> str:
        text = exp.DataType.build(type, dialect=dialect).sql("duckdb").replace('"', "")
        return text.replace("TIMESTAMP_MS", "TIMESTAMP").replace("(3)", "")

    for view in ALL:
        world.lake.make(view.name)
        found = world.lake.duck.execute(f"DESCRIBE {view.name}").fetchall()
        wanted = [(column.name, plain(views.type_names(column.type)[0], "athena")) for column in view.columns]
        assert [(row[0], plain(row[1], "duckdb")) for row in found] == wanted, view.name


def test_glue_says_the_same_type_in_its_own_words() -> None:
    assert views.hive("array(row(algorithm_id bigint, value varchar))") == "array<struct<algorithm_id:bigint,value:string>>"
    assert views.hive("row(a row(b array(varchar)), c bigint)") == "struct<a:struct<b:array<string>>,c:bigint>"
    for view in ALL:
        for column in view.columns:
            athena, glue = views.type_names(column.type)
            assert re.fullmatch(r"[a-z0-9_:,<>]+", glue), glue
            assert glue.count("<") == athena.count("(") - athena.count("(3)")
