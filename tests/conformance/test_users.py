"""Users by the vendor's client: every page, every filter, every byte."""

import json
from itertools import count, takewhile
from typing import Any

import incydr
import pytest
from records import difference
from simulator import Simulator, texts


def raw_pages(client: incydr.Client, size: int) -> list[list[str]]:
    """The pages up to the first short one, as texts."""

    def page(number: int) -> list[str]:
        return texts(client.session.get("/v1/users", params={"page": number, "pageSize": size}).text)

    return list(takewhile(bool, map(page, count(1))))


@pytest.mark.parametrize("size", [1, 10, 19, 57, 500])
def test_the_pages_hold_everybody_byte_for_byte(simulator: Simulator, client: incydr.Client, size: int) -> None:
    pages = raw_pages(client, size)
    assert [user for page in pages for user in page] == simulator.world("users")
    assert all(len(page) == size for page in pages[:-1])


@pytest.mark.parametrize("size", [1, 19, 40, 57, 500])
def test_the_models_hold_everybody(simulator: Simulator, client: incydr.Client, size: int) -> None:
    users = list(client.users.v1.iter_all(page_size=size))
    sent = [json.loads(user) for user in simulator.world("users")]
    assert len(users) == len(sent) == 57
    for record, user in zip(sent, users, strict=True):
        assert difference(record, json.loads(user.json())) is None


@pytest.mark.parametrize(
    "wanted",
    [
        {"active": True},
        {"active": False},
        {"blocked": True},
        {"blocked": False},
        {"active": True, "blocked": False},
        {"active": False, "blocked": True},
        {"username": "user12@example.com"},
        {"username": "nobody@example.com"},
        {"username": "user1"},
    ],
    ids=str,
)
def test_a_filter_finds_exactly_who_fits(simulator: Simulator, client: incydr.Client, wanted: dict[str, Any]) -> None:
    everybody = [json.loads(user) for user in simulator.world("users")]
    fitting = [user["userId"] for user in everybody if all(user[name] == value for name, value in wanted.items())]
    found = client.users.v1.iter_all(page_size=4, **wanted)
    assert [user.user_id for user in found] == fitting
    assert client.users.v1.get_page(page_size=1, **wanted).total_count == len(fitting)


def test_a_user_is_found_by_name(client: incydr.Client) -> None:
    assert client.users.v1.get_user("user7@example.com").username == "user7@example.com"
