"""A stand-in on loopback: an S3 that enforces IAM, behind a proxy that logs each call."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from botocore.config import Config

@dataclass
class Call:
    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int

    @property
    def encryption(self) -> tuple[str, str | None, str | None]:
        """The bucket, and how the call asks it to encrypt."""
        names = ["x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"]
        return self.bucket, self.headers.get(names[0]), self.headers.get(names[1])

    @property
    def needs(self) -> list[tuple[str, str, dict[str, str]]]:
        """The rights that a call needs: action, resource and context for conditions."""
        bucket, object_ = f"arn:aws:s3:::{self.bucket}", f"arn:aws:s3:::{self.bucket}/{self.key}"
        match self.method, bool(self.key):
            case "GET", False:
                return [("s3:ListBucket", bucket, {"s3:prefix": self.query.get("prefix", "")})]
            case "GET" | "HEAD", True:
                # S3 says that a key doesn't exist only to callers who may list it. The key is the prefix then.
                missing = [("s3:ListBucket", bucket, {"s3:prefix": self.key})] if self.status == 404 else []
                return [("s3:GetObject", object_, {}), *missing]
            case "PUT", True:
                names = ["if-none-match", "if-match"]
                given = {f"s3:{name}": self.headers[name] for name in names if name in self.headers}
                return [("s3:PutObject", object_, given)]
        raise AssertionError(f"a call that the collector is not known to make: {self}")


class Server:
    """An HTTP server in a thread."""

    def __init__(self, answer: Any) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def body_of(handler: BaseHTTPRequestHandler) -> bytes:
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


class S3WithIam:
    """moto, which enforces policies but no conditions. Those are removed here and evaluated by `policy`."""

    def __enter__(self) -> Self:
        command = [Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", "0"]
        environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "1000000"}
        self.process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self.moto = next(
            found[1] for line in self.process.stderr if (found := re.search(r"Running on http://([\d.:]+)", line))
        )
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.calls: list[Call] = []
        self.proxy = Server(self.hand_on)
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.stop()
        self.process.kill()
        self.process.wait()

    @property
    def endpoint(self) -> str:
        return f"http://{self.proxy.address}"

    def hand_on(self, handler: BaseHTTPRequestHandler) -> None:
        body = body_of(handler)
        connection = http.client.HTTPConnection(self.moto, timeout=30)
        connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        url = urlsplit(handler.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.calls.append(Call(handler.command, bucket, key, query, headers, answer.status))
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
        reply(handler, answer.status, content, kept)
        connection.close()

    def client(self, service: str, key_id: str = "root", secret: str = "root") -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://{self.moto}",
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def user(self, name: str, statements: list[dict[str, Any]]) -> tuple[str, str]:
        """Creates a user with these rights. Returns its keys."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        without_conditions = [{k: v for k, v in found.items() if k != "Condition"} for found in statements]
        document = json.dumps({"Version": "2012-10-17", "Statement": without_conditions})
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=document)
        keys = iam.create_access_key(UserName=name)["AccessKey"]
        return keys["AccessKeyId"], keys["SecretAccessKey"]

    def enforce(self, *, after: int = 0) -> None:
        """Enforces rights from now on, or after so many further calls."""
        connection = http.client.HTTPConnection(self.moto, timeout=30)
        connection.request("POST", "/moto-api/reset-auth", str(after).encode())
        assert connection.getresponse().status == 200
        connection.close()


HOP_BY_HOP = {"connection", "content-length", "date", "server", "transfer-encoding"}
