"""Converts the Sigma rules for one or more SIEMs: `convert.py [--check] [--only TARGET ...]`. Puts the output of
pySigma's backends into the SIEM's form, with the table, index or stream around it."""

import argparse
import importlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fields
import yaml
from sigma.conversion.base import Backend
from sigma.rule import SigmaRule
from written import HERE, Correlation, Rule, head, rules

CONVERTED = HERE / "converted"


# Rules that can't be expressed as one rule there.
UNSUPPORTED = {("datadog", "temporal"), ("panther", "temporal")}


def tags(rule: Rule) -> str:
    return ", ".join(str(tag) for tag in head(rule).tags)


def comment(rule: Rule, mark: str, wanted: list[str] | None = None) -> str:
    about = head(rule)
    lines = [about.title, about.description, f"level {about.level.name.lower()}; {tags(rule)}; {about.id}",
             f"False positives: {'; '.join(about.falsepositives)}"]  # fmt: skip
    if wanted:
        lines.append(f"Look at {', '.join(wanted)}")
    return "".join(f"{mark} {line}\n" for line in lines)


def condition(target: str, rule: SigmaRule, backend: Backend) -> str:
    (text,) = backend(processing_pipeline=fields.pipeline(target, rule)).convert_rule(rule)
    return text


def backend(module: str, name: str) -> Callable[..., Backend]:
    return getattr(importlib.import_module(module), name)


# Splunk: an app's savedsearches.conf.


def splunk(name: str, rule: Rule) -> str:
    made = backend("sigma.backends.splunk", "SplunkBackend")

    def search(single: SigmaRule) -> str:
        single.fields = []
        return f"index=incydr {condition('splunk', single, made)}"

    if isinstance(rule, Correlation):
        by, least = rule.by, rule.least
        if rule.is_count:
            query = f"{search(rule.of[0])} | bin _time span={rule.within} | stats count by _time {by} | where count >= {least}"
        else:
            parts = " ".join(f'[search {search(of)} | eval rule="{of.name}"]' for of in rule.of)
            query = f"| multisearch {parts} | stats dc(rule) as rules by {by} | where rules >= {least}"
    else:
        shown = " ".join(f'"{fields.splunk(path)}"' for path in rule.fields)
        query = f"{search(rule)} | table _time {shown}"
    about = head(rule)
    return (
        f"[Incydr: {about.title}]\n{comment(rule, '#')}search = {query}\n"
        f"dispatch.earliest_time = {'-' + rule.within if isinstance(rule, Correlation) else '-30d'}\ndispatch.latest_time = now\n"
        + ("" if isinstance(rule, Correlation) else "dispatch.indexedRealtime = 0\ndispatch.index_earliest = -15m\n")
        + "enableSched = 0\n"
    )


# Elastic: ES|QL. The items of a list are expanded to rows, because a condition on several values is null there.


def elastic(name: str, rule: Rule) -> str:
    made = backend("sigma.backends.elasticsearch", "ESQLBackend")
    source = "from logs-incydr* metadata _id, _index, _version"

    def where(single: SigmaRule) -> tuple[list[str], str]:
        lists = [path for path in fields.rule_fields(single) if fields.list_of(path) or path in fields.TEXTS]
        text = condition("elastic", single, made)
        head, found = re.fullmatch(r"(from .*?) \| where (.*)", text, re.DOTALL).groups()
        assert head.startswith("from *")
        # A missing value doesn't exclude a match. Without this, `not` of null would be null.
        found, negated = re.subn(r"\bnot (?!coalesce)(.*)$", r"not coalesce(\1, false)", found)
        assert negated == found.count("not coalesce") <= 1
        return [f"| mv_expand incydr.{path}" for path in lists], found

    if not isinstance(rule, Correlation):
        # The pipeline renames these as well.
        shown = ", ".join(f"`incydr.{path}`" for path in rule.fields)
        expand, found = where(rule)
        return comment(rule, "//") + "\n".join([source, *expand, f"| where {found}", f"| keep _id, {shown}"]) + "\n"
    expand = list(dict.fromkeys(step for of in rule.of for step in where(of)[0]))
    found = [where(of)[1] for of in fresh(rule)]
    by = f"incydr.{rule.by}"
    if rule.is_count:
        counted = f"| stats events = count_distinct(_id) by window = date_trunc({spelled(rule.within)}, @timestamp), {by}"
        steps = [f"| where {found[0]}", counted, f"| where events >= {rule.least}"]
    else:
        cases = ", ".join(f'{text}, "{of.name}"' for text, of in zip(found, rule.of, strict=True))
        steps = [f"| where {' or '.join(f'({text})' for text in found)}", f"| eval rule = case({cases})",
                 f"| stats rules = count_distinct(rule) by {by}", f"| where rules >= {rule.least}"]  # fmt: skip
    return comment(rule, "//") + "\n".join([source, *expand, *steps]) + "\n"


def fresh(rule: Correlation) -> list[SigmaRule]:
    """Parses the correlation's rules again, unchanged."""
    written = {one.name: one for one in rules().values() if isinstance(one, SigmaRule)}
    return [written[of.name] for of in rule.of]


def spelled(within: str) -> str:
    units = {"m": "minutes", "h": "hours", "d": "days"}
    return f"{within[:-1]} {units[within[-1]]}"


# Microsoft Sentinel: KQL over the tables of infra/siem/microsoft-sentinel.md.

SENTINEL = {"collector_health": "Health"}
RENAMED = {"type$": "EventType", "_deleted": "Deleted", "_list": "List", "_userId": "UserId", "_matterId": "MatterId",
           "_watchlistId": "WatchlistId", "_deletedAt": "DeletedAt", "@timestamp": "['@timestamp']"}  # fmt: skip


def sentinel_source(rule: SigmaRule) -> str:
    stream = rule.logsource.service
    numbers = {"scores.severity", "file.sizeInBytes", "stuck.count"}
    lines = [f"Incydr{SENTINEL.get(stream) or ''.join(word.capitalize() for word in stream.split('_'))}_CL"]
    for path in dict.fromkeys([*fields.rule_fields(rule), *rule.fields]):
        column = fields.column(stream, path)
        inner = fields.list_of(path)
        cast = "tolong" if path in numbers else "tostring"
        if inner and path in fields.rule_fields(rule):
            lines += [f"| mv-expand item = {inner}", f"| extend {column} = {cast}(item.{path.removeprefix(inner + '.')})"]
        elif path in fields.TEXTS and path in fields.rule_fields(rule):
            lines.append(f"| mv-expand {column} = {path} to typeof(string)")
        else:
            lines.append(f"| extend {column} = {cast}({RENAMED.get(path, inner or path)})")
    return "\n".join(lines)


def sentinel(name: str, rule: Rule) -> str:
    made = backend("sigma.backends.kusto", "KustoBackend")

    def query(single: SigmaRule) -> str:
        before = sentinel_source(single)
        return f"{before}\n| where {condition('sentinel', single, made)}"

    if not isinstance(rule, Correlation):
        stream = rule.logsource.service
        shown = ", ".join(dict.fromkeys(fields.column(stream, path) for path in rule.fields))
        return comment(rule, "//") + f"{query(rule)}\n| project TimeGenerated, {shown}\n"
    by = fields.column(rule.of[0].logsource.service, rule.by)
    if rule.is_count:
        text = f"{query(rule.of[0])}\n| summarize events = dcount(event_id) by {by}, bin(TimeGenerated, {rule.within})\n| where events >= {rule.least}"
    else:
        parts = ",\n".join(f"({query(of)}\n| extend rule = \"{of.name}\", {by} = tostring({by}))" for of in rule.of)
        text = (f"union {parts}\n| where TimeGenerated > ago({rule.within})\n| summarize rules = dcount(rule) by {by}\n"
                f"| where rules >= {rule.least}")  # fmt: skip
    return comment(rule, "//") + text + "\n"


# CrowdStrike LogScale. The items of a list are fields with numbers and need special functions.


def logscale(name: str, rule: Rule) -> str:
    made = backend("sigma.backends.crowdstrike", "LogScaleBackend")

    def query(single: SigmaRule) -> str:
        lists = [path for path in fields.rule_fields(single) if fields.list_of(path)]
        texts = [path for path in fields.rule_fields(single) if path in fields.TEXTS]
        found = condition("logscale", single, made)
        # Any value except an empty one.
        found = re.sub(r"([\w.$\"]+)=//i", r"\1=*", found)
        for path in lists:
            inner = fields.list_of(path)
            member = path.removeprefix(f"{inner}.")
            found = re.sub(
                rf"{re.escape(path)}=(/(?:[^/\\]|\\.)*/i|\d+)",
                rf'objectArray:exists(array="{inner}[]", condition={{{member}=\1}})', found,
            )  # fmt: skip
        for path in texts:
            found = re.sub(rf"{re.escape(path)}=/((?:[^/\\]|\\.)*)/i", rf'array:regex("{path}[]", regex="\1", flags="i")', found)
        return found

    if not isinstance(rule, Correlation):
        shown = ", ".join(f'"{path}"' for path in rule.fields if not fields.list_of(path) and path not in fields.TEXTS)
        return comment(rule, "//") + f"{query(rule)}\n| select([@timestamp, {shown}])\n"
    if rule.is_count:
        text = (f"{query(rule.of[0])}\n| bucket(span={rule.within}, field=[{rule.by}], function=count(as=events))\n"
                f"| events >= {rule.least}")  # fmt: skip
    else:
        found = [query(of) for of in rule.of]
        cases = " ".join(f'{text} | rule := "{of.name}";' for text, of in zip(found, rule.of, strict=True))
        text = (f"case {{ {cases} }}\n| groupBy([{rule.by}], function=count(rule, distinct=true, as=rules))\n"
                f"| rules >= {rule.least}")  # fmt: skip
    return comment(rule, "//") + text + "\n"


# Google SecOps: YARA-L. The backend's frame has a section that doesn't exist, so the frame is written here.


def secops(name: str, rule: Rule) -> str:
    made = backend("sigma.backends.secops", "SecOpsBackend")

    def events(single: SigmaRule, variable: str) -> str:
        starts = {value for value in starts_of(single)}
        found = condition("secops", single, made)
        # The backend says "contains" where it means "begins with".
        for text in starts:
            found = found.replace(f"/{re.escape(text)}/", f"/^{re.escape(text)}/")
        # Values that aren't UDM's own are text.
        found = re.sub(r'(\$e\.additional\.fields\["[^"]+"\]) (>=|<=|>|<|=) (\d+)', r"cast.as_int(\1) \2 \3", found)
        found = re.sub(r"\b(AND|OR|NOT)\b", lambda word: word[1].lower(), found)
        stream = f'$e.additional.fields["incydr_stream"] = "{single.logsource.service}" and '
        return (stream + found).replace("$e.", f"${variable}.")

    about = head(rule)
    meta = {
        "author": about.author, "description": about.description, "severity": about.level.name.capitalize(),
        "tags": tags(rule), "sigma": str(about.id), "false_positives": "; ".join(about.falsepositives),
    }  # fmt: skip
    lines = [f"rule incydr_{name} {{", "  meta:"]
    lines += [f"    {key} = {quoted(value)}" for key, value in meta.items()]
    lines.append("  events:")
    if not isinstance(rule, Correlation):
        lines += [f"    {events(rule, 'e')}", "  condition:", "    $e", "}"]
    else:
        variables = ["e"] if rule.is_count else [f"e{n + 1}" for n in range(len(rule.of))]
        for variable, of in zip(variables, rule.of, strict=True):
            lines += [f"    {events(of, variable)}", f'    ${variable}.additional.fields["{rule.by}"] = $by']
        counted = f"#e >= {rule.least}" if rule.is_count else " and ".join(f"${variable}" for variable in variables)
        lines += ["  match:", f"    $by over {rule.within}", "  condition:", f"    {counted}", "}"]
    return "\n".join(lines) + "\n"


def starts_of(rule: SigmaRule) -> list[str]:
    found = []
    for detection in rule.detection.detections.values():
        for item in detection.detection_items:
            for value in getattr(item, "value", []):
                text = str(value)
                if text.endswith("*") and not text.startswith("*") and len(text) > 1:
                    found.append(text[:-1])
    return found


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# Datadog: the query of a detection rule. In a query of logs, the items of a list are one attribute with several values.


def datadog(name: str, rule: Rule) -> str:
    made = backend("sigma.backends.datadog", "DatadogBackend")
    if not isinstance(rule, Correlation):
        return comment(rule, "#", rule.fields) + condition("datadog", rule, made) + "\n"
    text = condition("datadog", rule.of[0], made)
    return comment(rule, "#") + f"# Group by @{rule.by}; trigger at {rule.least} or more within {rule.within}\n{text}\n"


# Athena: over the views of infra/athena.yaml, for the last day.


def athena(name: str, rule: Rule) -> str:
    import sqlglot
    from sqlglot import exp

    made = backend("sigma_backend_duckdb", "DuckDBBackend")

    def query(single: SigmaRule, shown: list[str], back: str = "1") -> exp.Select:
        stream = single.logsource.service
        lists = {fields.column(stream, path) for path in fields.rule_fields(single)
                 if (fields.list_of(path) and path != "scores.severity" and path != "states.state") or path in fields.TEXTS}  # fmt: skip
        found = sqlglot.parse_one(condition("athena", single, made), read="duckdb").find(exp.Where).this

        def exact(node: exp.Expression) -> exp.Expression:
            if isinstance(node, exp.Column) and node.name in lists:
                return exp.func("array_join", exp.column(node.name), exp.Literal.string(", "), dialect="athena")
            # `_` stands for itself, and case is ignored.
            if isinstance(node, exp.ILike):
                pattern = node.expression.this
                text = exp.Literal.string(pattern.strip("%").lower())
                lower = exp.Lower(this=node.this.transform(exact))
                match pattern.startswith("%"), pattern.endswith("%"):
                    case False, False:
                        return exp.EQ(this=lower, expression=text)
                    case False, True:
                        return exp.func("starts_with", lower, text, dialect="athena")
                return exp.GT(this=exp.func("strpos", lower, text, dialect="athena"), expression=exp.Literal.number(0))
            # A missing value doesn't exclude a match: `NOT` of null would be null.
            if isinstance(node, exp.Not) and not isinstance(node.this.unnest(), exp.Is):
                return exp.Not(this=exp.func("coalesce", node.this.unnest().transform(exact), exp.false()))
            return node

        day = sqlglot.parse_one(f"dt >= date_format(current_date - INTERVAL '{back}' DAY, '%Y-%m-%d')", read="athena")
        where = exp.and_(day, found.transform(exact))
        return exp.select(*(exp.column(name) for name in shown)).from_(f"{stream}_all").where(where)

    if not isinstance(rule, Correlation):
        shown = list(dict.fromkeys(fields.column(rule.logsource.service, path) for path in rule.fields))
        text = query(rule, [*shown, "dt", "hour"]).sql("athena", pretty=True)
    elif rule.is_count:
        of = rule.of[0]
        by, least = fields.column(of.logsource.service, rule.by), rule.least
        inner = query(of, [by, "event_inserted"]).sql("athena")
        unit = {"m": "minute", "h": "hour", "d": "day"}[rule.within[-1]]
        assert rule.within[:-1] == "1"
        text = sqlglot.parse_one(
            f"SELECT {by}, date_trunc('{unit}', event_inserted) AS window_begins, count(*) AS events FROM ({inner}) AS found "
            f"GROUP BY 1, 2 HAVING count(*) >= {least}", read="athena",
        ).sql("athena", pretty=True)  # fmt: skip
    else:
        by = fields.column(rule.of[0].logsource.service, rule.by)
        parts = [f"SELECT '{of.name}' AS rule, {by} FROM ({query(of, [by], rule.within[:-1]).sql('athena')}) AS found{n}"
                 for n, of in enumerate(rule.of)]  # fmt: skip
        text = sqlglot.parse_one(
            f"SELECT {by} FROM ({' UNION ALL '.join(parts)}) AS found GROUP BY 1 HAVING count(DISTINCT rule) >= {rule.least}",
            read="athena",
        ).sql("athena", pretty=True)  # fmt: skip
    return comment(rule, "--") + text + ";\n"


@dataclass(frozen=True)
class Target:
    convert: Callable[[str, Rule], str]
    # The file with all rules.
    file: str


TARGETS = {
    "splunk": Target(splunk, "splunk/savedsearches.conf"),
    "sentinel": Target(sentinel, "sentinel/rules.kql"),
    "elastic": Target(elastic, "elastic/rules.esql"),
    "secops": Target(secops, "secops/rules.yaral"),
    "logscale": Target(logscale, "logscale/queries.txt"),
    "datadog": Target(datadog, "datadog/queries.txt"),
    "athena": Target(athena, "athena/rules.sql"),
}


def converted(target: str) -> dict[str, str]:
    made = {}
    for name, rule in rules().items():
        kind = rule.rule.type.name.lower() if isinstance(rule, Correlation) else "single"
        if (target, kind) not in UNSUPPORTED:
            made[name] = TARGETS[target].convert(name, rule)
    return made


def mapping(target: str) -> str:
    """Only the names, as a pipeline for sigma-cli and others: `-p infra/detections/pipelines/<target>.yml`."""
    streams: dict[str, set[str]] = {}
    for rule in rules().values():
        for one in [rule] if isinstance(rule, SigmaRule) else []:
            streams.setdefault(one.logsource.service, set()).update([*fields.rule_fields(one), *one.fields])
    items: list[dict[str, object]] = []
    for stream, paths in sorted(streams.items()):
        of = [{"type": "logsource", "product": "incydr", "service": stream}]
        names = {path: fields.NAMES[target](stream, path) for path in sorted(paths)}
        items.append({"id": f"{stream}_fields", "type": "field_name_mapping", "mapping": names, "rule_conditions": of})
        if target in fields.STREAM_FIELD:
            items.append({"id": f"{stream}_stream", "type": "add_condition", "conditions": {"incydr_stream": stream},
                          "rule_conditions": of})  # fmt: skip
    return yaml.safe_dump(
        {"name": f"Incydr records in {target}", "priority": 20, "transformations": items}, sort_keys=False, width=118
    )


def elastic_mapping() -> str:
    """A mapping of the fields that the rules use, because ES|QL can't see into `flattened` fields."""
    root: dict[str, dict] = {}
    for rule in rules().values():
        if isinstance(rule, SigmaRule):
            kinds = fields.kinds(rule.logsource.service)
            for path in [*fields.rule_fields(rule), *rule.fields]:
                *parents, last = path.split(".")
                held = root
                for parent in parents:
                    held = held.setdefault(parent, {"properties": {}})["properties"]
                kind = {"bool": "boolean", "int": "long", "most": "long"}.get(kinds.get(path, "text"), "keyword")
                assert held.get(last, {"type": kind}) == {"type": kind}, f"{path} is of two types"
                held[last] = {"type": kind}
    incydr = {"dynamic": False, "properties": root}
    template = {"template": {"mappings": {"properties": {"incydr_stream": {"type": "keyword"}, "incydr": incydr}}}}
    return json.dumps(template, indent=2, sort_keys=True) + "\n"


def table() -> str:
    """The page with all rules."""
    lines = ["# The rules", "", "Made by `make detections`. [How to use them](README.md).", "",
             "| rule | level | stream | ATT&CK |", "|---|---|---|---|"]  # fmt: skip
    for name, rule in rules().items():
        about = head(rule)
        stream = " and ".join(dict.fromkeys(of.logsource.service for of in rule.of)) if isinstance(rule, Correlation) else rule.logsource.service
        techniques = ", ".join(tag.removeprefix("attack.").upper() for tag in map(str, about.tags) if tag.startswith("attack.t"))
        lines.append(f"| [{about.title}](rules/{name}.yml) | {about.level.name.lower()} | `{stream}` | {techniques} |")
    return "\n".join(lines) + "\n"


def files(target: str) -> dict[Path, str]:
    if target == "pipelines":
        return {HERE / "pipelines" / f"{name}.yml": mapping(name) for name in fields.NAMES} | {HERE / "rules.md": table()}
    if target == "elastic":
        return {CONVERTED / "elastic" / "mapping.json": elastic_mapping(),
                CONVERTED / TARGETS[target].file: "\n".join(converted(target).values())}  # fmt: skip
    if target == "panther":
        import panther

        return {CONVERTED / "panther" / file: text for file, text in panther.files(rules()).items()}
    return {CONVERTED / TARGETS[target].file: "\n".join(converted(target).values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file isn't what is made")
    parser.add_argument("--only", nargs="+", choices=[*TARGETS, "panther", "pipelines"], default=[*TARGETS, "panther", "pipelines"])
    given = parser.parse_args()
    stale = []
    for target in given.only:
        made = files(target)
        known = set((HERE / "pipelines" if target == "pipelines" else CONVERTED / target).rglob("*.*"))
        for path in known - set(made):
            stale.append(path)
            if not given.check:
                path.unlink()
        for path, text in made.items():
            if path.exists() and path.read_text("utf-8") == text:
                continue
            stale.append(path)
            if not given.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
        print(f"{target}: {len(made)} file{'s' * (len(made) > 1)}")
    if given.check and stale:
        sys.exit(f"not what the rules convert to: {', '.join(path.name for path in stale)}. Run `make detections`")


if __name__ == "__main__":
    main()
