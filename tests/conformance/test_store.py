"""The S3 store of the collector's tests keeps the promises of S3, checked with boto3. It is the simulator's own or the
one that SIMULATOR_S3_ENDPOINT names. A store that ignored conditions would make those tests worthless."""

import base64
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from simulator import Simulator


@pytest.fixture(scope="module")
def store() -> Iterator[Simulator]:
    """A simulator with its own bucket, because other tests look at the shared one."""
    with Simulator("--users", 0, "--cases", 0, "--audit", 0, "--file-events", 0) as simulator:
        yield simulator


@pytest.fixture
def put(store: Simulator):
    client, bucket = store.s3(), store.places["bucket"]
    return lambda key, body, **options: client.put_object(Bucket=bucket, Key=key, Body=body, **options)


def get(store: Simulator, key: str) -> dict[str, Any]:
    return store.s3().get_object(Bucket=store.places["bucket"], Key=key)


def refusal(call, *arguments: Any, **options: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as raised:
        call(*arguments, **options)
    response = raised.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_an_object_comes_back_as_it_was_put(store: Simulator, put) -> None:
    body = bytes(range(256)) * 40
    etag = put("a/dt=2026-11-21/b.gz", body, ContentType="application/x-ndjson", Metadata={"run-id": "r"})["ETag"]
    found = get(store, "a/dt=2026-11-21/b.gz")
    assert found["Body"].read() == body
    assert (found["ETag"], found["ContentType"], found["Metadata"]) == (etag, "application/x-ndjson", {"run-id": "r"})
    assert not found.get("ContentEncoding")


def test_a_key_that_is_not_there_is_told_from_one_that_can_not_be_read(store: Simulator) -> None:
    assert refusal(get, store, "nothing") == (404, "NoSuchKey")


def test_a_create_of_what_exists_is_refused_and_changes_nothing(store: Simulator, put) -> None:
    put("created", b"first", IfNoneMatch="*")
    assert refusal(put, "created", b"second", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert get(store, "created")["Body"].read() == b"first"


def test_a_replacement_of_what_has_changed_is_refused_and_changes_nothing(store: Simulator, put) -> None:
    first = put("replaced", b"first")["ETag"]
    second = put("replaced", b"second", IfMatch=first)["ETag"]
    assert refusal(put, "replaced", b"third", IfMatch=first) == (412, "PreconditionFailed")
    assert get(store, "replaced")["Body"].read() == b"second"
    put("replaced", b"third", IfMatch=second)
    assert get(store, "replaced")["Body"].read() == b"third"


def test_a_replacement_of_what_is_not_there_is_refused(put) -> None:
    # AWS returns 404.
    assert refusal(put, "never created", b"", IfMatch='"d41d8cd98f00b204e9800998ecf8427e"')[0] in (404, 412)


@pytest.mark.parametrize("condition", ["create", "replace"])
def test_of_racing_writes_one_wins(store: Simulator, put, condition: str) -> None:
    for round_ in range(5):
        key = f"race/{condition}/{round_}"
        options = {"IfNoneMatch": "*"} if condition == "create" else {"IfMatch": put(key, b"before")["ETag"]}

        def attempt(racer: int, key: str = key, options: dict[str, str] = options) -> int | None:
            try:
                put(key, b"%d" % racer, **options)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                    return None
                raise
            return racer

        with ThreadPoolExecutor(8) as racers:
            winners = [racer for racer in racers.map(attempt, range(8)) if racer is not None]
        assert len(winners) == 1
        assert get(store, key)["Body"].read() == b"%d" % winners[0]


def test_a_body_that_does_not_fit_its_checksum_is_refused(store: Simulator, put) -> None:
    wrong = base64.b64encode(hashlib.sha256(b"another body").digest()).decode()
    assert refusal(put, "damaged", b"body", ChecksumSHA256=wrong)[0] == 400
    assert refusal(get, store, "damaged") == (404, "NoSuchKey")
    put("kept", b"before")
    assert refusal(put, "kept", b"body", ChecksumSHA256=wrong)[0] == 400
    assert get(store, "kept")["Body"].read() == b"before"


def test_a_wrong_secret_key_is_refused(store: Simulator) -> None:
    status, code = refusal(store.s3(secret_key="wrong").put_object, Bucket=store.places["bucket"], Key="k", Body=b"")
    assert (status, code) == (403, "SignatureDoesNotMatch")


def test_a_list_holds_every_key_below_a_prefix_in_order(store: Simulator, put) -> None:
    keys = [f"listed/{name}" for name in ("a", "b/c", "b/d=e", "ü")]
    for key in reversed(keys):
        put(key, b"")
    found = store.s3().list_objects_v2(Bucket=store.places["bucket"], Prefix="listed/")
    assert [entry["Key"] for entry in found["Contents"]] == keys
