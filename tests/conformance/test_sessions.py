"""Sessions and the file events of sessions and cases, by the vendor's client."""

import json
from collections.abc import Iterator
from typing import Any

import incydr
import pytest
from conftest import sign_in
from records import difference, moment
from requests import HTTPError
from simulator import Simulator, texts

Session = dict[str, Any]


@pytest.fixture(scope="module")
def tenant() -> Iterator[Simulator]:
    with Simulator("--seed", 9, "--users", 0, "--cases", 2, "--audit", 0, "--file-events", 0) as simulator:
        simulator.add("actors", 7)
        simulator.add("sessions", 61, with_alerts=True)
        simulator.add("sessions", 20, with_alerts=False)
        yield simulator


@pytest.fixture
def client(tenant: Simulator) -> Iterator[incydr.Client]:
    yield sign_in(tenant)
    tenant.clear_faults()


@pytest.fixture
def sessions(tenant: Simulator) -> list[Session]:
    return [json.loads(session) for session in tenant.world("sessions")]


def ids(sessions: list[Session]) -> list[str]:
    return [session["sessionId"] for session in sessions]


def with_alerts(sessions: list[Session], wanted: bool = True) -> list[Session]:
    return [session for session in sessions if bool(session["triggeredAlerts"]) == wanted]


@pytest.mark.parametrize("alerts", [True, False])
@pytest.mark.parametrize("size", [1, 10, 20, 50])
def test_the_pages_hold_every_session(client: incydr.Client, sessions: list[Session], size: int, alerts: bool) -> None:
    expected = {session["sessionId"]: session for session in with_alerts(sessions, alerts)}
    found = list(client.sessions.v1.iter_all(page_size=size, has_alerts=alerts))
    assert sorted(session.session_id for session in found) == sorted(expected)
    for session in found:
        assert difference(expected[session.session_id], json.loads(session.json())) is None
    assert client.sessions.v1.get_page(has_alerts=alerts).total_count == len(expected)


def test_alerts_are_wanted_unless_said_otherwise(client: incydr.Client, sessions: list[Session]) -> None:
    page = client.session.get("/v1/sessions", params={}).json()
    assert page["totalCount"] == len(with_alerts(sessions))
    assert len(page["items"]) == 10, "where nobody says how many (OpenAPI)"


@pytest.mark.parametrize("size", [0, 51])
def test_a_page_of_another_size_is_refused(client: incydr.Client, size: int) -> None:
    with pytest.raises(HTTPError) as raised:
        client.sessions.v1.get_page(page_size=size)
    assert raised.value.response.status_code == 400


def test_an_id_is_the_actors_and_the_beginning(tenant: Simulator, sessions: list[Session]) -> None:
    actors = {json.loads(actor)["actorId"] for actor in tenant.world("actors")}
    for session in sessions:
        assert session["sessionId"] == f"{session['actorId']}_{session['beginTime']}"
    assert {session["actorId"] for session in sessions} == actors


def test_the_last_to_end_comes_first(client: incydr.Client, sessions: list[Session]) -> None:
    in_order = [session["endTime"] for session in sorted(with_alerts(sessions), key=lambda session: session["endTime"])]
    for direction, expected in [(None, in_order[::-1]), ("desc", in_order[::-1]), ("asc", in_order)]:
        found = client.sessions.v1.iter_all(page_size=7, sort_dir=direction)
        assert [session.end_time for session in found] == expected


def test_a_span_of_beginnings_includes_its_start_alone(client: incydr.Client, sessions: list[Session]) -> None:
    begins = sorted(session["beginTime"] for session in with_alerts(sessions))
    start, end = begins[10], begins[30]
    for span in [(start, end), (moment(start), moment(end))]:
        found = client.sessions.v1.iter_all(start_time=span[0], end_time=span[1], page_size=6)
        assert sorted(session.begin_time for session in found) == begins[10:30]


def test_an_actors_sessions_are_found(client: incydr.Client, sessions: list[Session]) -> None:
    actor = sessions[0]["actorId"]
    expected = [session for session in with_alerts(sessions) if session["actorId"] == actor]
    found = client.sessions.v1.iter_all(actor_id=actor)
    assert sorted(session.session_id for session in found) == sorted(ids(expected))


def test_a_session_has_a_detail_and_events(tenant: Simulator, client: incydr.Client) -> None:
    first, second = (text for text in tenant.world("sessions")[:2])
    session, other = json.loads(first)["sessionId"], json.loads(second)["sessionId"]
    client.sessions.v1.get_session_details(session)
    assert client.request_history[0].text == first
    sent = tenant.add("session_events", 12, parent=session)
    page = client.sessions.v1.get_session_events(session)
    assert (page.total_count, page.next_pg_token, page.problems) == (12, None, None)
    assert texts(client.request_history[0].text) == sent
    assert [event.event.id for event in page.file_events] == [json.loads(event)["event"]["id"] for event in sent]
    assert client.sessions.v1.get_session_events(other).file_events == []
    for ask in (client.sessions.v1.get_session_details, client.sessions.v1.get_session_events):
        with pytest.raises(HTTPError) as raised:
            ask("nobody_0")
        assert raised.value.response.status_code == 404


def test_a_case_lists_summaries_of_whole_events(tenant: Simulator, client: incydr.Client) -> None:
    sent = tenant.add("case_file_events", 43, parent="1")
    found: dict[str, Any] = {}
    for number, expected in [(1, 20), (2, 20), (3, 3), (4, 0)]:
        page = client.cases.v1.get_file_events(1, page_num=number, page_size=20)
        assert (len(page.events), page.total_count) == (expected, 43)
        found |= {event.event_id: event for event in page.events}
    for text in sent:
        event = json.loads(text)
        summary = found.pop(event["event"]["id"])
        assert (summary.file_name, summary.file_path) == (event["file"]["name"], event["file"]["directory"])
        assert (summary.risk_score, summary.risk_severity) == (event["risk"]["score"], event["risk"]["severity"])
    assert not found
    assert client.cases.v1.get_file_events(2).events == []


def test_a_cases_file_event_is_there_as_a_whole(tenant: Simulator, client: incydr.Client) -> None:
    # Among so many there is one with a quote in its id.
    sent = tenant.add("case_file_events", 45, parent="2")
    for text in sent:
        event = client.cases.v1.get_file_event_detail(2, json.loads(text)["event"]["id"])
        assert client.request_history[0].text == text
        assert event.event.id == json.loads(text)["event"]["id"]
    assert any('"' in json.loads(text)["event"]["id"] for text in sent)
    for number, event in [(2, "nothing"), (3, json.loads(sent[0])["event"]["id"])]:
        with pytest.raises(HTTPError) as raised:
            client.cases.v1.get_file_event_detail(number, event)
        assert raised.value.response.status_code == 404
