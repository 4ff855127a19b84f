"""The commands of docs/deploy.md that try an API client without AWS, as they stand on the page."""

import re
import subprocess

import pytest
from simulator import ROOT, Simulator

ADDRESS = "https://api.us.code42.com"


def typed(simulator: Simulator, secret: str | None = None) -> str:
    """What the page's block prints, with id and secret as a person types them."""
    places = simulator.places
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(api=.*?)```", page, flags=re.DOTALL)
    assert block.count(ADDRESS) == 1
    done = subprocess.run(
        ["bash", "-c", block.replace(ADDRESS, places["api"])],
        input=f"{places['client_id']}\n{secret or places['client_secret']}\n",
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def statuses(printed: str) -> list[str]:
    return re.findall(r"^\((\d+)\)$", printed, flags=re.MULTILINE)


def test_who_may_read_everything_sees_one_row_of_each(simulator: Simulator) -> None:
    before = len(simulator.log())
    printed = typed(simulator)
    assert statuses(printed) == ["200", "200", "200"], printed
    assert all(key in printed for key in ('"users":[{', '"events":[{', '"fileEvents":[{')), printed
    assert [entry["path"] for entry in simulator.log()[before:]] == [
        "/v1/oauth",
        "/v1/users",
        "/v1/audit/search-audit-log",
        "/v2/file-events",
    ]


def test_a_refused_sign_in_is_shown_and_nothing_else_is_asked(simulator: Simulator) -> None:
    before = len(simulator.log())
    assert 'No token: {"error":"invalid_client"} (401)' in typed(simulator, secret="wrong")
    assert len(simulator.log()) == before + 1


@pytest.mark.parametrize("member", ['"access_token": ', '"access_token":', '"accessToken" : '])
def test_a_token_is_found_however_the_answer_is_written(simulator: Simulator, member: str) -> None:
    simulator.fault("sign_in", "status", nth=1, status=200, body=f'{{{member}"made-up", "expires_in": 900}}')
    printed = typed(simulator)
    assert "No token" not in printed and statuses(printed) == ["401", "401", "401"], printed


def test_what_is_not_permitted_answers_403(simulator: Simulator) -> None:
    simulator.fault("file_events", "forbidden", nth=1)
    assert statuses(typed(simulator)) == ["200", "200", "403"]
