"""Commands as a person types them, in a copy of the files that they need, with stand-ins for the tools that build or
deploy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from rendered import ROOT

TOOLS = Path(sys.executable).parent

# Logs its arguments, and writes a program's header for the processor that is asked for or set.
CARGO = """#!/bin/sh
echo "cargo $*" >>"$ASKED"
case "$*" in
lambda*--arm64*) machine=267 ;;
lambda*) machine=076 ;;
*) exit 1 ;;
esac
case "$*" in *"--bin responder"*) binary=responder ;; *) binary=incydr-collector ;; esac
mkdir -p target/lambda/$binary
printf "\\177ELF%14s\\\\${BUILDS:-$machine}\\000" "" >target/lambda/$binary/bootstrap
"""
# `sam build` is the real one.
SAM = f"""#!/bin/sh
echo "sam $*" >>"$ASKED"
[ "$1" != build ] || exec {TOOLS}/sam "$@"
"""
# The outputs of the collector's stack.
AWS = """#!/bin/sh
echo "$OUTPUTS"
"""


class Typed:
    """A checkout without the code."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ["Makefile", "template.yaml", "Cargo.toml"]:
            shutil.copy(ROOT / name, directory)
        shutil.copytree(ROOT / "infra", directory / "infra", ignore=shutil.ignore_patterns("siem", ".terraform*"))
        self.asked_for = directory / "asked"
        tools = directory / "tools"
        tools.mkdir()
        for name, text in [("cargo", CARGO), ("cargo-lambda", "#!/bin/sh\necho 1.9.2\n"), ("sam", SAM), ("aws", AWS)]:
            (tools / name).write_text(text, "utf-8")
            (tools / name).chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{tools}:{TOOLS}:{os.environ['PATH']}",
            "ASKED": str(self.asked_for),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.environment.pop("CARGO_TARGET_DIR", None)

    def make(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", *arguments], cwd=self.directory, env=self.environment | more, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def asked(self, tool: str) -> list[str]:
        lines = self.asked_for.read_text("utf-8").splitlines() if self.asked_for.exists() else []
        return [line.removeprefix(f"{tool} ") for line in lines if line.startswith(f"{tool} ")]
