"""The audit log by the vendor's client."""

import json
from collections.abc import Callable
from typing import Any

import incydr
import pytest
from records import millis, moment, nanos
from requests import HTTPError
from simulator import Simulator, texts

Event = dict[str, Any]


@pytest.fixture
def log(simulator: Simulator) -> list[Event]:
    """Newest first. Of two events at one instant the one that was added later comes first."""
    events = [json.loads(event) for event in simulator.world("audit")]
    events.reverse()
    return sorted(events, key=lambda event: -nanos(event["timestamp"]))


@pytest.mark.parametrize("size", [7, 100, 250, 10_000])
def test_the_pages_hold_every_event_newest_first(client: incydr.Client, log: list[Event], size: int) -> None:
    assert list(client.audit_log.v1.iter_all(page_size=size)) == log


def test_the_texts_are_those_of_the_world(simulator: Simulator, client: incydr.Client) -> None:
    client.audit_log.v1.get_page(page_size=10_000)
    found = texts(client.request_history[0].text)
    assert sorted(found) == sorted(simulator.world("audit"))
    assert len(set(found)) < len(found), "some events are alike in every byte"


def test_a_page_tells_where_it_lies(client: incydr.Client) -> None:
    pages = [client.audit_log.v1.get_page(page_num=page, page_size=200) for page in range(3)]
    places = [(page.pagination_range_start_index, page.pagination_range_end_index) for page in pages]
    assert places == [(0, 200), (200, 400), (400, 433)]


def test_beyond_the_end_there_is_no_list_and_the_vendors_loop_trips_over_it(client: incydr.Client) -> None:
    page = client.audit_log.v1.get_page(page_num=1, page_size=433)
    assert page.events is None
    assert client.request_history[0].json()["totalResultCount"] == 433
    with pytest.raises(TypeError):
        list(client.audit_log.v1.iter_all(page_size=433))


def resources(event: Event) -> set[str]:
    return {value for name, value in event.items() if name.endswith("Id") and name != "actorId"}


@pytest.mark.parametrize(
    ("name", "choose", "fits"),
    [
        ("actor_ids", lambda event: event["actorId"], lambda event, wanted: event["actorId"] in wanted),
        ("actor_names", lambda event: event["actorName"], lambda event, wanted: event["actorName"] in wanted),
        ("event_types", lambda event: event["type$"], lambda event, wanted: event["type$"] in wanted),
        ("user_types", lambda event: event["actorType"], lambda event, wanted: event["actorType"] in wanted),
        (
            "actor_ip_addresses",
            lambda event: (event["actorIpAddress"] or "").split(", ")[-1],
            lambda event, wanted: set((event["actorIpAddress"] or "").split(", ")) & set(wanted) - {""},
        ),
        (
            "resource_ids",
            lambda event: event.get("resourceId"),
            lambda event, wanted: resources(event) & set(wanted),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_filter_finds_exactly_what_fits(
    client: incydr.Client,
    log: list[Event],
    name: str,
    choose: Callable[[Event], str],
    fits: Callable[[Event, list[str]], bool],
) -> None:
    choices = sorted({choice for event in log if (choice := choose(event))})
    # The types of users are enumerated, so another one is refused.
    nothing = [] if name == "user_types" else [["nothing of this kind"]]
    for wanted in (choices[:1], choices[-2:], *nothing):
        expected = [event for event in log if fits(event, wanted)]
        assert list(client.audit_log.v1.iter_all(page_size=1000, **{name: wanted})) == expected
        assert client.audit_log.v1.get_event_count(**{name: wanted}) == len(expected)
        assert bool(expected) == (wanted not in nothing)


def test_a_span_includes_both_its_ends_to_the_millisecond(client: incydr.Client, log: list[Event]) -> None:
    times = [millis(event["timestamp"]) for event in log]
    for start, end in [(times[300], times[100]), (times[300], times[300]), (times[-1], times[0]), (times[200], None)]:
        span = {"start_time": moment(start), "end_time": moment(end) if end else None}
        expected = [event for event in log if start <= millis(event["timestamp"]) <= (end or times[0])]
        assert list(client.audit_log.v1.iter_all(page_size=1000, **span)) == expected
        assert client.audit_log.v1.get_event_count(**span) == len(expected)


def test_filters_are_joined(client: incydr.Client, log: list[Event]) -> None:
    kind, since = log[0]["type$"], millis(log[200]["timestamp"])
    found = client.audit_log.v1.iter_all(event_types=kind, user_types=["USER", "SYSTEM"], start_time=moment(since))
    assert list(found) == [
        event
        for event in log
        if event["type$"] == kind and event["actorType"] in ("USER", "SYSTEM") and millis(event["timestamp"]) >= since
    ]


def test_an_end_without_a_start_is_refused(client: incydr.Client) -> None:
    with pytest.raises(HTTPError) as raised:
        client.audit_log.v1.get_page(end_time="2026-01-01")
    assert raised.value.response.status_code == 400
