"""Cases by the vendor's client: the list, its filters and orders, and each case's detail."""

import json
from collections.abc import Callable
from typing import Any

import incydr
import pytest
from incydr.enums.cases import CaseStatus, SortKeys
from records import difference, exact, millis, moment
from requests import HTTPError
from simulator import Simulator, texts

Case = dict[str, Any]


@pytest.fixture
def world(simulator: Simulator) -> list[Case]:
    return [json.loads(case) for case in simulator.world("cases")]


@pytest.mark.parametrize("size", [1, 5, 23, 500])
def test_the_list_holds_every_case_without_what_only_details_have(
    simulator: Simulator, client: incydr.Client, size: int
) -> None:
    sent = [exact(case) for case in simulator.world("cases")]
    for case in sent:
        del case["description"], case["findings"]
    cases = list(client.cases.v1.iter_all(page_size=size))
    pages = [texts(response.text) for response in reversed(client.request_history[:-1])]
    assert [exact(case) for page in pages for case in page] == sent
    assert [case.number for case in cases] == [int(case["number"]) for case in sent]


def test_the_models_hold_every_detail(simulator: Simulator, client: incydr.Client) -> None:
    for text in simulator.world("cases"):
        case = client.cases.v1.get_case(json.loads(text)["number"])
        assert client.request_history[0].text == text
        assert difference(json.loads(text), json.loads(case.json())) is None


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"status": CaseStatus.OPEN}, lambda case: case["status"] == "OPEN"),
        ({"status": CaseStatus.CLOSED}, lambda case: case["status"] == "CLOSED"),
        ({"status": CaseStatus.ARCHIVED}, lambda case: case["status"] == "ARCHIVED"),
        ({"is_assigned": True}, lambda case: case["assignee"] is not None),
        ({"is_assigned": False}, lambda case: case["assignee"] is None),
        ({"assignee": "945056771151950748"}, lambda case: case["assignee"] == "945056771151950748"),
        ({"last_modified_by": "942564422882759874"}, lambda case: True),
        ({"last_modified_by": "1"}, lambda case: False),
        ({"name": "CASE 1"}, lambda case: "case 1" in case["name"].lower()),
        ({"name": "case 2", "is_assigned": True}, lambda case: "case 2" in case["name"].lower() and case["assignee"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_filter_finds_exactly_what_fits(
    client: incydr.Client, world: list[Case], asked: dict[str, Any], fits: Callable[[Case], bool]
) -> None:
    expected = [case["number"] for case in world if fits(case)]
    assert [case.number for case in client.cases.v1.iter_all(page_size=3, **asked)] == expected
    assert client.cases.v1.get_page(page_size=1, **asked).total_count == len(expected)


def test_a_span_of_creation_includes_both_its_ends(client: incydr.Client, world: list[Case]) -> None:
    created = sorted(millis(case["createdAt"]) for case in world)
    start, end = created[4], created[15]
    found = client.cases.v1.iter_all(created_at=(moment(start), moment(end)))
    assert [case.number for case in found] == [
        case["number"] for case in world if start <= millis(case["createdAt"]) <= end
    ]


@pytest.mark.parametrize("key", list(SortKeys))
def test_the_order_is_the_one_asked_for(client: incydr.Client, world: list[Case], key: SortKeys) -> None:
    # Missing values come last.
    in_order = sorted(world, key=lambda case: (case[key] is None, case[key] or "", case["number"]))
    if key == SortKeys.NUMBER:
        in_order = world
    numbers = [case["number"] for case in in_order]
    for direction, expected in [("asc", numbers), ("desc", numbers[::-1])]:
        found = client.cases.v1.iter_all(page_size=6, sort_key=key, sort_dir=direction)
        assert [case.number for case in found] == expected


def test_a_case_that_is_not_there_is_not_found(client: incydr.Client) -> None:
    with pytest.raises(HTTPError) as raised:
        client.cases.v1.get_case(99_999)
    assert raised.value.response.status_code == 404
