"""What the rules' fields are called in each SIEM: processing pipelines for pySigma, and what must stand around a query.

A rule names a record's own paths: `risk.severity`, `type$`; a list's members as if it were one: `risk.indicators.name`.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sigma.processing.conditions import LogsourceCondition
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import AddConditionTransformation, FieldMappingTransformation

try:
    from sigma.processing.transformations.base import ValueTransformation
except ImportError:
    # In the older pySigma that Datadog's backend needs.
    from sigma.processing.transformations import ValueTransformation
from sigma.rule import SigmaRule
from sigma.types import SigmaBool, SigmaExists, SigmaString, SigmaType

HERE = Path(__file__).resolve().parent
COLUMNS = HERE.parent / "answers" / "columns.csv"

# Lists of objects whose members the rules name.
LISTS = ["risk.indicators", "scores", "states"]
# Lists of strings.
TEXTS = ["event.shareType"]


def snake(path: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", path.lstrip("@_").rstrip("$"))
    return words.replace(".", "_").lower()


def list_of(path: str) -> str | None:
    """The list that a path goes through, or none."""
    return next((name for name in LISTS if path.startswith(f"{name}.")), None)


def columns(stream: str) -> dict[str, str]:
    """The column of infra/answers/columns.csv for each path in the form of a rule."""
    named = {}
    with COLUMNS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["stream"] != stream:
                continue
            kind, _, member = row["type"].partition(":")
            path = f"{row['path']}.{member}" if member else row["path"]
            # Any number of a list may be meant. For severities the highest stands for all.
            if kind != "last":
                named[path] = row["column"]
    return named | {"_deleted": "deleted", "_deletedAt": "deleted_at"}


def kinds(stream: str) -> dict[str, str]:
    """The type in columns.csv for each path in the form of a rule."""
    with COLUMNS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stream"] == stream]
    found = {}
    for row in rows:
        kind, _, member = row["type"].partition(":")
        found[f"{row['path']}.{member}" if member else row["path"]] = kind
    return found | {"_deleted": "bool"}


def rule_fields(rule: SigmaRule) -> list[str]:
    """The fields in a rule's conditions, in order."""
    found: dict[str, None] = {}

    def walk(item: Any) -> None:
        if getattr(item, "field", None):
            found[item.field] = None
        for inner in getattr(item, "detection_items", []):
            walk(inner)

    for detection in rule.detection.detections.values():
        walk(detection)
    return list(found)


@dataclass
class BoolAs(ValueTransformation):
    """Booleans as other values, for backends without booleans."""

    words: Callable[[bool], SigmaType] = field(default=lambda value: SigmaString(str(value).lower()))

    def apply_value(self, field: str, val: SigmaBool) -> SigmaType:
        return self.words(val.boolean)


@dataclass
class ExistsAsAny(ValueTransformation):
    """The existence of a field as "any value"."""

    def apply_value(self, field: str, val: SigmaExists) -> SigmaType:
        if not val.exists:
            raise ValueError(f"{field}: that a field is not there can't be said so")
        return SigmaString("*")


def named(rename: Callable[[str], str], rule: SigmaRule) -> ProcessingItem:
    fields = dict.fromkeys([*rule_fields(rule), *rule.fields])
    return ProcessingItem(FieldMappingTransformation({path: rename(path) for path in fields}))


def stream_is(name: str, stream: str) -> ProcessingItem:
    return ProcessingItem(
        AddConditionTransformation({name: stream}), rule_conditions=[LogsourceCondition(product="incydr")]
    )


# A stream's names for paths, if the target only needs a mapping of names.
NAMES: dict[str, Callable[[str, str], str]] = {
    "splunk": lambda stream, path: splunk(path),
    "elastic": lambda stream, path: f"incydr.{path}",
    "sentinel": lambda stream, path: column(stream, path),
    "secops": lambda stream, path: f'$e.additional.fields["{path}"]',
    "logscale": lambda stream, path: path,
    "datadog": lambda stream, path: path,
    "panther": lambda stream, path: path,
    "athena": lambda stream, path: column(stream, path),
}
# Targets in which all streams are in one place and a field distinguishes them.
STREAM_FIELD = {"splunk", "elastic", "logscale", "datadog"}


def pipeline(target: str, rule: SigmaRule) -> ProcessingPipeline:
    """The pipeline for one rule, whose stream is its log source's service."""
    stream = rule.logsource.service
    items = [named(lambda path: NAMES[target](stream, path), rule)]
    if target in {"sentinel", "secops", "logscale", "datadog"}:
        items.append(ProcessingItem(BoolAs()))
    if target in {"logscale", "datadog"}:
        items.append(ProcessingItem(ExistsAsAny()))
    if target in STREAM_FIELD:
        items.append(stream_is("incydr_stream", stream))
    return ProcessingPipeline(name=f"incydr for {target}", items=items)


def column(stream: str, path: str) -> str:
    return columns(stream).get(path, snake(path))


def splunk(path: str) -> str:
    inner = list_of(path)
    if inner:
        return f"{inner}{{}}{path.removeprefix(inner)}"
    return f"{path}{{}}" if path in TEXTS else path
