"""Covers every pair of values of two parameters with few rows."""

from collections.abc import Callable
from itertools import combinations, product
from typing import Any


def pairwise(values: dict[str, list[Any]], is_allowed: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Greedy over all allowed rows. Always returns the same rows."""
    names = list(values)
    rows = [row for row in (dict(zip(names, row)) for row in product(*values.values())) if is_allowed(row)]
    pairs = {id(row): set(combinations(row.items(), 2)) for row in rows}
    owed = set().union(*pairs.values())
    chosen = []
    while owed:
        best = max(rows, key=lambda row: len(pairs[id(row)] & owed))
        owed -= pairs[id(best)]
        chosen.append(best)
    return chosen
