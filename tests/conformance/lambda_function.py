"""The collector's binary in Lambda: a process, and the Runtime API on loopback that it polls."""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


class Function:
    """A warm environment during the `with` block."""

    def __init__(self, binary: Path, environment: Mapping[str, str]) -> None:
        self.events: queue.Queue[tuple[dict[str, Any], float]] = queue.Queue()
        self.outcomes: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{self.server.server_port}"
        self.process = subprocess.Popen(
            [binary], env={**environment, "AWS_LAMBDA_RUNTIME_API": address}, stdout=subprocess.DEVNULL
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.server.shutdown()
        self.server.server_close()

    def invoke(self, event: dict[str, Any], seconds: float = 30) -> tuple[str, Any]:
        """Returns how the invocation ended, `response` or `error`, and its body."""
        self.events.put((event, seconds))
        return self.outcomes.get(timeout=seconds)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        function = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                event, seconds = function.events.get()
                deadline = str(int((time.time() + seconds) * 1000))
                arn = "arn:aws:lambda:us-east-1:123456789012:function:incydr-collector"
                self.answer(200, event, request_id="00000000-0000-4000-8000-000000000001",
                            deadline_ms=deadline, invoked_function_arn=arn)  # fmt: skip

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(202, {"status": "OK"})
                function.outcomes.put((self.path.rsplit("/", 1)[1], body))

            def answer(self, status: int, value: Any, **headers: str) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                names = {"request_id": "aws-request-id"}
                for name, held in headers.items():
                    self.send_header(f"Lambda-Runtime-{names.get(name, name.replace('_', '-'))}", held)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
