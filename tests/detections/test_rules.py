"""Each rule over records that it must fire on and records that it must not: in Athena's form (on DuckDB, over the typed
views) and in Panther's (which is Python)."""

import ast
import csv
import json
import re
import sys
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml
from samples import SAMPLES, record
from sigma.backends.splunk import SplunkBackend
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule

ROOT = Path(__file__).resolve().parents[2]
DETECTIONS = ROOT / "infra" / "detections"
sys.path[:0] = [str(DETECTIONS), str(ROOT / "infra" / "answers")]

import convert  # noqa: E402
import engine  # noqa: E402
import fields  # noqa: E402
import views  # noqa: E402
from written import Correlation, head, rules  # noqa: E402

RULES = rules()
SINGLE = {name: rule for name, rule in RULES.items() if isinstance(rule, SigmaRule)}
TOGETHER = {name: rule for name, rule in RULES.items() if isinstance(rule, Correlation)}
NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)


@cache
def conversions(target: str) -> dict[str, str]:
    return convert.converted(target)


def stored(directory: Path, stream: str, records: list[dict[str, Any]], ago: timedelta = timedelta()) -> None:
    at = f"{NOW - ago:%Y%m%dT%H%M%S000Z}"
    engine.store(directory, stream, f"{at}-{at}", map(json.dumps, records))


def athena(name: str, only_record: bool = False) -> str:
    """The converted query. With `only_record` it returns the record instead of selected fields."""
    sql = conversions("athena")[name].rstrip().removesuffix(";")
    if not only_record:
        return sql
    tree = sqlglot.parse_one(sql, read="athena")
    return tree.select("record", append=False).sql("athena")


class Event(dict):
    """An event in the form that Panther gives to rules."""

    def deep_get(self, *keys: str, default: Any = None) -> Any:
        held: Any = self
        for key in keys:
            if not isinstance(held, dict):
                return default
            held = held.get(key)
        return default if held is None else held


def panther(name: str) -> dict[str, Any]:
    module: dict[str, Any] = {}
    exec((DETECTIONS / "converted" / "panther" / f"incydr_{name}.py").read_text("utf-8"), module)
    return module


def test_there_are_samples_of_every_rule_and_at_least_25_rules() -> None:
    assert set(SAMPLES) == set(SINGLE) and len(SINGLE) >= 25
    assert all(fires and misses for fires, misses in SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_rule_fires_on_what_it_is_for_and_on_no_near_miss(tmp_path: Path, name: str) -> None:
    stream = SINGLE[name].logsource.service
    fires, misses = ([record(stream, paths) | {"nth": n} for n, paths in enumerate(of)] for of in SAMPLES[name])
    stored(tmp_path, stream, [one | {"fires": True} for one in fires] + [one | {"fires": False} for one in misses])
    lake = engine.Lake(tmp_path)
    found = [json.loads(row["record"]) for row in lake.rows(athena(name, only_record=True))]
    assert {(one["fires"], one["nth"]) for one in found} == {(True, one["nth"]) for one in fires}
    assert len(lake.rows(athena(name))) == len(fires)


@pytest.mark.parametrize("name", SAMPLES)
def test_as_panther_has_it_too(name: str) -> None:
    rule = panther(name)
    stream = SINGLE[name].logsource.service
    fires, misses = SAMPLES[name]
    assert all(rule["rule"](Event(record(stream, paths))) is True for paths in fires)
    assert not any(rule["rule"](Event(record(stream, paths))) for paths in misses)
    assert rule["title"](Event()) and isinstance(rule.get("dedup", str)(Event(record(stream, fires[0]))), str)


def test_fifty_files_within_an_hour_by_one_person(tmp_path: Path) -> None:
    (paths, *_), _ = SAMPLES["file_deleted_by_leaver"]

    def deleted(n: int, who: str, hour: int = 0) -> dict[str, Any]:
        at = f"{NOW - timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}"
        return record("file_events", paths | {"event.id": f"{who}{n}{hour}", "user.email": who, "event.inserted": at})

    events = [deleted(n, "many") for n in range(50)] + [deleted(n, "few") for n in range(49)]
    events += [deleted(n, "slow", hour) for hour in [0, 1] for n in range(25)]
    events += [record("file_events", {"event.action": "file-deleted", "user.email": "stays"}) for n in range(60)]
    stored(tmp_path, "file_events", events)
    found = engine.Lake(tmp_path).rows(athena("mass_deletion_by_leaver"))
    assert [(row["user_email"], row["events"]) for row in found] == [("many", 50)]


@pytest.mark.parametrize("name, stream, paths", [
    ("held_user_deactivated", "users", {"active": False}),
    ("held_users_agent_deactivated", "agents", {"active": False}),
    ("held_users_agent_silent", "environment_health", {"finding": "silent_agent"}),
])  # fmt: skip
def test_both_within_a_week_for_one_user(tmp_path: Path, name: str, stream: str, paths: dict[str, Any]) -> None:
    held = [record("environment_health", {"finding": "must_not_be_deactivated", "userId": user}) for user in "124"]
    stored(tmp_path, "environment_health", held, timedelta(days=3))
    done = [record(stream, paths | {"userId": user}) for user in "13"] + [record(stream, {"userId": "2"})]
    stored(tmp_path, stream, done, timedelta(days=1))
    # Too long ago.
    stored(tmp_path, stream, [record(stream, paths | {"userId": "4"})], timedelta(days=9))
    assert [row["user_id"] for row in engine.Lake(tmp_path).rows(athena(name))] == ["1"]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_all_that_a_person_needs(name: str) -> None:
    about = head(RULES[name])
    assert about.title and about.description and about.level and about.falsepositives
    assert about.name == f"incydr_{name}"
    tags = [str(tag) for tag in about.tags]
    assert tags and all(re.fullmatch(r"attack\.([a-z-]+|t\d{4}(\.\d{3})?)", tag) for tag in tags)
    assert about.id == uuid.UUID(str(about.id))
    if isinstance(RULES[name], SigmaRule):
        assert about.fields and about.logsource.product == "incydr" and about.logsource.service in views.keys()


def test_ids_and_titles_are_nobody_elses() -> None:
    assert len({head(rule).id for rule in RULES.values()}) == len({head(rule).title for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize("name", SINGLE)
def test_a_rule_names_fields_that_the_stream_has(name: str) -> None:
    """Every field must be a column. tests/answers says which of them the vendor's own models have."""
    rule = SINGLE[name]
    with (ROOT / "infra" / "answers" / "columns.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stream"] == rule.logsource.service]
    known = {row["path"] for row in rows} | {f"{row['path']}.{row['type'].partition(':')[2]}" for row in rows}
    used = {*fields.rule_fields(rule), *rule.fields} - {"_deleted", "_deletedAt"}
    assert used <= known, used - known
    assert set(fields.rule_fields(rule)) <= used | {"_deleted"}


@pytest.mark.parametrize("target", [*convert.TARGETS, "panther"])
def test_every_conversion_is_there_but_for_those_that_are_told(target: str) -> None:
    kinds = {name: rule.rule.type.name.lower() if isinstance(rule, Correlation) else "single" for name, rule in RULES.items()}
    left_out = {name for name, kind in kinds.items() if (target, kind) in convert.UNSUPPORTED}
    assert left_out in [set(), {"held_user_deactivated", "held_users_agent_deactivated", "held_users_agent_silent"}]
    assert bool(left_out) == (target in {"datadog", "panther"})
    if target == "panther":
        there = {path.stem.removeprefix("incydr_") for path in (DETECTIONS / "converted" / "panther").glob("*.py")}
        assert there == set(RULES) - left_out
    else:
        text = (DETECTIONS / "converted" / convert.TARGETS[target].file).read_text("utf-8")
        for name, rule in RULES.items():
            assert (str(head(rule).id) in text) == (name not in left_out)


@pytest.mark.parametrize("name", RULES)
def test_a_conversion_is_valid_where_there_is_a_parser(name: str) -> None:
    assert sqlglot.parse_one(athena(name), read="athena")
    if name in TOGETHER and not TOGETHER[name].is_count:
        return
    directory = DETECTIONS / "converted" / "panther"
    ast.parse((directory / f"incydr_{name}.py").read_text("utf-8"))
    meta = yaml.safe_load((directory / f"incydr_{name}.yml").read_text("utf-8"))
    assert meta["Filename"] == f"incydr_{name}.py" and meta["Threshold"] == (50 if name in TOGETHER else 1)


@pytest.mark.parametrize("target", ["splunk", "sentinel", "elastic", "secops", "logscale"])
@pytest.mark.parametrize("name", RULES)
def test_quotes_and_brackets_of_a_conversion_close(target: str, name: str) -> None:
    """There is no parser for these languages here, so only quotes and brackets are checked."""
    text = "\n".join(line for line in conversions(target)[name].splitlines() if not re.match(r"(//|#) ", line))
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    bare = re.sub(r"/(?:[^/\\\n]|\\.)+/", "//", bare)
    assert '"' not in bare.replace('""', "")
    for left, right in ["()", "[]", "{}"]:
        assert bare.count(left) == bare.count(right), text


def test_no_field_is_left_as_the_rule_names_it_where_the_siem_names_it_otherwise() -> None:
    for name, text in conversions("splunk").items():
        assert "risk.indicators.name" not in text and " scores.severity" not in text, name
    for name, text in conversions("sentinel").items():
        where = "\n".join(line for line in text.splitlines() if line.startswith("| where"))
        assert not re.search(r"'[\w.$@]+'", where), name
    for name, text in conversions("logscale").items():
        assert not re.search(r"\b(risk\.indicators\.name|scores\.severity|states\.state|event\.shareType)=", text), name


@pytest.mark.parametrize("name", SINGLE)
def test_the_pipelines_files_name_fields_as_the_conversions_do(name: str) -> None:
    """Parsed as sigma-cli parses them."""
    made = ProcessingPipeline.from_yaml((DETECTIONS / "pipelines" / "splunk.yml").read_text("utf-8"))
    rule = rules()[name]
    rule.fields = []
    (query,) = SplunkBackend(processing_pipeline=made).convert_rule(rule)
    assert f"search = index=incydr {query} | table" in conversions("splunk")[name]
    for path in (DETECTIONS / "pipelines").glob("*.yml"):
        ProcessingPipeline.from_yaml(path.read_text("utf-8"))
    assert {path.stem for path in (DETECTIONS / "pipelines").glob("*.yml")} == {*convert.TARGETS, "panther"}


def test_elastic_is_told_of_every_field_that_a_rule_asks_for() -> None:
    text = (DETECTIONS / "converted" / "elastic" / "mapping.json").read_text("utf-8")
    mapped = json.loads(text)["template"]["mappings"]["properties"]["incydr"]["properties"]
    for name, rule in SINGLE.items():
        for path in fields.rule_fields(rules()[name]):
            *parents, last = path.split(".")
            held = mapped
            for parent in parents:
                held = held[parent]["properties"]
            assert held[last]["type"] in {"keyword", "long", "boolean"}, path
    assert mapped["risk"]["properties"]["trusted"] == {"type": "boolean"}
    assert mapped["scores"]["properties"]["severity"] == {"type": "long"}
