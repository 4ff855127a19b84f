"""`make invoke` and what is like it, against a stand-in for AWS whose function takes its time."""

import json
import os
import pty
import subprocess
import time
from http.server import BaseHTTPRequestHandler
from typing import Self

from rendered import ROOT
from stand_ins import Server, body_of, reply
from typed import TOOLS

STACK = """<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks>
<member><StackName>s</StackName><StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-11-21T13:00:00Z</CreationTime>
<Outputs><member><OutputKey>FunctionArn</OutputKey>
<OutputValue>arn:aws:lambda:eu-west-1:123456789012:function:collector</OutputValue></member></Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""

NO_STACK = """<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type>
<Code>ValidationError</Code><Message>Stack with id s does not exist</Message></Error></ErrorResponse>"""


# What a run with one failed stream says.
PARTLY_FAILED = {
    "run_id": "r",
    "status": "failed",
    "streams": {
        "audit": {"status": "complete", "records": 15, "set_aside": 0, "covered_to": "2026-11-21T13:00:00.000Z"},
        "cases": {
            "status": "failed",
            "records": 2,
            "set_aside": 0,
            "covered_to": None,
            "error": {"type": "ThirdPartyGenericError", "message": "GET /v1/cases/7: the API answers 500"},
            "expired": [["2026-08-01T00:00:00.000Z", "2026-08-02T00:00:00.000Z"]],
        },
    },
}


class Aws:
    def __init__(
        self, seconds: float, *, failed: bool = False, breaks: bool = False, deployed: bool = True, says: str = '{"errorType":"ThirdPartyGenericError"}'
    ) -> None:
        self.seconds, self.failed, self.breaks, self.deployed = seconds, failed, breaks, deployed
        # The answer of a run that fails.
        self.says = says
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
        if not self.deployed:
            return reply(handler, 400, NO_STACK.encode(), {"Content-Type": "text/xml"})
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
            reply(handler, 200, self.says.encode(), {"X-Amz-Function-Error": "Unhandled"})
        else:
            reply(handler, 200, b'{"action":"probe","status":"complete"}')


def environment(aws: Aws) -> dict[str, str]:
    mine = {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_DEFAULT_REGION": "us-west-2",
        "PATH": f"{TOOLS}:{os.environ['PATH']}",
    }
    return os.environ | mine


def make(aws: Aws, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(command, env=environment(aws), text=True, capture_output=True, timeout=300)


def in_terminal(aws: Aws, *arguments: str) -> tuple[int, str]:
    """Runs make in a terminal. Returns its exit code and what it printed."""
    master, slave = pty.openpty()
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    process = subprocess.Popen(command, env=environment(aws), stdin=slave, stdout=slave, stderr=subprocess.DEVNULL)
    os.close(slave)
    printed = b""
    try:
        while more := os.read(master, 65_536):
            printed += more
    except OSError:  # Linux says so that the other end is closed.
        pass
    os.close(master)
    return process.wait(timeout=60), printed.decode().replace("\r\n", "\n")


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


def test_in_a_terminal_an_answer_is_a_table_with_what_takes_a_sentence_below_it() -> None:
    says = json.dumps({"errorType": "ThirdPartyGenericError", "errorMessage": json.dumps(PARTLY_FAILED)})
    with Aws(seconds=0, failed=True, says=says) as aws:
        code, printed = in_terminal(aws, "invoke")
    assert code, printed
    lines = printed.splitlines()
    assert lines[:3] == ["errorType: ThirdPartyGenericError", "run_id: r", "status: failed"], printed
    at = lines.index("stream  status    records  covered_to")
    assert lines[at + 1 : at + 3] == ["audit   complete  15       2026-11-21T13:00:00.000Z", "cases   failed    2        –"], printed
    assert "    message: GET /v1/cases/7: the API answers 500" in lines, printed
    assert "    2026-08-01T00:00:00.000Z to 2026-08-02T00:00:00.000Z" in lines, printed


def test_a_failure_without_an_answer_is_printed_in_a_terminal_as_it_is() -> None:
    says = '{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: Runtime exited"}'
    with Aws(seconds=0, failed=True, says=says) as aws:
        code, printed = in_terminal(aws, "status")
    assert code and "error: RequestId: 1 Error: Runtime exited" in printed.splitlines(), printed


def test_the_stack_and_its_region_are_said_before_the_wait() -> None:
    with Aws(seconds=0) as aws:
        done = make(aws, "invoke", "ENV=prod")
    assert done.returncode == 0 and "incydr-collector-prod in eu-west-1" in done.stderr.splitlines()
    assert done.stdout == '{"action":"probe","status":"complete"}\n'


def test_a_stack_that_is_not_there_is_named_with_the_region_that_was_looked_in() -> None:
    with Aws(seconds=0, deployed=False) as aws:
        done = make(aws, "invoke", "ENV=devv")
    assert done.returncode and aws.invocations == []
    assert "there is no stack incydr-collector-devv in us-west-2: ENV=... names the stack" in done.stderr, done.stderr
