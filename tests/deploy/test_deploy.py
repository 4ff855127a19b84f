"""An operator's steps from the first deployment to the last: the stack, the records that it collects, and what stays.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulated import ARCH, ROOT, SAM, Aws, Stack, until
from pairs import pairwise
from rendered import Rendered, source
from simulator import Simulator

STORY = "incydr-collector-test"
EXTRAS = ["siem-access", "monitoring", "notify"]


@pytest.fixture(scope="module")
def story(aws: Aws, tenant: Simulator, credentials: dict[str, str]) -> Stack:
    """The deployed stack with its secret filled in, after its schedule has fired."""
    aws.deploy(STORY, parameters(tenant))
    stack = aws.stack(STORY)
    secret = aws.client("secretsmanager")
    secret.put_secret_value(SecretId=stack.outputs["SecretArn"], SecretString=json.dumps(credentials))
    fire(aws, stack)
    return stack


def parameters(tenant: Simulator) -> dict[str, object]:
    return {
        "BaseUrl": tenant.places["api"],
        "Architecture": ARCH,
        "Notify": "SQS",
        "KmsKeyArn": "CREATE",
        "StateBucketName": "CREATE",
        "ColderAfterDays": 90,
    }


def fire(aws: Aws, stack: Stack) -> None:
    """Fires the stack's own schedule, with its target and event, but in a moment instead of in five minutes."""
    scheduler = aws.client("scheduler")
    facts = scheduler.get_schedule(Name=stack.resources["CollectorTick"].split("/")[-1])
    assert (facts["State"], facts["ScheduleExpression"]) == ("ENABLED", "rate(5 minutes)")
    # Another name, because the emulator fires a schedule that it knows only at its old time.
    soon = datetime.now(UTC) + timedelta(seconds=1)
    alike = {name: facts[name] for name in ["FlexibleTimeWindow", "State", "Target"]}
    scheduler.create_schedule(Name="soon", ScheduleExpression=f"at({soon:%Y-%m-%dT%H:%M:%S})", **alike)
    records = stack.outputs["RecordsBucketName"]
    until(lambda: len({key.split("/")[1] for key in stack.keys(records, "code42/")}) >= 4, 120, "the schedule fires")
    scheduler.delete_schedule(Name="soon")
    # A run by hand waits for that run's lease.
    answer = stack.invoke({"action": "collect"})
    assert answer.get("status") == "complete", answer


def test_the_schedule_collects_what_the_tenant_has(tenant: Simulator, story: Stack) -> None:
    for stream in ["audit", "file_events"]:
        stored = [json.loads(line) for line in story.lines(stream)]
        shown = [json.loads(record) for record in tenant.world(stream)]
        assert sorted(map(json.dumps, stored)) == sorted(map(json.dumps, shown))


def test_what_was_collected_is_proven_whole(story: Stack) -> None:
    answer = story.invoke({"action": "verify"})
    assert (answer["status"], answer["findings"]) == ("whole", []), answer


def test_state_is_where_the_stack_says(story: Stack) -> None:
    state = story.outputs["StateBucketName"]
    assert "incydr-collector/checkpoint.json" in story.keys(state, "incydr-collector/")
    assert story.keys(story.outputs["RecordsBucketName"], "incydr-collector/") == []


def test_each_new_object_is_told_to_the_queue(aws: Aws, story: Stack) -> None:
    sqs, queue = aws.client("sqs"), story.outputs["NoticesQueueUrl"].replace("localhost", "127.0.0.1")
    told = set()

    def all_told() -> bool:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            for record in json.loads(message["Body"]).get("Records", []):
                told.add(record["s3"]["object"]["key"].replace("%3D", "="))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return told >= set(story.keys(story.outputs["RecordsBucketName"], "code42/"))

    until(all_told, 120, "a notice of each object")
    assert all(key.startswith("code42/") for key in told)


def test_a_run_that_fails_is_reported_and_not_run_again(aws: Aws, tenant: Simulator, story: Stack) -> None:
    tenant.fault("audit_search", "status", status=500)
    tenant.fault("audit_count", "status", status=500)
    failed_before = failures(aws)
    day = datetime.now(UTC) - timedelta(days=3)
    owed = {"from": f"{day:%Y-%m-%d}T00:00:00Z", "to": f"{day:%Y-%m-%d}T01:00:00Z"}
    event = {"action": "collect", "streams": ["audit"]} | owed
    try:
        aws.client("lambda").invoke(
            FunctionName=story.outputs["FunctionName"], InvocationType="Event", Payload=json.dumps(event).encode()
        )
        sqs, queue = aws.client("sqs"), story.outputs["FailedRunsQueueUrl"].replace("localhost", "127.0.0.1")
        message = until(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"), 120, "a failed run's report")[0]
    finally:
        tenant.clear_faults()
    assert "ThirdPartyGenericError" in message["Body"]
    assert json.loads(message["Body"])["requestPayload"] == event
    # The emulator reports each failure three times, so the runs are counted in the log.
    assert failures(aws) - failed_before == 1
    # After the cause is removed, `restart` clears the state.
    story.invoke({"action": "restart"})
    assert story.invoke(event)["status"] == "complete"
    assert story.invoke({"action": "collect"})["status"] == "complete"


def failures(aws: Aws) -> int:
    return (aws.directory / "ministack.log").read_text("utf-8").count('"message":"the run failed"')


def test_the_doctor_finds_nothing_to_mend_in_what_collects(aws: Aws, story: Stack) -> None:
    said = aws.run("make", "--no-print-directory", "-C", ROOT, "doctor", "ENV=test")
    for found in ["deployed: CREATE_COMPLETE", "the secret is filled", "answers", "full access", "nothing to mend"]:
        assert found in said, said


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_other_stacks_take_its_outputs(aws: Aws, story: Stack, extra: str) -> None:
    given = {
        "siem-access": ["SiemAccountId=210987654321", "ExternalId=a-long-random-one"],
        "notify": ["Notify=EVENTBRIDGE"],
    }.get(extra, [])
    aws.run(ROOT / "infra" / "deploy-extra.sh", "test", extra, *given)
    deployed = aws.stack(f"{STORY}-{extra}")
    assert deployed.status == "CREATE_COMPLETE"


def test_every_stream_gets_a_table(aws: Aws, story: Stack) -> None:
    """Without the saved queries, which the emulator doesn't support."""
    template = aws.directory / "athena.yaml"
    text = (ROOT / "infra" / "athena.yaml").read_text("utf-8")
    template.write_text(re.sub(r"  WhoMovedFiles:.*?(?=\nOutputs:)", "", text, flags=re.DOTALL), "utf-8")
    aws.run(
        SAM, "deploy", "--template-file", template, "--stack-name", f"{STORY}-athena", "--s3-bucket", "artifacts",
        "--parameter-overrides", f"RecordsBucketName={story.outputs['RecordsBucketName']}",
    )
    tables = aws.client("glue").get_tables(DatabaseName="incydr_collector_test_athena")["TableList"]
    assert len(tables) > 10


def test_what_make_deploys_is_what_samconfig_says(aws: Aws) -> None:
    """Of prod. The first quarter of an hour deploys dev."""
    config = ["--config-file", ROOT / "infra" / "samconfig.toml", "--config-env", "prod"]
    said = aws.run(
        SAM, "deploy", "--template-file", aws.template, *config, "--no-confirm-changeset", "--no-progressbar"
    )
    assert "incydr-collector-prod" in said
    assert aws.stack("incydr-collector-prod").status == "CREATE_COMPLETE"


def test_a_second_deployment_changes_nothing(aws: Aws, tenant: Simulator, story: Stack) -> None:
    said = aws.deploy(STORY, parameters(tenant), "--no-fail-on-empty-changeset")
    assert "No changes to deploy" in said, said
    assert aws.stack(STORY).resources == story.resources


# Every value that adds, removes or changes a resource.
VALUES: dict[str, list[Any]] = {
    "SecretArn": ["", "existing"],
    "KmsKeyArn": ["", "CREATE", "existing"],
    "RecordsBucketName": ["", "existing"],
    "StateBucketName": ["", "CREATE", "existing"],
    "ObjectLockDays": [0, 1],
    "ExpireAfterDays": [0, 400],
    "Notify": ["NONE", "SQS", "SNS", "EVENTBRIDGE"],
    "SubnetIds": ["", "existing"],
    "ReservedConcurrency": [0, 2],
}


def rows() -> list[dict[str, Any]]:
    template = source()
    return pairwise(VALUES, lambda row: not Rendered(template, **row).refused_by_rules())


def test_every_two_choices_deploy_together_and_collect(
    aws: Aws, tenant: Simulator, credentials: dict[str, str]
) -> None:
    existing = Existing(aws, credentials)
    template = source()
    chosen = rows()
    print(f"{len(chosen)} stacks for every two of the {sum(map(len, VALUES.values()))} choices")

    def deploy(number: int) -> None:
        row, name = chosen[number], f"pair-{number}"
        # Few requests, because the tenant allows 120 a minute.
        given = existing.fill(row, name) | {
            "BaseUrl": tenant.places["api"],
            "Architecture": ARCH,
            "ScheduleState": "DISABLED",
            "Streams": "audit",
        }
        stack = aws.create(name, given)
        rendered = Rendered(template, **given)
        assert set(stack.resources) == set(rendered.resources), row
        if not row["SecretArn"]:
            secret = stack.outputs["SecretArn"]
            aws.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=json.dumps(credentials))
        held = stack.variables()
        answer = stack.invoke({})
        assert answer.get("status") == "complete", (row, answer)
        assert stack.keys(held["S3_BUCKET"], "code42/audit/"), row
        assert stack.keys(held.get("STATE_BUCKET") or held["S3_BUCKET"], held["CHECKPOINT_KEY"]), row
        aws.client("cloudformation").delete_stack(StackName=name)
        until(lambda: is_gone(aws, name), 120, "the stack goes")
        assert stack.keys(held["S3_BUCKET"], "code42/audit/"), "deletion keeps the records"

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(deploy, range(len(chosen))))


class Existing:
    """The resources that an operator has already."""

    def __init__(self, aws: Aws, credentials: dict[str, str]) -> None:
        self.s3 = aws.client("s3")
        secret = aws.client("secretsmanager").create_secret(Name="existing", SecretString=json.dumps(credentials))
        key = aws.client("kms").create_key()["KeyMetadata"]
        subnets = aws.client("ec2").describe_subnets()["Subnets"]
        self.values = {"SecretArn": secret["ARN"], "KmsKeyArn": key["Arn"], "SubnetIds": subnets[0]["SubnetId"]}

    def fill(self, row: dict[str, Any], stack: str) -> dict[str, Any]:
        filled = {name: self.values.get(name, value) if value == "existing" else value for name, value in row.items()}
        for name in ["RecordsBucketName", "StateBucketName"]:
            if row[name] == "existing":
                filled[name] = f"{stack}-{name[:5].lower()}"
                self.s3.create_bucket(Bucket=filled[name])
        if row["SubnetIds"]:
            filled["SecurityGroupIds"] = "sg-12345678"
        return filled


def is_gone(aws: Aws, stack: str) -> bool:
    try:
        return aws.stack(stack).status == "DELETE_COMPLETE"
    except ClientError:
        return True


def test_a_first_deployment_that_fails_leaves_nothing_in_the_next_ones_way(aws: Aws, tenant: Simulator) -> None:
    given = parameters(tenant) | {"ScheduleState": "DISABLED"}
    # A resource that can't be made, once all others are.
    broken = aws.unbuilt.replace("\nOutputs:", """
  Broken:
    Type: AWS::SQS::QueuePolicy
    DependsOn: [Collector, Backfiller, CollectorTick, RecordsBucketPolicy, StateBucketPolicy, IncydrSecret]
    Properties:
      Queues: [!GetAtt FailedRuns.Nonsense]
      PolicyDocument: {}

Outputs:""", 1)  # fmt: skip
    before = kept(aws)
    with pytest.raises(AssertionError, match="ROLLBACK"):
        aws.create("half-way", given, broken)
    assert kept(aws) - before == set() and aws.stack("half-way").status.startswith("ROLLBACK")
    # By the doctor's command, and then as if nothing had been.
    aws.client("cloudformation").delete_stack(StackName="half-way")
    until(lambda: is_gone(aws, "half-way"), 120, "the stack goes")
    aws.create("half-way", given)
    kinds = [kind for kind, _ in kept(aws) - before]
    assert sorted(kinds) == ["bucket", "bucket", "key", "log group", "secret"]


def kept(aws: Aws) -> set[tuple[str, str]]:
    """What outlives a stack, of all stacks."""
    kms = aws.client("kms")
    keys = [key["KeyId"] for key in kms.list_keys()["Keys"]]
    return {
        *(("bucket", found["Name"]) for found in aws.client("s3").list_buckets()["Buckets"]),
        *(("secret", found["ARN"]) for found in aws.client("secretsmanager").list_secrets()["SecretList"]),
        *(("key", key) for key in keys if kms.describe_key(KeyId=key)["KeyMetadata"]["Enabled"]),
        *(("log group", found["logGroupName"]) for found in aws.client("logs").describe_log_groups()["logGroups"]),
    }


def test_what_contradicts_itself_is_not_deployed(aws: Aws, tenant: Simulator) -> None:
    with pytest.raises(ClientError, match="The stack does not change an existing bucket"):
        aws.create("contradiction", {"BaseUrl": tenant.places["api"], "RecordsBucketName": "some", "ObjectLockDays": 1})


def test_in_the_end_the_records_the_state_the_secret_the_key_and_the_log_are_left(aws: Aws, story: Stack) -> None:
    records, state = story.outputs["RecordsBucketName"], story.outputs["StateBucketName"]
    before = story.keys(records, ""), story.keys(state, "")
    for extra in EXTRAS:
        aws.client("cloudformation").delete_stack(StackName=f"{STORY}-{extra}")
    aws.run(SAM, "delete", "--stack-name", STORY, "--no-prompts", "--region", "us-east-1")
    for name in [*(f"{STORY}-{extra}" for extra in EXTRAS), STORY]:
        until(lambda: is_gone(aws, name), 120, f"{name} goes")
    assert (story.keys(records, ""), story.keys(state, "")) == before
    assert aws.client("logs").describe_log_groups(logGroupNamePrefix=story.outputs["LogGroupName"])["logGroups"]
    assert aws.client("secretsmanager").get_secret_value(SecretId=story.outputs["SecretArn"])["SecretString"]
    assert aws.client("kms").describe_key(KeyId=story.outputs["KmsKeyArn"])["KeyMetadata"]["Enabled"]
    with pytest.raises(ClientError):
        aws.client("lambda").get_function(FunctionName=story.outputs["FunctionName"])
