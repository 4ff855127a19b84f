"""The parts of a measurement: the tenant and the store of `bench serve`, the collector in a Lambda, other commands, and
the resources that each of them used.

Imports only the standard library. On Linux a child process begins with its parent's peak memory, so this process must
stay smaller than the measured one.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
TOOLS = TARGET / "bench-tools" / "bench"
sys.path.append(str(ROOT / "tests" / "conformance"))
from lambda_function import Function  # noqa: E402

SETTINGS = {
    "FE_PAGE_SIZE": "10000",
    "GZIP_LEVEL": "6",
    "REQUESTS_PER_MINUTE": "100000",
    "AWS_LAMBDA_LOG_LEVEL": "WARN",
}

Figures = dict[str, Any]


class Tenant:
    """Runs `bench serve` during the `with` block."""

    def __init__(self, **options: object) -> None:
        arguments = []
        for name, value in options.items():
            flag = f"--{name.replace('_', '-')}"
            arguments += [] if value is False else [flag] if value is True else [flag, str(value)]
        self.process = subprocess.Popen(
            [TOOLS, "serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        first_line = self.process.stdout.readline()
        assert first_line, "the tenant did not start"
        self.places: dict[str, Any] = json.loads(first_line)
        self.environment: dict[str, str] = self.places["environment"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def figures(self) -> Figures:
        return self._control("/figures")

    def reset(self) -> None:
        """Empties the bucket, and resets the counters."""
        self._control("/reset", {})

    def behave(self, **changes: object) -> None:
        self._control("/behaviour", changes)

    def span(self) -> dict[str, str]:
        """The span of its events."""
        return {"from": self.places["from"], "to": self.places["to"]}

    def _control(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.places["control"] + path, data, timeout=10) as answer:
            return json.load(answer)


@dataclass
class Spent:
    """The result of a measurement: seconds of time and CPU, and peak memory."""

    seconds: float
    cpu: float
    peak_mib: float


class Collector(Function):
    """The collector's binary in one warm environment. After the `with` block it has the resources that the process
    used."""

    def __init__(self, binary: Path, tenant: Tenant, **settings: str) -> None:
        super().__init__(binary, tenant.environment | SETTINGS | settings)
        # It is killed while it polls. That is no error.
        self.server.handle_error = lambda *_: None
        self.seconds = 0.0

    def __exit__(self, *exception: object) -> None:
        peak_mib = high_water_mib(self.process.pid)
        self.process.kill()
        cpu, _ = reap(self.process)
        self.spent = Spent(self.seconds, cpu, peak_mib)
        super().__exit__(*exception)

    def timed(self, event: dict[str, Any], deadline: float = 900) -> Any:
        """Returns the answer to an invocation, which must not be an error."""
        began = monotonic()
        how, answer = self.invoke(event, deadline)
        self.seconds = monotonic() - began
        assert how == "response", answer
        return answer

    def collect(self, streams: Sequence[str], span: Mapping[str, str], deadline: float = 900) -> Any:
        return self.timed({"action": "collect", "streams": list(streams), **span}, deadline)


def high_water_mib(pid: int) -> float:
    """The peak memory of a running process; 0 if it has ended."""
    _, _, held = Path(f"/proc/{pid}/status").read_text("utf-8").partition("VmHWM:")
    return int(held.split()[0]) / 1024 if held else 0.0


def reap(process: subprocess.Popen[Any]) -> tuple[float, float]:
    """Waits for a process. Returns its CPU seconds, user and system, and its peak memory in MiB. Children that it
    waited for are included; of the peaks, the largest counts.
    """
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def run(command: Sequence[object], environment: Mapping[str, str]) -> tuple[Spent, str]:
    """Runs a command to its end. Returns the resources that it used, and its output."""
    began = monotonic()
    process = subprocess.Popen(list(map(str, command)), env=dict(environment), stdout=subprocess.PIPE, text=True)
    with process.stdout as stdout:
        printed = stdout.read()
    cpu, peak_mib = reap(process)
    assert process.returncode == 0, f"{command[0]} ended with {process.returncode}"
    return Spent(monotonic() - began, cpu, peak_mib), printed


def tool(*arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """Returns the output of a subcommand of `bench`."""
    _, printed = run([TOOLS, *arguments], environment or {})
    return json.loads(printed)
