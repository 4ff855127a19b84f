"""parameters.py TEMPLATE [Name=value ...]: the parameters of a stack beside the collector's, one a line, as `sam deploy` takes them.

Reads the outputs of the collector's stack from standard input. One with the name of a parameter is its value, unless that is given.
"""

import difflib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import least_python  # noqa: F401

EACH = "each parameter is Name=value"


def read(template: Path) -> dict[str, dict[str, str]]:
    """The parameters of a template, and what it says of each."""
    section = re.search(r"^Parameters:\n((?:[ #].*\n|\n)*)", template.read_text("utf-8"), re.MULTILINE)
    found = re.findall(r"^  (\w+):\n((?:(?:    .*)?\n)*)", section[1] if section else "", re.MULTILINE)
    return {name: fields(body) for name, body in found}


def fields(body: str) -> dict[str, str]:
    found = re.findall(r"^    (\w+): *(.*(?:\n      .+)*)", body, re.MULTILINE)
    return {key: plain(" ".join(text.removeprefix(">-").split())) for key, text in found}


def plain(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else text


def allowed(facts: dict[str, str]) -> list[str]:
    return [plain(value) for value in re.findall(r'"[^"]*"|[\w.:-]+', facts.get("AllowedValues", ""))]


def fault(value: str, facts: dict[str, str]) -> str:
    """What the template demands of the value, if it refuses it."""
    values, most = allowed(facts), int(facts.get("MaxLength", len(value)))
    if values and value not in values:
        return f"must be one of {', '.join(each or 'nothing' for each in values)}"
    if facts["Type"] == "Number" and not is_between(value, facts):
        return f"must be a number from {facts['MinValue']} to {facts['MaxValue']}" if "MinValue" in facts else "must be a number"
    if not re.fullmatch(facts.get("AllowedPattern", "(?s:.*)"), value):
        return facts["ConstraintDescription"]
    return f"must have at most {most} characters" if len(value) > most else ""


def is_between(value: str, facts: dict[str, str]) -> bool:
    try:
        return float(facts.get("MinValue", value)) <= float(value) <= float(facts.get("MaxValue", value))
    except ValueError:
        return False


def unknown(name: str, known: Iterable[str], template: str) -> str:
    like = difflib.get_close_matches(name, known, 1)
    return f"{name}: {template} has no such parameter" + (f"; did you mean {like[0]}?" if like else "")


def main(template: str, *arguments: str) -> None:
    known = read(Path(template))
    given = dict(argument.partition("=")[::2] for argument in arguments)
    wrong = [f"{argument}: {EACH}" for argument in arguments if "=" not in argument]
    wrong += [unknown(name, known, f"infra/{Path(template).name}") for name in given if name not in known]
    if wrong:
        sys.exit("\n".join(wrong))
    outputs = {output["OutputKey"]: output["OutputValue"] for output in json.load(sys.stdin) or []}
    filled = {name: value for name, value in outputs.items() if name in known}
    for name, value in (filled | given).items():
        # Without quotes SAM ends a value at its first blank or quotation mark.
        print(name + '="' + value.replace('"', '\\"') + '"')


if __name__ == "__main__":
    main(*sys.argv[1:])
