"""`make invoke` and what is like it, against a stand-in for AWS whose function takes its time."""

import os
import subprocess
import time
from http.server import BaseHTTPRequestHandler
from typing import Self

from rendered import ROOT
from stand_ins import Server, body_of, reply
from typed import TOOLS

STACK = """<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks>
<member><StackName>s</StackName><StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-11-21T13:00:00Z</CreationTime>
<Outputs><member><OutputKey>FunctionName</OutputKey><OutputValue>collector</OutputValue></member></Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""


class Aws:
    def __init__(self, seconds: float, *, failed: bool = False, breaks: bool = False) -> None:
        self.seconds, self.failed, self.breaks = seconds, failed, breaks
        # The event, and how long its answer took.
        self.invocations: list[tuple[bytes, float]] = []

    def __enter__(self) -> Self:
        self.server = Server(self.answer)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    @property
    def endpoint(self) -> str:
        return f"http://{self.server.address}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = body_of(handler)
        if "/invocations" not in handler.path:
            return reply(handler, 200, STACK.encode(), {"Content-Type": "text/xml"})
        began = time.monotonic()
        number = len(self.invocations)
        self.invocations.append((body, 0))
        time.sleep(self.seconds)
        self.invocations[number] = (body, time.monotonic() - began)
        if self.breaks:
            handler.connection.close()
            handler.close_connection = True
        elif self.failed:
            reply(handler, 200, b'{"errorType":"ThirdPartyGenericError"}', {"X-Amz-Function-Error": "Unhandled"})
        else:
            reply(handler, 200, b'{"action":"probe","status":"complete"}')


def environment(aws: Aws) -> dict[str, str]:
    mine = {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "PATH": f"{TOOLS}:{os.environ['PATH']}",
    }
    return os.environ | mine


def make(aws: Aws, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(command, env=environment(aws), text=True, capture_output=True, timeout=300)


def test_a_run_of_more_than_a_minute_is_one_invocation() -> None:
    """`make probe`, against an AWS that answers after 70 s. conftest.py has it run first, while other processes run the other tests."""
    with Aws(seconds=70) as aws:
        done = make(aws, "probe")
    assert done.returncode == 0, done.stderr
    assert '{"action":"probe","status":"complete"}' in done.stdout
    assert [event for event, _ in aws.invocations] == [b'{"action": "probe"}']
    assert aws.invocations[0][1] >= 70


def test_a_run_that_fails_fails_make_and_is_not_run_again() -> None:
    with Aws(seconds=0, failed=True) as aws:
        done = make(aws, "invoke")
    assert done.returncode and "ThirdPartyGenericError" in done.stdout, done.stderr
    assert len(aws.invocations) == 1


def test_a_connection_that_breaks_is_no_second_invocation() -> None:
    with Aws(seconds=0, breaks=True) as aws:
        done = make(aws, "invoke")
    assert done.returncode and len(aws.invocations) == 1, done.stdout


def test_status_as_it_is_typed_is_one_invocation_that_says_so() -> None:
    with Aws(seconds=0) as aws:
        done = make(aws, "status")
    assert done.returncode == 0, done.stderr
    assert [event for event, _ in aws.invocations] == [b'{"action": "status"}']
