"""The dashboards for Grafana, with its Athena data source. Each panel shows one of the saved queries."""

import json
from collections.abc import Callable
from typing import Any

import queries

# The queries of each dashboard, in order.
DASHBOARDS = {
    "risk-exposure": ("Incydr: Risk Exposure", [
        "exposure_by_day", "exposure_by_user", "exposure_by_device", "exposure_by_destination", "exposure_by_vector",
        "exposure_by_file_category",
    ]),
    "trends": ("Incydr: Trends", [
        "vectors_by_day", "risky_users_by_week", "departments", "untrusted_file_types", "watchlists_moved",
    ]),
    "people": ("Incydr: people, devices, files", [
        "leavers", "leavers_files", "activity_of_person", "activity_of_device", "activity_of_hash",
    ]),
    "operations": ("Incydr: sessions, cases, agents, the collector, the responder", [
        "sessions_open", "cases_open", "held_deactivated", "agents_silent", "collector_state",
        "responses",
    ]),
}  # fmt: skip

SOURCE = {"type": "grafana-athena-datasource", "uid": "${athena}"}
# For long times the data source asks for series by time, label and value, and pivots them itself.
TABLE, TIME_SERIES = 1, 0
PANELS = {"table": ("table", TABLE), "bar": ("barchart", TABLE), "pie": ("piechart", TABLE), "timeseries": ("timeseries", TIME_SERIES)}


def panel(number: int, query: queries.Query) -> dict[str, Any]:
    kind, format = PANELS[query.panel]
    wide = query.panel != "pie"
    return {
        "id": number + 1,
        "type": kind,
        "title": query.title.split(": ", 1)[1].capitalize(),
        "description": query.says,
        "datasource": SOURCE,
        "gridPos": {"h": 10, "w": 24 if wide else 12, "x": 0 if wide or number % 2 == 0 else 12, "y": number * 10},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "format": format,
                "rawSQL": query.with_variables({name: f"${{{name}:sqlstring}}" for name in query.variables}),
                "connectionArgs": {"catalog": "__default", "database": "__default", "region": "__default",
                                   "resultReuseEnabled": True, "resultReuseMaxAgeInMinutes": 60},
            }  # fmt: skip
        ],
        "options": {"reduceOptions": {"values": True, "fields": "/^events$/"}} if query.panel == "pie" else {},
        "fieldConfig": {
            "defaults": {},
            "overrides": [{"matcher": {"id": "byName", "options": "bytes"}, "properties": [{"id": "unit", "value": "bytes"}]}],
        },
    }


def dashboard(name: str) -> dict[str, Any]:
    title, names = DASHBOARDS[name]
    by_name = {query.name: query for query in queries.all()}
    shown = [by_name[query] for query in names]
    variables = {variable: held for query in shown for variable, held in query.variables.items()}
    return {
        "uid": f"incydr-{name}",
        "title": title,
        "tags": ["incydr"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "",
        "timezone": "utc",
        "time": {"from": "now-30d", "to": "now"},
        "templating": {
            "list": [
                {"name": "athena", "label": "Data source", "type": "datasource", "query": SOURCE["type"]},
                *({"name": variable, "label": variable, "type": "textbox", "query": held,
                   "current": {"text": held, "value": held}} for variable, held in variables.items()),
            ]  # fmt: skip
        },
        "panels": [panel(number, query) for number, query in enumerate(shown)],
    }


def files() -> dict[str, Callable[[], str]]:
    def made(name: str) -> Callable[[], str]:
        return lambda: json.dumps(dashboard(name), indent=2, ensure_ascii=False) + "\n"

    return {f"grafana-{name}.json": made(name) for name in DASHBOARDS}
