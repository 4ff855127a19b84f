"""File events by the vendor's client: by token and by number, every operator, every order."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import incydr
import pytest
from _incydr_sdk.file_events.client import InvalidQueryException
from incydr import EventQuery
from records import difference, iso, millis, moment, nanos, values
from requests import HTTPError
from simulator import Simulator, texts

Event = dict[str, Any]


def everything(**options: Any) -> EventQuery:
    return EventQuery(**options).exists("event.id")


def search(client: incydr.Client, query: EventQuery) -> list[str]:
    """Reads every page by its token, as the vendor documents it. Returns the records' texts."""
    found = []
    while query.page_token is not None:
        page = client.file_events.v2.search(query)
        sent = texts(client.request_history[0].text)
        assert len(page.file_events) == len(sent)
        for text, event in zip(sent, page.file_events, strict=True):
            assert difference(json.loads(text), json.loads(event.json())) is None
        assert page.problems is None
        found += sent
    return found


@pytest.fixture
def world(simulator: Simulator) -> list[Event]:
    return [json.loads(event) for event in simulator.world("file_events")]


@pytest.mark.parametrize("size", [13, 47, 100, 611, 10_000])
@pytest.mark.parametrize("key", ["event.id", "event.inserted", "@timestamp", "risk.score"])
def test_the_tokens_lead_through_every_event_byte_for_byte(
    simulator: Simulator, client: incydr.Client, size: int, key: str
) -> None:
    query = everything(page_size=size, sort_key=key)
    assert sorted(search(client, query)) == sorted(simulator.world("file_events"))


@pytest.mark.parametrize("size", [50, 611])
def test_without_a_token_the_pages_are_numbered(simulator: Simulator, client: incydr.Client, size: int) -> None:
    found = []
    for number in range(1, 1 + -(-611 // size)):
        query = everything(page_size=size, page_num=number, page_token=None)
        page = client.file_events.v2.search(query)
        assert page.next_pg_token is None
        assert page.total_count == 611
        found += texts(client.request_history[0].text)
    assert sorted(found) == sorted(simulator.world("file_events"))
    beyond = everything(page_size=611, page_num=2, page_token=None)
    assert client.file_events.v2.search(beyond).file_events == []


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event.id", lambda event: event["event"]["id"].encode()),
        ("event.inserted", lambda event: nanos(event["event"]["inserted"])),
        ("risk.score", lambda event: event["risk"]["score"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_order_is_the_one_asked_for(
    client: incydr.Client, key: str, value: Callable[[Event], Any], direction: str
) -> None:
    found = search(client, everything(page_size=200, sort_key=key, sort_dir=direction))
    keys = [value(json.loads(event)) for event in found]
    assert keys == sorted(keys, reverse=direction == "desc")


def has(term: str, *wanted: object) -> Callable[[Event], bool]:
    return lambda event: any(value in wanted for value in values(event, term))


@pytest.mark.parametrize(
    ("ask", "fits"),
    [
        (lambda q: q.equals("file.category", "Document"), has("file.category", "Document")),
        (lambda q: q.equals("file.category", ["Image", "Archive"]), has("file.category", "Image", "Archive")),
        (lambda q: q.equals("event.shareType", "Other"), has("event.shareType", "Other")),
        (lambda q: q.equals("risk.score", "7"), has("risk.score", 7)),
        (lambda q: q.equals("risk.indicators.id", "First"), has("risk.indicators.id", "First")),
        (lambda q: q.not_equals("risk.severity", "HIGH"), lambda e: not has("risk.severity", "HIGH")(e)),
        (
            lambda q: q.not_equals("risk.severity", ["HIGH", "LOW"]),
            lambda e: not has("risk.severity", "HIGH", "LOW")(e),
        ),
        (lambda q: q.exists("user.deviceUid"), lambda e: e["user"]["deviceUid"] is not None),
        (lambda q: q.does_not_exist("user.deviceUid"), lambda e: e["user"]["deviceUid"] is None),
        (lambda q: q.does_not_exist("event.shareType"), lambda e: not e["event"]["shareType"]),
        (lambda q: q.does_not_exist("report.name"), lambda e: True),
        (lambda q: q.greater_than("risk.score", 12), lambda e: e["risk"]["score"] > 12),
        (lambda q: q.less_than("risk.score", 3), lambda e: e["risk"]["score"] < 3),
        (lambda q: q.greater_than("file.sizeInBytes", 3641), lambda e: e["file"]["sizeInBytes"] > 3641),
        (
            lambda q: q.is_any("destination.category", ["Email", "Device"]),
            has("destination.category", "Email", "Device"),
        ),
        (
            lambda q: q.is_none("destination.category", ["Email", "Device"]),
            lambda e: not has("destination.category", "Email", "Device")(e),
        ),
        (
            lambda q: q.equals("file.category", "Image").greater_than("risk.score", 9),
            lambda e: e["file"]["category"] == "Image" and e["risk"]["score"] > 9,
        ),
        (
            lambda q: q.matches_any().equals("file.category", "Image").greater_than("risk.score", 9),
            lambda e: e["file"]["category"] == "Image" or e["risk"]["score"] > 9,
        ),
        (lambda q: q.equals("file.name", "nothing of this kind"), lambda e: False),
    ],
    ids=[
        "is", "is, of several", "is, in a list", "is, a number", "is, within a list", "is not", "is not, of several",
        "exists", "does not exist", "does not exist, empty list", "does not exist, unknown", "greater than",
        "less than", "greater than, beyond 2^53", "is any", "is none", "and", "or", "nothing",
    ],
)  # fmt: skip
def test_a_filter_finds_exactly_what_fits(
    client: incydr.Client, world: list[Event], ask: Callable[[EventQuery], EventQuery], fits: Callable[[Event], bool]
) -> None:
    found = [json.loads(event)["event"]["id"] for event in search(client, ask(EventQuery(page_size=90)))]
    assert sorted(found) == sorted(event["event"]["id"] for event in world if fits(event))
    assert client.file_events.v2.search(ask(EventQuery(page_size=1))).total_count == len(found)


def test_an_or_within_an_and_finds_exactly_what_fits(client: incydr.Client, world: list[Event]) -> None:
    either = EventQuery().matches_any().equals("file.category", "Image").equals("event.observer", "GoogleDrive")
    query = EventQuery(page_size=10_000).greater_than("risk.score", 9).subquery(either)
    # The vendor's query writes a subgroup as {}, because newer versions of pydantic use the declared type.
    groups = [group.model_dump() for group in query.groups]
    found = client.session.post("/v2/file-events", json=query.dict() | {"groups": groups}).json()["fileEvents"]
    fitting = [
        event
        for event in world
        if event["risk"]["score"] > 9
        and (event["file"]["category"] == "Image" or event["event"]["observer"] == "GoogleDrive")
    ]
    assert len(fitting) > 0
    assert sorted(event["event"]["id"] for event in found) == sorted(event["event"]["id"] for event in fitting)


def test_a_span_includes_both_its_ends_to_the_millisecond(client: incydr.Client, world: list[Event]) -> None:
    times = sorted(millis(event["event"]["inserted"]) for event in world)
    for start, end in [(times[100], times[400]), (times[5], times[5]), (times[200], None), (None, times[77])]:
        query = EventQuery(page_size=150).date_range(
            "event.inserted", start_date=moment(start) if start else None, end_date=moment(end) if end else None
        )
        found = [json.loads(event)["event"]["id"] for event in search(client, query)]
        fitting = [e for e in world if (start or 0) <= millis(e["event"]["inserted"]) <= (end or times[-1])]
        assert sorted(found) == sorted(event["event"]["id"] for event in fitting)


def test_spans_of_other_times_days_and_durations(client: incydr.Client, world: list[Event]) -> None:
    occurred = sorted(millis(event["@timestamp"]) for event in world)
    middle = moment(occurred[300])
    queries = [
        (EventQuery(start_date=middle), lambda e: millis(e["@timestamp"]) >= occurred[300]),
        (EventQuery().on("@timestamp", middle), lambda e: e["@timestamp"][:10] == iso(occurred[300])[:10]),
        (EventQuery(start_date=timedelta(days=30)), lambda e: True),
        (EventQuery().date_range("event.inserted", start_date="PT2H"), lambda e: True),
        (EventQuery().date_range("event.inserted", start_date="PT1M"), lambda e: False),
    ]
    for query, fits in queries:
        found = [json.loads(event)["event"]["id"] for event in search(client, query)]
        assert sorted(found) == sorted(event["event"]["id"] for event in world if fits(event))


def test_a_token_that_was_never_issued_is_refused(client: incydr.Client) -> None:
    with pytest.raises(InvalidQueryException, match="INVALID_PAGE_TOKEN"):
        client.file_events.v2.search(everything(page_token="no such token"))


def test_a_query_without_groups_and_a_page_too_large_are_refused(client: incydr.Client) -> None:
    with pytest.raises(InvalidQueryException):
        client.file_events.v2.search(EventQuery())
    query = json.loads(everything().json())
    with pytest.raises(HTTPError) as raised:
        client.session.post("/v2/file-events", json=query | {"pgSize": 10_001})
    assert raised.value.response.status_code == 400


def test_problems_are_told_in_the_vendors_form(simulator: Simulator, client: incydr.Client) -> None:
    simulator.fault("file_events", "problems", nth=1, description="the search was cut short")
    page = client.file_events.v2.search(everything())
    assert [problem.description for problem in page.problems] == ["the search was cut short"]
    simulator.fault("file_events", "timed_out", nth=1)
    with pytest.raises(InvalidQueryException, match=r"Request timed out\.  Refine your filter criteria"):
        client.file_events.v2.search(everything())
