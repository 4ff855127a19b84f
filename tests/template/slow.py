"""A stand-in for AWS whose function answers slowly, and `make`, which invokes it."""

import os
import subprocess
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

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
    return subprocess.run(command, env=environment(aws), text=True, capture_output=True, timeout=60)


begun: dict[str, Any] = {}


def begin() -> None:
    """Begins the run of more than a minute."""
    aws = begun["aws"] = Aws(seconds=70).__enter__()
    command = ["make", "--no-print-directory", "-C", str(ROOT), "probe"]
    begun["process"] = subprocess.Popen(
        command, env=environment(aws), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def end() -> tuple[subprocess.CompletedProcess[str], list[tuple[bytes, float]]]:
    process = begun["process"]
    said, errors = process.communicate(timeout=150)
    begun["aws"].__exit__()
    return subprocess.CompletedProcess(process.args, process.returncode, said, errors), begun["aws"].invocations
