"""The responder's stack on the emulated AWS: its state machine with approvals, and its queue."""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulated import ARCH, BINARIES, ROOT, Aws, Stack, until
from simulator import Simulator

STACK = "incydr-collector-acts-respond"
AT = "2026-01-01T00:00:00.000Z"
# In place of a day. Long enough for each approval on a slow machine; one test lets it pass.
SECONDS = 60


@pytest.fixture(scope="module")
def tenant() -> Iterator[Simulator]:
    with Simulator("--seed", 41, "--users", 0, "--cases", 0, "--audit", 0, "--file-events", 0) as tenant:
        for n in range(1, 5):
            rule = {"id": f"r-{n}", "name": "rule", "isEnabled": True, "modifiedAt": AT}
            tenant.push("alert_rules", json.dumps(rule))
        session = {"sessionId": "s-1", "actorId": "a-1", "beginTime": 1_767_225_600_000, "endTime": 1_767_225_700_000}
        lists = {"notes": [], "scores": [], "triggeredAlerts": [{"alertId": "x"}], "states": [{"state": "OPEN", "sourceTimestamp": 1}]}
        # The second request and all that follow are those of the page's playbooks.
        for id in ["s-1", "1004_1767225600000"]:
            tenant.push("sessions", json.dumps(session | lists | {"sessionId": id}))
        for n, name in enumerate(["ann@example.com", "alice@example.com"]):
            tenant.push("users", json.dumps({"userId": f"u-{n}", "username": name, "active": True, "modificationDate": AT}))
            tenant.push("actors", json.dumps({"actorId": f"a-{n}", "name": name, "active": True, "endDate": None}))
        agent = {"agentId": "935873453596901068", "userId": "u-1", "name": "laptop", "active": True, "modificationDate": AT}
        tenant.push("agents", json.dumps(agent | {"agentHealthIssueTypes": []}))
        tenant.push("watchlists", json.dumps({"watchlistId": "w-1", "listType": "DEPARTING_EMPLOYEE", "title": "Leavers"}))
        yield tenant


@pytest.fixture(scope="module")
def responder(aws: Aws, tenant: Simulator) -> Stack:
    code = aws.directory / "responder"
    code.mkdir()
    shutil.copy(BINARIES / "responder", code / "bootstrap")
    text = (ROOT / "infra" / "respond.yaml").read_text("utf-8")
    for pattern, new in [
        (r"AllowedPattern: \^https://api.*$", "AllowedPattern: ^https?://.+$"),
        (r"Code: !If\n(?: {8}.*\n)+? {8}- \.\.$", "Code: responder/"),
        ('"TimeoutSeconds": 86400', f'"TimeoutSeconds": {SECONDS}'),
        ("VisibilityTimeout: 960", "VisibilityTimeout: 2"),
    ]:
        text, times = re.subn(pattern, new, text, flags=re.MULTILINE)
        assert times == 1, pattern
    template = aws.directory / "respond.yaml"
    template.write_text(text, "utf-8")
    aws.client("s3").create_bucket(Bucket="acts")
    parameters = {
        "BaseUrl": tenant.places["api"],
        "Architecture": ARCH,
        "RecordsBucketName": "acts",
        "StateBucketName": "acts",
        "AllowedActions": "session.add_note,session.set_state,leavers.sync,case.create,agent.deactivate,rule.disable",
        "ResponderRequestsPerMinute": 120,
    }
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    sam = ROOT / "target" / "venv-template" / "bin" / "sam"
    aws.run(
        sam, "deploy", "--template-file", template, "--stack-name", STACK, "--s3-bucket", "artifacts",
        "--no-progressbar", "--capabilities", "CAPABILITY_IAM", "--parameter-overrides", *overrides,
    )
    stack = aws.stack(STACK)
    credentials = {"client_id": tenant.places["client_id"], "client_secret": tenant.places["client_secret"]}
    secrets = aws.client("secretsmanager")
    secrets.put_secret_value(SecretId=stack.outputs["ResponderSecretArn"], SecretString=json.dumps(credentials))
    # The emulator passes the function's own ARN, not that of the alias.
    lambda_, name = aws.client("lambda"), stack.outputs["ResponderName"]
    variables = lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    variables["APPROVALS_ALIAS"] = name
    lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    return stack


@pytest.fixture(scope="module")
def asked(aws: Aws, responder: Stack) -> str:
    """A queue that receives requests for approval, like an approver's mailbox."""
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName="approver")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic, sns = responder.outputs["ApprovalsTopicArn"], aws.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    return url


def request(request_id: str, action: str, **given: Any) -> dict[str, Any]:
    return {"action": action, "request_id": request_id, "requested_by": "alice", "reason": "a test", "input": given}


def start(aws: Aws, responder: Stack, event: dict[str, Any]) -> str:
    machine = responder.outputs["RespondArn"]
    return aws.client("stepfunctions").start_execution(stateMachineArn=machine, input=json.dumps(event))["executionArn"]


def ended(aws: Aws, execution: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        told = aws.client("stepfunctions").describe_execution(executionArn=execution)
        return None if told["status"] == "RUNNING" else told

    return until(found, 240, "the execution ends")


def approval_asked(aws: Aws, url: str) -> dict[str, Any]:
    def found() -> Any:
        sqs = aws.client("sqs")
        for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return json.loads(message["Body"])

    return until(found, 240, "approval is asked for")


def is_enabled(tenant: Simulator, rule: str) -> bool:
    return next(found["isEnabled"] for found in map(json.loads, tenant.world("alert_rules")) if found["id"] == rule)


def trail(aws: Aws, responder: Stack, request_id: str) -> list[dict[str, Any]]:
    responder.outputs["RecordsBucketName"] = "acts"
    found = [json.loads(line) for line in responder.lines("response_actions")]
    return [record for record in found if record["request_id"] == request_id]


def test_what_needs_no_approval_is_done_at_once(aws, responder, tenant):
    told = ended(aws, start(aws, responder, request("at-once", "session.add_note", id="s-1", noteContent="seen")))
    assert told["status"] == "SUCCEEDED" and json.loads(told["output"])["outcome"] == "done", told
    assert "at-once" in tenant.world("sessions")[0]


@pytest.mark.parametrize(
    ("rule", "by", "decision", "status", "outcome"),
    [
        ("r-1", "bob", "approve", "SUCCEEDED", "done"),
        ("r-2", "bob", "refuse", "FAILED", "rejected"),
        ("r-3", "alice", "approve", "FAILED", "rejected"),
        ("r-4", None, None, "FAILED", "rejected"),
    ],
    ids=["given", "refused", "by who asked", "not in time"],
)
def test_approval(aws, responder, tenant, asked, rule, by, decision, status, outcome):
    execution = start(aws, responder, request(rule, "rule.disable", id=rule))
    message = approval_asked(aws, asked)
    assert message["request"]["request_id"] == rule and is_enabled(tenant, rule)
    if by:
        output = {"approved_by": by, "decision": decision, "request_hash": message["request_hash"]}
        aws.client("stepfunctions").send_task_success(taskToken=message["task_token"], output=json.dumps(output))
    told = ended(aws, execution)
    assert told["status"] == status, told
    if status == "FAILED":
        assert told["error"] == "ApprovalRejected", told
    assert is_enabled(tenant, rule) == (outcome != "done")
    records = trail(aws, responder, rule)
    assert [record["record"] for record in records] == ["intent", "result"] and records[1]["outcome"] == outcome
    assert records[0]["approved_by"] == (by or "nobody in time")


def test_a_message_that_fails_ends_in_its_queue_and_holds_up_no_other(aws, responder, tenant):
    sqs, url = aws.client("sqs"), responder.outputs["RequestsQueueUrl"]
    for body in [
        "no JSON",
        json.dumps(request("queued", "session.add_note", id="s-1", noteContent="seen")),
        json.dumps(request("nowhere", "session.add_note", id="s-99", noteContent="seen")),
    ]:
        sqs.send_message(QueueUrl=url, MessageBody=body)
    until(lambda: "[request queued]" in tenant.world("sessions")[0], 120, "the good one is done")
    failed = responder.outputs["FailedRequestsQueueUrl"]
    bodies: set[str] = set()

    def both() -> bool:
        for message in sqs.receive_message(QueueUrl=failed, MaxNumberOfMessages=10).get("Messages", []):
            bodies.add(message["Body"])
            sqs.delete_message(QueueUrl=failed, ReceiptHandle=message["ReceiptHandle"])
        return len(bodies) == 2

    until(both, 120, "both that fail are told")
    assert "no JSON" in bodies and any("nowhere" in body for body in bodies)
    assert tenant.world("sessions")[0].count("[request queued]") == 1


def playbook(title: str) -> str:
    """The commands of one of the page's playbooks."""
    page = (ROOT / "infra" / "respond.md").read_text("utf-8")
    return re.search(rf"### {title}\n.*?```sh\n(.*?)```", page, re.DOTALL)[1]


def play(aws: Aws, commands: str) -> list[str]:
    """Types commands in a shell. Returns the executions that they start."""
    commands = commands.replace("incydr-collector-prod-respond", STACK)
    # The CLI's version 1 has no variable for the address of SQS.
    here = f'cd {ROOT}\naws() {{ command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }}\n'
    said = aws.run("bash", "-euc", here + commands)
    return re.findall(r'"executionArn": "([^"]+)"', said)


def test_the_playbook_that_closes_a_session_from_a_ticket(aws, responder, tenant):
    def is_closed() -> bool:
        session = next(text for text in tenant.world("sessions") if "1004_1767225600000" in text)
        return "[request INC-4711-note]" in session and json.loads(session)["states"][-1]["state"] == "CLOSED_FP"

    commands = playbook("A session is closed from a ticket")
    play(aws, commands)
    until(is_closed, 120, "the session has its note and is closed")
    # A ticket system that sends them again changes nothing.
    before = tenant.world("sessions")
    play(aws, commands)
    until(lambda: len(trail(aws, responder, "INC-4711-close")) == 2, 120, "the trail has both records")
    assert tenant.world("sessions") == before


def test_the_playbook_of_a_leaver(aws, responder, tenant):
    commands = playbook("A leaver, from HR's list to watchlist and case")
    (key,) = set(re.findall(r'"key": "([^"]+)"', commands))
    soon = f"{datetime.now(UTC) + timedelta(days=10):%Y-%m-%d}"
    aws.client("s3").put_object(Bucket="acts", Key=key, Body=f"address,end_date\nann@example.com,{soon}\n".encode())
    for execution in play(aws, commands):
        told = ended(aws, execution)
        assert told["status"] == "SUCCEEDED" and json.loads(told["output"])["outcome"] == "done", told
    assert json.loads(tenant.world("actors")[0])["endDate"] == soon
    (member,) = tenant.children("included_actors", "w-1")
    assert json.loads(member)["actorId"] == "a-0"
    (case,) = map(json.loads, tenant.world("cases"))
    assert (case["subject"], case["assignee"]) == ("a-0", "u-1")


def test_the_playbook_of_a_stale_agent(aws, responder, tenant, asked):
    asks, approves = playbook("A stale agent is deactivated, by two people").split("# Bob,")
    (execution,) = play(aws, asks)
    message = approval_asked(aws, asked)
    play(aws, re.sub("<(request_hash|task_token)>", lambda found: message[found[1]], f"#{approves}"))
    assert ended(aws, execution)["status"] == "SUCCEEDED"
    assert json.loads(tenant.world("agents")[0])["active"] is False
    intent, _ = trail(aws, responder, "stale-2026-11")
    assert (intent["requested_by"], intent["approved_by"]) == ("alice@example.com", "bob@example.com")
