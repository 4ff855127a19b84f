"""The template's rights are exact: real runs of the real binary need all of them and no others."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lambda_function import Function
from policy import applies, is_allowed
from rendered import Rendered, listed, source, statements
from simulator import BINARIES, Simulator
from stand_ins import S3WithIam

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234"
VARIANTS = {
    "state beside the records": {},
    "state in its own bucket": {
        "StateBucketName": "CREATE",
        "StatePrefix": "state/",
        "S3Prefix": "siem/incydr/",
        "EncryptionHeader": "aws:kms",
        "KmsKeyArn": KEY,
        "StateKmsKeyArn": f"{KEY}-state",
    },
}


@dataclass
class Runs:
    """The runs' answers, their calls, and their rights."""

    s3: S3WithIam
    keys: tuple[str, str]
    rights: list[dict[str, Any]]
    variables: dict[str, str]
    answers: dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=VARIANTS)
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    stack = Rendered(source(), **VARIANTS[request.param])
    rights = [found for found in statements(stack.resources["CollectorRole"]) if is_about_s3(found)]
    variables = stack.resources["Collector"]["Properties"]["Environment"]["Variables"]
    variables = {name: str(value) for name, value in variables.items()}
    with (
        S3WithIam() as s3,
        Simulator("--seed", 11, "--users", 7, "--cases", 5, "--audit", 40, "--file-events", 60) as world,
    ):
        for bucket in {variables["S3_BUCKET"], variables["STATE_BUCKET"], "elsewhere"} - {""}:
            s3.client("s3").create_bucket(Bucket=bucket)
        keys = s3.user("function", rights)
        operator = s3.client("s3", *s3.user("operator", [{"Effect": "Allow", "Action": "*", "Resource": "*"}]))
        s3.enforce()
        places = world.places
        environment = variables | {
            "INCYDR_BASE_URL": places["api"],
            "INCYDR_SECRET_ID": places["secret_id"],
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": places["secrets"],
            "AWS_ACCESS_KEY_ID": keys[0],
            "AWS_SECRET_ACCESS_KEY": keys[1],
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "incydr-collector",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "INVENTORY_INTERVAL_MINUTES": "0",
        }
        yield Runs(s3, keys, rights, variables, run_all(environment, world, operator))


def run_all(environment: dict[str, str], world: Simulator, operator: Any) -> dict[str, dict[str, Any]]:
    """A first run that is interrupted, one that continues it in another process, the actions by hand, and the proof."""
    binary, scheduled = BINARIES / "incydr-collector", {"source": "aws.scheduler"}
    answers = {}

    def invoke(name: str, event: dict[str, Any], seconds: float = 60) -> None:
        _, answers[name] = function.invoke(event, seconds)

    world.fault("file_events", "status", status=500)
    with Function(binary, environment) as function:
        invoke("broken off", scheduled, seconds=5)
    world.clear_faults()
    with Function(binary, environment) as function:
        invoke("resumed", scheduled)
        world.add("users", 1)
        invoke("again", scheduled)
        invoke("dry run", {"action": "collect", "dry_run": True})
        end = answers["resumed"]["streams"]["audit"]["covered_to"]
        day = {"from": f"{end[:11]}00:00:00Z", "to": end}
        replay = {"action": "replay", "prefix": "code42-replay/", "streams": ["audit"]} | day
        invoke("replay", replay)
        # Somebody deletes the checkpoint. The collector finds its records again.
        state = environment["STATE_BUCKET"] or environment["S3_BUCKET"]
        beside = environment["CHECKPOINT_KEY"].rpartition("/")[0]
        for found in operator.list_objects_v2(Bucket=state, Prefix=f"{beside}/replay/")["Contents"]:
            operator.delete_object(Bucket=state, Key=found["Key"])
        invoke("replay again", replay)
    # The other function, which has the same role.
    with Function(binary, environment) as function:
        before = datetime.fromisoformat(end) - timedelta(days=2)
        invoke("plan", {"action": "plan", "streams": ["audit"], "from": f"{before:%Y-%m-%d}T22:00:00Z", "to": end})
        for shard in answers["plan"]["shards"]:
            invoke("shard", {"action": "shard", "shard": shard})
        invoke("merge", {"action": "merge"})
        invoke("verify", {"action": "verify"})
    return answers


def is_about_s3(statement: dict[str, Any]) -> bool:
    return any(action.startswith("s3:") for action in listed(statement["Action"]))


def test_every_run_does_what_it_is_for(runs: Runs) -> None:
    assert runs.answers["broken off"]["errorType"] == "ThirdPartyGenericError"
    for name in ["resumed", "again", "dry run", "replay", "replay again", "plan", "shard", "merge"]:
        assert runs.answers[name].get("status") == "complete", runs.answers[name]
    assert runs.answers["verify"]["status"] == "whole", runs.answers["verify"]
    assert runs.answers["verify"]["checked"]["objects"] > 0


def test_each_write_names_its_encryption_where_it_is_asked_to(runs: Runs) -> None:
    held = runs.variables
    named = {call.encryption for call in runs.s3.calls if call.method == "PUT"}
    # Without a bucket for state there is one key, and one bucket.
    records = (held["S3_BUCKET"], held.get("S3_SSE"), held.get("S3_SSE_KMS_KEY_ID"))
    state = (held["STATE_BUCKET"] or held["S3_BUCKET"], held.get("S3_SSE"), held.get("STATE_SSE_KMS_KEY_ID"))
    assert named == {records, state}


def test_no_call_was_refused_for_want_of_a_right(runs: Runs) -> None:
    assert runs.s3.calls
    assert [call for call in runs.s3.calls if call.status == 403] == []
    # The same with conditions, which moto doesn't evaluate.
    for call in runs.s3.calls:
        for action, resource, context in call.needs:
            assert is_allowed(runs.rights, action, resource, context), call


def test_no_right_is_one_that_no_run_uses(runs: Runs) -> None:
    needed = [need for call in runs.s3.calls for need in call.needs]
    for statement in runs.rights:
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                right = statement | {"Action": action, "Resource": resource}
                assert any(applies(right, *need) for need in needed), (action, resource)


def forbidden(runs: Runs, what: str) -> tuple[str, dict[str, Any], tuple[str, str, dict[str, str]]]:
    """A call of boto3, and the right that it needs."""
    records, prefix = runs.variables["S3_BUCKET"], runs.variables["S3_PREFIX"]
    state, checkpoint = runs.variables["STATE_BUCKET"] or records, runs.variables["CHECKPOINT_KEY"]
    record = next(c.key for c in runs.s3.calls if c.method == "PUT" and c.key.startswith(prefix) and c.status == 200)

    def on_object(operation: str, action: str, bucket: str, key: str, **more: Any) -> Any:
        context = {"s3:if-none-match": "*"} if action == "PutObject" else {}
        needs = (f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}", context)
        return operation, {"Bucket": bucket, "Key": key} | more, needs

    def on_bucket(operation: str, action: str, bucket: str, **more: Any) -> Any:
        context = {"s3:prefix": more.get("Prefix", "")}
        return operation, {"Bucket": bucket} | more, (f"s3:{action}", f"arn:aws:s3:::{bucket}", context)

    suspended = {"Status": "Suspended"}
    match what:
        case "delete a record":
            return on_object("delete_object", "DeleteObject", records, record)
        case "delete the checkpoint":
            return on_object("delete_object", "DeleteObject", state, checkpoint)
        case "write beside the prefix":
            return on_object("put_object", "PutObject", records, "other/x", Body=b"x")
        case "write at the root":
            return on_object("put_object", "PutObject", records, "x", Body=b"x")
        case "write to another bucket":
            return on_object("put_object", "PutObject", "elsewhere", record, Body=b"x")
        case "read beside the prefix":
            return on_object("get_object", "GetObject", records, "other/x")
        case "read another bucket":
            return on_object("get_object", "GetObject", "elsewhere", record)
        case "list another bucket":
            return on_bucket("list_objects_v2", "ListBucket", "elsewhere", Prefix=prefix)
        case "stop the versions":
            return on_bucket("put_bucket_versioning", "PutBucketVersioning", records, VersioningConfiguration=suspended)
        case "delete the bucket":
            return on_bucket("delete_bucket", "DeleteBucket", records)
    raise NotImplementedError(what)


FORBIDDEN = [
    "delete a record",
    "delete the checkpoint",
    "write beside the prefix",
    "write at the root",
    "write to another bucket",
    "read beside the prefix",
    "read another bucket",
    "list another bucket",
    "stop the versions",
    "delete the bucket",
]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_denied_is_to(runs: Runs, what: str) -> None:
    operation, arguments, needs = forbidden(runs, what)
    with pytest.raises(ClientError) as denied:
        getattr(runs.s3.client("s3", *runs.keys), operation)(**arguments)
    assert denied.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert not is_allowed(runs.rights, *needs)


def test_denied_is_to_replace_a_record_or_to_list_what_lies_beside(runs: Runs) -> None:
    bucket, prefix = runs.variables["S3_BUCKET"], runs.variables["S3_PREFIX"]
    record = f"arn:aws:s3:::{bucket}/{prefix}audit/x"
    assert is_allowed(runs.rights, "s3:PutObject", record, {"s3:if-none-match": "*"})
    assert not is_allowed(runs.rights, "s3:PutObject", record, {})
    assert not is_allowed(runs.rights, "s3:PutObject", record, {"s3:if-match": "etag"})
    for beside in ["", "other/", prefix[:-1]]:
        assert not is_allowed(runs.rights, "s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": beside})
