"""`make answers`: the output for a person."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import queries
from conftest import ROOT, World, Written

SHOW = ROOT / "infra" / "answers" / "show.py"


def show(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SHOW, *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, env=os.environ | environment)


def test_each_saved_query_is_shown_as_a_table_with_all_its_columns(world: World) -> None:
    done = show("--directory", world.lake.directory, "--person", "person3@example.com", "--device", "device-2", "--hash", f"{7:032x}")
    assert done.returncode == 0, done.stderr
    parts = {title: part for title, part in re.findall(r"^(\S.*)\n((?:  .*\n)+)", done.stdout, re.MULTILINE)}
    assert set(parts) == {query.title for query in queries.all()}
    rows = world.lake.rows(next(query for query in queries.all() if query.name == "departments").sql)
    table = parts["Trends 4: untrusted events by department"].splitlines()[1:]
    assert table[0].split() == ["department", "people", "events", "bytes", "risk"]
    assert [line.split() for line in table[2:]] == [
        ["–" if value is None else str(value) for value in row.values()] for row in rows
    ]


def test_what_asks_for_one_person_is_left_out_unless_one_is_named(world: World) -> None:
    done = show("--directory", world.lake.directory)
    assert "Exposure 1" in done.stdout and "Activity" not in done.stdout


def test_what_finds_nothing_says_whether_there_was_anything_to_look_in(written: Written) -> None:
    written.put("file_events", [{"event": {"id": "1"}}])
    done = show("--directory", written.directory)
    parts = dict(re.findall(r"\[(\w+)\]\n  (nothing.*)\n", done.stdout))
    assert parts["exposure_by_user"] == "nothing"
    assert parts["leavers"] == "nothing: there are no records of actor_profiles"
    assert parts["held_deactivated"].endswith("no records of agents and cases and legal_hold and users")


def test_an_address_with_a_quote_is_text(world: World) -> None:
    done = show("--directory", world.lake.directory, "--query", "activity_of_person", "--person", "o'neil@example.com")
    assert done.returncode == 0 and done.stdout.rstrip().endswith("nothing")


@pytest.mark.parametrize("arguments, said", [
    (["--directory", "/nowhere"], "there are no records in /nowhere"),
    (["--directory", ROOT, "--query", "nothing_such"], "there is no query nothing_such; there are activity_of_device"),
])  # fmt: skip
def test_what_is_not_there_is_one_clear_line(arguments: list[object], said: str) -> None:
    done = show(*arguments)
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_of_a_bucket_only_what_the_query_reads_is_fetched(tmp_path: Path, written: Written) -> None:
    aws = tmp_path / "aws"
    aws.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"$ASKED"\nmkdir -p "$4"\n', "utf-8")
    aws.chmod(0o755)
    asked = tmp_path / "asked"
    done = show("--bucket", "a-bucket-of-a-test", "--query", "leavers", "--days", 2,
                PATH=f"{tmp_path}:{os.environ['PATH']}", ASKED=str(asked))  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = asked.read_text("utf-8").splitlines()
    assert words[:3] == ["s3", "sync", "s3://a-bucket-of-a-test/code42/"]
    included = [after for word, after in zip(words, words[1:], strict=False) if word == "--include"]
    assert included[0] == "actor_profiles/*" and len(included) == 4
    assert all(re.fullmatch(r"file_events/dt=\d{4}-\d\d-\d\d/\*", pattern) for pattern in included[1:])
    # Nothing is deleted or written in the bucket.
    assert "--delete" not in words
