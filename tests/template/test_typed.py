"""The documented commands have the documented effect."""

import json
import os
import re
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize(
    "line, said",
    [
        ('"RequestPerMinute=60"', "RequestPerMinute: template.yaml has no such parameter; did you mean RequestsPerMinute?"),
        ('"Timeout=1000"', 'Timeout is "1000", but must be a number from 10 to 900'),
        ('"Streams=audit,file_event"', 'Streams is "audit,file_event", but must be names of streams'),
        ("'Fields={\"env\": \"prod\"}'", "SAM ends the value of Fields at its first blank"),
        ('"Architecture=arm64" "Timeout=60"', "infra/samconfig.toml is not TOML"),
    ],
)
def test_what_the_template_would_refuse_is_refused_before_anything_is_built(typed, line, said):
    write(typed, '    "ScheduleState=DISABLED",\n', f'    "ScheduleState=DISABLED",\n    {line},\n')
    done = typed.make("deploy")
    assert done.returncode and said in done.stdout and "Traceback" not in done.stdout, done.stdout
    assert typed.asked("sam") == typed.asked("cargo") == []


def test_an_environment_that_samconfig_does_not_have_is_refused(typed):
    done = typed.make("deploy", "ENV=devv")
    assert done.returncode and "infra/samconfig.toml has no parameters for devv; it has dev, prod" in done.stdout, done.stdout
    assert typed.asked("sam") == []


@pytest.mark.parametrize("target", ["deploy", "doctor", "invoke", "deploy-monitoring"])
def test_env_in_small_letters_is_refused(typed, target):
    done = typed.make(target, "env=prod")
    assert done.returncode and "write ENV=prod" in done.stdout, done.stdout
    assert typed.asked("sam") == []
    # A variable of the shell has nothing to do with it.
    assert typed.make("help", env="x").returncode == 0


def only(typed, *names):
    """A PATH with nothing but what the shell needs, and these."""
    place = typed.directory / "only"
    place.mkdir()
    for name in ["sh", "make", "dirname", "python3", "mktemp", "rm", "cat", "grep", "sed", *names]:
        (place / name).symlink_to(shutil.which(name, path=typed.environment["PATH"]))
    return {"PATH": str(place)}


def test_without_sources_and_without_a_zip_deploy_says_so(typed):
    (typed.directory / "Cargo.toml").unlink()
    done = typed.make("deploy")
    assert done.returncode and "no zip is named, and there are no sources here" in done.stdout, done.stdout
    assert 'add "CodeBucket=<bucket>", "CodeKey=<zip>", to the parameters of dev' in done.stdout and typed.asked("sam") == []
    write(typed, '    "Architecture=arm64",\n', '    "Architecture=arm64",\n    "CodeBucket=releases",\n    "CodeKey=x.zip",\n')
    assert subprocess.run([sys.executable, "infra/samconfig.py", "dev"], cwd=typed.directory).returncode == 0


def test_without_cargo_and_without_a_zip_deploy_says_so(typed):
    done = typed.make("deploy", **only(typed, "sam"))
    assert done.returncode and "no zip is named, and cargo is not installed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    "command, missing, there",
    [
        ("make deploy", "sam", ["aws", "cargo"]),
        ("make deploy-monitoring", "sam", ["aws"]),
        ("make deploy-monitoring", "aws", ["sam"]),
        ("infra/output.sh incydr-collector-dev FunctionName", "aws", []),
        ("make invoke", "aws", []),
    ],
)
def test_a_program_that_is_not_there_is_named(typed, command, missing, there):
    done = subprocess.run(
        command.split(), cwd=typed.directory, env=typed.environment | only(typed, *there), text=True, capture_output=True
    )
    assert done.returncode == 2
    assert f"{missing} is not installed; make doctor names what to install" in done.stderr.splitlines(), done.stderr
    assert "not found" not in done.stderr


def test_a_parameter_that_another_stack_does_not_have_is_refused(typed):
    done = typed.make("deploy-monitoring", "PARAMETERS=AlarmEmial=a@example.com", OUTPUTS=STACK)
    assert done.returncode and "AlarmEmial: infra/monitoring.yaml has no such parameter; did you mean AlarmEmail?" in done.stdout, done.stdout
    done = typed.make("deploy-monitoring", "PARAMETERS=AlarmEmail", OUTPUTS=STACK)
    assert done.returncode and "AlarmEmail: each parameter is Name=value" in done.stdout, done.stdout
    assert "Traceback" not in done.stdout and typed.asked("sam") == []


@pytest.mark.parametrize("target", ["deploy", "doctor"])
@pytest.mark.parametrize("version", ["3.6.15", "3.9.18"])
def test_a_python_that_is_too_old_is_named_before_it_fails(typed, target, version):
    """As a stand-in says, which can't read what is newer than 3.6."""
    told = f"sys.version, sys.version_info = '{version} (x)', {tuple(map(int, version.split('.')))}"
    read = f"import ast, sys; {told}; text = open(sys.argv[1]).read(); ast.parse(text, feature_version=(3, 6)); sys.path.insert(0, 'infra'); exec(text)"
    python = typed.directory / "tools" / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{read}" "$@"\n', "utf-8")
    python.chmod(0o755)
    done = typed.make(target)
    assert done.returncode and typed.asked("sam") == [] and "Traceback" not in done.stdout, done.stdout
    assert (
        f"python3 is {version} and must be at least 3.11: install it so that `python3` is it "
        "(a virtual environment of python3.11 will do)"
    ) in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["doctor", "samconfig", "check-built", "parameters"])
def test_what_needs_a_newer_python_says_so_by_itself(tmp_path, name):
    told = "import sys, runpy; sys.version, sys.version_info = '3.9.18 (x)', (3, 9, 18)"
    run = f"{told}; sys.path.insert(0, {str(ROOT / 'infra')!r}); runpy.run_path({str(ROOT / 'infra' / name)!r} + '.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", run], text=True, capture_output=True)
    assert done.returncode and done.stderr.startswith("python3 is 3.9.18 and must be at least 3.11"), done.stderr


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
