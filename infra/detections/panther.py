"""Panther: a rule is Python code with metadata. Its backend for pySigma supports neither booleans, existence,
comparisons nor lists, so these are converted here."""

import re
from typing import Any

import fields
import yaml
from sigma.backends.panther import PantherBackend
from sigma.backends.panther.helpers.python_helper import PythonHelper
from sigma.rule import SigmaRule
from written import Correlation, Rule, head

LEVELS = {"INFORMATIONAL": "Info", "LOW": "Low", "MEDIUM": "Medium", "HIGH": "High", "CRITICAL": "Critical"}


def found(path: str) -> str:
    """All values at a path as a list. Empty if it is null."""
    inner = fields.list_of(path)
    keys = ", ".join(f'"{step}"' for step in (inner or path).split("."))
    if inner:
        member = path.removeprefix(f"{inner}.")
        return f'[item.get("{member}") for item in event.deep_get({keys}, default=[]) or []]'
    if path in fields.TEXTS:
        return f"(event.deep_get({keys}, default=[]) or [])"
    return f"[event.deep_get({keys})]"


def any_of(path: str, condition: str) -> str:
    return f"any({condition} for value in {found(path)})"


class Helper(PythonHelper):
    def convert_condition_as_in_expression(self, cond: Any, state: Any) -> str:
        return self.convert_condition_or([self.convert_condition_field_eq_val_str(one, state) for one in cond.args])

    def convert_condition_field_eq_val_str(self, cond: Any, state: Any) -> str:
        text = str(cond.value)
        value = repr(text.strip("*").lower())
        begins, ends = text.startswith("*"), text.endswith("*")
        said = "str(value).lower()"
        match begins, ends:
            case True, True:
                condition = f"{value} in {said}"
            case False, True:
                condition = f"{said}.startswith({value})"
            case True, False:
                condition = f"{said}.endswith({value})"
            case _:
                condition = f"{said} == {value}"
        return any_of(cond.field, f"value is not None and {condition}")

    def convert_condition_field_eq_val_num(self, cond: Any, state: Any) -> str:
        return any_of(cond.field, f"value == {cond.value.to_plain()}")

    # The base class simplifies a conjunction by its text, which does not work for Python.
    def simplify_convert_condition_and(self, key_cond_values: list) -> list:
        return key_cond_values


class Backend(PantherBackend):
    format_helpers = {"default": Helper(), "python": Helper()}
    convert_or_as_in = False
    convert_and_as_in = False

    def convert_condition_field_eq_val_bool(self, cond: Any, state: Any) -> str:
        return any_of(cond.field, f"value is {cond.value.boolean}")

    def convert_condition_field_exists(self, cond: Any, state: Any) -> str:
        return any_of(cond.field, "value is not None")

    def convert_condition_field_compare_op_val(self, cond: Any, state: Any) -> str:
        operator = {"LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}[cond.value.op.name]
        number = cond.value.number.to_plain()
        return any_of(cond.field, f"isinstance(value, (int, float)) and value {operator} {number}")

    def finalize_query(self, rule: Any, query: Any, index: int, state: Any, output_format: str) -> Any:
        return query


def condition(rule: SigmaRule) -> str:
    (text,) = Backend(processing_pipeline=fields.pipeline("panther", rule)).convert_rule(rule)
    return text


def files(rules: dict[str, Rule]) -> dict[str, str]:
    made = {}
    for name, rule in rules.items():
        if isinstance(rule, Correlation) and not rule.is_count:
            continue
        single = rule.of[0] if isinstance(rule, Correlation) else rule
        about = head(rule)
        by = rule.by if isinstance(rule, Correlation) else {"file_events": "event.id", "sessions": "sessionId"}.get(
            single.logsource.service, ""
        )  # fmt: skip
        text = f"def rule(event):\n    return {condition(single)}\n\n\ndef title(event):\n    return {about.title!r}\n"
        if by:
            keys = ", ".join(f'"{step}"' for step in by.split("."))
            text += f"\n\ndef dedup(event):\n    return str(event.deep_get({keys}))\n"
        made[f"incydr_{name}.py"] = text
        schema = "Health" if single.logsource.service == "collector_health" else "".join(
            word.capitalize() for word in single.logsource.service.split("_")
        )  # fmt: skip
        techniques = [str(tag).upper() for tag in about.tags if re.fullmatch(r"attack\.t[\d.]+", str(tag))]
        meta = {
            "AnalysisType": "rule", "Filename": f"incydr_{name}.py", "RuleID": f"Incydr.{name}", "DisplayName": about.title,
            "Description": about.description, "Enabled": False, "LogTypes": [f"Custom.Incydr.{schema}"],
            "Severity": LEVELS[about.level.name], "Tags": techniques,
            "DedupPeriodMinutes": 60, "Threshold": rule.least if isinstance(rule, Correlation) else 1,
        }  # fmt: skip
        made[f"incydr_{name}.yml"] = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True, width=118)
    return made
