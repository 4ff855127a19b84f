"""Measures how the collector's memory, CPU and time grow with the pages, the API's latency and the allowed requests.
Prints the numbers, and writes tests/bench/growth.csv and tests/bench/growth.svg.
"""

import argparse
import csv
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rig import TARGET, Collector, Tenant

HERE = Path(__file__).resolve().parent
PAGE = 2_000
PAGES = (1, 3, 10, 30, 100, 300, 1000)
LATENCIES_MS, LATENCY_PAGES = (0, 50, 200, 500, 1000, 2000), 60
BUDGETS, BUDGET_PAGES, BUDGET_LATENCY_MS = (30, 60, 120, 240, 480), 40, 1000


@dataclass
class Point:
    """One run of a new process over a full backlog."""

    varied: str
    pages: int
    latency_ms: int
    requests_per_minute: int
    seconds: float
    cpu_s_per_million: float
    peak_mib: float
    most_in_flight: int


def measure(
    varied: str, binary: Path, tenant: Tenant, pages: int, latency_ms: int = 0, requests_per_minute: int = 100_000
) -> Point:
    events = pages * PAGE
    tenant.behave(events=events, page_latency_ms=latency_ms)
    tenant.reset()
    settings = {"FE_PAGE_SIZE": str(PAGE), "REQUESTS_PER_MINUTE": str(requests_per_minute)}
    with Collector(binary, tenant, **settings) as function:
        answer = function.collect(["file_events"], tenant.span())
    figures = tenant.figures()
    assert answer["status"] == "complete" and figures["records"] == events, answer
    point = Point(
        varied=varied,
        pages=pages,
        latency_ms=latency_ms,
        requests_per_minute=requests_per_minute,
        seconds=round(function.seconds, 2),
        cpu_s_per_million=round(function.spent.cpu / events * 1e6, 1),
        peak_mib=round(function.spent.peak_mib, 1),
        most_in_flight=figures["most_in_flight"],
    )
    print("  ".join(f"{value:>19}" for value in asdict(point).values()), flush=True)
    return point


def measure_all(binary: Path) -> list[Point]:
    print("  ".join(f"{field.name:>19}" for field in fields(Point)))
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    span = {"from": (end - timedelta(hours=6)).isoformat(), "to": end.isoformat()}
    with Tenant(**span) as tenant:
        points = [measure("pages", binary, tenant, pages) for pages in PAGES]
        points += [measure("latency", binary, tenant, LATENCY_PAGES, latency) for latency in LATENCIES_MS]
        points += [
            measure("requests per minute", binary, tenant, BUDGET_PAGES, BUDGET_LATENCY_MS, budget)
            for budget in BUDGETS
        ]
    return points


def write(points: list[Point], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Point)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, points))


def draw(points: list[Point], path: Path) -> None:
    # Imported only here. Otherwise the measured processes would begin with its memory.
    import matplotlib

    matplotlib.use("svg")
    # Text is drawn as text, without a date and random ids. The same numbers then give the same file.
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "growth"}
    matplotlib.rcParams |= {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
    from matplotlib import pyplot

    panels = [
        ("pages", "pages", "peak_mib", f"Memory, MiB, against pages of {PAGE:,}"),
        ("pages", "pages", "cpu_s_per_million", "CPU seconds per million events, against pages"),
        ("latency", "latency_ms", "seconds", f"Seconds for {LATENCY_PAGES} pages, against latency in ms"),
        ("requests per minute", "requests_per_minute", "seconds",
         f"Seconds for {BUDGET_PAGES} pages, against requests a minute"),
    ]  # fmt: skip
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), layout="constrained", facecolor="white")
    for plot, (varied, across, up, title) in zip(axes.flat, panels, strict=True):
        chosen = [asdict(point) for point in points if point.varied == varied]
        plot.plot([point[across] for point in chosen], [point[up] for point in chosen], "o-", color="#1f5fa8")
        plot.set_title(title, fontsize=10)
        plot.set_ylim(0, 1.1 * max(point[up] for point in chosen))
        if varied != "latency":
            plot.set_xscale("log")
            plot.set_xticks([point[across] for point in chosen], [f"{point[across]:,}" for point in chosen])
            plot.minorticks_off()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collector", type=Path, default=TARGET / "release" / "incydr-collector")
    points = measure_all(parser.parse_args().collector.resolve())
    write(points, HERE / "growth.csv")
    draw(points, HERE / "growth.svg")


if __name__ == "__main__":
    main()
