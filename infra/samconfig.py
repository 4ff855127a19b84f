"""samconfig.py ENV: checks that infra/samconfig.toml names the processor of ENV, once.

For a parameter that is not named `sam build` takes the template's default, and `sam deploy` the stack's previous value.
"""

import re
import shlex
import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(f"  MEND  Python is {sys.version.split()[0]}; make doctor and make deploy need 3.11 or newer\n          https://www.python.org")
import tomllib  # noqa: E402  (not there before 3.11)

ROOT = Path(__file__).resolve().parents[1]


def listed(env: str) -> list[str]:
    """The parameters of ENV as they are written, `Name=value`."""
    config = tomllib.loads((ROOT / "infra" / "samconfig.toml").read_text("utf-8"))
    given = config.get(env, {}).get("global", {}).get("parameters", {}).get("parameter_overrides", [])
    return shlex.split(given) if isinstance(given, str) else given


def defaults() -> dict[str, str | None]:
    """The parameters of template.yaml, with their defaults as a stack shows them."""
    text = (ROOT / "template.yaml").read_text("utf-8")
    section = re.search(r"^Parameters:\n((?: .*\n|\n)*)", text, re.MULTILINE)
    found = re.findall(r"^  (\w+):\n((?:(?:    .*)?\n)*)", section[1] if section else "", re.MULTILINE)
    held = {name: re.search(r"^    Default: (.*)$", body, re.MULTILINE) for name, body in found}
    return {name: default[1].strip("\"'") if default else None for name, default in held.items()}


def fault(given: list[str]) -> str:
    """What is wrong if the processor is not named once."""
    times = sum(item.startswith("Architecture=") for item in given)
    if times == 1:
        return ""
    return f"infra/samconfig.toml names Architecture {times} times: the program could be built for one processor and deployed for another"


if __name__ == "__main__":
    if found := fault(listed(sys.argv[1])):
        sys.exit(f'{found}\nName it once for {sys.argv[1]}: "Architecture=arm64" or x86_64')
