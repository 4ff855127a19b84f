"""Makes the other tests' drivers of simulator and binary importable."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "conformance"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the file first that has a test of more than a minute. The other processes run the rest meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_invoke.py")
