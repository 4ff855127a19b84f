#!/usr/bin/env python3
"""Fails where src/ has no layers: on an import from a lower layer to a higher one, and on files that import each other in
a circle. `#[cfg(test)]` modules may import what they like. A re-export is followed to the file that it names; it is an
import itself where the file uses the name. Calls of methods are not seen."""

import re
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"
# From the bottom up. The parts of one layer don't know each other, but for these.
LAYERS = [["core"], ["bucket", "incydr", "secrets"], ["collect"], ["actions", "respond"], ["edge"], ["lib", "main", "bin"]]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
BESIDE = {("incydr", "secrets")}
# Imports that close a circle, and are still to be turned round.
USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))? )?use ([^;]+);", re.M)
TEST_MODULE = re.compile(r"^#\[cfg\(test\)\]\nmod \w+(?:;| \{.*?^\})", re.M | re.S)


def blank(found):
    """As many lines, with nothing in them."""
    return "\n" * found[0].count("\n")


def production(path):
    return re.sub(r"(?<!:)//.*", "", TEST_MODULE.sub(blank, path.read_text("utf-8")))


# By module: `core/time.rs` is ("core", "time").
TEXTS = {path.relative_to(SRC).with_suffix("").parts: production(path) for path in SRC.rglob("*.rs") if path.stem != "tests"}


def expanded(tree):
    """`a::{b, c::{d}}` as `a::b` and `a::c::d`."""
    before, brace, rest = re.sub(r"\s+as \w+|\s", "", tree).partition("{")
    parts = re.findall(r"(?:[^,{}]|\{(?:[^{}]|\{[^{}]*\})*\})+", rest[: rest.rfind("}")])
    return [path for part in parts for path in expanded(before + part)] if brace else [before]


def absolute(module, path):
    """From the crate's root; none where the path is another crate's."""
    first, *rest = names = path.removesuffix("::self").split("::")
    while names[:1] in (["super"], ["self"]):
        module = module[:-1] if names.pop(0) == "super" else module
    if first == "crate":
        return tuple(rest)
    return (*module, *names) if first in ("super", "self") or (*module, first) in TEXTS else None


@cache
def paths(module):
    """Each path that a file names: whether it is exported, whether it is imported, and in which line."""
    text, found = TEXTS[module], []
    body = USE.sub(blank, text)
    for use in USE.finditer(text):
        for path in filter(None, (absolute(module, path) for path in expanded(use[2]))):
            is_used = not use[1] or re.search(rf"\b{path[-1]}\b", body)
            found.append((path, use[1], is_used, text[: use.start(2)].count("\n") + 1))
    children = "".join("|" + other[-1] for other in TEXTS if other[:-1] == module)
    for path in re.finditer(rf"(?<![\w:])(?:crate|super|self{children})(?:::\w+)+", body):
        found.append((absolute(module, path[0]), None, True, body[: path.start()].count("\n") + 1))
    return found


def target(path):
    """The module that holds what a path names."""
    depth = next((depth for depth in range(len(path), 0, -1) if path[:depth] in TEXTS), 0)
    exports = paths(path[:depth]) if 0 < depth < len(path) else []
    exported = [at for at, is_exported, _, _ in exports if is_exported and at[-1] == path[depth] and at != path]
    return target(exported[0]) if exported else path[:depth]


wrong = [f"src/{module[0]} has no layer" for module in TEXTS if module[0] not in RANK]
imports = {module: {} for module in sorted(TEXTS)}
for ours in imports:
    for path, _, is_used, line in paths(ours):
        theirs = target(path)
        names = ("/".join(ours), "/".join(theirs))
        if not is_used or theirs in ((), ours):
            continue
        imports[ours].setdefault(theirs, line)
        (part, *_), (other, *_) = ours, theirs
        if part != other and RANK.get(other, 0) >= RANK.get(part, 0) and (part, other) not in BESIDE:
            wrong.append(f"src/{names[0]}.rs:{line}: {part} must not know {other}, where src/{names[1]}.rs lies")
try:
    TopologicalSorter(imports).prepare()
except CycleError as error:
    way = error.args[1][::-1]
    steps = [f"  src/{'/'.join(a)}.rs:{imports[a][b]} imports src/{'/'.join(b)}.rs" for a, b in zip(way, way[1:])]
    wrong += ["a circle:", *steps]
print("\n".join(dict.fromkeys(wrong)) or "The layers of src/ hold.")
sys.exit(1 if wrong else 0)
