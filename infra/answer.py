"""answer.py FILE: prints an answer of the function for a person: its own fields, a row for each stream, and below it what takes
more than a word. `make invoke`, `probe` and `status` use it in a terminal; elsewhere they print the JSON."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Said under the table, as each takes a sentence.
SENTENCES = {"permission", "state_lost"}


def main(file: Path) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    for line in lines(parsed(file.read_text("utf-8"))):
        # A row is not wrapped: its columns would be lost.
        indented = len(line) - len(line.lstrip()) + 2
        print(line if "  " in line.strip() else textwrap.fill(line, width, subsequent_indent=" " * indented) if line else "")


def parsed(text: str) -> Any:
    """The answer. That of a run that failed is the message of its error."""
    answer = json.loads(text)
    match answer:
        case {"errorType": kind, "errorMessage": str(message)}:
            try:
                within = json.loads(message)
            except ValueError:
                within = {"error": message}
            return {"errorType": kind} | (within if isinstance(within, dict) else {"error": message})
    return answer


def lines(answer: Any) -> Iterator[str]:
    if not isinstance(answer, dict):
        yield plain(answer)
        return
    streams = answer.get("streams")
    for name, value in answer.items():
        if name != "streams" or not isinstance(streams, dict):
            yield from field(name, value, "")
    if isinstance(streams, dict) and streams:
        yield from table(streams)


def table(streams: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A column for each field that is a word or a number, unless it says nothing of any stream."""
    names = dict.fromkeys(name for told in streams.values() for name, value in told.items() if is_cell(name, value))
    columns = [name for name in names if any(told.get(name) not in (None, 0) or name == "permitted" for told in streams.values())]
    rows = [["stream", *columns], *([stream, *(cell(told, name) for name in columns)] for stream, told in streams.items())]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    yield ""
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip()
    for stream, told in streams.items():
        more = {name: value for name, value in told.items() if not is_cell(name, value) and value not in (None, [], {})}
        if more:
            yield from ["", f"{stream}:"]
        for name, value in more.items():
            yield from field(name, value, "  ")


def is_cell(name: str, value: Any) -> bool:
    return name not in SENTENCES and not isinstance(value, (dict, list))


def cell(told: dict[str, Any], name: str) -> str:
    """A field's text in a row. What stands below the row is left out."""
    value = told.get(name)
    return plain(value) if is_cell(name, value) and name in told else "–"


def field(name: str, value: Any, indent: str) -> Iterator[str]:
    """A field with all that is in it, a line for each."""
    if isinstance(value, dict) and value:
        yield f"{indent}{name}:"
        for within, found in value.items():
            yield from field(within, found, indent + "  ")
    elif isinstance(value, list) and value:
        yield f"{indent}{name}:"
        for found in value:
            yield f"{indent}  {plain(found)}"
    else:
        yield f"{indent}{name}: {plain(value)}"


def plain(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case [str(start), str(end)]:
            return f"{start} to {end}"
    return json.dumps(value, ensure_ascii=False)


main(Path(sys.argv[1]))
