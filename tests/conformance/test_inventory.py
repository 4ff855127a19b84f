"""Every list that is read as a whole, by the vendor's client: several pages, an exactly full one, an empty list, and
children."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import incydr
import pytest
from conftest import sign_in
from incydr import EventQuery, GroupingEventQuery
from records import difference
from requests import HTTPError
from simulator import Simulator

Model = Any
Pages = Callable[[incydr.Client, int], Iterator[Model]]
Children = Callable[[incydr.Client, str, int], Iterator[Model]]
PARENTS = {
    "watchlist_members": "watchlists",
    "included_actors": "watchlists",
    "excluded_actors": "watchlists",
    "included_departments": "watchlists",
    "included_directory_groups": "watchlists",
    "custodians": "legal_hold_matters",
    "user_roles": "users",
    "rule_users": "alert_rules",
}

LISTS: dict[str, Pages] = {
    "agents": lambda client, size: client.agents.v1.iter_all(page_size=size),
    "devices": lambda client, size: client.devices.v1.iter_all(page_size=size),
    "actors": lambda client, size: client.actors.v1.iter_all(page_size=size),
    "watchlists": lambda client, size: client.watchlists.v2.iter_all(page_size=size),
    "departments": lambda client, size: client.departments.v1.iter_all(page_size=size),
    "directory_groups": lambda client, size: client.directory_groups.v1.iter_all(page_size=size),
    "alert_rules": lambda client, size: client.alert_rules.v2.iter_all(page_size=size),
    "trusted_activities": lambda client, size: client.trusted_activities.v2.iter_all(page_size=size),
    "legal_hold_matters": lambda client, size: client.legal_hold.v1.iter_all_matters(page_size=size),
}

WHOLE: dict[str, Callable[[incydr.Client], list[Model]]] = {
    "roles": lambda client: client.users.v1.list_roles(),
    "orgs": lambda client: client.orgs.v1.list().orgs,
    "saved_searches": lambda client: client.file_events.v2.list_saved_searches(),
    "risk_indicator_categories": lambda client: client.risk_indicator_categories.v1.list_categories().categories,
    # The SDK asks for one page. The later OpenAPI has pages of 100, the earlier one none.
    "legal_hold_policies": lambda client: client.legal_hold.v1.get_policies_page().policies,
}

CHILDREN: dict[str, Children] = {
    "watchlist_members": lambda client, parent, size: client.watchlists.v2.iter_all_members(parent, page_size=size),
    "included_actors": lambda client, parent, size: client.watchlists.v2.iter_all_included_actors(parent, size),
    "excluded_actors": lambda client, parent, size: client.watchlists.v2.iter_all_excluded_actors(parent, size),
    "included_departments": lambda client, parent, size: client.watchlists.v2.iter_all_departments(parent, size),
    "included_directory_groups": lambda client, parent, size: client.watchlists.v2.iter_all_directory_groups(
        parent, size
    ),
    "custodians": lambda client, parent, size: client.legal_hold.v1.iter_all_custodians(parent, page_size=size),
}


@dataclass
class Tenant:
    """A world for one test."""

    simulator: Simulator
    client: incydr.Client

    def parents(self, dataset: str) -> tuple[str, str]:
        """Two ids. The second gets no children."""
        ids = [parsed_id(text) for text in self.simulator.add(dataset, 3)]
        return ids[0], ids[1]


def parsed_id(text: str) -> str:
    record = json.loads(text)
    return next(record[name] for name in ("watchlistId", "matterId", "userId", "id") if name in record)


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    with Simulator("--seed", 3, "--users", 0, "--cases", 0, "--audit", 0, "--file-events", 0) as simulator:
        yield Tenant(simulator, sign_in(simulator))


def nothing_is_lost(sent: list[str], kept: list[Model]) -> None:
    """Asserts that every record is there once, in any order, and unchanged."""
    # Orgs write times in two forms. The model has only one.
    there = {identity(record): record for text in sent if (record := json.loads(text.replace("+00:00", "Z")))}
    assert len(there) == len(sent) == len(kept)
    for model in kept:
        value = model if isinstance(model, str) else json.loads(model.json())
        assert difference(there.pop(identity(value)), value) is None
    assert not there


def shown(simulator: Simulator, name: str) -> list[str]:
    """The records in the form of the list. A list's actor has only some members; the rest is in the profile."""
    texts = simulator.world(name)
    if name != "actors":
        return texts
    item = ("actorId", "name", "active", "parentActorId", "newNumber")
    return [json.dumps({key: value for key, value in json.loads(text).items() if key in item}) for text in texts]


def identity(record: Any) -> str:
    if isinstance(record, str):
        return record
    names = (
        "agentId deviceId actorId watchlistId groupId activityId roleId orgGuid matterId policyId userIdFromAuthority "
        "id userId name"
    )
    return next(record[name] for name in names.split() if name in record)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_read_page_by_page(tenant: Tenant, name: str) -> None:
    read = LISTS[name]
    assert list(read(tenant.client, 5)) == [], "there is none yet"
    tenant.simulator.add(name, 23)
    for size in (1, 5, 23, 100):
        nothing_is_lost(shown(tenant.simulator, name), list(read(tenant.client, size)))


@pytest.mark.parametrize("name", LISTS)
def test_after_a_full_page_there_is_an_empty_one(tenant: Tenant, name: str) -> None:
    tenant.simulator.add(name, 10)
    before = len(tenant.simulator.log())
    nothing_is_lost(shown(tenant.simulator, name), list(LISTS[name](tenant.client, 5)))
    # The client's parameter for the page size of watchlists isn't the API's, which then returns its default of 100.
    assert len(tenant.simulator.log()) - before == (2 if name == "watchlists" else 3)


@pytest.mark.parametrize("name", LISTS)
def test_a_larger_page_than_there_may_be_is_cut_or_refused(tenant: Tenant, name: str) -> None:
    tenant.simulator.add(name, 510)
    if name == "actors":
        with pytest.raises(HTTPError) as raised:
            list(LISTS[name](tenant.client, 1000))
        assert raised.value.response.status_code == 400
        return
    page = list(LISTS[name](tenant.client, 1000))
    # Of devices there may be 2,000; the client names the size of watchlists otherwise than the API.
    assert len(page) == {"devices": 510, "watchlists": 100}.get(name, 500)


def test_an_actor_s_profile_has_all_of_it(tenant: Tenant) -> None:
    sent = tenant.simulator.add("actors", 7)
    client = tenant.client.actors.v1
    nothing_is_lost(sent, [client.get_actor_by_id(json.loads(text)["actorId"]) for text in sent])


@pytest.mark.parametrize("name", WHOLE)
def test_what_has_no_pages_is_there_at_once(tenant: Tenant, name: str) -> None:
    assert WHOLE[name](tenant.client) == []
    tenant.simulator.add(name, 17)
    nothing_is_lost(tenant.simulator.world(name), WHOLE[name](tenant.client))


@pytest.mark.parametrize("name", CHILDREN)
def test_children_are_those_of_their_parent(tenant: Tenant, name: str) -> None:
    for known in ("actors", "departments", "directory_groups", "users"):
        tenant.simulator.add(known, 9)
    first, second = tenant.parents(PARENTS[name])
    tenant.simulator.add(name, 10, parent=first)
    for size in (3, 5, 10, 100):
        nothing_is_lost(tenant.simulator.children(name, first), list(CHILDREN[name](tenant.client, first, size)))
    assert list(CHILDREN[name](tenant.client, second, 5)) == []
    with pytest.raises(HTTPError) as raised:
        list(CHILDREN[name](tenant.client, "4711", 5))
    assert raised.value.response.status_code == 404


def test_a_saved_search_is_read_by_its_id_and_finds_what_it_says(tenant: Tenant) -> None:
    sent = tenant.simulator.add("saved_searches", 5)
    client = tenant.client.file_events.v2
    nothing_is_lost(sent, [client.get_saved_search(json.loads(text)["id"]) for text in sent])
    with pytest.raises(HTTPError) as raised:
        client.get_saved_search("4711")
    assert raised.value.response.status_code == 404
    group = {"filters": [{"term": "risk.severity", "operator": "IS", "value": "HIGH"}]}
    tenant.simulator.push("saved_searches", json.dumps({"id": "ours", "groupClause": "AND", "groups": [group]}))
    events = [json.loads(text) for text in tenant.simulator.add("file_events", 40)]
    expected = sorted(event["event"]["id"] for event in events if event["risk"]["severity"] == "HIGH")
    found = client.search(EventQuery.from_saved_search(client.get_saved_search("ours"))).file_events
    assert sorted(event.event.id for event in found) == expected


def test_a_user_has_roles(tenant: Tenant) -> None:
    tenant.simulator.add("roles", 2)
    first, second = tenant.parents("users")
    tenant.simulator.add("user_roles", 4, parent=first)
    nothing_is_lost(tenant.simulator.children("user_roles", first), tenant.client.users.v1.list_user_roles(first))
    assert tenant.client.users.v1.list_user_roles(second) == []


def test_a_user_has_the_devices_that_name_it(tenant: Tenant) -> None:
    user, _ = tenant.parents("users")
    tenant.simulator.add("devices", 20)
    expected = [text for text in tenant.simulator.world("devices") if json.loads(text)["userId"] == user]
    assert len(expected) > 3
    nothing_is_lost(expected, tenant.client.users.v1.get_devices(user).devices)
    assert len(tenant.client.users.v1.get_devices(user, page_num=2, page_size=3).devices) == min(len(expected) - 3, 3)


def test_a_rule_without_a_username_filter_has_no_users(tenant: Tenant) -> None:
    filtered, other = tenant.parents("alert_rules")
    tenant.simulator.add("rule_users", 3, parent=filtered)
    users = tenant.client.alert_rules.v2.get_users(filtered)
    assert (users.id, users.mode) == (filtered, "INCLUDE")
    nothing_is_lost(tenant.simulator.children("rule_users", filtered), users.users)
    with pytest.raises(Exception, match="has no username filter"):
        tenant.client.alert_rules.v2.get_users(other)


def test_totals_are_those_of_the_list(tenant: Tenant) -> None:
    for name in ("agents", "devices", "watchlists", "departments", "directory_groups", "trusted_activities", "orgs"):
        tenant.simulator.add(name, 7)
    client = tenant.client
    agents = client.agents.v1.get_page(page_num=2, page_size=5)
    assert (agents.total_count, agents.page_num, agents.page_size, len(agents.agents)) == (7, 2, 5, 2)
    for page in (
        client.devices.v1.get_page(page_size=1),
        client.watchlists.v2.get_page(page_size=1),
        client.departments.v1.get_page(page_size=1),
        client.directory_groups.v1.get_page(page_size=1),
        client.trusted_activities.v2.get_page(page_size=1),
        client.orgs.v1.list(),
    ):
        assert page.total_count == 7
    client.actors.v1.get_page()
    assert client.request_history[0].json() == {"actors": []}, "actors have no total"


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"active": True}, lambda agent: agent["active"]),
        ({"active": False}, lambda agent: not agent["active"]),
        ({"agent_healthy": True}, lambda agent: agent["agentHealthIssueTypes"] == []),
        ({"agent_healthy": False}, lambda agent: agent["agentHealthIssueTypes"] != []),
        ({"agent_type": "COMBINED"}, lambda agent: agent["agentType"] == "COMBINED"),
        (
            {"agent_health_issue_types": ["NOT_CONNECTING"]},
            lambda agent: "NOT_CONNECTING" in agent["agentHealthIssueTypes"],
        ),
        ({"serial_number": "nothing"}, lambda agent: False),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_agents_are_filtered(tenant: Tenant, asked: dict[str, Any], fits: Callable[[Any], bool]) -> None:
    tenant.simulator.add("agents", 40)
    expected = sorted(agent["agentId"] for text in tenant.simulator.world("agents") if fits(agent := json.loads(text)))
    found = tenant.client.agents.v1.iter_all(page_size=7, **asked)
    assert sorted(agent.agent_id for agent in found) == expected


def test_agents_either_connected_lately_or_not(tenant: Tenant) -> None:
    agents = [json.loads(text) for text in tenant.simulator.add("agents", 40)]
    lately = {agent.agent_id for agent in tenant.client.agents.v1.iter_all(connected_in_last_days=20)}
    before = {agent.agent_id for agent in tenant.client.agents.v1.iter_all(not_connected_in_last_days=20)}
    assert len(lately | before) == 40
    assert lately
    assert not lately & before
    assert {agent["agentId"] for agent in agents if agent["lastConnected"] is None} < before


def test_agents_belong_to_users(tenant: Tenant) -> None:
    users = {json.loads(text)["userId"] for text in tenant.simulator.add("users", 3)}
    agents = [json.loads(text) for text in tenant.simulator.add("agents", 9)]
    assert {agent["userId"] for agent in agents} == users
    found = tenant.client.agents.v1.iter_all(user_id=agents[0]["userId"])
    assert len(list(found)) == 3


def test_a_list_is_in_the_order_that_is_asked_for(tenant: Tenant) -> None:
    tenant.simulator.add("agents", 20)
    tenant.simulator.add("trusted_activities", 20)
    names = [agent.name for agent in tenant.client.agents.v1.iter_all(sort_dir="DESC", page_size=3)]
    assert names == sorted(names, reverse=True)
    values = [item.value for item in tenant.client.trusted_activities.v2.iter_all(page_size=3, sort_key="VALUE")]
    assert values == sorted(values)


def test_a_departments_name_is_searched_in(tenant: Tenant) -> None:
    tenant.simulator.add("departments", 12)
    expected = [name for text in tenant.simulator.world("departments") if "t 1" in (name := json.loads(text))]
    assert list(tenant.client.departments.v1.iter_all(page_size=2, name="T 1")) == expected
    assert len(expected) == 4


def test_the_customer_is_a_record_too(tenant: Tenant) -> None:
    tenant.simulator.clear("customer")
    tenant.simulator.push("customer", '{"name": "renamed", "registrationKey": "k", "tenantId": "t"}')
    customer = tenant.client.customer.v1.get()
    assert (customer.name, customer.tenant_id) == ("renamed", "t")


@pytest.mark.parametrize(
    ("endpoint", "read"),
    [(name.replace("legal_hold_", ""), read) for name, read in LISTS.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_list_can_be_forbidden(tenant: Tenant, endpoint: str, read: Pages) -> None:
    tenant.simulator.fault(endpoint, "forbidden", nth=1)
    with pytest.raises(HTTPError) as raised:
        list(read(tenant.client, 5))
    assert raised.value.response.status_code == 403


@pytest.mark.parametrize(
    ("term", "query", "fits"),
    [
        ("observer", GroupingEventQuery(), lambda event: True),
        (
            "observer",
            GroupingEventQuery().equals("risk.severity", "HIGH"),
            lambda event: event["risk"]["severity"] == "HIGH",
        ),
        (
            "id",
            GroupingEventQuery().is_any("event.observer", ["Endpoint"]),
            lambda event: event["event"]["observer"] == "Endpoint",
        ),
    ],
    ids=["all", "equals", "is_any"],
)
def test_events_are_grouped_by_a_term(
    simulator: Simulator, client: incydr.Client, term: str, query: GroupingEventQuery, fits: Callable[[Any], bool]
) -> None:
    events = [json.loads(event) for event in simulator.world("file_events")]
    counts = Counter(event["event"][term] for event in events if fits(event))
    found = client.file_events.v2.search_groups(query.group_by(f"event.{term}"))
    assert {group.value: group.doc_count for group in found.groups} == counts
    assert [group.doc_count for group in found.groups] == sorted(counts.values(), reverse=True)
    assert found.problems is None


def test_there_are_no_more_groups_than_asked_for(client: incydr.Client) -> None:
    query = GroupingEventQuery().group_by("user.email").maximum_size(3)
    assert len(client.file_events.v2.search_groups(query).groups) == 3
