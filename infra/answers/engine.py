"""Runs the tables, views and queries in DuckDB over the objects in a directory, with the results that Athena would
have. Needs duckdb and sqlglot."""

import gzip
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from sqlglot import ErrorLevel, exp

import ocsf
import views

# As in Trino: an object or a list is no scalar and gives null, and "1.5" is no whole number.
MACROS = """
CREATE MACRO scalar_of(held, path) AS
    CASE WHEN json_type(held, path) IN ('OBJECT', 'ARRAY') THEN NULL ELSE json_extract_string(held, path) END;
CREATE MACRO int_of(held) AS CASE WHEN regexp_full_match(held, '[+-]?[0-9]+') THEN TRY_CAST(held AS BIGINT) END;
CREATE MACRO list_of(held) AS CASE WHEN json_type(held) = 'ARRAY' THEN CAST(held AS JSON[]) END;
CREATE MACRO texts_of(held) AS
    CASE WHEN json_type(held) = 'ARRAY'
    THEN list_transform(CAST(held AS JSON[]), lambda x: json_extract_string(x, '$')) END;
"""


def lists(node: exp.Expression) -> str | None:
    """The element type, if a cast makes a list."""
    if isinstance(node, exp.Cast) and node.to.is_type(exp.DataType.Type.ARRAY):
        return node.to.expressions[0].sql().upper()
    return None


def as_duckdb(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.JSONExtractScalar):
        path = exp.Literal.string(node.expression.sql("duckdb").strip("'"))
        return exp.Anonymous(this="scalar_of", expressions=[node.this, path])
    if isinstance(node, exp.TryCast) and node.to.is_type(exp.DataType.Type.BIGINT):
        return exp.Anonymous(this="int_of", expressions=[node.this])
    match lists(node):
        case "JSON":
            return exp.Anonymous(this="list_of", expressions=[node.this])
        case "VARCHAR":
            return exp.Anonymous(this="texts_of", expressions=[node.this])
    return node


@cache
def translated(sql: str) -> str:
    """Translates Athena's SQL to DuckDB's. An error if something can't be translated."""
    tree = sqlglot.parse_one(sql, read="athena").transform(as_duckdb)
    return tree.sql(dialect="duckdb", unsupported_level=ErrorLevel.RAISE)


@cache
def tables(sql: str) -> list[str]:
    return sorted({found.name for found in sqlglot.parse_one(sql, read="athena").find_all(exp.Table)})


@cache
def sources() -> dict[str, str]:
    """The SQL of each view."""
    return {view.name: view.sql() for view in (*views.views(), *ocsf.views())}


class Lake:
    """The objects below a directory (`<stream>/dt=…/hour=…/*.ndjson.gz`), with all views over them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.duck = duckdb.connect()
        self.duck.execute("SET TimeZone = 'UTC'")
        # Nulls come last in either direction, as in Trino.
        self.duck.execute("SET default_null_order = 'NULLS_LAST'")
        self.duck.execute(MACROS)
        self.made: set[str] = set()

    def make(self, name: str) -> None:
        """Creates a table or a view, with those that it depends on."""
        if name in self.made:
            return
        self.made.add(name)
        if name in views.keys():
            self.duck.execute(table(name, self.directory))
        elif name in sources():
            self.make_all(sources()[name])
            self.duck.execute(f"CREATE VIEW {name} AS {translated(sources()[name])}")

    def make_all(self, sql: str) -> None:
        for name in tables(sql):
            self.make(name)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Returns the rows of a query in Athena's SQL."""
        self.make_all(sql)
        found = self.duck.execute(translated(sql))
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def close(self) -> None:
        self.duck.close()


def table(stream: str, directory: Path) -> str:
    if not any(directory.glob(f"{stream}/dt=*/hour=*/*.gz")):
        return (
            f'CREATE VIEW {stream} AS SELECT NULL::VARCHAR AS record, NULL::VARCHAR AS "$path", '
            "NULL::VARCHAR AS dt, NULL::VARCHAR AS hour WHERE false"
        )
    return f"""CREATE VIEW {stream} AS SELECT * FROM read_csv(
        '{directory}/{stream}/dt=*/hour=*/*.gz', compression = 'gzip', auto_detect = false, header = false,
        delim = '\x01', quote = '', escape = '', columns = {{'record': 'VARCHAR'}}, filename = '$path',
        max_line_size = 16777216, hive_partitioning = true, hive_types = {{'dt': 'VARCHAR', 'hour': 'VARCHAR'}})"""


def store(directory: Path, stream: str, name: str, lines: Iterable[str]) -> Path:
    """Writes an object under a name of the collector's form, `20261121T130000000Z-…`, for tests with their own records.
    """
    day, hour = f"{name[:4]}-{name[4:6]}-{name[6:8]}", name[9:11]
    path = directory / stream / f"dt={day}" / f"hour={hour}" / f"{name}.ndjson.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path
