"""The documented commands have the documented effect."""

import json
import os
import re
import subprocess
import tomllib

import pytest
from rendered import ROOT
from samcli.cli.types import CfnParameterOverridesType
from typed import Typed


@pytest.fixture
def typed(tmp_path):
    return Typed(tmp_path)


def choose(typed, architecture):
    """Chooses the architecture as docs/deploy.md says: in samconfig.toml, in its line of the list."""
    write(typed, '    "Architecture=arm64",\n', f'    "Architecture={architecture}",\n')


def write(typed, old, new):
    """Changes dev's list, which is the first."""
    config = typed.directory / "infra" / "samconfig.toml"
    text = config.read_text("utf-8")
    assert old in text
    config.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize("architecture, flag", [("arm64", ["--arm64"]), ("x86_64", [])])
def test_one_place_decides_for_which_processor_is_built_and_deployed(typed, architecture, flag):
    choose(typed, architecture)
    done = typed.make("deploy")
    assert done.returncode == 0, done.stdout
    (build,) = [asked for asked in typed.asked("cargo") if asked.startswith("lambda build")]
    assert [word for word in build.split() if "arm" in word or "86" in word or "target" in word] == flag
    assert "--bin incydr-collector" in build
    # Both read the same list.
    options = [re.search(r"--config-file (\S+) --config-env (\S+)", asked).groups() for asked in typed.asked("sam")]
    assert [asked.split()[0] for asked in typed.asked("sam")] == ["build", "deploy"] and len(set(options)) == 1
    config = tomllib.loads((typed.directory / "infra" / "samconfig.toml").read_text("utf-8"))
    for env in ["dev", "prod"]:
        assert [command for command in config[env] if "parameter_overrides" in config[env][command]["parameters"]] == ["global"]


def test_what_was_built_for_another_processor_is_not_deployed(typed):
    choose(typed, "arm64")
    done = typed.make("deploy", BUILDS="076")
    assert done.returncode and "is built for x86_64, and Architecture is arm64" in done.stdout, done.stdout
    assert "--arm64" in typed.asked("cargo")[-1]
    assert [asked.split()[0] for asked in typed.asked("sam")] == ["build"]


@pytest.mark.parametrize("lines, times", [("", 0), ('    "Architecture=x86_64",\n    "Architecture=arm64",\n', 2)])
def test_a_list_that_leaves_the_processor_open_is_refused_before_anything_is_built(typed, lines, times):
    """On a second deployment `sam build` would take the template's default, and `sam deploy` the stack's value."""
    write(typed, '    "Architecture=arm64",\n', lines)
    done = typed.make("deploy")
    assert done.returncode and f"names Architecture {times} times" in done.stdout, done.stdout
    assert "Name it once for dev" in done.stdout and typed.asked("sam") == typed.asked("cargo") == []
    assert typed.make("deploy", "ENV=prod").returncode == 0


def told(**outputs):
    return json.dumps([{"OutputKey": name, "OutputValue": value} for name, value in outputs.items()])


STACK = told(BaseUrl="https://api.us.code42.com", RecordsBucketName="records", StateBucketName="records", Architecture="x86_64")


def for_deployment(typed):
    """The parameters that a command hands to `sam deploy`."""
    (deploy,) = [asked for asked in typed.asked("sam") if asked.startswith("deploy")]
    return deploy.partition("--parameter-overrides ")[2]


@pytest.mark.parametrize("given, arm", [("", False), (" Architecture=arm64", True)])
def test_the_responder_is_built_and_deployed_for_the_processor_of_the_collectors_stack(typed, given, arm):
    done = typed.make("deploy-respond", f"PARAMETERS=AllowedActions=session.add_note{given}", OUTPUTS=STACK)
    assert done.returncode == 0, done.stdout
    (build,) = [asked for asked in typed.asked("cargo") if asked.startswith("lambda build")]
    assert ("--arm64" in build) == arm and "--bin responder" in build
    assert f'Architecture="{"arm64" if arm else "x86_64"}"' in for_deployment(typed)
    assert ".aws-sam/respond/build/template.yaml" in typed.asked("sam")[-1]


def test_a_responder_that_was_built_for_another_processor_is_not_deployed(typed):
    done = typed.make("deploy-respond", BUILDS="267", OUTPUTS=STACK)
    assert done.returncode and "is built for arm64, and Architecture is x86_64" in done.stdout, done.stdout
    assert [asked.split()[0] for asked in typed.asked("sam")] == ["build"]


@pytest.mark.parametrize("stack, given", [("respond", "CodeBucket=releases CodeKey=x.zip"), ("siem-access", "")])
def test_nothing_is_built_for_a_stack_without_a_program_or_with_a_zip(typed, stack, given):
    done = typed.make(f"deploy-{stack}", f"PARAMETERS={given}", OUTPUTS=STACK)
    assert done.returncode == 0, done.stdout
    assert typed.asked("cargo") == [] and [asked.split()[0] for asked in typed.asked("sam")] == ["deploy"]
    assert f"infra/{stack}.yaml" in typed.asked("sam")[0]


def overrides(directory, *given, **outputs):
    """The parameters that `make deploy-notify` hands to SAM, parsed by SAM's own code."""
    asked = directory / "asked"
    programs = {"aws": f"cat <<'E'\n{told(**outputs)}\nE\n", "sam": f"for word; do printf '%s\\0' \"$word\"; done >{asked}\n"}
    for name, text in programs.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}", "utf-8")
        (directory / name).chmod(0o755)
    subprocess.run(
        ["make", "--no-print-directory", "-C", ROOT, "deploy-notify", f"PARAMETERS={' '.join(given)}"], check=True,
        env=os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"},
    )  # fmt: skip
    words = asked.read_text("utf-8").split("\0")[:-1]
    return CfnParameterOverridesType().convert(tuple(words[words.index("--parameter-overrides") + 1 :]), None, None)


def test_another_stacks_parameters_arrive_whole_and_outputs_fill_in_what_is_not_given(tmp_path):
    # In the form of infra/README.md.
    given = ['TicketAuthorization="Basic dXNlcjpwYXNz"', "LeastLevel=HIGH", "Notify=EVENTBRIDGE"]
    assert overrides(tmp_path, *given, RecordsBucketName="records", Notify="SQS", FunctionName="not a parameter of it") == {
        "RecordsBucketName": "records",
        "TicketAuthorization": "Basic dXNlcjpwYXNz",
        "LeastLevel": "HIGH",
        "Notify": "EVENTBRIDGE",
    }
    quoted = ["""'TicketAuthorization=a "b" *'"""]
    assert overrides(tmp_path, *quoted) == {"TicketAuthorization": 'a "b" *'}


def test_no_command_on_a_page_or_of_a_program_has_a_secret_in_it():
    """A shell keeps its history, and other users see a command's arguments."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("infra/**/*.md"), *ROOT.glob("infra/*.py"), *ROOT.glob("infra/*.sh")]
    given = [
        (page.name, value)
        for page in pages
        for value in re.findall(r"--secret-string[ =]*(?:\\\s*)?(\S+)", page.read_text("utf-8"))
    ]
    assert {name for name, _ in given} >= {"README.md", "deploy.md", "runbook.md", "doctor.py"}
    assert {value.rstrip("`.") for _, value in given} == {"file://secret.json"}
