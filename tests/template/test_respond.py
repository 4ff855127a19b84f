"""The responder's stack agrees with the code, and its rights are exact."""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from lambda_function import Function
from policy import applies, is_allowed
from rendered import ROOT, Rendered, listed, source, statements
from simulator import BINARIES, Simulator
from stand_ins import S3WithIam

RESPOND = ROOT / "infra" / "respond.yaml"
GIVEN = {"BaseUrl": "https://api.us.code42.com", "RecordsBucketName": "records", "StateBucketName": "records"}
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234"
VARIANTS = {
    "state beside the records": {},
    "state in its own bucket": {
        "StateBucketName": "state",
        "S3Prefix": "siem/incydr/",
        "RequestsPrefix": "acts/",
        "LeaversPrefix": "hr/list/",
        "EncryptionHeader": "aws:kms",
        "KmsKeyArn": KEY,
        "StateKmsKeyArn": f"{KEY}-state",
    },
}
ALLOWED = "session.add_note,session.set_state,case.archive,leavers.sync"


def rendered(**parameters: Any) -> Rendered:
    return Rendered(source(RESPOND), **GIVEN | parameters)


def code(name: str) -> str:
    return (ROOT / "src" / "respond" / f"{name}.rs").read_text("utf-8")


def names() -> list[str]:
    (listing,) = re.findall(r"pub const NAMES: .*? = \[(.*?)\];", code("action"), re.DOTALL)
    return re.findall(r'"([\w.]+)"', listing)


def dangerous() -> set[str]:
    (held,) = re.findall(r'pub const NEEDS_APPROVAL: &str = "(.*?)";', code("action"), re.DOTALL)
    return set(re.sub(r"\\\s+", "", held).split(","))


def test_nothing_is_allowed_by_default_and_what_is_dangerous_needs_approval():
    variables = rendered().resources["Responder"]["Properties"]["Environment"]["Variables"]
    assert variables["ALLOWED_ACTIONS"] == "none" and set(variables["NEEDS_APPROVAL"].split(",")) == dangerous()
    pattern = source(RESPOND)["Parameters"]["AllowedActions"]["AllowedPattern"]
    assert all(re.match(pattern, held) for held in ["none", ",".join(names())]) and not re.match(pattern, "*")


def test_the_function_gets_the_settings_that_it_reads_with_the_defaults_of_the_code():
    variables = rendered().resources["Responder"]["Properties"]["Environment"]["Variables"]
    read = set(re.findall(r'"([A-Z]+_[A-Z_]+)"', code("settings").split("#[cfg(test)]")[0]))
    # The alias is the stack's own, with the code's name.
    assert read - set(variables) == {"APPROVALS_ALIAS"}
    assert rendered().resources["ApprovedAlias"]["Properties"]["Name"] == "approved" and '"approved"' in code("settings")
    for name in ["MAX_TARGETS", "DAILY_LIMIT"]:
        (default,) = re.findall(rf'number\("{name}", get\("{name}"\), (\d+),', code("settings"))
        assert str(variables[name]) == default
    assert str(variables["REQUESTS_PER_MINUTE"]) == re.search(r'Some\("(\d+)"\.into\(\)\)', code("settings"))[1]
    for name in ["REQUESTS_PREFIX", "LEAVERS_PREFIX"]:
        assert f'or("{name}", "{variables[name]}")' in code("settings")


def test_the_page_names_every_action_and_marks_those_that_wait_for_approval():
    page = (ROOT / "infra" / "respond.md").read_text("utf-8")
    (table,) = re.findall(r"^\| action \| input .*?\n\n", page, re.MULTILINE | re.DOTALL)
    told, marked = set(), set()
    for row in table.splitlines()[2:]:
        cells = " ".join(row.split("|")[1:3])
        family = ""
        for name, mark in re.findall(r"`([a-z_]*\.[a-z_]+)`( ⚠)?", cells):
            family, name = (name.split(".")[0], name) if not name.startswith(".") else (family, family + name)
            told.add(name)
            marked |= {name} if mark else set()
    assert told == set(names()) and marked == dangerous()
    for parameter in re.findall(r"^\| `(\w+)` \(`([A-Z_]+)`\)", page, re.MULTILINE):
        assert parameter[0] in source(RESPOND)["Parameters"]


def test_the_collector_s_template_knows_nothing_of_it():
    text = (ROOT / "template.yaml").read_text("utf-8").lower()
    assert "respond" not in text
    collector = Rendered(source(), KmsKeyArn="CREATE")
    rights = statements(collector.resources["CollectorRole"])
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:respondersecret-AbCdEf"
    assert not is_allowed(rights, "secretsmanager:GetSecretValue", secret, {})
    for key in ["incydr-responder/requests/x.json", "leavers/x.csv"]:
        for action in ["s3:GetObject", "s3:PutObject"]:
            assert not is_allowed(rights, action, f"arn:aws:s3:::recordsbucket/{key}", {"s3:if-none-match": "*"})


def test_a_message_that_fails_comes_back_alone_and_ends_in_its_queue():
    stack = rendered()
    mapping = stack.resources["TakeRequests"]["Properties"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    queue = stack.resources["Requests"]["Properties"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"].endswith(":failedrequests")
    assert queue["VisibilityTimeout"] > stack.resources["Responder"]["Properties"]["Timeout"]
    alarms = [it["Properties"] for it in stack.resources.values() if it["Type"] == "AWS::CloudWatch::Alarm"]
    assert {alarm["MetricName"] for alarm in alarms} >= {"ApproximateNumberOfMessagesVisible", "ExecutionsFailed"}
    page = (ROOT / "infra" / "respond.md").read_text("utf-8")
    for alarm in alarms:
        heading = re.search(r"Runbook: infra/respond\.md, (.+)\.$", alarm["AlarmDescription"].strip())[1]
        assert f"## {heading}\n" in page


def test_events_and_notices_reach_the_queue_only_where_they_are_named():
    assert {"RequestedByEvent", "RequestedByNotice"}.isdisjoint(rendered().resources)
    topic = "arn:aws:sns:us-east-1:123456789012:requests"
    stack = rendered(EventSource="our.soar", RequestsTopicArn=topic)
    rule = stack.resources["RequestedByEvent"]["Properties"]
    assert rule["EventPattern"] == {"source": ["our.soar"], "detail-type": ["IncydrResponse"]}
    assert rule["Targets"][0]["InputPath"] == "$.detail"
    assert stack.resources["RequestedByNotice"]["Properties"]["RawMessageDelivery"] is True
    policy = stack.resources["RequestsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    sources = [found["Condition"]["ArnEquals"]["aws:SourceArn"] for found in policy if found["Effect"] == "Allow"]
    assert sources == ["arn:aws:events:us-east-1:123456789012:requestedbyevent", topic]


def test_the_state_machine_brings_what_was_approved_by_the_alias_and_a_day_without_is_a_refusal():
    stack = rendered()
    machine = json.loads(stack.resources["Respond"]["Properties"]["DefinitionString"])
    states = machine["States"]
    wait = states["Wait for approval"]
    assert wait["Resource"].endswith(":sns:publish.waitForTaskToken") and wait["TimeoutSeconds"] == 24 * 3600
    assert "TimeDelta::hours(24)" in code("settings")
    (caught,) = wait["Catch"]
    refusal = states[caught["Next"]]["Parameters"]["approval"]
    assert refusal["decision"] == "refuse" and set(wait["ResultSelector"]["approval"]) == {
        f"{name}.$" for name in ["approved_by", "decision", "request_hash"]
    }
    assert states["Ask"]["Parameters"]["FunctionName"].endswith(":responder")
    assert states["Act as approved"]["Parameters"]["FunctionName"] == "approvedalias"
    # Whoever could read a token in the log could approve.
    assert stack.resources["Respond"]["Properties"]["LoggingConfiguration"]["IncludeExecutionData"] is False
    invoking = [
        (name, resource)
        for name, role in stack.resources.items()
        if role["Type"] == "AWS::IAM::Role"
        for found in statements(role)
        if "lambda:InvokeFunction" in listed(found["Action"])
        for resource in listed(found["Resource"])
    ]
    assert ("RespondRole", "approvedalias") in invoking and {name for name, _ in invoking} == {"RespondRole"}


@pytest.fixture(scope="module", params=VARIANTS)
def runs(request: pytest.FixtureRequest) -> Iterator[tuple[S3WithIam, list[dict[str, Any]], dict[str, Any], dict[str, str]]]:
    stack = rendered(**VARIANTS[request.param], AllowedActions=ALLOWED, NeedsApproval="case.archive")
    rights = [
        found
        for found in statements(stack.resources["ResponderRole"])
        if any(action.startswith("s3:") for action in listed(found["Action"]))
    ]
    variables = stack.resources["Responder"]["Properties"]["Environment"]["Variables"]
    variables = {name: str(value) for name, value in variables.items()}
    with S3WithIam() as s3, Simulator("--seed", 12, "--users", 1, "--cases", 1, "--audit", 1, "--file-events", 1) as world:
        for bucket in {variables["S3_BUCKET"], variables["STATE_BUCKET"], "elsewhere"}:
            s3.client("s3").create_bucket(Bucket=bucket)
        keys = s3.user("function", rights)
        operator = s3.client("s3", *s3.user("operator", [{"Effect": "Allow", "Action": "*", "Resource": "*"}]))
        s3.enforce()
        environment = variables | {
            "INCYDR_BASE_URL": world.places["api"],
            "INCYDR_SECRET_ID": world.places["secret_id"],
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": world.places["secrets"],
            "AWS_ACCESS_KEY_ID": keys[0],
            "AWS_SECRET_ACCESS_KEY": keys[1],
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "incydr-responder",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "REQUESTS_PER_MINUTE": "100000",
        }
        yield s3, rights, respond(environment, world, operator), variables


def respond(environment: dict[str, str], world: Simulator, operator: Any) -> dict[str, Any]:
    """A request, its repetition, one that waits for approval, a missing list, an existing one, and a case's events."""
    (session,) = [json.loads(raw)["sessionId"] for raw in world.add("sessions", 1)]
    (actor,) = [json.loads(raw) for raw in world.add("actors", 1)]
    world.push("watchlists", json.dumps({"watchlistId": "w", "listType": "DEPARTING_EMPLOYEE", "title": "Leavers"}))
    world.push("cases", json.dumps({"number": 70, "name": "to archive", "status": "OPEN", "createdAt": "2026-01-01T00:00:00Z"}))
    world.push("case_file_events", json.dumps({"event": {"id": "e-1", "inserted": "2026-01-01T00:00:00Z"}}), parent="70")
    answers = {}
    with Function(BINARIES / "responder", environment) as function:

        def ask(name: str, action: str, **given: Any) -> None:
            event = {"action": action, "request_id": name, "requested_by": "alice", "reason": "a test", "input": given}
            kind, answers[name] = function.invoke(event, 60)
            answers[name] = json.loads(answers[name]["errorMessage"]) if kind == "error" else answers[name]

        ask("note", "session.add_note", id=session, noteContent="seen")
        ask("note", "session.add_note", id=session, noteContent="seen")
        ask("state", "session.set_state", ids=[session], newState="CLOSED")
        ask("no list", "leavers.sync", key=f"{environment['LEAVERS_PREFIX']}none.csv")
        key = f"{environment['LEAVERS_PREFIX']}today.csv"
        rows = f"address,end_date\n{actor['name']},2026-12-31\n"
        operator.put_object(Bucket=environment["S3_BUCKET"], Key=key, Body=rows.encode())
        ask("leavers", "leavers.sync", key=key)
        ask("archive", "case.update", number=70, status="ARCHIVED")
    # A stack without approvals may do at once what would wait for one.
    stored = f"{environment['S3_PREFIX']}case_file_events/dt=2026-01-01/hour=00/x.ndjson.gz"
    line = json.dumps({"_caseNumber": 70, "event": {"id": "e-1"}}) + "\n"
    operator.put_object(Bucket=environment["S3_BUCKET"], Key=stored, Body=gzip.compress(line.encode()))
    with Function(BINARIES / "responder", environment | {"NEEDS_APPROVAL": "none"}) as function:
        ask("archive", "case.update", number=70, status="ARCHIVED")
    return answers


def test_every_request_does_what_it_is_for(runs):
    outcomes = {name: answer["outcome"] for name, answer in runs[2].items()}
    expected = {"note": "done", "state": "done", "no list": "failed", "leavers": "done", "archive": "done"}
    assert outcomes == expected, runs[2]
    assert runs[2]["no list"]["error"]["type"] == "InvalidEvent"


def test_each_write_names_its_encryption_where_it_is_asked_to(runs):
    s3, _, _, held = runs
    named = {call.encryption for call in s3.calls if call.method == "PUT"}
    records = (held["S3_BUCKET"], held.get("S3_SSE"), held.get("S3_SSE_KMS_KEY_ID"))
    state = (held["STATE_BUCKET"], held.get("S3_SSE"), held.get("STATE_SSE_KMS_KEY_ID"))
    assert named == {records, state}


def test_no_call_was_refused_for_want_of_a_right(runs):
    s3, rights, _, _ = runs
    assert s3.calls and [call for call in s3.calls if call.status == 403] == []
    for call in s3.calls:
        for needs in call.needs:
            assert is_allowed(rights, *needs), call


def test_no_right_is_one_that_no_request_uses(runs):
    s3, rights, _, _ = runs
    needed = [need for call in s3.calls for need in call.needs]
    for statement in rights:
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                right = statement | {"Action": action, "Resource": resource}
                assert any(applies(right, *need) for need in needed), (action, resource)


def test_denied_is_to_replace_delete_or_touch_what_is_the_collector_s(runs):
    _, rights, _, variables = runs
    records, state = (f"arn:aws:s3:::{variables[name]}" for name in ["S3_BUCKET", "STATE_BUCKET"])
    trail = f"{records}/{variables['S3_PREFIX']}response_actions/x"
    claim = f"{state}/{variables['REQUESTS_PREFIX']}x"
    for own in [trail, claim]:
        assert is_allowed(rights, "s3:PutObject", own, {"s3:if-none-match": "*"})
        assert not is_allowed(rights, "s3:PutObject", own, {})
        assert not is_allowed(rights, "s3:DeleteObject", own, {})
    for theirs in [f"{records}/{variables['S3_PREFIX']}audit/x", f"{state}/incydr-collector/checkpoint.json"]:
        assert not is_allowed(rights, "s3:PutObject", theirs, {"s3:if-none-match": "*"})
        assert not is_allowed(rights, "s3:GetObject", theirs, {})
    for prefix in ["", variables["S3_PREFIX"], "incydr-collector/"]:
        assert not is_allowed(rights, "s3:ListBucket", records, {"s3:prefix": prefix})
