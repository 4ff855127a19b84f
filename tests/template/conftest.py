"""Makes the other tests' drivers of simulator and binary importable."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "conformance"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One test waits for more than a minute. Its file comes first, so that the other workers run all else meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_invoke.py")
