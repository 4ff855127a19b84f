"""A long span, read beside the schedule: the state machine of infra/backfill.yaml with the real binary."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from emulated import ARCH, ROOT, Aws, Stack, until
from simulator import Simulator

MAIN = "incydr-collector-months"
STREAMS = ["audit", "file_events"]
# There are records in the last hour and on each of these days, counted back from today.
NOW, A_DAY, DAYS = 12, 24, range(2, 7)
TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def tenant() -> Iterator[Simulator]:
    with Simulator("--seed", 31, "--users", 1, "--cases", 0, "--audit", NOW, "--file-events", NOW) as tenant:
        for stream in STREAMS:
            now, older = tenant.world(stream), tenant.add(stream, A_DAY * len(DAYS))
            tenant.clear(stream)
            for text in now:
                tenant.push(stream, text)
            for number, text in enumerate(older):
                tenant.push(stream, at(text, day(DAYS[number // A_DAY]), number % A_DAY))
        yield tenant


def day(ago: int) -> date:
    return TODAY - timedelta(days=ago)


def at(text: str, day: date, hour: int) -> str:
    """The same record, moved to this hour."""
    moved, times = re.subn(r'("(?:timestamp|inserted)"\s*:\s*")[^"]{13}', rf"\g<1>{day}T{hour:02}", text)
    assert times == 1
    return moved


def span(first: int, last: int) -> dict[str, str]:
    """The span from the beginning of one day to the end of another. Days are counted back from today."""
    return {"from": f"{day(first)}T00:00:00Z", "to": f"{day(last - 1)}T00:00:00Z"}


@pytest.fixture(scope="module")
def live(aws: Aws, tenant: Simulator) -> Stack:
    """The collector after its first run."""
    parameters = {
        "BaseUrl": tenant.places["api"],
        "Architecture": ARCH,
        "ScheduleState": "DISABLED",
        "StateBucketName": "CREATE",
        "Streams": ",".join(STREAMS),
        "RequestsPerMinute": 120,
    }
    stack = aws.create(MAIN, parameters)
    credentials = {name: tenant.places[name] for name in ["client_id", "client_secret"]}
    secret = aws.client("secretsmanager")
    secret.put_secret_value(SecretId=stack.outputs["SecretArn"], SecretString=json.dumps(credentials))
    answer = tick(stack)
    assert answer.get("status") == "complete", answer
    assert records(answer) == NOW * len(STREAMS)
    return stack


@pytest.fixture(scope="module")
def backfill(aws: Aws, live: Stack) -> "Backfill":
    aws.run(ROOT / "infra" / "deploy-extra.sh", "months", "backfill")
    return Backfill(aws)


def tick(live: Stack) -> dict[str, Any]:
    return live.invoke({"source": "aws.scheduler"})


def records(answer: dict[str, Any]) -> int:
    return sum(stream["records"] for stream in answer["streams"].values())


class Backfill:
    """The backfill's state machine."""

    def __init__(self, aws: Aws) -> None:
        self.states = aws.client("stepfunctions")
        self.arn = aws.stack(f"{MAIN}-backfill").outputs["BackfillArn"]

    def start(self, given: dict[str, Any]) -> str:
        return self.states.start_execution(stateMachineArn=self.arn, input=json.dumps(given))["executionArn"]

    def latest(self) -> str | None:
        found = self.states.list_executions(stateMachineArn=self.arn)["executions"]
        return found[0]["executionArn"] if found else None

    def describe(self, execution: str) -> dict[str, Any]:
        return self.states.describe_execution(executionArn=execution)

    def end_of(self, execution: str) -> dict[str, Any]:
        return until(lambda: self.ended(execution), 120, "the execution ends")

    def ended(self, execution: str) -> dict[str, Any] | None:
        facts = self.describe(execution)
        return None if facts["status"] == "RUNNING" else facts

    def entered(self, execution: str) -> list[str]:
        """The states that it has entered, in order."""
        events = self.states.get_execution_history(executionArn=execution, maxResults=1000)["events"]
        return [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]

    def shards(self, execution: str) -> list[list[str]]:
        """How each shard ended, by round."""
        runs = self.states.list_map_runs(executionArn=execution)["mapRuns"]
        rounds = []
        for run in sorted(runs, key=lambda run: run["startDate"]):
            children = self.states.list_executions(mapRunArn=run["mapRunArn"])["executions"]
            rounds.append([json.loads(self.describe(child["executionArn"])["output"]) for child in children])
        return rounds


def checkpoint(aws: Aws, live: Stack) -> dict[str, Any]:
    key = {"Bucket": live.outputs["StateBucketName"], "Key": "incydr-collector/checkpoint.json"}
    return json.loads(aws.client("s3").get_object(**key)["Body"].read())


def reserved(aws: Aws, live: Stack) -> list[str]:
    """The shards that are reserved now."""
    streams = checkpoint(aws, live)["events"]
    return sorted(found["shard"] for stream in STREAMS for found in streams[stream].get("reserved", []))


def stored(live: Stack, stream: str) -> list[str]:
    return sorted(map(comparable, live.lines(stream)))


def shown(tenant: Simulator, stream: str, *days: int) -> list[str]:
    """The tenant's records of these days and of the last hour."""
    left_out = [day(ago) for ago in DAYS if ago not in days]
    return sorted(comparable(text) for text in tenant.world(stream) if on(text) not in left_out)


def on(text: str) -> date:
    return date.fromisoformat(re.search(r'"(?:timestamp|inserted)"\s*:\s*"([^"T]+)', text)[1])


def comparable(text: str) -> str:
    return json.dumps(json.loads(text))


def test_a_span_is_read_whole_beside_live_runs_though_some_shards_fail_for_a_while(
    aws: Aws, tenant: Simulator, live: Stack, backfill: Backfill
) -> None:
    make = ["make", "-C", ROOT, "backfill", "ENV=months", "REQUESTS=120"]
    given = [f"{name.upper()}={instant}" for name, instant in span(4, 2).items()]
    tenant.fault("audit_count", "status", status=400)
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(aws.run, *make, *given)
        execution = until(backfill.latest, 120, "the execution begins")
        # Until those of audit are given up for this round: all their tries have failed, and the others are done.
        until(lambda: "Next round" in backfill.entered(execution), 120, "a round ends")
        assert [shard.split("-")[0] for shard in reserved(aws, live)] == ["audit"] * 3
        tenant.clear_faults()
        # The first of them answers again while the state machine waits.
        ticks = ticking(live, said)
    assert '"status": "whole"' in said.result(), said.result()
    assert backfill.describe(execution)["status"] == "SUCCEEDED"
    assert [sorted(shards) for shards in backfill.shards(execution)] == [
        ["ThirdPartyGenericError"] * 3 + ["complete"] * 3,
        ["complete"] * 3,
    ]
    # One of them may meet the lease of a plan or merge.
    ran = [answer for answer in ticks if answer.get("status") != "skipped"]
    assert ran
    for answer in ran:
        assert answer.get("status") == "complete", answer
        # Nothing of the reserved time is stored, and it doesn't count as lag.
        assert records(answer) == 0
        assert all(stream["lag_s"] < 3600 for stream in answer["streams"].values())
    assert reserved(aws, live) == []
    for stream in STREAMS:
        assert "reserved" not in checkpoint(aws, live)["events"][stream]
        assert stored(live, stream) == shown(tenant, stream, 2, 3, 4)


def ticking(live: Stack, said: Future[str]) -> list[dict[str, Any]]:
    """Makes live runs until the backfill has ended."""
    answers = []
    while not said.done():
        answers.append(tick(live))
        time.sleep(0.2)
    return answers


def test_a_shard_that_fails_for_ever_fails_the_execution_and_another_goes_on_from_there(
    aws: Aws, tenant: Simulator, live: Stack, backfill: Backfill
) -> None:
    given = span(6, 6) | {"requests_per_minute": 120}
    tenant.fault("file_events", "status", status=400)
    facts = backfill.end_of(backfill.start(given))
    tenant.clear_faults()
    (left,) = reserved(aws, live)
    assert left.startswith("file_events-")
    assert (facts["status"], facts["error"]) == ("FAILED", "ShardsAreLeft")
    assert f'["ThirdPartyGenericError"]: ["{left}"]' in facts["cause"]
    # The records that shards read are stored and merged.
    assert stored(live, "audit") == shown(tenant, "audit", 2, 3, 4, 6)

    execution = backfill.start(given)
    facts = backfill.end_of(execution)
    assert facts["status"] == "SUCCEEDED", facts
    assert backfill.shards(execution) == [["complete"]]
    assert reserved(aws, live) == []
    for stream in STREAMS:
        assert stored(live, stream) == shown(tenant, stream, 2, 3, 4, 6)


def test_what_the_function_refuses_fails_at_once_and_says_why(backfill: Backfill) -> None:
    execution = backfill.start({"from": "yesterday"})
    facts = backfill.end_of(execution)
    assert (facts["status"], facts["error"]) == ("FAILED", "InvalidEvent")
    assert "yesterday" in facts["cause"]
    assert backfill.entered(execution) == ["Begin", "Plan"]
