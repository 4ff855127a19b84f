"""Both programs call AWS at its FIPS endpoints where the template says so. The proxy sees the hosts, and lets nothing through."""

import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lambda_function import Function
from rendered import ROOT, Rendered, source
from simulator import BINARIES

STACKS = {"incydr-collector": (ROOT / "template.yaml", "Collector"), "responder": (ROOT / "infra" / "respond.yaml", "Responder")}
GIVEN = {"BaseUrl": "https://api.gov.code42.com", "RecordsBucketName": "records", "StateBucketName": "state"}
ALLOWED = {"responder": {"AllowedActions": "session.add_note,session.get"}}
# The first asks S3 for the checkpoint or a claim, the second Secrets Manager.
EVENTS = {
    "incydr-collector": [{"action": "status"}, {"action": "probe"}],
    "responder": [
        {"action": "session.add_note", "request_id": "a", "requested_by": "alice", "reason": "a test", "input": {"id": "1", "noteContent": "x"}},
        {"action": "session.get", "requested_by": "alice", "input": {"id": "1"}},
    ],
}


@pytest.fixture
def proxy() -> Iterator[tuple[str, "queue.Queue[str]"]]:
    asked: queue.Queue[str] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.put(self.path)
            self.send_error(502)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("wanted, suffix", [("true", "-fips"), ("false", "")])
@pytest.mark.parametrize("program", STACKS)
def test_the_hosts_that_are_called_are_the_ones_that_the_template_asks_for(program, wanted, suffix, proxy):
    address, asked = proxy
    path, function = STACKS[program]
    stack = Rendered(source(path), **GIVEN | ALLOWED.get(program, {}) | {"UseFipsEndpoints": wanted, "ProxyUrl": address})
    variables = {name: str(value) for name, value in stack.resources[function]["Properties"]["Environment"]["Variables"].items()}
    lambdas_own = {
        "AWS_REGION": "us-gov-west-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_LAMBDA_FUNCTION_NAME": program,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
    }
    expected = {f".s3{suffix}.us-gov-west-1.amazonaws.com:443", f"secretsmanager{suffix}.us-gov-west-1.amazonaws.com:443"}
    for event in EVENTS[program]:
        with Function(BINARIES / program, variables | lambdas_own) as running:
            running.events.put((event, 60))
            host = asked.get(timeout=30)
        while not asked.empty():
            asked.get_nowait()
        expected -= {found for found in expected if host.endswith(found)}
    assert not expected, host
