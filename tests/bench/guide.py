"""The steps of the Google SecOps guide's sample function for file events, in our words: it reads one page at a time,
parses it, writes it as JSON again and puts it into the bucket. With `--gzip` it stores a page like the collector: one
line a record, gzipped.

Prints the seconds that it took without its imports, as a warm function would take.
"""

import gzip
import json
import os
import sys
import time
from typing import Any

import boto3
import urllib3
from botocore.config import Config

ENV = os.environ


def main() -> None:
    began = time.monotonic()
    http = urllib3.PoolManager(timeout=30.0, retries=False)
    s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    headers = {"Authorization": f"Bearer {token(http)}", "Content-Type": "application/json"}
    query = json.loads(ENV["FE_QUERY_JSON"]) | {"pageSize": int(ENV["FE_PAGE_SIZE"])}
    is_gzipped = "--gzip" in sys.argv
    page, number = call(http, "/v2/file-events/search", headers, query), 0
    while True:
        key = f"{ENV['S3_PREFIX']}file_events/{time.strftime('%Y/%m/%d/%H%M%S')}-page-{number}.json"
        body = gzipped(page["fileEvents"]) if is_gzipped else json.dumps(page).encode()
        s3.put_object(Bucket=ENV["S3_BUCKET"], Key=key, Body=body)
        following = page.get("nextPageToken")
        if not following:
            break
        page, number = call(http, "/v2/file-events/search", headers, query | {"pageToken": following}), number + 1
    print(json.dumps({"seconds": time.monotonic() - began}))


def token(http: urllib3.PoolManager) -> str:
    credentials = urllib3.make_headers(basic_auth=f"{ENV['INCYDR_CLIENT_ID']}:{ENV['INCYDR_CLIENT_SECRET']}")
    return call(http, "/v1/oauth/token", credentials, {})["access_token"]


def call(http: urllib3.PoolManager, path: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
    answer = http.request("POST", ENV["INCYDR_BASE_URL"] + path, headers=headers, body=json.dumps(body))
    return json.loads(answer.data.decode())


def gzipped(records: list[Any]) -> bytes:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    return gzip.compress(lines.encode(), 6)


if __name__ == "__main__":
    main()
