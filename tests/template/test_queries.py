"""The saved queries of infra/athena.yaml, translated for DuckDB and run over the binary's stored records, find what is
counted here by hand. Glue's tables have the records' locations."""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from lambda_function import Function
from rendered import ROOT, Rendered, source
from simulator import BINARIES, Simulator
from sqlglot import ErrorLevel, exp
from sqlglot.optimizer.qualify import qualify

BUCKET = "records"
STACK = Rendered(source(ROOT / "infra" / "athena.yaml"), RecordsBucketName=BUCKET)
TABLES = {
    found["Properties"]["TableInput"]["Name"]: found["Properties"]["TableInput"]
    for found in STACK.resources.values()
    if found["Type"] == "AWS::Glue::Table" and found["Properties"]["TableInput"]["TableType"] == "EXTERNAL_TABLE"
}
# The queries over the tables. tests/answers runs those over the views.
QUERIES = {
    name: found["Properties"]["QueryString"]
    for name, found in STACK.resources.items()
    if found["Type"] == "AWS::Athena::NamedQuery" and not name.startswith("Query")
}

Record = dict[str, Any]
Row = tuple[Any, ...]


@dataclass
class Lake:
    """The bucket's objects in a directory, and DuckDB with Glue's tables over them."""

    directory: Path
    stored: list[str]
    duck: duckdb.DuckDBPyConnection
    today: date

    def records(self, keys: list[str]) -> list[Record]:
        return [json.loads(line) for key in keys for line in lines(self.directory / key)]

    def of_days(self, table: str, days: int = 7) -> list[Record]:
        """The records of today and of so many days before."""
        keys = [path.relative_to(self.directory).as_posix() for path in self.directory.glob(f"code42/{table}/*/*/*")]
        return self.records([key for key in keys if partition(key)["dt"] >= str(self.today - timedelta(days))])

    def run(self, query: str) -> list[Row]:
        translated = sqlglot.parse_one(query, read="athena").sql(dialect="duckdb", unsupported_level=ErrorLevel.RAISE)
        return self.duck.execute(translated).fetchall()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    directory = tmp_path_factory.mktemp("lake")
    with Simulator("--seed", 11, "--users", 3, "--cases", 2, "--audit", 700, "--file-events", 400) as world:
        for event in of_zoe(json.loads(world.world("file_events")[0])):
            world.push("file_events", json.dumps(event))
        with Function(BINARIES / "incydr-collector", world.places["environment"]) as function:
            _, answer = function.invoke({"source": "aws.scheduler"}, 60)
        assert answer["status"] == "complete", answer
        s3, bucket = world.s3(), world.places["bucket"]
        stored = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket, Prefix="code42/")["Contents"]]
        for key in stored:
            (directory / key).parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, key, str(directory / key))
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        # All that follows has the same `current_date`.
        duck.begin()
        today = duck.execute("SELECT current_date").fetchone()[0]
        for key in stored:
            # A copy in each hour of the first day that a query reads, and of the last day that it doesn't.
            for days, hour in [(8, 23), *((7, hour) for hour in range(24))]:
                copy = directory / expanded(key, dt=str(today - timedelta(days)), hour=f"{hour:02}") / Path(key).name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes((directory / key).read_bytes())
        for name in ["file_events", "audit"]:
            duck.execute(as_glue_has_it(TABLES[name], directory))
        yield Lake(directory, stored, duck, today)


def of_zoe(event: Record) -> list[Record]:
    """Records like real ones: with nulls where the simulator's events have none, and times without a fraction."""
    nowhere = {"destination": {"category": None, "name": None}}
    dropbox = {"destination": {"category": "Cloud Storage", "name": "Dropbox"}}
    unknown = {"user": {"email": None}, "file": {"name": None}, "risk": {"score": None, "severity": None}}
    trusted = {"risk": {"score": 99, "severity": "CRITICAL", "trusted": True}}
    kinds = [nowhere, nowhere | unknown, dropbox | trusted]
    return [
        event
        | {"user": {"email": "Zoë@example.com"}}
        | kinds[n % 3]
        | {"@timestamp": f"{event['@timestamp'][:17]}{n // 2 + 10}{['Z', '.500Z'][n % 2]}"}
        | {"event": event["event"] | {"id": f"of-zoe-{n}"}}
        for n in range(63)
    ]


def lines(path: Path) -> list[str]:
    """Splits lines as Athena does, which recognises gzip by the key's ending."""
    assert path.suffix == ".gz"
    found = gzip.decompress(path.read_bytes()).decode()
    assert found.endswith("\n") and "\r" not in found
    return found[:-1].split("\n")


def partition(key: str) -> dict[str, str]:
    return dict(re.findall(r"/(\w+)=([^/]+)", key))


def expanded(key: str, **values: str) -> str:
    """The location of a key's partition in its table, below the bucket."""
    place = TABLES[key.split("/")[1]]["Parameters"]["storage.location.template"]
    for name, value in values.items():
        place = place.replace(f"${{{name}}}", value)
    return place.removeprefix(f"s3://{BUCKET}/")


def as_glue_has_it(table: dict[str, Any], directory: Path) -> str:
    """The table in DuckDB, with the same location, separator, columns and partitions."""
    parameters = table["StorageDescriptor"]["SerdeInfo"]["Parameters"]
    place = re.sub(r"\$\{\w+\}", "*", table["Parameters"]["storage.location.template"])
    types = {"string": "VARCHAR"}
    columns = {column["Name"]: types[column["Type"]] for column in table["StorageDescriptor"]["Columns"]}
    partitions = {column["Name"]: types[column["Type"]] for column in table["PartitionKeys"]}
    return f"""CREATE VIEW {table["Name"]} AS SELECT * FROM read_csv(
        '{place.replace(f"s3://{BUCKET}", str(directory))}*', compression = 'gzip', auto_detect = false, header = false,
        delim = '{parameters["field.delim"]}', quote = '', escape = '', columns = {columns},
        hive_partitioning = true, hive_types = {partitions})"""


def test_a_stored_record_lies_in_the_partition_that_its_table_looks_for(lake: Lake) -> None:
    times = {"audit": lambda record: record["timestamp"], "file_events": lambda record: record["event"]["inserted"]}
    assert {key.split("/")[1] for key in lake.stored} >= {*times, "users", "cases"}
    for key in lake.stored:
        name, found = key.split("/")[1], partition(key)
        assert list(found) == [column["Name"] for column in TABLES[name]["PartitionKeys"]]
        assert key == expanded(key, **found) + Path(key).name
        projection = TABLES[name]["Parameters"]
        first, _ = projection["projection.dt.range"].split(",")
        assert date.fromisoformat(first) <= date.fromisoformat(found["dt"]) <= lake.today
        low, high = map(int, projection["projection.hour.range"].split(","))
        assert low <= int(found["hour"]) <= high and len(found["hour"]) == int(projection["projection.hour.digits"])
        for record in lake.records([key]) if name in times else []:
            assert times[name](record).startswith(f"{found['dt']}T{found['hour']}:")


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_athenas_sql_over_columns_that_its_table_has(name: str) -> None:
    columns = {
        table: {column["Name"]: "varchar" for column in found["StorageDescriptor"]["Columns"] + found["PartitionKeys"]}
        for table, found in TABLES.items()
    }
    query = sqlglot.parse_one(QUERIES[name], read="athena")
    # Fails if a column doesn't exist.
    qualify(query.copy(), schema=columns, dialect="athena")
    assert {table.name for table in query.find_all(exp.Table)} <= set(TABLES)
    assert list(query.find_all(exp.Anonymous)) == [], "a function that sqlglot doesn't know of Athena"


def test_the_tables_have_every_line_whole(lake: Lake) -> None:
    for name in ["file_events", "audit"]:
        held = lake.duck.execute(f"SELECT record, dt, hour FROM {name}").fetchall()
        expected = [
            (line, *partition(path.as_posix()).values())
            for path in lake.directory.glob(f"code42/{name}/*/*/*")
            for line in lines(path)
        ]
        assert sorted(held) == sorted(expected)


def grouped(records: list[Record], key: Callable[[Record], Row]) -> dict[Row, list[Record]]:
    found = defaultdict(list)
    for record in records:
        found[key(record)].append(record)
    return found


def highest(value: int | None) -> tuple[bool, int]:
    """Sorts the highest first and null last in either direction, as Trino does."""
    return value is None, -(value or 0)


def by_text(row: Row) -> list[tuple[bool, str]]:
    return [(text is None, text or "") for text in row]


def moment(text: str) -> datetime:
    """Microseconds, as in DuckDB. Athena cuts to milliseconds."""
    return datetime.fromisoformat(text)


def test_who_moved_files_where(lake: Lake) -> None:
    def counted(events: list[Record]) -> Row:
        sizes = [event["file"].get("sizeInBytes") for event in events]
        scores = [event["risk"]["score"] for event in events]
        known = [size for size in sizes if size is not None]
        return (
            len(events),
            sum(event["risk"].get("trusted") is True for event in events),
            sum(known) if known else None,
            max((score for score in scores if score is not None), default=None),
        )

    groups = grouped(
        lake.of_days("file_events"),
        lambda event: (event["user"]["email"], event["destination"]["category"], event["destination"]["name"]),
    )
    rows = [key + counted(events) for key, events in groups.items()]
    rows.sort(key=lambda row: (highest(row[6]), -row[3], by_text(row[:3])))
    assert rows[0][:5] == ("Zoë@example.com", "Cloud Storage", "Dropbox", 21 * 25, 21 * 25) and rows[0][6] == 99
    assert rows[-1] == (None, None, None, 21 * 25, 0, None, None)
    assert len(rows) > 100
    assert lake.run(QUERIES["WhoMovedFiles"]) == rows[:100]
    # The rows behind the limit are in order as well, nulls last.
    unlimited = QUERIES["WhoMovedFiles"].replace("LIMIT 100", "LIMIT 1000")
    assert lake.run(unlimited) == rows


def test_what_one_person_did(lake: Lake) -> None:
    rows = [
        (
            moment(event["@timestamp"]),
            event["event"]["action"],
            event["file"]["name"],
            event["destination"]["category"],
            event["destination"]["name"],
            event["source"]["name"],
            event["risk"]["severity"],
        )
        for event in lake.of_days("file_events")
        if event["user"]["email"] == "Zoë@example.com"
    ]
    # The copies of an event are the same row, so their order doesn't matter.
    rows.sort(key=lambda row: row[0], reverse=True)
    query = QUERIES["WhatOnePersonDid"]
    assert query.count("somebody@example.com") == 1
    assert lake.run(query) == []
    assert len(rows) > 1000
    assert lake.run(query.replace("somebody@example.com", "ZOË@example.com")) == rows[:1000]


def test_who_did_what_in_the_console(lake: Lake) -> None:
    groups = grouped(
        lake.of_days("audit"), lambda event: (event["actorName"], event["type$"], event["actorIpAddress"])
    )
    rows = []
    for key, events in groups.items():
        times = sorted(moment(event["timestamp"]) for event in events)
        rows.append((*key, len(events), times[0], times[-1]))
    rows.sort(key=lambda row: (-row[3], by_text(row[:3])))
    assert len(rows) > 200 and any(row[4] < row[5] for row in rows[:200])
    # There are more records a day earlier, which the query doesn't read.
    assert len(lake.of_days("audit", 8)) == len(lake.of_days("audit")) + 700
    assert lake.run(QUERIES["WhoChangedTheConsole"]) == rows[:200]
