"""Decides whether IAM policies allow a call. Supports as much of IAM as the templates use, including conditions."""

import re
from collections.abc import Mapping
from typing import Any

from rendered import listed


def is_allowed(statements: list[dict[str, Any]], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """An explicit denial wins. What nothing allows is denied."""
    effects = {found["Effect"] for found in statements if applies(found, action, resource, context)}
    return effects == {"Allow"}


def applies(statement: dict[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    return (
        any(matches(pattern.lower(), action.lower()) for pattern in listed(statement["Action"]))
        and any(matches(pattern, resource) for pattern in listed(statement["Resource"]))
        and all(
            holds(operator, held, context.get(key))
            for operator, keys in statement.get("Condition", {}).items()
            for key, held in keys.items()
        )
    )


def holds(operator: str, held: Any, value: str | None) -> bool:
    match operator:
        case "Null":
            return (value is None) == (held == "true")
        case "StringEquals":
            return value in listed(held)
        case "StringLike" | "ArnLike":
            return value is not None and any(matches(pattern, value) for pattern in listed(held))
        case "Bool":
            return value == held
    raise NotImplementedError(operator)


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None
