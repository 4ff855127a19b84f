"""The documented commands have the documented effect."""

import re
import tomllib

import pytest
import slow
from typed import Typed


@pytest.fixture
def typed(tmp_path):
    return Typed(tmp_path)


def choose(typed, architecture):
    """Chooses the architecture as docs/deploy.md says: in samconfig.toml, in the existing list."""
    config = typed.directory / "infra" / "samconfig.toml"
    text = config.read_text("utf-8")
    if architecture:
        text = text.replace("parameter_overrides = [", f'parameter_overrides = [\n    "Architecture={architecture}",', 1)
    config.write_text(text, "utf-8")


@pytest.mark.parametrize("architecture, flag", [(None, ["--arm64"]), ("arm64", ["--arm64"]), ("x86_64", [])])
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
    assert [asked.split()[0] for asked in typed.asked("sam")] == ["build"]


def test_a_run_of_more_than_a_minute_is_one_invocation():
    """`make probe`, with an AWS that answers after 70 s. It began with the session, so that the other tests run
    meanwhile."""
    done, called = slow.end()
    assert done.returncode == 0, done.stderr
    assert '{"action":"probe","status":"complete"}' in done.stdout
    assert [event for event, _ in called] == [b'{"action": "probe"}']
    assert called[0][1] >= 70


def test_a_run_that_fails_fails_make_and_is_not_run_again():
    with slow.Aws(seconds=0, failed=True) as aws:
        done = slow.make(aws, "invoke")
    assert done.returncode and "ThirdPartyGenericError" in done.stdout, done.stderr
    assert len(aws.invocations) == 1


def test_a_connection_that_breaks_is_no_second_invocation():
    with slow.Aws(seconds=0, breaks=True) as aws:
        done = slow.make(aws, "invoke")
    assert done.returncode and len(aws.invocations) == 1, done.stdout
