"""The steps of the Google SecOps guide's sample function, in our words: the baseline of the comparison.

Its endpoints, parameters, keys and the one status that it handles are kept, because its loss of records is the point.
`now` is an argument, so that a schedule can be played.
"""

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import requests


class Guide:
    def __init__(self, env: Mapping[str, str], s3: Any) -> None:
        self.env, self.s3 = env, s3
        self.base = env["INCYDR_BASE_URL"]
        self.page_size = int(env["PAGE_SIZE"])

    def run(self, now: datetime) -> dict[str, int]:
        """Makes one invocation. Returns how many pages it stored of each stream."""
        self.now = now
        start = (now - timedelta(minutes=int(self.env["LOOKBACK_MINUTES"]))).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.headers = {"Authorization": f"Bearer {self.token()}", "Accept": "application/json"}
        return {
            "users": self.pages("users", "users", "GET", "/v1/users", {"active": "true", "blocked": "false"}),
            "audit": self.pages("audit", "audit", "GET", "/v1/audit/log", {"startTime": start}),
            "cases": self.pages("cases", "cases", "GET", "/v1/cases", {}),
            "file_events": self.pages(
                "file_events", "fileevents", "POST", "/v2/file-events/search", json.loads(self.env["FE_QUERY_JSON"])
            ),
        }

    def token(self) -> str:
        answer = self.call(
            "POST",
            "/v1/oauth/token",
            auth=(self.env["INCYDR_CLIENT_ID"], self.env["INCYDR_CLIENT_SECRET"]),
            data={"grant_type": "client_credentials"},
        )
        return answer.json()["access_token"]

    def pages(self, folder: str, label: str, method: str, path: str, query: dict[str, Any]) -> int:
        """Stores every page until one has no token."""
        size = int(self.env["FE_PAGE_SIZE"]) if method == "POST" else self.page_size
        token, stored = None, 0
        while stored == 0 or token:
            asked = query | {"pageSize": size} | ({"pageToken": token} if token else {})
            place = {"json": asked} if method == "POST" else {"params": asked}
            body = self.call(method, path, headers=self.headers, **place).json()
            key = f"{self.env['S3_PREFIX']}{folder}/{self.now:%Y/%m/%d/%H%M%S}-{label}-page-{stored}.json"
            self.s3.put_object(Bucket=self.env["S3_BUCKET"], Key=key, Body=json.dumps(body).encode())
            token = body.get("nextPageToken") or body.get("next_page_token")
            stored += 1
        return stored

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        for _ in range(3):
            response = requests.request(method, self.base + path, timeout=30, **options)
            if response.status_code != 429:
                return response
            time.sleep(int(response.headers.get("Retry-After", "1")))
        raise RuntimeError("rate limited")
