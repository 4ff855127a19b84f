"""samconfig.py ENV: checks the parameters of ENV in infra/samconfig.toml before anything is built or deployed.

It compares them with template.yaml, and finds out whether there is a program to deploy.
"""

import difflib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import least_python  # noqa: F401  (before what older versions don't have)
import parameters
import tomllib
import tools

ROOT = Path(__file__).resolve().parents[1]


class Fault(NamedTuple):
    text: str
    mend: str
    # The parameter whose value is wrong.
    name: str = ""


class Unreadable(Exception):
    """infra/samconfig.toml is not TOML."""


def environments() -> dict[str, list[str]]:
    """The parameters of each ENV as they are written, `Name=value`."""
    try:
        config = tomllib.loads((ROOT / "infra" / "samconfig.toml").read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(str(error)) from None
    sections = {env: commands for env, commands in config.items() if isinstance(commands, dict)}
    lists = {env: it.get("global", {}).get("parameters", {}).get("parameter_overrides", []) for env, it in sections.items()}
    return {env: shlex.split(given) if isinstance(given, str) else given for env, given in lists.items()}


def listed(env: str) -> list[str]:
    return environments().get(env, [])


def known() -> dict[str, dict[str, str]]:
    return parameters.read(ROOT / "template.yaml")


def values(given: list[str]) -> dict[str, str]:
    return {name: value(written) for name, equals, written in (item.partition("=") for item in given) if equals}


def value(written: str) -> str:
    """A parameter's value as SAM takes it: whole only if it stands in quotes, or has neither blanks nor quotes."""
    return written[1:-1].replace('\\"', '"').replace("\\'", "'") if is_quoted(written) else written


def is_quoted(written: str) -> bool:
    return len(written) > 1 and written[0] == written[-1] and written[0] in "\"'"


def faults(env: str, given: list[str]) -> Iterator[Fault]:
    times = sum(item.startswith("Architecture=") for item in given)
    if times != 1:
        yield Fault(
            f"infra/samconfig.toml names Architecture {times} times: the program could be built for one processor and deployed for another",
            f'Name it once for {env}: "Architecture=arm64", or x86_64',
        )
    template = known()
    for item in given:
        name, equals, written = item.partition("=")
        if not equals:
            yield Fault(f"{item}: {parameters.EACH}", '"Name=value", once for each in parameter_overrides of infra/samconfig.toml', name)
        elif name not in template:
            yield Fault(parameters.unknown(name, template, "template.yaml"), "docs/settings.md lists the parameters", name)
        else:
            yield from value_faults(name, written, template[name])


def value_faults(name: str, written: str, facts: dict[str, str]) -> Iterator[Fault]:
    taken = value(written)
    if must := parameters.fault(taken, facts):
        yield Fault(f'{name} is "{taken}", but {must}', right(name, taken, facts), name)
    elif re.search(r'[\s"]', written) and not is_quoted(written):
        yield Fault(
            f"infra/samconfig.toml: SAM ends the value of {name} at its first blank or quotation mark", f"\"\"\"{name}='{written}'\"\"\","
        )


def right(name: str, wrong: str, facts: dict[str, str]) -> str:
    """The value that is probably meant."""
    without = re.sub(r"\s", "", wrong)
    if without != wrong and not parameters.fault(without, facts):
        return f'write it without blanks: "{name}={without}",'
    if like := difflib.get_close_matches(wrong, parameters.allowed(facts), 1):
        return f'perhaps "{name}={like[0]}", in infra/samconfig.toml'
    return f'"{name}=...", in infra/samconfig.toml; docs/settings.md says what it is for'


def no_such(env: str) -> Fault:
    has = ", ".join(name for name, given in environments().items() if given) or "none"
    return Fault(
        f"infra/samconfig.toml has no parameters for {env}; it has {has}",
        f"copy its sections [dev.global.parameters] and [dev.deploy.parameters] to [{env}....], or give another ENV=",
    )


def not_toml(why: object) -> Fault:
    return Fault(f"infra/samconfig.toml is not TOML: {why}", 'mend that line: each parameter is "Name=value", with a comma after it')


def found(env: str) -> list[Fault]:
    try:
        given = listed(env)
    except Unreadable as error:
        return [not_toml(error)]
    if not given:
        return [no_such(env)]
    nothing = "" if values(given).get("CodeBucket") else tools.nothing_to_build()
    return [*faults(env, given), *([Fault(nothing, tools.add_zip(env))] if nothing else [])]


if __name__ == "__main__":
    sys.exit("\n".join(f"{fault.text}\n  {fault.mend}" for fault in found(sys.argv[1])) or None)
