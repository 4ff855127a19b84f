"""Holds the requests of whole runs, and the simulator's answers, against the vendor's OpenAPI: `prism proxy` stands between
the collector and the simulator. Any report fails that no pattern below allows."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lambda_function import Function
from simulator import BINARIES, ROOT, Simulator

PRISM = "@stoplight/prism-cli@5.14.2"
LOG = ROOT / "target" / "prism.log"
STREAMS = (
    "file_events,audit,sessions,cases,users,agents,devices,actors,departments,directory_groups,trusted_activities,roles,orgs,"
    "risk_indicator_categories,customer,saved_searches,alert_rules,watchlists,legal_hold,case_file_events,session_events,"
    "user_roles,actor_profiles,environment_health"
)
SCHEDULED = {"source": "aws.scheduler"}
EVENTS = [SCHEDULED, SCHEDULED, {"action": "probe"}, {"action": "health"}]
# The requests that only these settings send: another collector with state of its own.
OPTIONAL = {
    "STREAMS": "audit,file_events",
    "AUDIT_SOURCE": "export",
    "S3_PREFIX": "optional/",
    "CHECKPOINT_KEY": "optional-state/checkpoint.json",
}
LISTS = (
    "sessions agents devices actors departments directory_groups trusted_activities roles orgs risk_indicator_categories "
    "saved_searches alert_rules watchlists legal_hold_matters legal_hold_policies"
).split()
# Each list of a record: the dataset of the record, and the member with its id.
CHILDREN = {
    "watchlist_members": ("watchlists", "watchlistId"),
    "included_actors": ("watchlists", "watchlistId"),
    "excluded_actors": ("watchlists", "watchlistId"),
    "included_departments": ("watchlists", "watchlistId"),
    "included_directory_groups": ("watchlists", "watchlistId"),
    "custodians": ("legal_hold_matters", "matterId"),
    "user_roles": ("users", "userId"),
    "rule_users": ("alert_rules", "id"),
    "session_events": ("sessions", "sessionId"),
    "case_file_events": ("cases", "number"),
}

# What the file itself gets wrong, or leaves out.
FILE = {
    r"request.body.groups.N.filters.N.value .* must be object,null": "a filter's value is typed as an object",
    r"response.body.searches.N.groups.N.filters.N.value .* must be object,null": "the same in a saved search",
    r"request No supported content types, but request included a non-empty body": "it has no body for the sign-in's form and the audit searches",
    r"request Selected route not found": "it lacks /v1/risk-indicator-categories, which the SDK asks for",
    r"response The received media type .* application/octet-stream": "it says octet-stream where its own example is JSON",
    r"response.body .* found '(access_token|token_type|expires_in)'": "it has the sign-in's members in camel case, against RFC 6749 and the SDK",
}
# Where the SDK says otherwise, which must be able to read the simulator. Nothing is nullable in the file; the SDK reads
# null in all of these.
NULLS = (
    "notes createdByUsername createdByUserUid parentActorId externalReference serialNumber orgExtRef deactivationDate lessonId userId "
    "externalReferenceInfo fileUpload download oneDrive googleDrive description watchlist riskSeverity riskIndicator fileTypeMismatch "
    "fileCategory education creatorUser region locality endDate division findings subject subjectUsername assignee "
    "assigneeUsername username parentOrgGuid principalType"
).split()
SDK = {
    rf"response.body\S*\b({'|'.join(NULLS)}) .* must be (string|object|equal to one of the allowed values: USER, .*)": "null, as in the SDK's models",
    r"response.body.(custodians|matters|agents|devices).N .* found '(name|creator|agentHealthModificationDate|orgGuid)'": "a member of the SDK's model",
    r"response.body.watchlists.N.stats .* found 'excluded(DirectoryGroups|Departments)Count'": "a member of the SDK's model",
    r"response.body.watchlists.N.listType .* must be equal to one of the allowed values: WATCHLISTTYPEUNSPECIFIED, .*": "with underscores",
    r"response.body.trustedActivities.N.activityId .* must be integer": "text in the SDK's model",
    r"response.body.mode .* must be integer": "text in the SDK's model",
}
# The simulator's own: numbers that a client may not round.
OURS = {
    r"response.body\S* .* found 'newNumber'": "a member that nobody knows, with a number in an odd form",
    r"response.body\S*(sizeInBytes|sizeGreaterThanInBytes) .* must be <= N": "a number above 2^53",
}
ALLOWED = FILE | SDK | OURS


def violations(log: str) -> Counter[str]:
    """Prism's reports, with each number as N."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    return Counter(re.sub(r"\d+", "N", found) for found in re.findall(r"Violation: (.*)", plain))


def is_allowed(report: str) -> bool:
    return any(re.fullmatch(pattern, report) for pattern in ALLOWED)


def fill(simulator: Simulator) -> None:
    for dataset in LISTS:
        simulator.add(dataset, 5)
    for child, (parents, member) in CHILDREN.items():
        for raw in simulator.world(parents)[:3]:
            simulator.add(child, 2, parent=str(json.loads(raw)[member]))


@contextmanager
def proxy(openapi: Path, upstream: str) -> Iterator[str]:
    """Yields the proxy's address. Its reports are in `LOG` afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["npx", "--yes", PRISM, "proxy", str(openapi), upstream, "-h", "127.0.0.1", "-p", str(port)]
    with LOG.open("w") as log:
        prism = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        for _ in range(600):
            if "Prism is listening" in LOG.read_text():
                break
            assert prism.poll() is None, LOG.read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(prism.pid, signal.SIGTERM)
        prism.wait()


def answer(function: Function, event: dict[str, Any]) -> str | None:
    """Returns what is wrong with an answer."""
    how, told = function.invoke(event, 240)
    status = told.get("status") if how == "response" else told
    return None if status == "complete" else f"{event}: {status}"


def main(openapi: Path) -> int:
    arguments = ("--seed", 5, "--users", 12, "--cases", 6, "--audit", 120, "--file-events", 150)
    with Simulator(*arguments) as simulator:
        fill(simulator)
        with proxy(openapi, simulator.places["api"]) as address:
            environment = simulator.places["environment"] | {
                "STREAMS": STREAMS,
                "INCYDR_BASE_URL": address,
                "REQUESTS_PER_MINUTE": "100000",
                "INVENTORY_INTERVAL_MINUTES": "0",
            }
            search = str(json.loads(simulator.world("saved_searches")[0])["id"])
            optional = environment | OPTIONAL | {"FE_QUERY_JSON": json.dumps({"savedSearch": search})}
            wrong = []
            for settings, events in [(environment, EVENTS), (optional, [SCHEDULED])]:
                with Function(BINARIES / "incydr-collector", settings) as function:
                    wrong += [told for event in events if (told := answer(function, event))]
        requests = len(simulator.log())
    found = violations(LOG.read_text())
    wrong += [f"{count} times: {report}" for report, count in found.items() if not is_allowed(report)]
    print("\n".join(wrong) or f"Of {requests} requests nothing was reported but what is allowed, {found.total()} times.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
