"""An emulated AWS on loopback, the SAM CLI that deploys to it, and the deployed stacks."""

import gzip
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "template"), str(ROOT / "tests" / "conformance")]
from simulator import BINARIES  # noqa: E402  (the other tests' driver)

SAM = ROOT / "target" / "venv-template" / "bin" / "sam"
# The processor of this machine, which runs the functions.
ARCH = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
MINISTACK = ROOT / "target" / "venv-ministack" / "bin" / "ministack"


class Aws:
    """ministack. It runs the function's binary as a process of this machine, and enforces no rights."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        # The programs in an operator's path; infra/deploy-extra.sh and make find them there.
        path = f"{SAM.parent}:{os.environ['PATH']}"
        self.environment = os.environ | {"AWS_ENDPOINT_URL": self.endpoint, "PATH": path, "POLL_SECONDS": "3"}
        listening = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "TMPDIR": str(self.directory)}
        # Shortens a state machine's waits and pauses, which are minutes.
        listening["SFN_WAIT_SCALE"] = "0.005"
        self.log = open(self.directory / "ministack.log", "wb")
        self.process = subprocess.Popen(
            [MINISTACK], env=self.environment | listening, stdout=self.log, stderr=self.log, start_new_session=True,
            cwd=self.directory,
        )
        until(lambda: is_up(f"{self.endpoint}/_ministack/health"), 60, "ministack starts")
        self.code()
        s3 = self.client("s3")
        s3.create_bucket(Bucket="artifacts")
        zipped = self.directory / "incydr-collector.zip"
        self.run(sys.executable, ROOT / "infra" / "zip.py", self.directory / "code" / "bootstrap", zipped)
        s3.upload_file(str(zipped), "artifacts", zipped.name)
        return self

    def __exit__(self, *_: object) -> None:
        # ministack may leave the functions' processes behind.
        for process in [*descendants(self.process.pid), self.process.pid]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.log.close()

    def code(self) -> None:
        """The template as `sam build` leaves it, with the tenant's address allowed: the simulator is no *.code42.com.
        """
        code = self.directory / "code"
        code.mkdir()
        shutil.copy(BINARIES / "incydr-collector", code / "bootstrap")
        # Debug symbols are two thirds of the file.
        if shutil.which("strip"):
            subprocess.run(["strip", code / "bootstrap"], check=True)
        text = (ROOT / "template.yaml").read_text("utf-8")
        text, times = re.subn(r"AllowedPattern: \^https://api.*$", "AllowedPattern: ^https?://.+$", text, flags=re.MULTILINE)
        assert times == 1
        # In the form of a release, for users who build nothing.
        self.unbuilt = text
        text, times = re.subn(r"Code: !If\n(?: {8}.*\n)+? {8}- \.$", "Code: code/", text, flags=re.MULTILINE)
        assert times == 2
        self.template = self.directory / "template.yaml"
        self.template.write_text(text, "utf-8")

    def client(self, service: str) -> Any:
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2})
        return boto3.client(service, endpoint_url=self.endpoint, region_name="us-east-1", config=config)

    def run(self, *command: object, check: bool = True) -> str:
        """Returns a command's output, including errors."""
        done = subprocess.run(
            list(map(str, command)), env=self.environment, cwd=self.directory, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout

    def deploy(self, stack: str, parameters: dict[str, object], *options: str) -> str:
        overrides = [f"{name}={value}" for name, value in parameters.items() if value != ""]
        return self.run(
            SAM, "deploy", "--template-file", self.template, "--stack-name", stack, "--s3-bucket", "artifacts",
            "--no-progressbar", "--capabilities", "CAPABILITY_IAM", *options, "--parameter-overrides", *overrides,
        )

    def create(self, stack: str, parameters: dict[str, object], text: str = "") -> "Stack":
        """Creates the collector's stack by CloudFormation alone, with the uploaded zip. It takes a tenth of SAM's time."""
        given = parameters | {"CodeBucket": "artifacts", "CodeKey": "incydr-collector.zip"}
        self.client("s3").put_object(Bucket="artifacts", Key=f"{stack}.yaml", Body=(text or self.unbuilt).encode())
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=stack, TemplateURL=f"{self.endpoint}/artifacts/{stack}.yaml", Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": name, "ParameterValue": str(value)} for name, value in given.items() if value != ""
            ],
        )  # fmt: skip

        def ended() -> str | None:
            (facts,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
            return None if facts["StackStatus"].endswith("IN_PROGRESS") else facts["StackStatus"]

        status = until(ended, 120, f"{stack} is deployed")
        assert status == "CREATE_COMPLETE", status
        return self.stack(stack)

    def stack(self, name: str) -> "Stack":
        return Stack(self, name)


class Stack:
    def __init__(self, aws: Aws, name: str) -> None:
        self.aws, self.name = aws, name
        cloudformation = aws.client("cloudformation")
        (facts,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        self.status = facts["StackStatus"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in facts.get("Outputs", [])}
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self.resources = {found["LogicalResourceId"]: found["PhysicalResourceId"] for found in resources}

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        lambda_ = self.aws.client("lambda")
        answer = lambda_.invoke(FunctionName=self.outputs["FunctionName"], Payload=json.dumps(event).encode())
        return json.loads(answer["Payload"].read())

    def variables(self) -> dict[str, str]:
        lambda_ = self.aws.client("lambda")
        found = lambda_.get_function_configuration(FunctionName=self.outputs["FunctionName"])
        return found["Environment"]["Variables"]

    def keys(self, bucket: str, prefix: str) -> list[str]:
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def lines(self, stream: str) -> list[str]:
        """Returns every stored record of a stream."""
        s3, bucket = self.aws.client("s3"), self.outputs["RecordsBucketName"]
        found = []
        for key in self.keys(bucket, f"code42/{stream}/"):
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            found += gzip.decompress(body).decode().rstrip("\n").split("\n")
        return found


def is_up(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:
        return False


def until(happens: Any, seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return found


def descendants(process: int) -> list[int]:
    """The descendants of a process, even if they have changed their process group."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = [process]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]
