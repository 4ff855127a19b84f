"""The first quarter of an hour in docs/deploy.md. Its commands are typed unchanged, from nothing to the proof."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulated import ROOT, Aws
from simulator import Simulator

VERSION_AND_ARCH = "incydr-collector-0.1.0-x86_64.zip"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """A new account without any resources."""
    directory = Path(tempfile.mkdtemp(prefix="quarter.", dir=ROOT / "target"))
    with Aws(directory) as aws:
        yield aws
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def checkout(aws: Aws, tenant: Simulator) -> Path:
    """The files of the repository that the page's steps need, and the release's zip. Only the tenant's address differs.
    """
    checkout = aws.directory / "checkout"
    checkout.mkdir()
    for name in ["Makefile", "Cargo.toml"]:
        shutil.copy(ROOT / name, checkout)
    shutil.copy(aws.unbuilt, checkout / "template.yaml")
    shutil.copytree(ROOT / "infra", checkout / "infra", ignore=shutil.ignore_patterns(".terraform*"))
    aws.run(sys.executable, ROOT / "infra" / "zip.py", aws.directory / "code" / "bootstrap", checkout / VERSION_AND_ARCH)
    config = checkout / "infra" / "samconfig.toml"
    config.write_text(config.read_text("utf-8").replace("https://api.us.code42.com", tenant.places["api"]), "utf-8")
    return checkout


def steps() -> list[tuple[str, str]]:
    """The code blocks of the numbered steps, with their language."""
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    deploy = re.search(r"^## The first deployment\n(.*?)^The schedule does the rest", page, re.MULTILINE | re.DOTALL)[1]
    found = re.findall(r"^   ```(\w+)\n(.*?)^   ```$", deploy, re.MULTILINE | re.DOTALL)
    return [(language, re.sub(r"^   ", "", block, flags=re.MULTILINE)) for language, block in found]


def test_its_commands_lead_from_nothing_to_records_that_are_proven_whole(
    aws: Aws, tenant: Simulator, credentials: dict[str, str], checkout: Path
) -> None:
    config = checkout / "infra" / "samconfig.toml"
    # There is no Rust: any build fails.
    tools = aws.directory / "tools"
    tools.mkdir()
    for name in ["cargo", "cargo-lambda", "rustc"]:
        (tools / name).write_text("#!/bin/sh\necho no Rust here >&2\nexit 1\n", "utf-8")
        (tools / name).chmod(0o755)
    environment = aws.environment | {"PATH": f"{tools}:{aws.environment['PATH']}"}
    # Inside another make, this one would print its directory.
    for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS"]:
        environment.pop(name, None)
    said: dict[str, str] = {}
    found = steps()
    assert len(found) >= 8
    for language, block in found:
        block = block.replace("<bucket>", "my-releases").replace("<arch>", "x86_64")
        block = block.replace("key-...", credentials["client_id"]).replace('"..."', f'"{credentials["client_secret"]}"')
        assert not re.search(r"<[a-z]+>|\.\.\.", block), block
        if language == "toml":
            text = config.read_text("utf-8")
            config.write_text(text.replace("parameter_overrides = [\n", f"parameter_overrides = [\n{block}", 1), "utf-8")
            continue
        if language == "json":
            (checkout / "secret.json").write_text(block, "utf-8")
            continue
        if block == found[-1][1]:
            # Step 8: the changes that must be made before it.
            text = config.read_text("utf-8")
            config.write_text(text.replace("ScheduleState=DISABLED", "ScheduleState=ENABLED", 1), "utf-8")
        for command in re.sub(r"\\\n\s*", "", block).strip().split("\n"):
            # The last deployment is asked the same as the first.
            said[f"{len(said)} {command}"] = typed(command, checkout, environment)
    answers = {command.split(" ", 1)[1]: text for command, text in said.items()}
    assert "nothing to mend" in answers["make doctor ENV=dev"]
    assert json.loads(answers["make probe ENV=dev"])["access"] == "full"
    assert json.loads(answers["make invoke ENV=dev"])["status"] == "complete"
    proof = json.loads(answers["""make invoke ENV=dev EVENT='{"action": "verify"}'"""])
    assert (proof["status"], proof["findings"]) == ("whole", [])
    stack = aws.stack("incydr-collector-dev")
    for stream in ["audit", "file_events"]:
        assert len(stack.lines(stream)) == len(tenant.world(stream)) > 0
    schedule = aws.client("scheduler").get_schedule(Name=stack.resources["CollectorTick"].split("/")[-1])
    assert schedule["State"] == "ENABLED"


def typed(command: str, checkout: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command], cwd=checkout, env=environment | {"HOME": str(checkout)}, text=True, capture_output=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_has_no_command_that_the_page_has_not() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    deploy = re.search(r"^## Deploy\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)[1]
    blocks = re.findall(r"^   ```sh\n(.*?)^   ```$", deploy, re.MULTILINE | re.DOTALL)
    typed_in_full = "\n".join(block for _, block in steps())
    commands = [line.strip() for block in blocks for line in block.strip().split("\n")]
    assert len(commands) >= 7
    assert [command for command in commands if command not in typed_in_full] == []


def test_the_pages_name_the_release_that_there_is() -> None:
    manifest = (ROOT / "Cargo.toml").read_text("utf-8")
    (version,) = re.findall(r'^version = "([\d.]+)"$', manifest, re.MULTILINE)
    pages = "".join((ROOT / name).read_text("utf-8") for name in ["README.md", "docs/deploy.md"])
    named = set(re.findall(r"incydr-collector-(\d+\.\d+\.\d+)-", pages))
    assert named == {version} and VERSION_AND_ARCH.startswith(f"incydr-collector-{version}-")
    assert os.access(ROOT / "infra" / "output.sh", os.X_OK)
