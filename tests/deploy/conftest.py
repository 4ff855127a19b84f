"""One emulated AWS for all tests, and a tenant for each file. Its records are of the last hour, like LOOKBACK_MINUTES.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulated import ROOT, Aws
from simulator import Simulator


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    directory = Path(tempfile.mkdtemp(prefix="deploy.", dir=ROOT / "target"))
    with Aws(directory) as aws:
        yield aws
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def tenant() -> Iterator[Simulator]:
    with Simulator("--seed", 23, "--users", 12, "--cases", 5, "--audit", 60, "--file-events", 90) as tenant:
        yield tenant


@pytest.fixture(scope="module")
def credentials(tenant: Simulator) -> dict[str, str]:
    return {name: tenant.places[name] for name in ["client_id", "client_secret"]}
