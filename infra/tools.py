"""The programs that `make deploy` runs, and their least versions."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

CARGO_TOML = Path(__file__).resolve().parents[1] / "Cargo.toml"
# Both know BOTOCORE_TCP_KEEPALIVE and --expected-bucket-owner.
LEAST_AWS = {1: (1, 20, 0), 2: (2, 3, 0)}
# It knows the runtime provided.al2023.
LEAST_SAM = (1, 101, 0)
AWS_PAGE = "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
OR_A_ZIP = "or name a release's zip as CodeBucket and CodeKey, and nothing is built"


def nothing_to_build() -> str:
    """Why nothing can be built, if it can't."""
    if not CARGO_TOML.exists():
        return "no zip is named, and there are no sources here to build it from"
    return "" if shutil.which("cargo") else "no zip is named, and cargo is not installed to build it"


def add_zip(env: str) -> str:
    return f'add "CodeBucket=<bucket>", "CodeKey=<zip>", to the parameters of {env} in infra/samconfig.toml'


def findings(env: str, builds: bool) -> Iterator[tuple[str, str, str]]:
    """For each program: ok, note or MEND; what was found; and what mends it."""
    said, version = asked("aws")
    yield finding("aws", said, version, LEAST_AWS.get(version[0] if version else 1, (0,)), AWS_PAGE)
    said, version = asked("sam")
    yield finding("sam", said, version, LEAST_SAM, "pip install --upgrade aws-sam-cli")
    if builds and not CARGO_TOML.exists():
        yield "MEND", nothing_to_build(), add_zip(env)
        return
    for name, least, command in [("cargo", rust(), "https://rustup.rs"), ("cargo-lambda", (0,), "pip install cargo-lambda")]:
        found = finding(name, *asked(name), least, f"{command}; {OR_A_ZIP}")
        yield found if builds or found[0] == "ok" else ("note", f"{found[1]}; only building needs it", "")


def asked(name: str) -> tuple[str, tuple[int, ...]]:
    """What the program says about its version, and the version. Nothing if it is not there or doesn't start."""
    if not shutil.which(name):
        return "", ()
    done = subprocess.run([name, "--version"], text=True, capture_output=True)
    version = re.search(r"\d+(?:\.\d+)+", done.stdout or done.stderr)
    return (done.stdout or done.stderr).strip(), tuple(map(int, version[0].split("."))) if version else ()


def finding(name: str, said: str, version: tuple[int, ...], least: tuple[int, ...], command: str) -> tuple[str, str, str]:
    if not version:
        return "MEND", f"{name} is not installed", command
    if version < least:
        return "MEND", f"{name} is {dotted(version)}, and {dotted(least)} or newer is needed", command
    return "ok", f"{name}: {said.splitlines()[0]}", ""


def rust() -> tuple[int, ...]:
    """The least Rust of Cargo.toml. cargo has its version."""
    text = CARGO_TOML.read_text("utf-8") if CARGO_TOML.exists() else ""
    found = re.search(r'^rust-version = "([\d.]+)"', text, re.MULTILINE)
    return tuple(map(int, found[1].split("."))) if found else (0,)


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
