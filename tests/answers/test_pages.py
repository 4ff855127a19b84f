"""The statements of the pages for analysts."""

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


def test_the_daily_script_is_shell_and_asks_for_views_that_there_are() -> None:
    (script,) = blocks(LAKE, "sh")
    (statement,) = blocks(LAKE, "sql")
    for text in [script, statement]:
        assert re.search(r"UNLOAD \(\s*SELECT \*\s+FROM \S+\s+WHERE dt = '\S+'\s+ORDER BY time\s*\)", text)
        assert re.search(r"region=<region>/accountId=external/eventDay=", text)
    assert subprocess.run(["sh", "-n"], input=script.replace("<", "").replace(">", ""), text=True).returncode == 0
    classes = re.search(r"for class in (.*?); do", script)[1].split()
    others = re.findall(r"`(\w+)`", LAKE[LAKE.index("Findings (") :].splitlines()[0])
    others += re.findall(r"`(\w+_inventory)`", LAKE)
    assert {f"ocsf_{name}" for name in [*classes, *others]} == set(ocsf.CLASSES)


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
