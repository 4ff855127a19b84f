"""The typed views in Athena's SQL, generated from streams.csv and columns.csv. Needs only Python."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

# A type's name in a view's definition, and in Glue's catalog.
TYPES = {
    "text": ("varchar", "string"),
    "json": ("varchar", "string"),
    "int": ("bigint", "bigint"),
    "bool": ("boolean", "boolean"),
    "time": ("timestamp(3)", "timestamp"),
    "date": ("date", "date"),
    "texts": ("array(varchar)", "array<string>"),
}


def type_names(type: str) -> tuple[str, str]:
    """Athena's and Glue's name of a column's type. A type that isn't ours is Athena's own."""
    return TYPES.get(type) or (type, hive(type))


def hive(type: str) -> str:
    """Athena's name of a type in Glue's form."""
    text = re.sub(r"\brow\(", "struct<", type)
    text = re.sub(r"\barray\(", "array<", text)
    text = text.replace(")", ">").replace("varchar", "string")
    return re.sub(r"(\w+) (?=\w)", r"\1:", text).replace(", ", ",")


@dataclass(frozen=True)
class Column:
    name: str
    sql: str
    type: str


@dataclass(frozen=True)
class View:
    name: str
    comment: str
    columns: tuple[Column, ...]
    # The part after the list of columns.
    source: str

    def sql(self) -> str:
        columns = ",\n".join(
            f"  {column.name}" if column.sql == column.name else f"  {column.sql} AS {column.name}"
            for column in self.columns
        )
        return f"SELECT\n{columns}\n{self.source}"


@dataclass(frozen=True)
class Field:
    """A row of columns.csv."""

    stream: str
    column: str
    path: str
    kind: str


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fields() -> list[Field]:
    return [Field(row["stream"], row["column"], row["path"], row["type"]) for row in rows("columns.csv")]


def keys() -> dict[str, list[str]]:
    """The paths that identify a stream's records. Empty if each record is an event, `*` if a whole reading is one
    state."""
    return {row["stream"]: row["key"].split() for row in rows("streams.csv")}


def json_path(path: str) -> str:
    """A record's path in Athena's form, in SQL quotes."""
    steps = [f".{step}" if re.fullmatch(r"[A-Za-z_]\w*", step) else f'["{step}"]' for step in path.split(".")]
    return f"'${''.join(steps)}'"


def scalar(path: str, of: str = "record") -> str:
    return f"json_extract_scalar({of}, {json_path(path)})"


def members(path: str, member: str, number: bool = False) -> str:
    """One member of each object of a list. Null if it is no list."""
    found = scalar(member, "x")
    found = f"TRY_CAST({found} AS bigint)" if number else found
    return f"transform(TRY(CAST(json_extract(record, {json_path(path)}) AS array(json))), x -> {found})"


def utc(moment: str) -> str:
    """Views have no times with a zone."""
    return f"CAST({moment} AT TIME ZONE 'UTC' AS timestamp(3))"


def typed(path: str, kind: str) -> Column:
    """The value at a path. Null if it is missing or has another type."""
    kind, _, member = kind.partition(":")
    match kind:
        case "text":
            return Column("", scalar(path), "text")
        case "json":
            return Column("", f"json_format(json_extract(record, {json_path(path)}))", "json")
        case "int":
            return Column("", f"TRY_CAST({scalar(path)} AS bigint)", "int")
        case "bool":
            return Column("", f"TRY_CAST({scalar(path)} AS boolean)", "bool")
        case "date":
            return Column("", f"TRY_CAST({scalar(path)} AS date)", "date")
        case "time":
            return Column("", utc(f"TRY(from_iso8601_timestamp({scalar(path)}))"), "time")
        case "millis":
            return Column("", utc(f"from_unixtime(TRY_CAST({scalar(path)} AS bigint) / 1e3)"), "time")
        case "texts" if member:
            return Column("", members(path, member), "texts")
        case "texts":
            return Column("", f"TRY(CAST(json_extract(record, {json_path(path)}) AS array(varchar)))", "texts")
        case "last":
            return Column("", f"element_at({members(path, member, number=True)}, -1)", "int")
        case "lasttext":
            return Column("", f"element_at({members(path, member)}, -1)", "text")
        case "most":
            return Column("", f"array_max({members(path, member, number=True)})", "int")
    raise ValueError(f"columns.csv: {path} is of the type {kind}, which there isn't")


def same(column: Column) -> Column:
    return Column(column.name, column.name, column.type)


def of_stream(stream: str) -> tuple[Column, ...]:
    def column(field: Field) -> Column:
        found = typed(field.path, field.kind)
        return Column(field.column, found.sql, found.type)

    return tuple(column(field) for field in fields() if field.stream == stream)


PLACE = (Column("dt", "dt", "text"), Column("hour", "hour", "text"))
OBJECT = Column("object", '"$path"', "text")
RECORD = Column("record", "record", "text")
DELETED = (
    Column("deleted", f"coalesce(TRY_CAST({scalar('_deleted')} AS boolean), false)", "bool"),
    Column("deleted_at", utc(f"TRY(from_iso8601_timestamp({scalar('_deletedAt')}))"), "time"),
)


def key_columns(stream: str) -> list[str]:
    """The columns that identify a stream's records. A tombstone has no others."""
    by_path = {field.path: field.column for field in fields() if field.stream == stream}
    columns = [by_path[path] for path in keys()[stream]]
    # A group's name and a matter's policy are not part of their key, so tombstones lack them.
    only = {
        ("watchlists", "name"): "CASE WHEN group_id IS NULL THEN name END",
        ("legal_hold", "policy_id"): "CASE WHEN matter_id IS NULL THEN policy_id END",
    }
    return [only.get((stream, column), column) for column in columns]


def views() -> Iterator[View]:
    for stream, key in keys().items():
        columns = of_stream(stream)
        if not key:
            yield View(
                f"{stream}_all", f"Each record of {stream}, typed",
                (*columns, *PLACE, RECORD), f"FROM {stream}",
            )  # fmt: skip
            continue
        if key == ["*"]:
            # A reading is one object with everything that existed at its time.
            yield View(
                f"{stream}_all", f"Each stored reading of {stream}, typed",
                (*columns, *PLACE, OBJECT, RECORD), f"FROM {stream}",
            )  # fmt: skip
            yield View(
                f"{stream}_now", f"The newest reading of {stream}", (*map(same, columns), *PLACE, same(RECORD)),
                f"FROM {stream}_all\nWHERE object = (SELECT max(object) FROM {stream}_all)",
            )  # fmt: skip
            continue
        yield View(
            f"{stream}_all", f"Each stored version and tombstone of {stream}, typed",
            (*columns, *DELETED, *PLACE, OBJECT, RECORD),
            f"FROM {stream}",
        )  # fmt: skip
        newest = (
            f"FROM (\n  SELECT *, row_number() OVER (\n    PARTITION BY {', '.join(key_columns(stream))}\n"
            f"    ORDER BY dt DESC, hour DESC, object DESC\n  ) AS nth\n  FROM {stream}_all\n)\nWHERE nth = 1"
        )
        yield View(
            f"{stream}_now", f"The newest version of each record of {stream} that is not deleted",
            (*map(same, columns), *PLACE, RECORD), f"{newest} AND NOT deleted",
        )  # fmt: skip
        named = {path for path in key}
        ids = [Column(field.column, field.column, typed(field.path, field.kind).type)
               for field in fields() if field.stream == stream and field.path in named]  # fmt: skip
        yield View(
            f"{stream}_deleted", f"The tombstones of the deleted records of {stream}",
            (*ids, same(DELETED[1]), *PLACE), f"{newest} AND deleted",
        )  # fmt: skip
