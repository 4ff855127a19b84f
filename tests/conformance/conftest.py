"""A small world for all tests that only read it, and the vendor's client signed in to it."""

from collections.abc import Iterator

import incydr
import pytest
from simulator import Simulator


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    # No number is a multiple of a page size. Tests that need that add records.
    with Simulator("--seed", 7, "--users", 57, "--cases", 23, "--audit", 433, "--file-events", 611) as simulator:
        yield simulator


@pytest.fixture
def client(simulator: Simulator) -> Iterator[incydr.Client]:
    yield sign_in(simulator)
    simulator.clear_faults()


def sign_in(simulator: Simulator, secret: str | None = None) -> incydr.Client:
    places = simulator.places
    return incydr.Client(
        url=places["api"],
        api_client_id=places["client_id"],
        api_client_secret=secret or places["client_secret"],
        use_rich=False,
        log_stderr=False,
        max_response_history=1000,
    )
