#!/usr/bin/env python3
"""Makes the table of docs/settings.md from the code and the template.

A row is a parameter of template.yaml, a variable that src/core/settings.rs reads, or both. Group, parameter, variable,
default and limits come from there. A parameter that sets no variable has its description as meaning. A variable's
meaning is written by hand in the table and kept when the table is made again.

Without an argument the script fails if the page differs from what it would write; `--write` writes it."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"
HEADER = "| parameter | variable | default | takes | meaning |\n|---|---|---|---|---|\n"
WITHOUT_PARAMETER = "Only as a variable"


def code():
    places = ["core/settings.rs", "core/settings/*.rs"]
    files = [path for place in places for path in sorted((ROOT / "src").glob(place))]
    texts = [path.read_text("utf-8").split("#[cfg(test)]\nmod ")[0] for path in files]
    return re.sub(r"^\s*//.*\n", "", "\n".join(texts), flags=re.M)


def variables(text):
    """By name: the default, and a number's least and greatest value."""
    found = {}
    for read in re.finditer(r'\bvars\s*\.(required|or|get|raw|number)\(\s*"([A-Z][A-Z0-9_]+)"', text):
        how, name, rest = read[1], read[2], text[read.end() :].split(";")[0]
        default, limits = "", ""
        if how == "required":
            default = "required"
        elif how == "or" and (literal := re.match(r',\s*"([^"]*)"\)', rest)):
            default = literal[1]
        elif how == "raw" and (literal := re.search(r'unwrap_or\(\s*"([^"]*)"', rest)):
            default = literal[1]
        elif how == "number":
            default, least, most = (product(number, text) for number in rest.split(")")[0].strip(", ").split(",")[:3])
            limits = f"{least:,} to {most:,}"
        found.setdefault(name, (str(default), limits))
    for name in re.findall(r'\["[a-z_]+", "([A-Z_]+)"\]', text):
        found.setdefault(name, ("", ""))
    return found


def product(numbers, code):
    """The product of numbers and constants of the code."""
    result = 1
    for factor in (factor.strip() for factor in numbers.split("*")):
        constant = re.search(rf"const {factor}: \w+ = ([^;]+);", code)
        result *= product(constant[1], code) if constant else int(factor.replace("_", ""))
    return result


def template():
    text = (ROOT / "template.yaml").read_text("utf-8")
    part = {name: body for name, body in re.findall(r"^(\w+):\n((?:(?:[ #].*)?\n)*)", text, re.M)}
    parameters = {}
    for name, body in re.findall(r"^  (\w+):\n((?:(?:    .*)?\n)*)", part["Parameters"], re.M):
        fields = dict(re.findall(r"^    (\w+): *(.*(?:\n      .+)*)", body, re.M))
        parameters[name] = {key: re.sub(r"\s+", " ", value.removeprefix(">-")).strip() for key, value in fields.items()}
    groups = re.findall(r'Label: \{default: "([^"]+)"\}\s+Parameters:\s+\[([^\]]+)\]', part["Metadata"])
    groups = {label: re.findall(r"\w+", names) for label, names in groups}
    conditions = dict(re.findall(r"^  (\w+): (.*(?:\n    .+)*)", part["Conditions"], re.M))
    collector = part["Resources"].split("\n  Collector:\n", 1)[-1] if "\n  Collector:\n" in part["Resources"] else part["Resources"]
    block = re.search(r"^        Variables:\n((?:          .*\n)+)", collector, re.M)[1]
    sets = {}
    for variable, value in re.findall(r"^          ([A-Z][A-Z0-9_]+): (.+)$", block, re.M):
        named = [name for name in re.findall(r"\w+", value) if name in parameters]
        for condition in () if named else re.findall(r"\w+", value):
            named += [name for name in re.findall(r"\w+", conditions.get(condition, "")) if name in parameters]
        for name in dict.fromkeys(named):
            sets.setdefault(name, []).append(variable)
    return parameters, groups, sets


def limits(facts):
    if "MinValue" in facts and "MaxValue" in facts:
        return f"{int(facts['MinValue']):,} to {int(facts['MaxValue']):,}"
    values = re.findall(r'"[^"]*"|[\w.:-]+', facts.get("AllowedValues", ""))
    return ", ".join(f"`{value.strip(chr(34))}`" for value in values if value != '""')


def table(meanings):
    read = variables(code())
    parameters, groups, sets = template()
    if missing := set(parameters) - {name for names in groups.values() for name in names}:
        sys.exit(f"template.yaml: {', '.join(sorted(missing))} is in no group of AWS::CloudFormation::Interface")
    rows, unsaid, set_by_some = [], [], {name for names in sets.values() for name in names}
    for group, names in groups.items():
        rows.append(f"| **{group}** | | | | |")
        for name in names:
            facts = parameters[name]
            for variable in sets.get(name, [""]):
                default, takes = read.get(variable, ("", ""))
                given = facts.get("Default", "required").strip('"')
                if not default:
                    default = given
                if takes and "MinValue" in facts and takes != limits(facts):
                    takes = f"{takes}; the parameter {limits(facts)}"
                meaning = meanings.get(variable) if variable else facts["Description"]
                if not meaning:
                    unsaid.append(variable)
                rows.append(row(name, variable, default, takes or limits(facts), meaning))
    rows.append(f"| **{WITHOUT_PARAMETER}** | | | | |")
    for variable, (default, takes) in read.items():
        if variable not in set_by_some:
            if variable not in meanings:
                unsaid.append(variable)
            rows.append(row("", variable, default, takes, meanings.get(variable)))
    return HEADER + "\n".join(rows) + "\n", unsaid


def row(parameter, variable, default, takes, meaning):
    cells = [f"`{cell}`" if cell else "" for cell in (parameter, variable)]
    default = {"": "–", "required": "required"}.get(default, f"`{default}`")
    return "| " + " | ".join([*cells, default, takes, (meaning or "").replace("|", "\\|")]) + " |"


def main():
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    meanings = dict(re.findall(r"^\| [^|]*\| `([A-Z0-9_]+)` \|[^|]*\|[^|]*\| (.*?) \|$", old, re.M))
    # If several parameters set a variable, its meaning is in the first one's row.
    new, unsaid = table({name: meaning for name, meaning in meanings.items() if meaning})
    if "--write" in sys.argv[1:]:
        PAGE.write_text(before + BEGIN + new + END + after, "utf-8")
    elif new != old:
        sys.exit("docs/settings.md is not what the code and template.yaml say: run python3 tests/settings_table.py --write")
    if unsaid:
        sys.exit(f"docs/settings.md: write into the table what {', '.join(unsaid)} means")
    print("The table of settings is true to the code.")


if __name__ == "__main__":
    main()
