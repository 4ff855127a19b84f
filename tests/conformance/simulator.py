"""The simulator's binary as a child process, and its control port."""

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import requests
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"


class Simulator:
    """Runs during the `with` block. It ends with its standard input, so at the latest with this process."""

    def __init__(self, *arguments: object) -> None:
        command = [BINARIES / "simulator", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        first_line = self.process.stdout.readline()
        assert first_line, "the simulator did not start"
        self.places: dict[str, Any] = json.loads(first_line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def world(self, dataset: str) -> list[str]:
        """The text of every record, as it is served."""
        return texts(self._control("GET", f"/world/{dataset}").text)

    def children(self, dataset: str, parent: str) -> list[str]:
        return texts(self._control("GET", f"/world/{dataset}/{parent}").text)

    def add(self, dataset: str, n: int, **details: object) -> list[str]:
        """Adds records of any dataset; children need their `parent`. Returns their texts."""
        return texts(self._control("POST", f"/world/{dataset}", json={"n": n, **details}).text)

    def push(self, dataset: str, raw: str, **details: object) -> None:
        self._control("POST", f"/world/{dataset}", json={"raw": raw, **details})

    def clear(self, dataset: str) -> None:
        self._control("DELETE", f"/world/{dataset}")

    def fault(self, endpoint: str, fault: str, **details: object) -> None:
        self._control("POST", "/fault", json={"endpoint": endpoint, "fault": fault, **details})

    def clear_faults(self) -> None:
        self._control("POST", "/fault", json={"fault": "none"})

    def log(self) -> list[dict[str, Any]]:
        """The API's requests so far."""
        return self._control("GET", "/log").json()

    def s3(self, secret_key: str | None = None) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.places["s3"],
            aws_access_key_id=self.places["access_key"],
            aws_secret_access_key=secret_key or self.places["secret_key"],
            region_name=self.places["region"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def _control(self, method: str, path: str, **options: Any) -> requests.Response:
        response = requests.request(method, self.places["control"] + path, timeout=10, **options)
        response.raise_for_status()
        return response


def texts(array: str) -> list[str]:
    """The texts of a JSON array's elements. Text after the array is ignored."""
    decoder = json.JSONDecoder()
    found, at = [], array.index("[") + 1
    while array[at] != "]":
        start = at
        _, at = decoder.raw_decode(array, start)
        found.append(array[start:at])
        at += array[at] == ","
    return found
