"""sbom.py ARCH ZIP OUT: lists the components of the zip in CycloneDX 1.5: every crate that is linked into the binary,
with version, licence, checksum and dependencies. Taken from cargo's own resolution, so it is the same every time."""

import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TRIPLES = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}
PACKAGE = "incydr-collector"


def main(arch: str, zipped: Path, target: Path) -> None:
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", TRIPLES[arch]))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    (root,) = [id_ for id_, package in packages.items() if package["name"] == PACKAGE]
    depends = linked(root, nodes, packages, compiled(TRIPLES[arch]))
    # Without tomllib, which the Python of older builders lacks.
    locked = re.findall(
        r'^name = "(.+)"\nversion = "(.+)"\n(?:source = .+\n)?(?:checksum = "(\w+)"\n)?',
        (ROOT / "Cargo.lock").read_text("utf-8"),
        re.MULTILINE,
    )
    checksums = {(name, version): checksum for name, version, checksum in locked}
    hashed = hashlib.sha256(zipped.read_bytes()).hexdigest()
    # The zips of collector and responder are of the same package.
    name = zipped.name.removesuffix(f"-{packages[root]['version']}-{arch}.zip")
    this = component(packages[root], hashed) | {"type": "application", "name": name}
    crates = sorted((packages[id_] for id_ in depends if id_ != root), key=purl)
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # Derived from the zip, so that it is the same for the same zip.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, hashed)}",
        "version": 1,
        "metadata": {"component": this},
        "components": [component(crate, checksums[crate["name"], crate["version"]] or of_source(crate)) for crate in crates],
        "dependencies": [
            {"ref": purl(packages[id_]), "dependsOn": sorted(purl(packages[other]) for other in others)}
            for id_, others in sorted(depends.items(), key=lambda item: purl(packages[item[0]]))
        ],
    }
    target.write_text(json.dumps(bom, indent=1) + "\n", "utf-8")
    print(f"{target}: {len(crates)} crates")


def cargo(*arguments: str) -> str:
    return subprocess.run(
        [os.environ.get("CARGO", "cargo"), *arguments, "--locked"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def compiled(triple: str) -> set[str]:
    """The crates that are compiled for the binary, with its features: without macros, build and test dependencies."""
    tree = cargo("tree", "-p", PACKAGE, "-e", "normal,no-proc-macro", "--target", triple, "--prefix", "none", "--format", "{p}")
    return {"pkg:cargo/{}@{}".format(*line.replace(" v", " ").split()[:2]) for line in tree.splitlines() if line}


def linked(
    root: str, nodes: dict[str, Any], packages: dict[str, Any], compiled: set[str]
) -> dict[str, list[str]]:
    """The crates in the binary, each with its dependencies."""
    found: dict[str, list[str]] = {}
    waiting = [root]
    while waiting:
        id_ = waiting.pop()
        if id_ in found:
            continue
        found[id_] = [
            dep["pkg"]
            for dep in nodes[id_]["deps"]
            if any(kind["kind"] is None for kind in dep["dep_kinds"]) and purl(packages[dep["pkg"]]) in compiled
        ]
        waiting += found[id_]
    return found


def purl(package: dict[str, Any]) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def of_source(package: dict[str, Any]) -> str:
    """The hash of a crate that is one file of this repository."""
    (target,) = package["targets"]
    return hashlib.sha256(Path(target["src_path"]).read_bytes()).hexdigest()


def component(package: dict[str, Any], checksum: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package.get("license"):
        facts["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        facts["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        facts["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return facts


main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
