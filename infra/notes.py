"""notes.py VERSION DIRECTORY ARCH...: writes packaged.yaml and respond.yaml with the release's zips, and NOTES.md."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def packaged(version: str, arch: str) -> str:
    """The template with the release's zip as its code. Only CodeBucket has to be set."""
    text = (ROOT / "template.yaml").read_text("utf-8")
    for old, new in [
        (r"(  CodeKey:\n    Type: String\n    Default: )\"\"\n", rf"\g<1>incydr-collector-{version}-{arch}.zip\n"),
        (r"(  Architecture:\n    Type: String\n    Default: )\w+\n", rf"\g<1>{arch}\n"),
        (r"(    SemanticVersion: ).*\n", rf"\g<1>{version}\n    LicenseUrl: LICENSE\n    ReadmeUrl: README.md\n"),
    ]:
        text, times = re.subn(old, new, text)
        assert times == 1, old
    return f"# incydr-collector {version}: deploy with CodeBucket, the bucket that the zip was copied to.\n{text}"


def packaged_responder(version: str, arch: str) -> str:
    """The same for the responder's template."""
    text = (ROOT / "infra" / "respond.yaml").read_text("utf-8")
    for old, new in [
        (r"(  CodeKey:\n    Type: String\n    Default: )\"\"\n", rf"\g<1>incydr-responder-{version}-{arch}.zip\n"),
        (r"(  Architecture:\n    Type: String\n    Default: )\w+\n", rf"\g<1>{arch}\n"),
    ]:
        text, times = re.subn(old, new, text)
        assert times == 1, old
    return f"# The responder of incydr-collector {version}: deploy with CodeBucket, the bucket that the zip was copied to.\n{text}"


def changes(version: str) -> str:
    """The changelog's section for the version, or the unreleased one."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    sections = re.split(r"^## \[?([^\]\n]+?)\]?(?: - .*)?$", text, flags=re.MULTILINE)
    found = dict(zip(sections[1::2], sections[2::2]))
    return found.get(version, found.get("Unreleased", "")).strip()


def notes(version: str, directory: Path, made: list[str]) -> str:
    zips = [directory / f"incydr-collector-{version}-{arch}.zip" for arch in made]
    hashed = [*zips, *(directory / f"incydr-responder-{version}-{arch}.zip" for arch in made)]
    hashes = "".join((directory / f"{path.name}.sha256").read_text("utf-8") for path in hashed)
    return f"""# incydr-collector {version}

Copy the zip into a bucket in the region where the collector is to run. Deploy `packaged.yaml` with it, in the console or by the AWS CLI:

```sh
sha256sum --check {zips[0].name}.sha256
aws s3 cp {zips[0].name} s3://<bucket>/
aws cloudformation deploy --template-file packaged.yaml --stack-name incydr-collector-prod --s3-bucket <bucket> \\
  --capabilities CAPABILITY_IAM --parameter-overrides CodeBucket=<bucket> CodeKey={zips[0].name} \\
  Architecture={made[0]} BaseUrl=https://api.<region>.code42.com ScheduleState=DISABLED
```

To update an existing stack, leave out `BaseUrl` and `ScheduleState`: a parameter that is not named keeps its value. So name `CodeKey`.

[Deploy](docs/deploy.md) goes on from there: its step 5 fills the secret, here of the stack `incydr-collector-prod`. It also says how to deploy with SAM or Terraform. Its commands work in
this directory. [README.md](README.md) leads to all other pages. `make demo` and all that builds or tests need a checkout of the sources.

The responder, which acts in Incydr on request, is a stack of its own: `respond.yaml` with `{hashed[len(zips)].name}`
([its page](infra/respond.md)).

`packaged.yaml` and `respond.yaml` take the zips for {made[0]}. A zip for the other processor needs the parameters `CodeKey` and `Architecture`.
The crates that each zip is made of are in its `.cdx.json` (CycloneDX).

```
{hashes.strip()}
```

{changes(version)}
"""


def main(version: str, directory: Path, made: list[str]) -> None:
    (directory / "packaged.yaml").write_text(packaged(version, made[0]), "utf-8")
    (directory / "respond.yaml").write_text(packaged_responder(version, made[0]), "utf-8")
    (directory / "NOTES.md").write_text(notes(version, directory, made), "utf-8")


main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
