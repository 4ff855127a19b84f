"""The statements of the pages for analysts."""

import os
import re
import subprocess

import engine
import ocsf
import pytest
import queries
import sqlglot
import views
from conftest import ROOT, World

ANSWERS = ROOT / "infra" / "answers"
LAKE = (ANSWERS / "security-lake.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("view", ocsf.CLASSES)
def test_what_is_unloaded_for_security_lake_is_parquet_that_reads_back_the_same(world: World, tmp_path, view: str) -> None:
    (statement,) = blocks(LAKE, "sql")
    inner = re.match(r"UNLOAD \((.*?)\)\nTO ", statement, re.DOTALL)[1]
    (day,) = re.findall(r"dt = '([^']+)'", inner)
    assert f"eventDay={day.replace('-', '')}/" in statement
    newest = world.lake.rows(f"SELECT max(dt) AS dt FROM {view}")[0]["dt"]
    sql = inner.replace("ocsf_file_hosting_activity", view).replace(day, newest)
    expected = world.lake.rows(sql)
    assert expected
    file = tmp_path / "part.parquet"
    world.lake.duck.execute(f"COPY ({engine.translated(sql)}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)")
    found = world.lake.duck.execute(f"SELECT * FROM '{file}'")
    names = [column[0] for column in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert sorted(rows, key=repr) == sorted(expected, key=repr)
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)


def test_the_sources_that_are_made_are_those_that_are_written_to(tmp_path) -> None:
    """The daily script is run, with a stand-in for the AWS CLI."""
    sources = dict(re.findall(r"^ *\| `(ocsf_\w+)` \| `([\w-]+)` \|$", LAKE, re.MULTILINE))
    assert set(sources) == set(ocsf.CLASSES) and len(set(sources.values())) == len(sources)
    # CreateCustomLogSource takes no more.
    assert [name for name in sources.values() if len(name) > 20] == []
    (statement,) = blocks(LAKE, "sql")
    view, place = re.search(r"FROM (\w+)", statement)[1], re.search(r"/ext/([^/]+)/region=<region>/accountId=external/eventDay=", statement)[1]
    once = LAKE[LAKE.index("## Once") : LAKE.index("## Each day")]
    assert [place] == re.findall(r"/ext/([^/]+)/`", once) == [sources[view]]

    (tmp_path / "aws").write_text('#!/bin/sh\nprintf "%s\\0" "$@" >>"$ASKED"\n', "utf-8")
    (tmp_path / "aws").chmod(0o755)
    (script,) = blocks(LAKE, "sh")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ASKED": str(tmp_path / "asked")}
    subprocess.run(["sh", "-euc", re.sub(r"<([A-Za-z][^<>\n]*)>", "X", script)], env=environment, check=True)
    asked = (tmp_path / "asked").read_text("utf-8").split("start-query-execution")[1:]
    unload = r"UNLOAD \(SELECT \* FROM (\w+) WHERE dt = '(\S+)' ORDER BY time\)\s+TO 's3://X/ext/([^/]+)/region=X/accountId=external/eventDay=(\d+)/'"
    written = {}
    for query in asked:
        view, day, place, folder = re.search(unload, query).groups()
        assert folder == day.replace("-", "")
        # Athena takes tokens of 32 characters and more.
        token = query.split("--client-request-token\0")[1].split("\0")[0]
        assert len(token) >= 32 and place in token and day in token
        written[view] = place
    assert len(written) == len(asked) == 5 and written.items() <= sources.items()


def test_the_page_of_opensearch_names_the_views_classes_and_their_page() -> None:
    page = " ".join((ROOT / "infra" / "siem" / "amazon-opensearch.md").read_text("utf-8").split())
    section = page[page.index("## To Security Lake") : page.index("## How to see")]
    told = dict(re.findall(r"\| ([\w ]+) \((\d+)\) \|", (ANSWERS / "README.md").read_text("utf-8")))
    named = dict(re.findall(r"\*([\w ]+)\* \((\d+)\)", section))
    assert len(named) == 5 and named.items() <= told.items() and set(named) == set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", section))
    assert "(../answers/security-lake.md)" in section and "Tenzir" not in page


def test_the_page_of_security_lake_says_what_goes_wrong_and_what_is_not_confirmed() -> None:
    assert re.findall(r"^## (.+)$", LAKE, re.MULTILINE)[-2:] == ["What goes wrong and why", "Not confirmed"]


def test_the_pages_name_what_there_is() -> None:
    page = (ANSWERS / "README.md").read_text("utf-8")
    assert re.findall(r"`(ocsf_\w+)` \|", page) == list(ocsf.CLASSES)
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"{len(queries.all())} saved queries" in changes
    rules = sorted((ROOT / "infra" / "detections" / "rules").glob("*.yml"))
    together = [path for path in rules if "\ncorrelation:" in path.read_text("utf-8")]
    assert f"{len(rules) - len(together)} rules and {len(together)} correlations" in changes
    for stream in ["watchlists", "alert_rules", "legal_hold"]:
        assert any(field.column == "list" for field in views.fields() if field.stream == stream)
    assert sqlglot.parse_one("SELECT 1 FROM file_events_all CROSS JOIN UNNEST(risk_indicators) AS t (indicator)", read="athena")


@pytest.mark.parametrize("page", ["answers/README.md", "answers/security-lake.md", "answers/ocsf.md", "detections/README.md", "detections/rules.md"])
def test_a_pages_links_lead_somewhere(page: str) -> None:
    path = ROOT / "infra" / page
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        assert (path.parent / link).exists(), link
