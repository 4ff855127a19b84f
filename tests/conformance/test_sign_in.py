"""Sign-ins, and the vendor client's handling of errors."""

import time

import incydr
import pytest
from conftest import sign_in
from incydr import EventQuery
from requests import HTTPError
from simulator import Simulator


def test_a_client_signs_in_once_and_knows_its_tenant(simulator: Simulator, client: incydr.Client) -> None:
    customer = client.customer.v1.get()
    assert customer.tenant_id == client.tenant_id == simulator.places["tenant"]
    assert customer.name
    assert customer.registration_key
    client.users.v1.get_page()
    assert [response.request.path_url for response in reversed(client.request_history)] == [
        "/v1/oauth",
        "/v1/customer",
        "/v1/users?page=1&pageSize=100",
    ]


def test_wrong_credentials_are_an_invalid_client(simulator: Simulator) -> None:
    with pytest.raises(HTTPError) as raised:
        sign_in(simulator, secret="wrong")
    assert raised.value.response.status_code == 401
    assert raised.value.response.json() == {"error": "invalid_client"}


def test_without_a_valid_token_nothing_is_served(client: incydr.Client) -> None:
    paths = ["/v1/users", "/v1/cases", "/v1/cases/1", "/v1/customer", "/v1/audit/search-audit-log", "/v2/file-events"]
    for path in paths:
        method = "POST" if path.endswith(("log", "events")) else "GET"
        with pytest.raises(HTTPError) as raised:
            client.session.request(method, path, json={}, auth=lambda request: request)
        assert raised.value.response.status_code == 401


def test_the_endpoints_that_only_the_guide_prints_are_not_there(client: incydr.Client) -> None:
    for method, path in [("POST", "/v1/oauth/token"), ("GET", "/v1/audit/log"), ("POST", "/v2/file-events/search")]:
        with pytest.raises(HTTPError) as raised:
            client.session.request(method, path, json={})
        assert raised.value.response.status_code == 404


def test_rate_limiting_is_waited_out_by_the_vendors_client(simulator: Simulator, client: incydr.Client) -> None:
    query = EventQuery(start_date="P2D")
    for endpoint, path, ask in [
        ("users", "/v1/users", client.users.v1.get_page),
        ("file_events", "/v2/file-events", lambda: client.file_events.v2.search(query)),
    ]:
        before = len(simulator.log())
        simulator.fault(endpoint, "rate_limited", nth=1, retry_after="1")
        started = time.monotonic()
        ask()
        assert time.monotonic() - started >= 1
        asked = [(entry["path"], entry["status"]) for entry in simulator.log()[before:]]
        assert asked == [(path, 429), (path, 200)]


@pytest.mark.parametrize(("fault", "status"), [("forbidden", 403), ("unauthorized", 401), ("status", 503)])
def test_an_error_status_raises(simulator: Simulator, client: incydr.Client, fault: str, status: int) -> None:
    simulator.fault("case_list", fault, nth=1, status=status, body="{}")
    with pytest.raises(HTTPError) as raised:
        client.cases.v1.get_page()
    assert raised.value.response.status_code == status
