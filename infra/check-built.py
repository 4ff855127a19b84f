"""check-built.py DIRECTORY: checks that `sam build` has built for the processor that the template asks for."""

import sys
from pathlib import Path

import least_python  # noqa: F401  (before what older versions don't have)
import tomllib

# The field e_machine of the ELF header.
MACHINES = {62: "x86_64", 183: "arm64"}


def main(directory: Path) -> None:
    for built in tomllib.loads((directory / "build.toml").read_text("utf-8"))["function_build_definitions"].values():
        for function in built["functions"]:
            # Functions with equal code share a directory.
            places = [f"{function}-Shared", function]
            binary = next(path for place in places if (path := directory / "build" / place / "bootstrap").exists())
            header = binary.read_bytes()[:20]
            if header[:4] != b"\x7fELF":
                sys.exit(f"{binary} is no program for Linux")
            machine = MACHINES.get(int.from_bytes(header[18:20], "little"), "another processor")
            if machine != built["architecture"]:
                sys.exit(f"{binary} is built for {machine}, and Architecture is {built['architecture']}: the function would fail at its start")
            break


main(Path(sys.argv[1]))
