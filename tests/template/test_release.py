"""The files of a release, made with a stand-in for the compiler. `make release` itself takes minutes."""

import ast
import contextlib
import hashlib
import json
import os
import pickle
import pty
import re
import shutil
import subprocess
import sys
import zipfile
from unittest.mock import patch

import pytest
import tomlkit
import yaml
from cfnlint.api import ManualArgs, lint
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from rendered import ROOT, Rendered, parsed, source
from stand_ins import S3WithIam, Server, body_of, reply
from typed import TOOLS

sys.path.append(str(ROOT / "tests"))
import pages  # noqa: E402  (the check of the repository's own links)

VERSION = tomlkit.parse((ROOT / "Cargo.toml").read_text("utf-8"))["package"]["version"]
NAME = f"incydr-collector-{VERSION}"
RESPONDER = f"incydr-responder-{VERSION}"
# Both processors, whichever this machine has. The real cargo answers everything else.
CARGO = """#!/bin/sh
case "$*" in
build*|*lambda\\ build*)
    place=$CARGO_TARGET_DIR/release
    for binary in incydr-collector responder; do
        case "$*" in lambda*) place=$CARGO_TARGET_DIR/lambda/$binary ;; esac
        mkdir -p "$place"
        for name in bootstrap $binary; do printf 'ELF GLIBC_2.34 %s' "$RUSTFLAGS" >"$place/$name"; done
    done ;;
lambda*) echo 1.9.2; [ -n "$HAS_CARGO_LAMBDA" ] ;;
*) exec "$REAL_CARGO" "$@" ;;
esac
"""


def release(directory, **more):
    tools = directory / "tools"
    tools.mkdir(parents=True)
    (tools / "cargo").write_text(CARGO, "utf-8")
    (tools / "cargo").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "REAL_CARGO": shutil.which("cargo"),
        "CARGO_TARGET_DIR": str(directory / "target"),
        "HAS_CARGO_LAMBDA": "yes",
    }
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", ROOT, "release"], env=environment | more, text=True, capture_output=True
    )
    return directory / "target" / f"release-{VERSION}", done


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory, done = release(tmp_path_factory.mktemp("release") / "first")
    assert done.returncode == 0, done.stderr
    return directory


def test_it_is_all_there(made):
    assert {path.name for path in made.iterdir() if path.is_file()} == {
        "packaged.yaml", "respond.yaml", "NOTES.md", "LICENSE", "README.md", "CHANGELOG.md", "Makefile", "template.yaml"
    } | {
        f"{name}-{arch}{ending}"
        for name in [NAME, RESPONDER]
        for arch in ["arm64", "x86_64"]
        for ending in [".zip", ".zip.sha256", ".cdx.json"]
    }  # fmt: skip
    for directory in ["docs", "infra", "infra/terraform"]:
        there = {path.name for path in (made / directory).iterdir() if path.is_file()}
        assert there == {path.name for path in (ROOT / directory).iterdir() if path.is_file()}
    # The scripts can be run.
    assert os.access(made / "infra" / "output.sh", os.X_OK) and os.access(made / "tests" / "venv.sh", os.X_OK)


def dead(release):
    """The dead links of a release's pages, by the check of the repository's pages."""
    with patch.object(pages, "ROOT", release):
        found = [fault for page in sorted(release.rglob("*.md")) for fault in pages.links(page)]
    # Paths that a page names without a link, such as those of tests, need not be in a release.
    return [fault for fault in found if "there is no" not in fault]


def test_no_link_of_a_release_is_dead(made, tmp_path):
    assert len(list(made.rglob("*.md"))) > 30
    assert dead(made) == []
    broken = tmp_path / "release"
    shutil.copytree(made, broken)
    (broken / "docs" / "operate.md").unlink()
    assert any("README.md" in fault for fault in dead(broken)) and any("infra/" in fault for fault in dead(broken))


def test_the_programs_that_make_a_release_run_on_python_3_10():
    """The workflow's machine has this version. It must be old enough for glibc."""
    for name in ["zip", "sbom", "notes", "handbook"]:
        text = (ROOT / "infra" / f"{name}.py").read_text("utf-8")
        ast.parse(text, feature_version=(3, 10))
        assert "tomllib" not in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)


def test_a_release_deploys_as_a_checkout_does(made):
    """The release has each file that these targets of its Makefile use."""
    makefile = (made / "Makefile").read_text("utf-8")
    rules = dict(re.findall(r"^([a-z-]+(?:%)?):.*\n((?:\t.*\n)*)", makefile, re.MULTILINE))
    for target in ["deploy", "deploy-%", "invoke", "backfill", "doctor", "logs", "answers"]:
        for script in re.findall(r"\b(?:infra|tests)/[\w./-]+\.(?:sh|py|yaml|txt)\b", rules[target]):
            assert (made / script).exists(), (target, script)


@pytest.mark.parametrize("name", [NAME, RESPONDER])
@pytest.mark.parametrize("arch", ["arm64", "x86_64"])
def test_the_zip_is_what_lambda_takes_and_its_hash_is_its_own(made, arch, name):
    zipped = made / f"{name}-{arch}.zip"
    with zipfile.ZipFile(zipped) as archive:
        (entry,) = archive.infolist()
        assert entry.filename == "bootstrap" and entry.external_attr >> 16 == 0o100755
        # No path of this machine is compiled in, neither of the checkout nor of the crates.
        cargo_home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
        for path in [ROOT, cargo_home]:
            assert f"--remap-path-prefix={path}=/" in archive.read(entry).decode()
    hashed, name = (made / f"{zipped.name}.sha256").read_text("utf-8").split()
    assert (hashed, name) == (hashlib.sha256(zipped.read_bytes()).hexdigest(), zipped.name)


def test_made_again_it_is_the_same_byte_for_byte(made, tmp_path):
    again, done = release(tmp_path)
    assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for path in files:
        # The stand-in gets the paths that the compiler gets.
        assert (again / path).read_bytes() == (made / path).read_bytes(), path


# Stands in for infra/release.sh. A path of the checkout is in its output where LEAKS is set.
RELEASE = """#!/bin/sh
mkdir -p "$1"
echo same >"$1/README.md"
[ -z "$LEAKS" ] || cd "$(dirname "$0")"
[ -z "$LEAKS" ] || pwd >"$1/x.zip"
"""


@pytest.mark.parametrize("leaks, differs", [("", None), ("yes", "x.zip")])
def test_a_release_that_is_made_again_in_another_checkout_is_compared(tmp_path, leaks, differs):
    checkout, script = tmp_path / "checkout", "tests/release_again.sh"
    for name, text in [
        (script, (ROOT / script).read_text("utf-8")), ("infra/release.sh", RELEASE), ("Cargo.toml", 'version = "0.1.0"\n'), (".gitignore", "target/\n")
    ]:  # fmt: skip
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text, "utf-8")
        (checkout / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LEAKS": leaks}
    environment.pop("CARGO_TARGET_DIR", None)

    def run(*command):
        return subprocess.run(command, cwd=checkout, env=environment, text=True, capture_output=True)

    author = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in [["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "x"]]:
        assert run("git", *command).returncode == 0
    none = run(script)
    assert none.returncode and "first: make release" in none.stderr
    assert run("infra/release.sh", checkout / "target" / "release-0.1.0").returncode == 0
    done = run(script)
    assert (done.returncode != 0) == bool(differs) and (not differs or differs in done.stdout), done.stdout + done.stderr
    # Nothing in this checkout takes part.
    assert ("byte for byte" in done.stdout) == (not differs)


@pytest.mark.parametrize("name", [NAME, RESPONDER])
@pytest.mark.parametrize("arch", ["arm64", "x86_64"])
def test_the_list_of_ingredients_is_cyclonedx_and_names_what_is_linked_and_nothing_else(made, arch, name):
    text = (made / f"{name}-{arch}.cdx.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    bom = json.loads(text)
    crates = {component["bom-ref"]: component for component in bom["components"]}
    names = {component["name"] for component in crates.values()}
    direct = tomlkit.parse((ROOT / "Cargo.toml").read_text("utf-8"))["dependencies"]
    assert set(direct) <= names and len(crates) > 100
    for others in ["simulator", "tempfile", "criterion", "rcgen", "serde_derive", "cc"]:
        assert others not in names
    for component in crates.values():
        assert component["hashes"] and component["licenses"], component
    zipped = hashlib.sha256((made / f"{name}-{arch}.zip").read_bytes()).hexdigest()
    this = bom["metadata"]["component"]
    assert this["hashes"] == [{"alg": "SHA-256", "content": zipped}]
    assert (this["type"], f"{this['name']}-{this['version']}") == ("application", name)
    # Each of them is a dependency of another.
    known = {this["bom-ref"], *crates}
    assert {dependency["ref"] for dependency in bom["dependencies"]} == known
    assert {ref for dependency in bom["dependencies"] for ref in dependency["dependsOn"]} < known


def test_the_packaged_template_takes_the_zip_and_is_the_template_else(made):
    text = (made / "packaged.yaml").read_text("utf-8")
    assert lint(text, config=ManualArgs(regions=["us-east-1"])) == []
    packaged, template = source(made / "packaged.yaml"), source()
    assert Rendered(packaged, CodeBucket="releases").refused_by_rules() == []
    code = Rendered(packaged, CodeBucket="releases").resources["Collector"]["Properties"]["Code"]
    assert code == {"S3Bucket": "releases", "S3Key": f"{NAME}-arm64.zip"}
    # Without a bucket it reports that, and doesn't look for a directory.
    assert Rendered(packaged).refused_by_rules()
    application = packaged["Metadata"]["AWS::ServerlessRepo::Application"]
    assert application.pop("LicenseUrl") == "LICENSE" and application.pop("ReadmeUrl") == "README.md"
    packaged["Parameters"]["CodeKey"]["Default"] = ""
    assert packaged == template


def test_the_application_repository_gets_the_licence_and_the_page_and_no_path_of_this_machine(made, tmp_path):
    """The commands of infra/README.md, with stand-ins for S3 and for the repository."""
    page = (ROOT / "infra" / "README.md").read_text("utf-8")
    (commands,) = re.findall(r"^```sh\n(sam package .*?)^```$", page, re.MULTILINE | re.DOTALL)
    release = tmp_path / "release"
    shutil.copytree(made, release)
    asked = []

    def repository(handler):
        asked.append(json.loads(body_of(handler)))
        reply(handler, 201, b'{"applicationId": "a"}', {"Content-Type": "application/json"})

    server = Server(repository)
    with S3WithIam() as s3:
        s3.client("s3").create_bucket(Bucket="releases")
        environment = os.environ | {
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "AWS_ENDPOINT_URL_SERVERLESSAPPLICATIONREPOSITORY": f"http://{server.address}",
            "AWS_ACCESS_KEY_ID": "root",
            "AWS_SECRET_ACCESS_KEY": "root",
        }
        done = subprocess.run(
            ["bash", "-euc", commands.replace("<bucket>", "releases")], cwd=release, env=environment, text=True, capture_output=True
        )
        server.stop()
        assert done.returncode == 0, done.stderr
        for name, url in [("LICENSE", asked[0]["licenseUrl"]), ("README.md", asked[0]["readmeUrl"])]:
            bucket, key = url.removeprefix("s3://").split("/", 1)
            assert bucket == "releases"
            assert s3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == (ROOT / name).read_bytes()
    # The zip stays a parameter's. SAM adds only metadata of its own.
    resources = source(made / "packaged.yaml")["Resources"]
    published = pickle.loads(parsed(asked[0]["templateBody"]))["Resources"]
    assert {name: it.get("Properties") for name, it in published.items()} == {name: it.get("Properties") for name, it in resources.items()}


def test_the_responder_s_template_takes_its_zip_and_is_the_template_else(made):
    path = ROOT / "infra" / "respond.yaml"
    text = (made / "respond.yaml").read_text("utf-8")
    assert lint(text, config=ManualArgs(regions=["us-east-1"])) == []
    packaged, template = source(made / "respond.yaml"), source(path)
    code = Rendered(packaged, CodeBucket="releases").resources["Responder"]["Properties"]["Code"]
    assert code == {"S3Bucket": "releases", "S3Key": f"{RESPONDER}-arm64.zip"}
    packaged["Parameters"]["CodeKey"]["Default"] = ""
    assert packaged == template


def test_the_notes_say_how_to_deploy_it_and_what_is_new(made):
    notes = (made / "NOTES.md").read_text("utf-8")
    for arch in ["arm64", "x86_64"]:
        for name in [NAME, RESPONDER]:
            assert (made / f"{name}-{arch}.zip.sha256").read_text("utf-8").strip() in notes
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    section = re.split(r"^## .*\n", changelog, flags=re.MULTILINE)[1].strip()
    assert section and section in notes
    (command,) = re.findall(r"^```sh\n(.*?)^```$", notes, re.MULTILINE | re.DOTALL)
    parameters = dict(re.findall(r"\b([A-Z][A-Za-z]+)=(\S+)", command))
    assert set(parameters) <= set(source()["Parameters"])
    # The CLI keeps a parameter that is not named: an update would deploy the old zip again.
    assert (parameters["CodeKey"], parameters["Architecture"]) == (f"{NAME}-arm64.zip", "arm64")


def test_what_cannot_be_built_here_is_said_and_the_rest_is_made(tmp_path):
    directory, done = release(tmp_path, HAS_CARGO_LAMBDA="")
    assert done.returncode == 0, done.stderr
    (zipped,) = directory.glob(f"{NAME}-*.zip")
    (left,) = {"arm64", "x86_64"} - {zipped.stem.rsplit("-", 1)[1]}
    assert f"{left} is not part of this release" in done.stderr
    arch = zipped.stem.rsplit("-", 1)[1]
    assert source(directory / "packaged.yaml")["Parameters"]["Architecture"]["Default"] == arch


def test_the_workflow_runs_make_on_both_processors_and_nothing_that_only_works_there():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "build.yml").read_text("utf-8"))
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == ["make test", "make test-deploy", "make release", "make release-again", "make first-quarter"]
    assert {command.removeprefix("make ") for command in commands} <= targets
    for job in workflow["jobs"].values():
        assert job["runs-on"] == "${{ matrix.machine }}"
        machines = {entry["arch"]: entry["machine"] for entry in job["strategy"]["matrix"]["include"]}
        assert set(machines) == set(source()["Parameters"]["Architecture"]["AllowedValues"])
        # GitHub's machines with arm64 have this ending.
        assert {arch: machine.endswith("-arm") for arch, machine in machines.items()} == {"arm64": True, "x86_64": False}
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("has_cargo_lambda", ["yes", ""])
def test_on_a_mac_a_zip_is_built_by_cargo_lambda_or_not_at_all(tmp_path, has_cargo_lambda):
    tools = tmp_path / "tools"
    tools.mkdir()
    uname = '#!/bin/sh\ncase "$1" in -m) echo arm64 ;; *) echo Darwin ;; esac\n'
    for name, text in [("cargo", CARGO), ("uname", uname)]:
        (tools / name).write_text(text, "utf-8")
        (tools / name).chmod(0o755)
    mine = {"PATH": f"{tools}:{os.environ['PATH']}", "CARGO_TARGET_DIR": str(tmp_path / "target"), "HAS_CARGO_LAMBDA": has_cargo_lambda}
    done = subprocess.run([ROOT / "infra" / "build.sh", "arm64"], env=os.environ | mine, text=True, capture_output=True)
    zip_ = tmp_path / "target" / "lambda" / "arm64" / "bootstrap.zip"
    assert (done.returncode, zip_.exists()) == ((0, True) if has_cargo_lambda else (3, False)), done
    assert not (tmp_path / "target" / "release").exists(), "a program for macOS"
    assert has_cargo_lambda or "on Darwin that takes cargo-lambda" in done.stderr, done


def built(directory, *arguments, says, code=0):
    """Runs tests/build.sh with a stand-in for cargo."""
    (directory / "cargo").write_text(f"#!/bin/sh\ncat <<'E'\n{says}\nE\nexit {code}\n", "utf-8")
    (directory / "cargo").chmod(0o755)
    environment = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}
    command = [ROOT / "tests" / "build.sh", "the demo", *arguments]
    return subprocess.run(command, env=environment, text=True, capture_output=True)


def test_a_build_is_one_line_unless_it_fails(tmp_path):
    compiling = "\n".join(f"   Compiling crate{number} v1.0.0" for number in range(300))
    done = built(tmp_path, says=compiling)
    assert done.returncode == 0 and len((done.stdout + done.stderr).splitlines()) == 1
    assert "300 crates" in done.stderr
    assert built(tmp_path, says="    Finished").stderr == ""
    failed = built(tmp_path, says="error: it doesn't compile", code=101)
    assert failed.returncode == 1 and "it doesn't compile" in failed.stderr


def test_on_a_terminal_the_line_counts_the_crates_while_they_are_built(tmp_path):
    """The stand-in for cargo goes on once its crates were counted, or gives up."""
    counted = tmp_path / "counted"
    os.mkfifo(counted)
    (tmp_path / "cargo").write_text(f"#!/bin/sh\nfor crate in a b c; do echo \" Compiling $crate v1.0.0\"; done\ntimeout 60 cat {counted}\n", "utf-8")
    (tmp_path / "cargo").chmod(0o755)
    terminal, its_end = pty.openpty()
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen([ROOT / "tests" / "build.sh", "the demo"], env=environment, stdout=subprocess.DEVNULL, stderr=its_end)
    os.close(its_end)
    said = b""
    while b"Building the demo: crate 3, " not in said:
        said += os.read(terminal, 1000)
    counted.write_text("yes\n", "utf-8")
    # Reading fails once the other end is closed.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 1000):
            said += part
    os.close(terminal)
    assert process.wait() == 0
    # One line, which is written over and over.
    assert said.count(b"\n") == 1 and b"Built the demo: 3 crates in " in said.split(b"\r")[-2]


def test_the_demo_builds_what_it_runs_and_nothing_else():
    said = subprocess.run(["make", "-n", "-C", ROOT, "demo"], text=True, capture_output=True, check=True).stdout
    (build,) = [line for line in said.splitlines() if "build.sh" in line]
    packages = re.findall(r"-p (\S+)", build)
    assert packages == ["incydr-collector", "simulator"] and "--workspace" not in build
    assert re.findall(r"--bin (\S+)", build) == ["incydr-collector", "demo"]
    tree = ["cargo", "tree", "--locked", "--prefix", "none", "-e", "normal,build", *(f"-p{name}" for name in packages)]
    crates = subprocess.run(tree, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert "criterion" not in crates and "\nbench " not in crates
