"""The simulator's API as it was at an earlier instant, so that a schedule of hours can be played in seconds.

It is a proxy before the simulator that narrows the requests. Nothing later than `now` is found, nor anything that
wasn't visible yet. The `Date` header says that it is `now`, and the collector goes by that.
"""

import json
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlencode

import requests
from records import iso

EPOCH = "1970-01-01T00:00:00Z"


class Earlier:
    """Runs during the `with` block."""

    def __init__(self, api: str, now: datetime) -> None:
        self.api, self.now = api, now
        self.hidden_events: set[str] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def now_text(self) -> str:
        return iso(int(self.now.timestamp() * 1000))

    def narrowed_query(self, path: str, query: str) -> str:
        if path == "/v1/audit/log":
            return f"{query}&{urlencode({'endTime': self.now_text})}"
        if path == "/v1/cases":
            # If it is given twice, both count.
            return f"{query}&{urlencode({'updatedAt': f'{EPOCH}/{self.now_text}'})}"
        return query

    def narrowed_body(self, path: str, body: bytes) -> bytes:
        if path.startswith("/v1/audit/"):
            asked = json.loads(body)
            span = asked["dateRange"]
            now = self.now.timestamp()
            asked["dateRange"] = {
                "startTime": span.get("startTime") or 0,
                "endTime": min(span.get("endTime") or now, now),
            }
            return json.dumps(asked).encode()
        if path.startswith("/v2/file-events"):
            asked = self.without_durations(json.loads(body))
            filters = [filter_("event.inserted", "ON_OR_BEFORE", self.now_text)]
            filters += [filter_("event.id", "IS_NOT", event) for event in self.hidden_events]
            asked["groups"].append({"filterClause": "AND", "filters": filters})
            return json.dumps(asked).encode()
        return body

    def without_durations(self, asked: Any) -> Any:
        """WITHIN_THE_LAST counts from `now`."""
        if isinstance(asked, list):
            return [self.without_durations(item) for item in asked]
        if not isinstance(asked, dict):
            return asked
        if asked.get("operator") == "WITHIN_THE_LAST":
            minutes = int(re.fullmatch(r"PT(\d+)M", asked["value"])[1])
            since = self.now - timedelta(minutes=minutes)
            return filter_(asked["term"], "ON_OR_AFTER", iso(int(since.timestamp() * 1000)))
        return {name: self.without_durations(value) for name, value in asked.items()}


def filter_(term: str, operator: str, value: str) -> dict[str, str]:
    return {"term": term, "operator": operator, "value": value}


def handler(earlier: Earlier) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.forward(lambda _, body: body)

        def do_POST(self) -> None:
            self.forward(earlier.narrowed_body)

        def forward(self, narrowed: Callable[[str, bytes], bytes]) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept = ("accept", "authorization", "content-type", "user-agent")
            response = requests.request(
                self.command,
                f"{earlier.api}{path}?{earlier.narrowed_query(path, query)}",
                data=narrowed(path, body),
                headers={name: value for name, value in self.headers.items() if name.lower() in kept},
                timeout=30,
            )
            self.send_response_only(response.status_code)
            self.send_header("Date", earlier.now.strftime("%a, %d %b %Y %H:%M:%S GMT"))
            self.send_header("Content-Type", response.headers["Content-Type"])
            self.send_header("Content-Length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
