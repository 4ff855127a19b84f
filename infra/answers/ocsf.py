"""The views that answer in OCSF, and the mapping's page: both made of ocsf.csv (view, stream, our path, OCSF's path, the rule
between them, and what ECS and UDM call the same).

Rules: `copy`; `= literal`; `or word` where there is nothing; `millis` since the epoch; `case name` of the tables below;
`type_uid` of class and activity; and those by name in RULES."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from views import Column, View, fields, keys, rows

VERSION = "1.3.0"

# Mappings by table: the value, and OCSF's number. `None` is for every other value.
SEVERITIES = {"NO_RISK_INDICATED": 1, "LOW": 2, "MODERATE": 3, "HIGH": 4, "CRITICAL": 5, None: 0}
CASES: dict[str, dict[str | int | bool | None, int]] = {
    "severity": SEVERITIES,
    "session_severity": {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, None: 0},
    # File Hosting Activity: upload, download, update, delete, share, sync.
    "hosting": {"file-created": 1, "file-downloaded": 2, "file-modified": 3, "file-deleted": 4, "file-shared": 12,
                "sync-app-created": 15, "sync-app-modified": 15, "sync-app-deleted": 16, None: 99},
    # File System Activity: create, read, update, delete.
    "system": {"file-created": 1, "file-downloaded": 1, "removable-media-created": 1, "sync-app-created": 1,
               "application-read": 2, "file-modified": 3, "removable-media-modified": 3, "sync-app-modified": 3,
               "file-deleted": 4, "removable-media-deleted": 4, "sync-app-deleted": 4, None: 99},
    "email": {"file-emailed": 1, None: 99},
    "session_status": {"OPEN": 1, "OPEN_NEW_DATA": 1, "IN_PROGRESS": 2, "CLOSED": 4, "CLOSED_TP": 4, "CLOSED_TP_BENIGN": 4,
                       "CLOSED_FP": 4, None: 0},
    "case_status": {"OPEN": 2, "CLOSED": 5, "ARCHIVED": 5, None: 0},
    "success": {True: 1, False: 2, None: 0},
    "os": {"Win": 100, "WINDOWS": 100, "Windows": 100, "Linux": 200, "LINUX": 200, "Mac": 300, "MAC": 300, None: 0},
}  # fmt: skip
EMAIL = r"^[a-zA-Z0-9!#$%&''*+\-/=?^_`{|}~.]+@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+$"
IP = r"^([0-9]{1,3}\.){3}[0-9]{1,3}$|^[0-9a-fA-F:]*:[0-9a-fA-F:]+$"
HOST = r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$"
# OCSF requires an address. This one stands for a missing one; its domain can't exist (RFC 2606).
NOBODY = "unknown@unknown.invalid"

# The records that a view selects.
CLOUD = "coalesce(event_observer, '') <> 'Endpoint'"
MAIL = "(event_action = 'file-emailed' OR lower(coalesce(event_observer, '')) LIKE '%mail%')"
WHERE = {
    "ocsf_file_hosting_activity": f"{CLOUD} AND NOT coalesce({MAIL}, false)",
    "ocsf_file_system_activity": f"event_observer = 'Endpoint' AND NOT coalesce({MAIL}, false)",
    "ocsf_email_activity": f"coalesce({MAIL}, false)",
    "ocsf_api_activity": "NOT regexp_like(coalesce(event_type, ''), 'logged_(in|out)')",
    "ocsf_authentication": "regexp_like(coalesce(event_type, ''), 'logged_(in|out)')",
}
CLASSES = {
    "ocsf_file_hosting_activity": "file_hosting", "ocsf_file_system_activity": "file_activity",
    "ocsf_email_activity": "email_activity", "ocsf_data_security_finding": "data_security_finding",
    "ocsf_incident_finding": "incident_finding", "ocsf_api_activity": "api_activity",
    "ocsf_authentication": "authentication", "ocsf_user_inventory": "user_inventory",
    "ocsf_device_inventory": "inventory_info",
}  # fmt: skip
TITLES = {
    "ocsf_file_hosting_activity": "File Hosting Activity: file events of cloud observers",
    "ocsf_file_system_activity": "File System Activity: file events of endpoints",
    "ocsf_email_activity": "Email Activity: file events of mail",
    "ocsf_data_security_finding": "Data Security Finding: each version of a session creates, updates or closes it",
    "ocsf_incident_finding": "Incident Finding: each version of a case creates, updates or closes it",
    "ocsf_api_activity": "API Activity: audit events, but for sign-ins",
    "ocsf_authentication": "Authentication: sign-ins of the audit log",
    "ocsf_user_inventory": "User Inventory Info: each version of a user",
    "ocsf_device_inventory": "Device Inventory Info: each version of an agent",
}


@dataclass(frozen=True)
class Value:
    sql: str
    type: str


def literal(value: str | int | bool) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


def case(name: str, column: str) -> str:
    table = CASES[name]
    found = " ".join(f"WHEN {literal(value)} THEN {number}" for value, number in table.items() if value is not None)
    return f"CAST(CASE {column} {found} ELSE {table[None]} END AS bigint)"


def matching(column: str, pattern: str) -> str:
    return f"CASE WHEN regexp_like({column}, '{pattern}') THEN {column} END"


def hashes(_: str) -> str:
    shape = "array(row(algorithm_id bigint, value varchar))"
    rows = f"CAST(ARRAY[ROW(1, file_hash_md5), ROW(3, file_hash_sha256)] AS {shape})"
    return f"filter({rows}, x -> x.value IS NOT NULL)"


def activity(close: str) -> str:
    """The first version creates, a closed one closes, every other one updates."""
    return f"CAST(CASE WHEN nth = 1 THEN 1 WHEN {close} THEN 3 ELSE 2 END AS bigint)"


def verbs(column: str) -> str:
    """Create, read, update or delete, by the verb in an audit type's name."""
    return (
        f"CAST(CASE WHEN regexp_like({column}, '_(created|added|assigned|enabled|issued_token)') THEN 1 "
        f"WHEN regexp_like({column}, '_(issued|viewed|exported|downloaded|read)') THEN 2 "
        f"WHEN regexp_like({column}, '_(updated|changed|modified)') THEN 3 "
        f"WHEN regexp_like({column}, '_(deleted|removed|disabled)') THEN 4 ELSE 99 END AS bigint)"
    )


# The rules by name: the SQL for a column, and the type of the result.
RULES: dict[str, tuple[Callable[[str], str], str]] = {
    "millis": (lambda column: f"CAST(to_unixtime({column}) * 1000 AS bigint)", "bigint"),
    # A record without a time gets the hour in which it lies.
    "when": (
        lambda column: f"CAST(to_unixtime(coalesce({column}, date_parse(concat(dt, ' ', hour), '%Y-%m-%d %H'))) * 1000 AS bigint)",
        "bigint",
    ),
    "email": (lambda column: matching(column, EMAIL), "varchar"),
    "hostname": (lambda column: matching(column, HOST), "varchar"),
    # An audit event may have several addresses in one text. The first is the client's.
    "ip": (lambda column: matching(f"trim(split_part({column}, ',', 1))", IP), "varchar"),
    "joined": (lambda column: f"array_join({column}, ', ')", "varchar"),
    "rules": (lambda _: "array_join(triggered_rule_names, ', ')", "varchar"),
    "one": (lambda column: f"CASE WHEN {column} IS NOT NULL THEN ARRAY[{column}] END", "array(varchar)"),
    "text": (lambda column: f"coalesce(CAST({column} AS varchar), 'unknown')", "varchar"),
    "title": (lambda column: f"coalesce(nullif({column}, ''), concat('Session of ', coalesce(actor_name, 'unknown')))", "varchar"),
    "trust": (lambda column: f"CASE {column} WHEN true THEN 'trusted' WHEN false THEN 'untrusted' END", "varchar"),
    "active": (lambda column: f"CASE {column} WHEN true THEN 'active' WHEN false THEN 'deactivated' END", "varchar"),
    "full_name": (lambda _: "nullif(trim(concat(coalesce(first_name, ''), ' ', coalesce(last_name, ''))), '')", "varchar"),
    "score": (lambda _: "score", "bigint"),
    "hashes": (hashes, "array(row(algorithm_id bigint, value varchar))"),
    "sender": (
        lambda column: f"coalesce({matching(column, EMAIL)}, {matching('user_email', EMAIL)}, '{NOBODY}')", "varchar",
    ),
    "recipients": (
        lambda column: f"coalesce(nullif(filter({column}, x -> regexp_like(x, '{EMAIL}')), "
        f"CAST(ARRAY[] AS array(varchar))), ARRAY['{NOBODY}'])", "array(varchar)",
    ),
    "session_activity": (lambda _: activity("state LIKE 'CLOSED%'"), "bigint"),
    "case_activity": (lambda _: activity("status IN ('CLOSED', 'ARCHIVED')"), "bigint"),
    "audit_activity": (verbs, "bigint"),
    "sign_in": (lambda column: f"CAST(CASE WHEN {column} LIKE '%out/%' THEN 2 ELSE 1 END AS bigint)", "bigint"),
}  # fmt: skip
TYPES = {"text": "varchar", "int": "bigint", "bool": "boolean", "texts": "array(varchar)", "json": "varchar"}


@dataclass
class Node:
    """An object of OCSF, or a list with one object."""

    is_list: bool = False
    members: dict[str, "Node | Value"] = field(default_factory=dict)

    def type(self) -> str:
        inner = ", ".join(f"{name} {member.type() if isinstance(member, Node) else member.type}" for name, member in self.members.items())
        return f"array(row({inner}))" if self.is_list else f"row({inner})"

    def sql(self) -> str:
        inner = ", ".join(member.sql() if isinstance(member, Node) else member.sql for member in self.members.values())
        return f"ARRAY[ROW({inner})]" if self.is_list else f"ROW({inner})"


def column_of(stream: str, path: str) -> tuple[str, str]:
    """The typed view's column for a path, and its type. If a path has several columns, the state or the last severity.
    """
    found = [one for one in fields() if one.stream == stream and one.path == path]
    chosen = [one for one in found if one.column in {"state", "severity", "risk_indicators"}] or found
    if not chosen:
        return "", ""
    kind = chosen[0].kind.partition(":")[0]
    return chosen[0].column, {"last": "int", "lasttext": "text", "millis": "time"}.get(kind, kind)


def value(row: dict[str, str]) -> Value:
    column, kind = column_of(row["stream"], row["path"]) if row["path"] else ("", "")
    rule, _, argument = row["rule"].partition(" ")
    match rule:
        case "=" if argument.startswith("ARRAY"):
            return Value(argument, "array(varchar)")
        case "=" if argument.startswith("'"):
            return Value(argument, "varchar")
        case "=":
            return Value(f"CAST({argument} AS bigint)", "bigint")
        case "copy":
            return Value(f"CAST({column} AS varchar)", "varchar") if row["ocsf"].endswith("uid") else Value(column, TYPES[kind])
        case "or":
            return Value(f"coalesce({column}, '{argument}')", "varchar")
        case "case":
            return Value(case(argument, column), "bigint")
        case _:
            made, type = RULES[rule]
            return Value(made(column), type)


def columns(view: str) -> tuple[Column, ...]:
    top: dict[str, Node | Value] = {}
    for row in rows("ocsf.csv"):
        if row["view"] != view:
            continue
        *parents, last = row["ocsf"].split(".")
        held = top
        for parent in parents:
            name = parent.removesuffix("[]")
            node = held.setdefault(name, Node(is_list=parent.endswith("[]")))
            assert isinstance(node, Node), f"{view}: {row['ocsf']} is below what is no object"
            held = node.members
        if row["rule"] == "type_uid":
            numbers = top["class_uid"], top["activity_id"]
            assert all(isinstance(number, Value) for number in numbers)
            held[last] = Value(f"{numbers[0].sql} * 100 + {numbers[1].sql}", "bigint")
            continue
        held[last] = value(row)
    made = []
    for name, member in top.items():
        sql = f"CAST({member.sql()} AS {member.type()})" if isinstance(member, Node) else member.sql
        made.append(Column(name, sql, member.type() if isinstance(member, Node) else member.type))
    return (*made, Column("raw_data", "record", "varchar"), Column("dt", "dt", "text"), Column("hour", "hour", "text"))


def stream_of(view: str) -> str:
    return next(row["stream"] for row in rows("ocsf.csv") if row["view"] == view)


def views() -> Iterator[View]:
    for view in CLASSES:
        stream = stream_of(view)
        source = f"FROM {stream}_all"
        if view in {"ocsf_data_security_finding", "ocsf_incident_finding"}:
            (key,) = keys()[stream]
            column, _ = column_of(stream, key)
            source = (
                f"FROM (\n  SELECT *, row_number() OVER (PARTITION BY {column} ORDER BY dt, hour, object) AS nth\n"
                f"  FROM {stream}_all\n)"
            )
        where = WHERE.get(view, "NOT deleted")
        yield View(view, f"OCSF {VERSION}, {TITLES[view]}", columns(view), f"{source}\nWHERE {where}")


def page() -> str:
    """The mapping's documentation."""
    parts = [
        "# The mapping to OCSF, ECS and UDM\n\n"
        f"Made of [`ocsf.csv`](ocsf.csv) by `make answers-files`, as the views are: OCSF {VERSION}. How to use it, and Security\n"
        "Lake: [README](README.md#ocsf). A rule of `=` is a constant; what a rule does is in [`ocsf.py`](ocsf.py). ECS and UDM say\n"
        "where the same value goes there; nothing is converted by them here.\n"
    ]
    for view in CLASSES:
        parts.append(f"\n## {TITLES[view]}\n\n`{view}`, of `{stream_of(view)}`.\n\n| our path | OCSF | rule | ECS | UDM |\n|---|---|---|---|---|\n")
        for row in rows("ocsf.csv"):
            if row["view"] == view:
                cells = [f"`{cell}`" if cell else "" for cell in (row["path"], row["ocsf"], row["rule"], row["ecs"], row["udm"])]
                parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)
