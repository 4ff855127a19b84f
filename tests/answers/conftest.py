"""The lake of a simulated tenant, stored by the real binary; and lakes of records that a test writes itself."""

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "infra" / "answers"), str(ROOT / "tests" / "conformance")]

import engine  # noqa: E402
import views  # noqa: E402
from lambda_function import Function  # noqa: E402
from simulator import BINARIES, Simulator  # noqa: E402

SEED = 19
# The collector's streams. The records of actors' profiles are made here, because the simulator has none.
STREAMS = [stream for stream in views.keys() if stream not in {"collector_health", "response_actions", "actor_profiles"}]
Record = dict[str, Any]
# The requests to the responder. The API refuses the last one.
RESPONSES: list[Record] = [
    {"action": action, "request_id": f"of-{action}", "requested_by": "alice@example.com", "reason": "ticket 4711", "input": given}
    for action, given in [
        ("case.create", {"name": "A leaver", "description": "of the tests"}),
        ("actor.update", {"actor": "1", "notes": "leaves"}),
        ("case.delete", {"number": 1}),
    ]
]  # fmt: skip


@dataclass
class World:
    """A lake, and what the simulated API showed when it was collected."""

    lake: engine.Lake
    shown: dict[str, list[Record]]


def children(world: Simulator, dataset: str, parents: list[Record], key: str, n: int, member: str) -> list[Record]:
    """Adds to the lists of all parents. Each record begins with its parent's id, as it is stored."""
    added = []
    for parent in parents:
        for text in world.add(dataset, n, parent=str(parent[key])):
            added.append({member: parent[key], **json.loads(text)})
    return added


VECTORS = ["UPLOAD", "REMOVABLE_MEDIA", "CLOUD_SHARING", None]
PLACES = [("Cloud Storage", "Dropbox"), ("Email", "Gmail"), ("Device", None), (None, None), ("Messaging", "Slack")]
SEVERITIES = ["NO_RISK_INDICATED", "LOW", "MODERATE", "HIGH", "CRITICAL", None]
ACTIONS = ["file-created", "file-emailed", "file-deleted", "file-shared", "application-read", "new-action", None]
OBSERVERS = ["Endpoint", "GoogleDrive", "Gmail", None, "OneDrive"]
NAMES = ["plan.docx", "Main.RS", "no ending", "archive.tar.gz", None]


def various(event: Record) -> Iterator[Record]:
    """Events with more members than the simulator's, and with nulls. Three of them have the same file."""
    for n in range(120):
        category, name = PLACES[n % 5]
        severity = SEVERITIES[n % 6]
        yield event | {
            "@timestamp": f"{event['@timestamp'][:17]}{n % 60:02}.{n:03}Z",
            "event": event["event"] | {"id": f"various-{n}", "vector": VECTORS[n % 4], "action": ACTIONS[n % 7],
                                       "observer": OBSERVERS[n % 5]},
            "user": {"email": [f"Person{n % 7}@example.com", None][n % 13 == 0], "id": str(n % 7),
                     "deviceUid": [f"device-{n % 4}", None][n % 3 == 0]},
            "file": event["file"] | {"name": NAMES[n % 5], "category": ["Document", "SourceCode", None][n % 3],
                                     "sizeInBytes": [n * 1000, None][n % 11 == 0],
                                     "hash": {"md5": f"{n % 40:032x}", "sha256": f"{n % 40:064x}"}},
            "destination": event["destination"] | {"category": category, "name": name},
            "risk": event["risk"] | {"severity": severity, "score": [n % 10, None][severity is None],
                                     "trusted": [True, False, False, None][n % 4 if n % 5 else 0]},
        }  # fmt: skip


def profiles(today: date) -> list[Record]:
    """Profiles of people in the events and of others. Two of them leave within 30 days."""
    ends = [None, 0, 30, 31, -1, None, 400]
    return [
        {"actorId": str(n), "name": f"person{n}@example.com", "department": ["Sales", "Legal", None][n % 3],
         "endDate": None if ends[n] is None else str(today + timedelta(days=ends[n])), "active": True}
        for n in range(7)
    ]  # fmt: skip


def filled(world: Simulator) -> dict[str, list[Record]]:
    """Records of every dataset."""
    for event in various(json.loads(world.world("file_events")[0])):
        world.push("file_events", json.dumps(event))
    for dataset in [
        "sessions", "agents", "devices", "actors", "departments", "directory_groups", "roles", "orgs", "watchlists",
        "alert_rules", "trusted_activities", "risk_indicator_categories", "saved_searches", "legal_hold_matters",
        "legal_hold_policies",
    ]:  # fmt: skip
        world.add(dataset, 7)
    shown = {
        dataset: [json.loads(text) for text in world.world(dataset)]
        for dataset in [
            "file_events", "audit", "users", "cases", "sessions", "agents", "devices", "actors", "directory_groups",
            "roles", "orgs", "watchlists", "alert_rules", "trusted_activities", "risk_indicator_categories",
            "saved_searches",
            "legal_hold_matters", "legal_hold_policies", "customer",
        ]
    }  # fmt: skip
    # The list shows only these members of an actor. The rest is in the profile.
    item = {"actorId", "name", "active", "parentActorId", "newNumber"}
    shown["actors"] = [{name: actor[name] for name in actor if name in item} for actor in shown["actors"]]
    shown["departments"] = [{"name": json.loads(text)} for text in world.world("departments")]
    shown["members"] = children(world, "watchlist_members", shown["watchlists"], "watchlistId", 3, "_watchlistId")
    shown["custodians"] = children(world, "custodians", shown["legal_hold_matters"], "matterId", 2, "_matterId")
    shown["user_roles"] = children(world, "user_roles", shown["users"], "userId", 1, "_userId")
    alerted = [session for session in shown["sessions"] if session["triggeredAlerts"]]
    shown["session_events"] = children(world, "session_events", alerted, "sessionId", 2, "_sessionId")
    # The events of archived cases can't be read any more.
    shown["case_file_events"] = children(world, "case_file_events", shown["cases"], "number", 1, "_caseNumber")
    return shown


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from collected(SEED, tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="session")
def any_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A random tenant. SEED=n repeats one."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    print(f"SEED={seed}")
    yield from collected(seed, tmp_path_factory.mktemp("any"))


def collected(seed: int, directory: Path) -> Iterator[World]:
    with Simulator("--seed", seed, "--users", 20, "--cases", 6, "--audit", 300, "--file-events", 400) as simulator:
        shown = filled(simulator)
        environment = simulator.places["environment"] | {"STREAMS": ",".join(STREAMS), "REQUESTS_PER_MINUTE": "10000"}
        with Function(BINARIES / "incydr-collector", environment) as function:
            _, answer = function.invoke({"source": "aws.scheduler"}, 60)
        assert answer["status"] == "complete", answer
        respond(simulator)
        s3, bucket = simulator.s3(), simulator.places["bucket"]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="code42/")
        for key in [found["Key"] for page in pages for found in page.get("Contents", [])]:
            path = directory / key.removeprefix("code42/")
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, key, str(path))
    now = datetime.now(UTC)
    shown["actor_profiles"] = profiles(now.date())
    at = f"{now:%Y%m%dT%H%M%S000Z}"
    engine.store(directory, "actor_profiles", f"{at}-{at}", map(json.dumps, shown["actor_profiles"]))
    lake = engine.Lake(directory)
    yield World(lake, shown)
    lake.close()


def respond(simulator: Simulator) -> None:
    """Lets the real responder write its trail."""
    simulator.push("actors", json.dumps({"actorId": "1", "name": "a@example.com", "active": True, "notes": None}))
    allowed = ",".join(request["action"] for request in RESPONSES)
    with Function(BINARIES / "responder", simulator.places["environment"] | {"ALLOWED_ACTIONS": allowed, "NEEDS_APPROVAL": "none"}) as function:
        for request in RESPONSES:
            if request is RESPONSES[-1]:
                simulator.fault("write", "status", status=400, body='{"problem":"NO_EDITS_ONCE_CLOSED"}')
            how, answer = function.invoke(request, 60)
            assert how == ("error" if request is RESPONSES[-1] else "response"), answer
    simulator.clear_faults()


@dataclass
class Written:
    """Writes objects as the collector does, and queries them."""

    directory: Path
    now: datetime

    def put(self, stream: str, records: list[Record], ago: timedelta = timedelta(), suffix: str = "") -> None:
        at = f"{self.now - ago:%Y%m%dT%H%M%S000Z}"
        engine.store(self.directory, stream, f"{at}-{at}{suffix}", [json.dumps(record) for record in records])

    def lake(self) -> engine.Lake:
        return engine.Lake(self.directory)

    def time(self, ago: timedelta = timedelta()) -> str:
        return f"{self.now - ago:%Y-%m-%dT%H:%M:%S.000Z}"


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path, datetime.now(UTC).replace(microsecond=0))


Write = Callable[..., None]
