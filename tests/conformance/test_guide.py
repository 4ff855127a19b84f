"""The guide's function and the collector over the same world: what the former loses and the latter doesn't.

An hour is twelve minutes here, so that three runs fit into the world's hour. The first and the third run are
undisturbed. The second starts four minutes late, and the API fails in the middle of it.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from earlier import Earlier
from guide import Guide
from lambda_function import Function
from records import millis
from simulator import BINARIES, ROOT, Simulator

HOUR = timedelta(minutes=3)
MILLISECOND = timedelta(milliseconds=1)
SETTINGS = {
    "LOOKBACK_MINUTES": "3", "SETTLE_SECONDS": "90", "PAGE_SIZE": "50", "FE_PAGE_SIZE": "100", "AUDIT_PAGE_SIZE": "50",
}
LAST_HOUR = {"groups": [{"filters": [{"term": "event.inserted", "operator": "WITHIN_THE_LAST", "value": "PT3M"}]}]}
# The collector's first run looks back from the time at which it reaches the stream, and leaves the most recent events
# to its next run.
STARTED = timedelta(seconds=10)
SETTLED = timedelta(seconds=100)
STREAMS = ("users", "audit", "cases", "file_events")
TABLE = ROOT / "target" / "guide-comparison.txt"

Record = dict[str, Any]


@dataclass
class Story:
    """The world's records, the records that each program stored, and the times of the runs."""

    runs: list[datetime]
    world: dict[str, list[str]]
    late: Record
    guide: dict[str, list[Record]] = field(default_factory=lambda: {stream: [] for stream in STREAMS})
    guide_errors: list[Record] = field(default_factory=list)
    collector: dict[str, list[str]] = field(default_factory=dict)
    answers: list[tuple[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, int, int, int]] = field(default_factory=list)

    def compare(self, what: str, stream: str, fits: Callable[[Record], bool]) -> tuple[int, int, int]:
        """Counts the records of a kind, and how many of them each program has. Notes that for the table."""
        there = Counter(identity(stream, record) for text in self.world[stream] if fits(record := json.loads(text)))
        guide = Counter(identity(stream, record) for record in self.guide[stream])
        collector = Counter(identity(stream, json.loads(record)) for record in self.collector[stream])
        figures = there.total(), (there & guide).total(), (there & collector).total()
        self.rows.append((what, *figures))
        return figures

    def is_due(self, stream: str, record: Record) -> bool:
        """Whether the collector must have the record after its last run."""
        match stream:
            case "users":
                return True
            case "cases":
                return at(stream, record) <= self.runs[2] - timedelta(seconds=2)
        return self.runs[0] - HOUR + STARTED <= at(stream, record) < self.runs[2] - SETTLED


def identity(stream: str, record: Record) -> str:
    """Audit events have no id. Two equal ones are two events."""
    match stream:
        case "users":
            return record["userId"]
        case "cases":
            return str(record["number"])
        case "file_events":
            return record["event"]["id"]
    return json.dumps(record, sort_keys=True)


def at(stream: str, record: Record) -> datetime:
    match stream:
        case "audit":
            text = record["timestamp"]
        case "cases":
            text = record["updatedAt"]
        case _:
            text = record["event"]["inserted"]
    return datetime.fromtimestamp(millis(text) / 1000, UTC)


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    size = ("--users", 120, "--cases", 200, "--audit", 2000, "--file-events", 8000)
    with Simulator("--seed", 11, "--guide-endpoints", *size) as simulator:
        story = play(simulator)
    yield story
    print_table(story)


def play(simulator: Simulator) -> Story:
    # The world's hour ended six minutes ago. A clock is believed if it is at most fifteen minutes behind.
    third = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=390)
    runs = [third - HOUR * 2 - timedelta(minutes=1), third - HOUR, third]
    world = {stream: simulator.world(stream) for stream in STREAMS}
    events = sorted((json.loads(event) for event in world["file_events"]), key=lambda event: at("file_events", event))
    # Its time is a minute before the first run, which doesn't see it yet.
    late = next(e for e in reversed(events) if at("file_events", e) < runs[0] - timedelta(minutes=1))
    story = Story(runs, world, late)

    environment = simulator.places["environment"] | SETTINGS | {"REQUESTS_PER_MINUTE": "100000"}
    credentials = {
        "INCYDR_CLIENT_ID": simulator.places["client_id"],
        "INCYDR_CLIENT_SECRET": simulator.places["client_secret"],
    }
    with Earlier(simulator.places["api"], runs[0]) as api:
        environment["INCYDR_BASE_URL"] = api.url
        guide_environment = environment | credentials | {"S3_PREFIX": "guide/", "FE_QUERY_JSON": json.dumps(LAST_HOUR)}
        guide = Guide(guide_environment, simulator.s3())
        for number, now in enumerate(runs):
            api.now = now
            api.hidden_events = {late["event"]["id"]} if number == 0 else set()
            if number == 1:
                fail_in_the_middle(simulator)
            guide.run(now)
            # A cold start each time. A warm process remembers how far behind the API's clock was.
            with Function(BINARIES / "incydr-collector", environment) as collector:
                story.answers.append(collector.invoke({"source": "aws.scheduler"}))
            simulator.clear_faults()
    read_bucket(simulator, story)
    return story


def fail_in_the_middle(simulator: Simulator) -> None:
    """Each program gets one 500 and one 401 on a page of events that is not its first request."""
    for endpoint in ("guide_file_events", "file_events"):
        simulator.fault(endpoint, "status", nth=2, status=500, body='{"message": "Internal Server Error"}')
    simulator.fault("guide_audit", "unauthorized", nth=2)
    simulator.fault("audit_search", "unauthorized", nth=1)


def read_bucket(simulator: Simulator, story: Story) -> None:
    s3, bucket = simulator.s3(), simulator.places["bucket"]

    def objects(prefix: str) -> Iterator[bytes]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                yield s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()

    lists = {"users": "users", "audit": "events", "cases": "cases", "file_events": "fileEvents"}
    for stream, name in lists.items():
        for body in objects(f"guide/{stream}/"):
            page = json.loads(body)
            story.guide[stream] += page.get(name, [])
            story.guide_errors += [page] if name not in page else []
        lines = [gzip.decompress(body).decode().split("\n") for body in objects(f"code42/{stream}/")]
        story.collector[stream] = [line for held in lines for line in held if line]


def print_table(story: Story) -> None:
    rows = [f"{'':<58}{'there':>8}{'guide':>8}{'collector':>11}"]
    rows += [f"{what:<58}{there:>8}{guide:>8}{collector:>11}" for what, there, guide, collector in story.rows]
    text = "The guide's function and the collector: three runs over one world\n\n" + "\n".join(rows) + "\n"
    TABLE.write_text(text, "utf-8")
    print(f"\n\n{text}")


def test_both_ran_three_times(story: Story) -> None:
    assert [how for how, _ in story.answers] == ["response"] * 3, story.answers
    assert [answer["status"] for _, answer in story.answers] == ["complete"] * 3


def test_pages_behind_an_error_are_lost_to_the_guide(story: Story) -> None:
    start, run = story.runs[1] - HOUR, story.runs[1]
    # An event at the very instant of a run is on the guide's last page, and its next run sees it. In the other order it
    # would be on the first page.
    for stream, page, error, end in [("file_events", 100, 500, run), ("audit", 50, 401, run + MILLISECOND)]:
        what = f"{stream} of the hour whose second page answers {error}"
        there, guide, collector = story.compare(what, stream, lambda r, s=stream, end=end: start <= at(s, r) < end)
        assert guide == page < there == collector


def test_error_bodies_are_records_to_the_guide(story: Story) -> None:
    told = sorted(error.get("message") or error["error"] for error in story.guide_errors)
    assert told == ["Internal Server Error", "Unauthorized"]
    lines = [json.loads(line) for stream in STREAMS for line in story.collector[stream]]
    errors = [line for line in lines if "message" in line or "error" in line]
    story.rows.append(("error bodies stored as if they were records", 0, len(told), len(errors)))
    assert errors == []


def test_what_lies_between_two_runs_is_lost_to_the_guide(story: Story) -> None:
    first, looked_back_to = story.runs[0], story.runs[1] - HOUR
    for stream in ("file_events", "audit"):
        what = f"{stream} between two runs, the second a third late"
        there, guide, collector = story.compare(what, stream, lambda r, s=stream: first < at(s, r) < looked_back_to)
        assert guide == 0 < there == collector


def test_an_event_that_shows_up_late_is_lost_to_the_guide(story: Story) -> None:
    what = "file event that shows up after the run of its own hour"
    assert story.compare(what, "file_events", lambda event: event == story.late) == (1, 0, 1)


def test_everything_else_the_guide_does_have(story: Story) -> None:
    """In the first hour nothing is disturbed, so the comparison is fair."""
    start, end = story.runs[0] - HOUR + STARTED, story.runs[0]
    for stream in ("file_events", "audit"):
        there, guide, collector = story.compare(
            f"{stream} of an undisturbed hour", stream, lambda r, s=stream: start <= at(s, r) <= end and r != story.late
        )
        assert guide == there == collector > 0


def test_leavers_are_hidden_from_the_guide(story: Story) -> None:
    there, guide, collector = story.compare(
        "users who left: deactivated or blocked", "users", lambda user: not user["active"] or user["blocked"]
    )
    assert guide == 0 < there == collector


def test_users_beyond_the_first_page_are_lost_to_the_guide(story: Story) -> None:
    working = [user for text in story.world["users"] if (user := json.loads(text))["active"] and not user["blocked"]]
    beyond = {user["userId"] for user in working[50:]}
    there, guide, collector = story.compare("users beyond the first page", "users", lambda u: u["userId"] in beyond)
    assert guide == 0 < there == collector
    assert len(story.guide["users"]) == 3 * 50, "the first page, in every run"


def test_all_details_of_cases_are_lost_to_the_guide(story: Story) -> None:
    details = [sum("description" in case for case in held) for held in (story.guide["cases"], parsed(story, "cases"))]
    story.rows.append(("cases with description and findings", len(story.collector["cases"]), *details))
    assert details[0] == 0 < details[1] == len(story.collector["cases"])


def test_the_collector_has_every_record_once_byte_for_byte(story: Story) -> None:
    for stream in STREAMS:
        world, stored = map(compact, story.world[stream]), Counter(story.collector[stream])
        assert stored - Counter(world) == Counter(), "nothing twice, nothing changed"
        due = Counter(compact(text) for text in story.world[stream] if story.is_due(stream, json.loads(text)))
        assert due - stored == Counter(), "nothing lost"


def parsed(story: Story, stream: str) -> list[Record]:
    return [json.loads(line) for line in story.collector[stream]]


def compact(text: str) -> str:
    """Removes the spaces between tokens."""
    return re.sub(r'("(?:[^"\\]|\\.)*")|\s+', lambda match: match[1] or "", text)
