"""Runs the saved queries over collected records, with DuckDB, and prints what they find as tables. Without a bucket it is
what `make demo` collected; with one, what is in it, of which the AWS CLI fetches what the queries read."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import engine
import queries
import views

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
DEMO = BUILT / "demo" / "s3" / "records" / "code42"
FETCHED = ROOT / "target" / "answers"
WIDEST = 40


def read_streams(chosen: list[queries.Query]) -> set[str]:
    named = {word for query in chosen for word in re.findall(r"\b(\w+)_(?:all|now|deleted)\b", query.sql)}
    return named & set(views.keys())


def nothing(query: queries.Query, directory: Path) -> str:
    """Says whether there are no results, or no records to search."""
    without = [stream for stream in sorted(read_streams([query])) if not any(directory.glob(f"{stream}/dt=*/hour=*/*.gz"))]
    return f"nothing: there are no records of {' and '.join(without)}" if without else "nothing"


def patterns(streams: set[str], days: int) -> Iterator[str]:
    """Patterns of the objects to read: events of these days, and every version of other records, because the newest may
    be old."""
    today = datetime.now(UTC)
    for stream in sorted(streams):
        if views.keys()[stream]:
            yield f"{stream}/*"
        else:
            yield from (f"{stream}/dt={today - timedelta(days=day):%Y-%m-%d}/*" for day in range(days + 1))


def fetch(bucket: str, prefix: str, streams: set[str], days: int) -> Path:
    if shutil.which("aws") is None:
        sys.exit("to read a bucket takes the AWS CLI: https://docs.aws.amazon.com/cli/")
    place = FETCHED / bucket / prefix.strip("/")
    included = [part for pattern in patterns(streams, days) for part in ("--include", pattern)]
    command = ["aws", "s3", "sync", f"s3://{bucket}/{prefix}", str(place), "--only-show-errors", "--exclude", "*", *included]
    if subprocess.run(command).returncode:
        sys.exit(f"the records of s3://{bucket}/{prefix} could not be fetched")
    return place


def cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
    # Characters that would move the cursor or change the direction of the text are removed.
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def print_table(rows: list[dict[str, Any]], most: int) -> None:
    names = list(rows[0])
    cells = [[cell(row[name]) for name in names] for row in rows[:most]]
    widths = [max(len(name), *(len(row[n]) for row in cells)) for n, name in enumerate(names)]
    numbers = [all(isinstance(row[name], int | float | None) for row in rows) for name in names]

    def line(texts: list[str]) -> str:
        aligned = [text.rjust(w) if number else text.ljust(w) for text, w, number in zip(texts, widths, numbers, strict=True)]
        return "  " + "  ".join(aligned).rstrip()

    print(line(names))
    print("  " + "  ".join("-" * width for width in widths))
    for row in cells:
        print(line(row))
    if len(rows) > most:
        print(f"  … and {len(rows) - most} more rows")


def chosen_queries(name: str | None, days: int, given: dict[str, str]) -> list[queries.Query]:
    every = queries.all()
    if name is None:
        # Queries about one person, device or file need its name.
        return [query for query in every if set(query.variables) - {"days"} <= set(given)]
    named = [query for query in every if query.name == name]
    if not named:
        sys.exit(f"there is no query {name}; there are {', '.join(sorted(query.name for query in every))}")
    return named


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bucket", help="the records' bucket")
    parser.add_argument("--prefix", default="code42/", help="below which the records are")
    parser.add_argument("--directory", type=Path, help="records that are here already, below <stream>/dt=…/")
    parser.add_argument("--query", help="one query by the name of its file")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rows", type=int, default=15, help="of each table, at most")
    for variable in ["person", "device", "hash"]:
        parser.add_argument(f"--{variable}")
    given = parser.parse_args()
    told = {name: getattr(given, name) for name in ["person", "device", "hash"] if getattr(given, name)}
    chosen = chosen_queries(given.query, given.days, told)
    directory = given.directory or DEMO
    if given.bucket:
        directory = fetch(given.bucket, given.prefix, read_streams(chosen), given.days)
    if not directory.is_dir():
        sys.exit(f"there are no records in {directory}: run `make demo`, or name a BUCKET")
    lake = engine.Lake(directory)
    for query in chosen:
        literals = {variable: literal(told.get(variable, held)) for variable, held in query.variables.items()}
        literals["days"] = literal(str(given.days))
        rows = lake.rows(query.with_variables(literals))
        print(f"\n{query.title}\n  {query.says} [{query.name}]")
        if rows:
            print_table(rows, given.rows)
        else:
            print(f"  {nothing(query, directory)}")


if __name__ == "__main__":
    main()
