"""infra/notify.yaml: each record of a new object becomes one event, with exactly the rights that this needs, and
reaches its receivers."""

import gzip
import json
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from rendered import ROOT, Rendered, listed, source, statements

NOTIFY = ROOT / "infra" / "notify.yaml"
GIVEN = {"Notify": "EVENTBRIDGE", "RecordsBucketName": "records", "SlackUrl": "https://hooks.slack.com/services/T/B/x", "TicketUrl": "https://t.example.com/"}
KEY = "code42/sessions/dt=2026-11-21/hour=13/20261121T130000000Z-20261121T130000000Z.ndjson.gz"
HEALTH = KEY.replace("sessions", "collector_health")

SESSION = {
    "sessionId": "1_2", "actorId": "1", "actorName": "somebody@example.com", "type": "STANDARD",
    "scores": [{"score": 2, "severity": 1, "sourceTimestamp": 10}, {"score": 13, "severity": 4, "sourceTimestamp": 30},
               {"score": 9, "severity": 3, "sourceTimestamp": 20}],
    "states": [{"state": "OPEN_NEW_DATA", "sourceTimestamp": 5}, {"state": "OPEN", "sourceTimestamp": 3}],
    "triggeredAlerts": [{"ruleId": "r1", "ruleName": "A \"quoted\" rule"}, {"ruleId": "r2", "ruleName": None}],
    "exfiltrationSummary": "secret-plan.docx moved", "contextSummary": "secret-plan.docx",
    "notes": [{"content": "secret-plan.docx"}],
}  # fmt: skip
STOPPED = {"stream": "audit", "state": "stopped", "previous": "error", "at": "2026-11-21T13:05:02.114Z", "run_id": "r",
           "error": {"type": "ThirdPartyConfigError", "message": "refuses the credentials"}}  # fmt: skip


@pytest.fixture(scope="module")
def stack() -> Rendered:
    return Rendered(source(NOTIFY), **GIVEN)


class Aws:
    """S3 and EventBridge as the function sees them. Logs the calls."""

    def __init__(self, objects: dict[str, list[Any]], refuses: int = 0) -> None:
        self.objects = {key: gzip.compress("".join(json.dumps(record) + "\n" for record in of).encode()) for key, of in objects.items()}
        self.refuses = refuses
        self.calls: list[tuple[str, str]] = []
        self.entries: list[dict[str, Any]] = []
        self.sizes: list[int] = []

    def client(self, name: str) -> "Aws":
        return self

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self.calls.append(("s3:GetObject", f"arn:aws:s3:::{Bucket}/{Key}"))
        body = types.SimpleNamespace(read=lambda: self.objects[Key])
        return {"Body": body}

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        # Sizes as AWS calculates them: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
        parts = [entry[part] for entry in Entries for part in ["Source", "DetailType", "Detail"]]
        parts += [resource for entry in Entries for resource in entry["Resources"]]
        assert 1 <= len(Entries) <= 10 and sum(len(part.encode()) for part in parts) <= 256 * 1024
        self.sizes.append(len(Entries))
        self.calls.append(("events:PutEvents", Entries[0]["EventBusName"]))
        self.entries += Entries
        return {"FailedEntryCount": min(self.refuses, len(Entries))}


@pytest.fixture
def teller(stack: Rendered, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    properties = stack.resources["Teller"]["Properties"]
    for name, value in properties["Environment"]["Variables"].items():
        monkeypatch.setitem(os.environ, name, value)

    def run(aws: Aws, key: str) -> int:
        monkeypatch.setitem(sys.modules, "boto3", types.SimpleNamespace(client=aws.client))
        module: dict[str, Any] = {}
        exec(properties["Code"]["ZipFile"], module)
        return module["handler"](notice(key), None)

    yield run


def notice(key: str) -> dict[str, Any]:
    """An event in the form in which S3 sends it to EventBridge."""
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "records"}, "object": {"key": key}}}


def matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    """EventBridge's rules, as far as they are used here."""
    for name, wanted in pattern.items():
        held = event.get(name)
        if isinstance(wanted, dict):
            if not isinstance(held, dict) or not matches(wanted, held):
                return False
        elif not any(held.startswith(one["prefix"]) if isinstance(one, dict) else held == one for one in wanted):
            return False
    return True


def event_of(entry: dict[str, Any]) -> dict[str, Any]:
    return {"source": entry["Source"], "detail-type": entry["DetailType"], "detail": json.loads(entry["Detail"])}


def test_each_session_is_one_event_with_what_it_is_now_and_no_file_name(teller: Any) -> None:
    aws = Aws({KEY: [SESSION, {"sessionId": "2_3"}]})
    assert teller(aws, KEY) == 2
    first, second = map(event_of, aws.entries)
    assert first["source"] == "incydr-collector" and first["detail-type"] == "Incydr Session"
    text = first["detail"].pop("text")
    assert first["detail"] == {
        "id": "1_2", "severity": 4, "level": "CRITICAL", "state": "OPEN_NEW_DATA", "type": "STANDARD",
        "actor": "somebody@example.com", "rules": ['A "quoted" rule', "r2"], "key": KEY, "line": 0,
        "title": "Incydr Session 1_2: CRITICAL",
    }  # fmt: skip
    assert "somebody@example.com" in text and KEY in text
    assert "secret-plan" not in json.dumps(aws.entries)
    assert (second["detail"]["id"], second["detail"]["severity"], second["detail"]["line"]) == ("2_3", None, 1)


@pytest.mark.parametrize("record, level", [
    (STOPPED, "CRITICAL"),
    ({**STOPPED, "error": None}, "NONE"),
    ({**STOPPED, "state": "error"}, "MODERATE"),
    ({"stream": "audit", "state": "collecting", "stuck": {"count": 1}}, "MODERATE"),
    ({"stream": "audit", "state": "collecting", "previous": "error"}, "NONE"),
])  # fmt: skip
def test_each_change_of_the_collectors_health_is_one_event(teller: Any, record: dict[str, Any], level: str) -> None:
    aws = Aws({HEALTH: [record]})
    assert teller(aws, HEALTH) == 1
    event = event_of(aws.entries[0])
    assert event["detail-type"] == "Incydr Collector Health"
    assert (event["detail"]["id"], event["detail"]["state"], event["detail"]["level"]) == ("audit", record["state"], level)


def test_only_objects_of_these_two_are_asked_for(stack: Rendered, teller: Any) -> None:
    pattern = stack.resources["NewObjects"]["Properties"]["EventPattern"]
    assert matches(pattern, notice(KEY)) and matches(pattern, notice(HEALTH))
    assert not matches(pattern, notice(KEY.replace("sessions", "session_events")))
    assert not matches(pattern, notice("incydr-collector/checkpoint.json"))
    aws = Aws({})
    assert teller(aws, KEY.replace("sessions", "session_events")) == 0 and aws.calls == []


def test_many_records_go_five_at_a_time_and_a_refusal_tells_all_again(teller: Any) -> None:
    aws = Aws({KEY: [{"sessionId": str(n)} for n in range(23)]})
    assert teller(aws, KEY) == 23
    assert aws.sizes == [5, 5, 5, 5, 3]
    assert [event_of(entry)["detail"]["id"] for entry in aws.entries] == [str(n) for n in range(23)]
    with pytest.raises(RuntimeError, match="1 events of code42/sessions/"):
        teller(Aws({KEY: [SESSION]}, refuses=1), KEY)


def test_the_longest_names_fit_into_a_call(teller: Any) -> None:
    alerts = [{"ruleName": "ü" * 300}] * 60
    aws = Aws({KEY: [{"sessionId": "1" * 40, "actorName": "ü" * 300, "triggeredAlerts": alerts}] * 10})
    assert teller(aws, KEY) == 10


def test_what_is_kept_is_an_alarm(stack: Rendered) -> None:
    alarm = stack.resources["SomethingUntold"]["Properties"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "Untold.QueueName"}] and alarm["Threshold"] == 1
    topic = "arn:aws:sns:us-east-1:123456789012:alarms"
    told = Rendered(source(NOTIFY), **GIVEN, AlarmTopicArn=topic).resources["SomethingUntold"]["Properties"]
    assert told["AlarmActions"] == told["OKActions"] == [topic] and "AlarmActions" not in alarm
    section = alarm["AlarmDescription"].split("Runbook: infra/README.md, ")[1].strip().rstrip(".")
    assert f"\n### {section}\n" in (ROOT / "infra" / "README.md").read_text("utf-8")


def test_what_fails_is_tried_again_and_then_kept(stack: Rendered) -> None:
    retries = stack.resources["Retries"]["Properties"]
    assert retries["MaximumRetryAttempts"] == 2
    untold = "arn:aws:sqs:us-east-1:123456789012:untold"
    assert retries["DestinationConfig"]["OnFailure"]["Destination"] == untold
    for name in ["NewObjects", "ToSlack", "ToTickets"]:
        (target,) = stack.resources[name]["Properties"]["Targets"]
        assert target["DeadLetterConfig"]["Arn"] == untold


def test_its_rights_are_what_it_does_and_no_more(stack: Rendered, teller: Any) -> None:
    aws = Aws({KEY: [SESSION], HEALTH: [STOPPED]})
    teller(aws, KEY)
    teller(aws, HEALTH)
    allowed = {(action, resource) for right in statements(stack.resources["TellerRole"])
               for action in listed(right["Action"]) for resource in listed(right["Resource"])}  # fmt: skip
    used = set()
    for action, resource in aws.calls:
        if action == "events:PutEvents":
            resource = f"arn:aws:events:us-east-1:123456789012:event-bus/{resource}"
        right = next(one for one in allowed if one[0] == action and resource.startswith(one[1].rstrip("*")))
        used.add(right)
    others = {action for action, _ in allowed - used}
    assert others == {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}
    assert not any("Delete" in action or action == "s3:PutObject" for action, _ in allowed)


@pytest.mark.parametrize("least", ["HIGH", "CRITICAL", "NONE"])
def test_slack_and_tickets_are_told_of_what_is_grave(teller: Any, least: str) -> None:
    stack = Rendered(source(NOTIFY), **GIVEN, LeastLevel=least)
    aws = Aws({KEY: [SESSION, {"sessionId": "low", "scores": [{"severity": 1}], "states": [{"state": "OPEN"}]},
                     {**SESSION, "states": [{"state": "CLOSED"}]}], HEALTH: [STOPPED]})  # fmt: skip
    teller(aws, KEY)
    teller(aws, HEALTH)
    critical, low, closed, stopped = map(event_of, aws.entries)
    slack, tickets = (stack.resources[name]["Properties"]["EventPattern"] for name in ["ToSlack", "ToTickets"])
    assert matches(slack, critical) and matches(slack, closed) and matches(slack, stopped)
    assert matches(slack, low) == (least == "NONE")
    # A ticket is created for an open session.
    assert matches(tickets, critical) and matches(tickets, stopped) and not matches(tickets, closed)


@pytest.mark.parametrize("rule, fields", [("ToSlack", {"text"}), ("ToTickets", {"short_description", "description", "correlation_id"})])
def test_what_they_get_is_json_whatever_a_rule_is_called(stack: Rendered, teller: Any, rule: str, fields: set[str]) -> None:
    aws = Aws({KEY: [SESSION]})
    teller(aws, KEY)
    event = event_of(aws.entries[0])
    (target,) = stack.resources[rule]["Properties"]["Targets"]
    transformer = target["InputTransformer"]
    body = transformer["InputTemplate"]
    for name, path in transformer["InputPathsMap"].items():
        # Text outside of quotes includes the quotes of its values.
        body = body.replace(f"<{name}>", json.dumps(event["detail"][path.removeprefix("$.detail.")]))
    assert set(json.loads(body)) == fields


def test_nobody_is_called_unless_an_address_is_given() -> None:
    bare = Rendered(source(NOTIFY), RecordsBucketName="records")
    assert not {"ToSlack", "ToTickets", "CallerRole", "SlackConnection", "TicketConnection"} & set(bare.resources)
    parameters = source(NOTIFY)["Parameters"]
    assert all(parameters[name].get("NoEcho") for name in ["SlackUrl", "TicketAuthorization"])


def test_what_make_deploy_fills_in_the_collectors_stack_has() -> None:
    outputs = set(source()["Outputs"])
    filled = {"RecordsBucketName", "S3Prefix", "KmsKeyArn", "PermissionsBoundaryArn", "RolePath", "Notify"}
    assert filled <= outputs & set(source(NOTIFY)["Parameters"])


def test_where_nobody_tells_of_new_objects_it_is_refused() -> None:
    template = source(NOTIFY)
    assert template["Parameters"]["Notify"]["AllowedValues"] == source()["Parameters"]["Notify"]["AllowedValues"]
    assert "Default" not in template["Parameters"]["Notify"]
    (assertion,) = template["Rules"]["HearsOfNewObjects"]["Assertions"]
    for notify in source()["Parameters"]["Notify"]["AllowedValues"]:
        assert Rendered(template, **GIVEN | {"Notify": notify}).of(assertion["Assert"]) == (notify == "EVENTBRIDGE")
    assert Rendered(source(), Notify="SQS", BaseUrl="https://api.us.code42.com").outputs["Notify"] == "SQS"


def test_its_code_fits_into_a_template() -> None:
    code = source(NOTIFY)["Resources"]["Teller"]["Properties"]["Code"]["ZipFile"]
    assert len(code.encode()) <= 4096
