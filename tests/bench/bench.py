"""Measures the collector: against its peers, against the API's limits, with several streams at once, at its start, and
with nothing to do. Prints tables, and writes them to target/bench.md.

    bench.py             EVENTS (600000) for the collector, a sixth of them for slower programs
    bench.py --quick     a sixth of all that
"""

import argparse
import gzip
import json
import os
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from report import Report, surroundings
from rig import ROOT, SETTINGS, TARGET, Collector, Figures, Spent, Tenant, run, tool

HERE = Path(__file__).resolve().parent
PAGE = 10_000

# us-east-1, on demand, in dollars, as of November 2026.
# https://aws.amazon.com/lambda/pricing/ (arm64, first tier); 1,769 MB are one vCPU:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
LAMBDA_GB_SECOND = 0.0000133334
GB_OF_ONE_VCPU = 1769 / 1024
# https://aws.amazon.com/s3/pricing/ (S3 Standard): PUT and LIST, GET and HEAD.
S3_WRITE, S3_READ = 0.005 / 1000, 0.0004 / 1000
COST = (
    f"Dollars = CPU s × 1769/1024 GB × ${LAMBDA_GB_SECOND:.10f} (Lambda, arm64, at the memory that buys one vCPU) "
    f"+ S3 writes × ${S3_WRITE:.6f} + reads × ${S3_READ:.7f}."
)


@dataclass
class Peer:
    """The time and resources that one program took for so many events."""

    name: str
    events: int
    spent: Spent
    figures: Figures

    def row(self, baseline: "Peer", floor_cpu: float) -> list[str]:
        """`floor_cpu` is in seconds per million events."""
        millions = self.events / 1e6
        cpu = self.spent.cpu / millions
        s3 = s3_calls(self.figures)
        dollars = (cpu * GB_OF_ONE_VCPU * LAMBDA_GB_SECOND) + s3_dollars(self.figures) / millions
        return [
            self.name,
            f"{self.rate:,.0f}",
            f"{self.rate / baseline.rate:.1f}",
            f"{self.figures['bytes'] / self.spent.seconds / 1e6:.0f}",
            f"{cpu:.1f}",
            f"{cpu / floor_cpu:.2f}",
            f"{self.spent.peak_mib:.0f}",
            f"{api_requests(self.figures) / millions:.0f}",
            f"{s3 / millions:.0f}" if s3 else "–",
            f"{dollars:.5f}",
        ]

    @property
    def rate(self) -> float:
        return self.events / self.spent.seconds


def api_requests(figures: Figures) -> int:
    return sum(figures["requests"].values())


def s3_calls(figures: Figures) -> int:
    return sum(figures["s3"].values())


def s3_dollars(figures: Figures) -> float:
    writes = sum(count for call, count in figures["s3"].items() if call.startswith(("PUT", "LIST")))
    return writes * S3_WRITE + (s3_calls(figures) - writes) * S3_READ


def collector(binary: Path, events: int) -> Peer:
    with Tenant(events=events) as tenant:
        with Collector(binary, tenant) as function:
            answer = function.collect(["file_events"], tenant.span())
        figures = tenant.figures()
    assert answer["status"] == "complete", answer
    assert figures["records"] == events, f"{figures['records']} of {events} are stored"
    return Peer("collector", events, function.spent, figures)


def guide(name: str, events: int, *options: str) -> Peer:
    with Tenant(events=events) as tenant:
        environment = tenant.environment | {
            "AWS_DEFAULT_REGION": tenant.environment["AWS_REGION"],
            "FE_PAGE_SIZE": SETTINGS["FE_PAGE_SIZE"],
            "FE_QUERY_JSON": json.dumps(window(tenant)),
            "INCYDR_CLIENT_ID": tenant.places["client_id"],
            "INCYDR_CLIENT_SECRET": tenant.places["client_secret"],
        }
        spent, printed = run([sys.executable, HERE / "guide.py", *options], environment)
        figures = tenant.figures()
    assert figures["rows"] == events, figures
    spent.seconds = json.loads(printed)["seconds"]
    return Peer(name, events, spent, figures)


def command_line(events: int) -> Peer:
    """The vendor's command line, piped into gzip. The shell waits for both."""
    stored = TARGET / "bench-cli.ndjson.gz"
    with Tenant(events=events) as tenant:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(TARGET),
            "NO_PROXY": "127.0.0.1",
            "PYTHONWARNINGS": "ignore",
            "INCYDR_URL": tenant.places["api"],
            "INCYDR_API_CLIENT_ID": tenant.places["client_id"],
            "INCYDR_API_CLIENT_SECRET": tenant.places["client_secret"],
            "INCYDR_USE_RICH": "false",
            "QUERY": json.dumps(window(tenant) | {"srtKey": "event.inserted", "pgToken": ""}),
            "STORED": str(stored),
        }
        search = 'incydr file-events search --advanced-query "$QUERY" --format json-lines | gzip -6 >"$STORED"'
        spent, _ = run(["sh", "-c", search], environment)
        figures = tenant.figures()
    with gzip.open(stored) as lines:
        assert sum(1 for _ in lines) == events
    stored.unlink()
    return Peer("vendor's CLI into gzip", events, spent, figures)


def window(tenant: Tenant) -> dict[str, object]:
    """A query for all events of the tenant."""
    ends = zip(("ON_OR_AFTER", "ON_OR_BEFORE"), tenant.span().values(), strict=True)
    filters = [{"term": "event.inserted", "operator": operator, "value": value} for operator, value in ends]
    return {"groupClause": "AND", "groups": [{"filterClause": "AND", "filters": filters}]}


def compare(report: Report, binary: Path, events: int, fewer: int) -> None:
    ours = collector(binary, events)
    baseline = guide("guide's function", fewer)
    peers = [ours, baseline, guide("guide's, made to gzip", fewer, "--gzip"), command_line(fewer)]
    floor = tool("floor", "--events", events, "--level", SETTINGS["GZIP_LEVEL"])
    floor_cpu = floor["cpu_seconds"] / events * 1e6
    floor_row = [
        "gzip alone",
        f"{events / floor['wall_seconds']:,.0f}",
        f"{events / floor['wall_seconds'] / baseline.rate:.1f}",
        f"{floor['bytes'] / floor['wall_seconds'] / 1e6:.0f}",
        f"{floor_cpu:.1f}",
        "1.00",
        *["–"] * 4,
    ]
    header = ["", "events/s", "×\nguide's", "MB/s", "CPU s\n/M", "×\ngzip alone", "peak\nMiB", "API req.\n/M"]
    report.table(
        "File events, pages of 10,000, an API that answers at once",
        [*header, "S3 req.\n/M", "dollars\n/M"],
        [*(peer.row(baseline, floor_cpu) for peer in peers), floor_row],
        f"/M: for a million events. The collector and gzip alone were given {events:,}, the others {fewer:,}. MB/s: of "
        "JSON. CPU: of the whole process, its start too; of a pipe the sum, and the larger peak. Peak: VmHWM of the "
        "collector, ru_maxrss of the others. gzip alone: one thread compresses the same lines, "
        f"{floor['bytes'] / floor['gzip_bytes']:.2f} times smaller. {COST}",
    )


@contextmanager
def sampled(tenant: Tenant) -> Iterator[list[tuple[float, int]]]:
    """Notes each second how many records are stored."""
    began, over, samples = time.monotonic(), threading.Event(), [(0.0, 0)]

    def sample() -> None:
        while not over.wait(1):
            samples.append((time.monotonic() - began, tenant.figures()["records"]))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def pages_per_minute(samples: list[tuple[float, int]], start: float, end: float) -> float:
    """The rate of stored records between two instants, in full pages per minute."""
    within = [sample for sample in samples if start <= sample[0] <= end]
    (first, before), (last, after) = within[0], within[-1]
    return (after - before) / PAGE / (last - first) * 60


def against_limits(report: Report, binary: Path, seconds: int) -> None:
    """Measures a backlog that can't end before the deadline."""
    rows = []
    for name, uneven in [("even", False), ("uneven", True)]:
        events = seconds * 2 * PAGE * 3 // 2
        with Tenant(events=events, uneven=uneven, page_latency_ms=2000, limit_per_minute=120) as tenant:
            settings = {"REQUESTS_PER_MINUTE": "120"}
            with Collector(binary, tenant, **settings) as function, sampled(tenant) as samples:
                answer = function.collect(["file_events"], tenant.span(), deadline=seconds)
            figures = tenant.figures()
        stored = figures["records"] / PAGE / function.seconds * 60
        steady = pages_per_minute(samples, seconds * 0.3, seconds * 0.9)
        asked = api_requests(figures)
        row = [name, f"{steady:.0f}", f"{stored:.0f}", f"{asked / function.seconds * 60:.0f}"]
        row += [f"{figures['refused'] / asked:.1%}", str(figures["most_in_flight"])]
        rows.append([*row, f"{function.spent.peak_mib:.0f}", answer["status"]])
    header = ["events\ncome", "pages/min\nsteadily", "pages/min\nwhole run", "requests\n/min", "refused"]
    report.table(
        "Against the API's own limits: 2 s an answer, 120 requests a minute",
        [*header, "most in\nflight", "peak\nMiB", "status"],
        rows,
        f"A backlog that doesn't end within the {seconds} s that the run is given. Pages: events stored, in full pages "
        "of 10,000; steadily: between 30 % and 90 % of the time. Uneven: the density changes every five minutes, by up "
        "to a factor of ten.",
    )


def several_streams(report: Report, binary: Path, events: int) -> None:
    streams = ["file_events", "audit", "users"]
    rows = []
    with Tenant(events=events, audit=events // 3, users=events // 30, page_latency_ms=200) as tenant:
        for chosen in [[stream] for stream in streams] + [streams]:
            tenant.reset()
            with Collector(binary, tenant) as function:
                answer = function.collect(chosen, tenant.span())
            assert answer["status"] == "complete", answer
            figures = tenant.figures()
            records = [f"{figures['records']:,}", str(api_requests(figures)), f"{function.spent.peak_mib:.0f}"]
            rows.append([" + ".join(chosen), f"{function.seconds:.1f}", *records])
    header = ["streams", "seconds", "records", "API\nrequests", "peak\nMiB"]
    report.table("Several streams at once: 200 ms an answer, no limit", header, rows)


def start(report: Report, binary: Path) -> None:
    with Tenant(events=1) as tenant:
        times = tool("start", binary, "--times", 30, environment=tenant.environment)
    sizes = [f"{size / 1e6:.1f}" for size in (binary.stat().st_size, len(zipped(binary)))]
    row = ["collector", f"{times['median_ms']:.1f}", f"{times['best_ms']:.1f}", *sizes]
    report.table(
        "Start: from the making of the process to its first poll of the Runtime API",
        ["", "median\nms", "best\nms", "binary\nMB", "zip\nMB"],
        [row],
        f"Of {times['times']} starts, by a launcher in Rust; the binary is in the page cache. The zip holds "
        "`bootstrap` alone, deflated at level 9.",
    )


def zipped(binary: Path) -> bytes:
    """Packs the binary. The same binary always gives the same bytes."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, binary.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return packed.getvalue()


def nothing_new(report: Report, binary: Path) -> None:
    """Measures the second of two scheduled runs in the same environment."""
    settings = {"STREAMS": "file_events,audit,users", "LOOKBACK_MINUTES": str(4 * 24 * 60)}
    with Tenant(events=5000, audit=500, users=100) as tenant:
        with Collector(binary, tenant, **settings) as function:
            function.timed({"source": "aws.scheduler"})
            before = tenant.figures()
            # Windows end at full seconds. A moment must pass before there is a span to request.
            time.sleep(3)
            answer = function.timed({"source": "aws.scheduler"})
        after = tenant.figures()
    assert after["records"] == before["records"], "there was something new"
    made = [calls(before[kind], after[kind]) for kind in ("requests", "s3")]
    report.table(
        "A run that finds nothing new: file events, audit log and users, in a warm environment",
        ["", "API\nrequests", "S3\ncalls", "ms"],
        [["second run", str(sum(made[0].values())), str(sum(made[1].values())), f"{function.seconds * 1000:.0f}"]],
        f"API: {told(made[0])}. S3: {told(made[1])}. Its answer: {answer['status']}.",
    )


def calls(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    made = {call: count - before.get(call, 0) for call, count in after.items()}
    return {call: count for call, count in made.items() if count}


def told(made: dict[str, int]) -> str:
    return ", ".join(f"{count} × {call}" for call, count in made.items()) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a sixth of the events, and a shorter backlog")
    parser.add_argument("--collector", type=Path, default=TARGET / "release" / "incydr-collector")
    chosen = parser.parse_args()
    events = int(os.environ.get("EVENTS", "600000")) // (6 if chosen.quick else 1)
    binary = chosen.collector.resolve()

    report = Report()
    report.text(surroundings())
    compare(report, binary, events, events // (3 if chosen.quick else 6))
    start(report, binary)
    nothing_new(report, binary)
    several_streams(report, binary, events // 2)
    against_limits(report, binary, 80 if chosen.quick else 200)
    report.write(ROOT / "target" / "bench.md")
    print("Also written to target/bench.md")


if __name__ == "__main__":
    main()
