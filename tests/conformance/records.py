"""Records as values: which parts must be exact, which ones a client may change, and the values that a filter finds."""

import json
import re
from datetime import UTC, datetime
from typing import Any

TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


class Number(str):
    """A JSON number as text: 1.10 is not 1.1, and nothing is rounded."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and str.__eq__(self, other)

    __hash__ = str.__hash__


def exact(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number)


def nanos(text: str) -> int | None:
    """Nanoseconds since the epoch, or None if the text is no time."""
    match = TIME.fullmatch(text)
    if match is None:
        return None
    seconds = datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp()
    return int(seconds) * 10**9 + int((match[2] or "").ljust(9, "0"))


def millis(text: str) -> int:
    """Milliseconds, the precision of the API's filters."""
    return nanos(text) // 10**6


def iso(at_millis: int) -> str:
    return datetime.fromtimestamp(at_millis / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(at_millis: int) -> datetime:
    return datetime.fromtimestamp(at_millis / 1000, UTC)


def difference(sent: Any, kept: Any, path: str = "") -> str | None:
    """Returns where a model lost something of the sent record. It may add members, and cut times to microseconds."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        for name, value in sent.items():
            if name not in kept:
                return f"{path}.{name} is gone"
            if found := difference(value, kept[name], f"{path}.{name}"):
                return found
        return None
    if isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        pairs = enumerate(zip(sent, kept, strict=True))
        return next((found for i, (a, b) in pairs if (found := difference(a, b, f"{path}[{i}]"))), None)
    if (type(sent) is type(kept) and sent == kept) or same_microsecond(sent, kept):
        return None
    return f"{path} was {sent!r} and is {kept!r}"


def same_microsecond(sent: Any, kept: Any) -> bool:
    if not (isinstance(sent, str) and isinstance(kept, str)):
        return False
    sent_at, kept_at = nanos(sent), nanos(kept)
    return sent_at is not None and kept_at is not None and sent_at // 1000 == kept_at // 1000


def values(record: Any, term: str) -> list[Any]:
    """The values at a dotted term, through lists, without nulls."""
    if record is None:
        return []
    if isinstance(record, list):
        return [value for item in record for value in values(item, term)]
    if not term:
        return [record]
    first, _, rest = term.partition(".")
    return values(record.get(first), rest) if isinstance(record, dict) else []
