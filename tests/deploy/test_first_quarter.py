"""The first quarter of an hour: the commands of README.md and docs/deploy.md are typed as they stand, in a release, from nothing to
the proof. Then those of a release's notes, with the AWS CLI alone."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulated import ARCH, BINARIES, ROOT, Aws
from simulator import Simulator

# Stands in for `cargo build` in infra/release.sh: copies the binaries that the tests run. Other commands go to the real cargo.
CARGO = """#!/bin/sh
case "$*" in
build*)
    for binary in incydr-collector responder; do
        mkdir -p "$CARGO_TARGET_DIR/release"
        cp "$BUILT_ONCE/$binary" "$CARGO_TARGET_DIR/release/$binary"
    done ;;
*) exec "$REAL_CARGO" "$@" ;;
esac
"""
VERSION = re.search(r'^version = "([\d.]+)"$', (ROOT / "Cargo.toml").read_text("utf-8"), re.MULTILINE)[1]
# Inside another make, this one would print its directory.
MAKES_OWN = ["MAKEFLAGS", "MAKELEVEL", "MFLAGS"]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """A new account without any resources."""
    directory = Path(tempfile.mkdtemp(prefix="quarter.", dir=ROOT / "target"))
    with Aws(directory) as aws:
        aws.environment = {name: value for name, value in aws.environment.items() if name not in MAKES_OWN}
        yield aws
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def release(aws: Aws) -> Path:
    """The release in the directory RELEASE, or the output of infra/release.sh with the tests' binaries, for this processor. Only the
    templates are changed: they take any BaseUrl, such as the simulator's."""
    release = aws.directory / "release"
    if given := os.environ.get("RELEASE"):
        shutil.copytree(ROOT / given, release)
    else:
        make(release, aws)
    for name in ["template.yaml", "packaged.yaml"]:
        text = (release / name).read_text("utf-8")
        (release / name).write_text(re.sub(r"AllowedPattern: \^https://api.*", "AllowedPattern: ^https?://.+$", text), "utf-8")
    return release


def make(release: Path, aws: Aws) -> None:
    once = aws.directory / "once"
    once.mkdir()
    shutil.copy(aws.directory / "code" / "bootstrap", once / "incydr-collector")
    shutil.copy(BINARIES / "responder", once / "responder")
    environment = aws.environment | {
        "REAL_CARGO": str(shutil.which("cargo")),
        "CARGO_TARGET_DIR": str(aws.directory / "built"),
        "BUILT_ONCE": str(once),
        "ARCHITECTURES": ARCH,
    }
    in_path(aws, environment, {"cargo": CARGO})
    typed(f"{ROOT}/infra/release.sh {release}", release.parent, environment)


def in_path(aws: Aws, environment: dict[str, str], programs: dict[str, str]) -> None:
    """Puts programs at the front of PATH."""
    tools = Path(tempfile.mkdtemp(prefix="tools.", dir=aws.directory))
    for name, text in programs.items():
        (tools / name).write_text(text, "utf-8")
        (tools / name).chmod(0o755)
    environment["PATH"] = f"{tools}:{environment['PATH']}"


def without(*programs: str) -> dict[str, str]:
    return {name: f"#!/bin/sh\necho no {name} here >&2\nexit 1\n" for name in programs}


def steps(name: str) -> list[tuple[str, str]]:
    """The steps of a page: each command (sh), and each block of lines for a file (toml, json)."""
    page = (ROOT / name).read_text("utf-8")
    numbered = re.search(r"^## (?:Deploy|The first deployment)\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)[1]
    found = []
    for language, block in re.findall(r"^   ```(\w+)\n(.*?)^   ```$", numbered, re.MULTILINE | re.DOTALL):
        block = re.sub(r"^   ", "", block, flags=re.MULTILINE)
        if language == "sh":
            found += [(language, command) for command in commands(block)]
        else:
            found.append((language, block))
    return found


def commands(block: str) -> list[str]:
    return re.sub(r"\\\n\s*", "", block).strip().split("\n")


def filled(text: str, tenant: Simulator) -> str:
    """Replaces the placeholders. None may be left."""
    text = text.replace("https://api.<region>.code42.com", tenant.places["api"])
    text = text.replace("<bucket>", "my-releases").replace("<arch>", ARCH)
    text = text.replace("key-...", tenant.places["client_id"]).replace('"..."', f'"{tenant.places["client_secret"]}"')
    assert not re.search(r"<[a-z]+>|\.\.\.", text), text
    return text


def test_the_commands_of_the_pages_lead_from_nothing_to_records_that_are_proven_whole(
    aws: Aws, tenant: Simulator, release: Path
) -> None:
    environment = aws.environment | {"HOME": str(aws.directory)}
    in_path(aws, environment, without("cargo", "cargo-lambda", "rustc"))
    config = release / "infra" / "samconfig.toml"
    # The third step names these two changes.
    edit(config, "https://api.us.code42.com", tenant.places["api"])
    edit(config, "Architecture=arm64", f"Architecture={ARCH}")
    # The tenant's records are of the last hour. Some minutes pass before the first run, whose default is an hour too.
    edit(config, '"ScheduleState=DISABLED",', '"ScheduleState=DISABLED",\n    "LookbackMinutes=600",')
    found = steps("docs/deploy.md")
    assert len(found) >= 10
    said = []
    for number, (language, text) in enumerate(found, 1):
        text = filled(text, tenant)
        if language == "toml":
            edit(config, "parameter_overrides = [\n", f"parameter_overrides = [\n{text}")
            continue
        if language == "json":
            secret = release / "secret.json"
            assert secret.stat().st_mode & 0o777 == 0o600
            secret.write_text(text, "utf-8")
            continue
        if number == len(found):
            # The last step names a change that comes before its command.
            edit(config, "ScheduleState=DISABLED", "ScheduleState=ENABLED")
        said.append((text, typed(text, release, environment)))
    # The last command is the same as the first deployment.
    answers = dict(said[:-1])
    assert not (release / "secret.json").exists()
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


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_notes_of_a_release_deploy_it_by_the_aws_cli_alone(
    aws: Aws, tenant: Simulator, credentials: dict[str, str], release: Path
) -> None:
    environment = aws.environment | {"HOME": str(aws.directory)}
    in_path(aws, environment, without("cargo", "cargo-lambda", "rustc", "sam"))
    notes = (release / "NOTES.md").read_text("utf-8")
    (block,) = re.findall(r"^```sh\n(.*?)^```$", notes, re.MULTILINE | re.DOTALL)
    aws.client("s3").create_bucket(Bucket="my-releases")
    said = [typed(filled(command, tenant), release, environment) for command in commands(block)]
    assert ": OK" in said[0]
    stack = aws.stack("incydr-collector-prod")
    secret = aws.client("secretsmanager")
    secret.put_secret_value(SecretId=stack.outputs["SecretArn"], SecretString=json.dumps(credentials))
    answer = json.loads(typed("make invoke ENV=prod", release, environment))
    assert answer["status"] == "complete"
    proof = stack.invoke({"action": "verify"})
    assert (proof["status"], proof["findings"]) == ("whole", [])
    # The collector's last hour began later than the tenant's.
    assert 0 < len(stack.lines("audit")) <= len(tenant.world("audit"))


def test_deploy_without_sam_is_the_command_of_the_notes() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    without_sam = page[page.index("**Without SAM.**") :]
    command = commands(re.search(r"^```sh\n(.*?)^```$", without_sam, re.MULTILINE | re.DOTALL)[1])
    notes = (ROOT / "infra" / "notes.py").read_text("utf-8").replace("\\\\\n", "\\\n")
    notes = notes.replace("{zips[0].name}", f"incydr-collector-{VERSION}-<arch>.zip").replace("{made[0]}", "<arch>")
    assert len(command) == 1 and command[0] in "\n".join(commands(notes))


def test_the_readme_has_the_commands_of_the_page() -> None:
    """The README names the content of the secret's file in its text."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert steps("README.md") == [step for step in steps("docs/deploy.md") if step[0] != "json"]
    assert all(text.strip() in readme for language, text in steps("docs/deploy.md") if language == "json")


def typed(command: str, directory: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=directory, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_pages_name_the_release_that_there_is() -> None:
    pages = "".join((ROOT / name).read_text("utf-8") for name in ["README.md", "docs/deploy.md"])
    named = set(re.findall(r"incydr-collector-(\d+\.\d+\.\d+)-", pages))
    assert named == {VERSION}
