"""Makes the other tests' drivers of simulator and binary importable."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "conformance"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts the one test that takes more than a minute first, and checks its result last."""
    import slow

    waited_for = [item for item in items if item.name == "test_a_run_of_more_than_a_minute_is_one_invocation"]
    if waited_for:
        items[:] = [item for item in items if item not in waited_for] + waited_for
        slow.begin()
