"""Tables for a terminal and for markdown, and a description of the machine."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rig import ROOT

WIDTH = 100


class Report:
    """Prints each part at once, and keeps it for the file."""

    def __init__(self) -> None:
        self.markdown: list[str] = []

    def text(self, text: str) -> None:
        print(f"{wrapped(text)}\n", flush=True)
        self.markdown.append(f"{text}\n")

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
        """A header may have several lines. All columns but the first are numbers."""
        heads = [head.split("\n") for head in header]
        height = max(map(len, heads))
        above = [list(line) for line in zip(*([""] * (height - len(head)) + head for head in heads), strict=True)]
        widths = [max(len(row[column]) for row in [*above, *rows]) for column in range(len(header))]
        print(title)
        for row in [*above, ["-" * width for width in widths], *rows]:
            cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
            print("  ".join(cells).rstrip())
        print(f"\n{wrapped(note)}\n" if note else "", flush=True)

        marks = ["---", *["---:"] * (len(header) - 1)]
        heads = [head.replace("\n", " ") for head in header]
        table = [f"| {' | '.join(row)} |" for row in [heads, marks, *rows]]
        self.markdown.append("\n".join([f"## {title}", "", *table, ""]))
        if note:
            self.markdown.append(f"{note}\n")

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["# Benchmark", "", *self.markdown]), "utf-8")


def wrapped(text: str) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def surroundings() -> str:
    """The machine, the date and the versions, as a sentence."""
    info = Path("/proc/cpuinfo").read_text("utf-8")
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    versions = [f"rustc {rustc[1]}", f"Python {platform.python_version()}"]
    versions += [f"{package} {version(package)}" for package in ("boto3", "urllib3", "incydr")]
    gzip = subprocess.run(["gzip", "--version"], capture_output=True, text=True, check=True).stdout.split()
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release()}, {datetime.now(UTC):%Y-%m-%d}; {', '.join(versions)}, {' '.join(gzip[:2])}. "
        f"Load before the first measurement: {os.getloadavg()[0]:.1f}. API and store run on the same cores and cost "
        "little; everything is on loopback."
    )
