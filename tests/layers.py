#!/usr/bin/env python3
"""Fails where src/ has no layers: on an import from a lower layer to a higher one, and on files that import each other in
a circle. `#[cfg(test)]` modules may import what they like. A re-export is followed to the file that it names; it is an
import itself where the file uses the name. Calls of methods are not seen."""

import re
import sys
from functools import cache
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"
# From the bottom up. The parts of one layer don't know each other, but for these.
LAYERS = [["core"], ["bucket", "incydr", "secrets"], ["collect"], ["actions"], ["edge"], ["lib", "main"]]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
BESIDE = {("incydr", "secrets")}
# Imports that close a circle, and are still to be turned round.
KNOWN = {
    ("collect/events/backlog.rs", "collect/events/window.rs"),
    ("collect/inventory/list.rs", "collect/inventory.rs"),
    ("collect/rescanned/behind.rs", "collect/rescanned.rs"),
    ("collect/rescanned/slice.rs", "collect/rescanned.rs"),
}
USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))? )?use ([^;]+);", re.M)


def blank(found):
    return "\n" * found[0].count("\n")


def production(text):
    """Without test modules and comments; lines stay where they are."""
    text = re.sub(r"^#\[cfg\(test\)\]\nmod \w+(?:;| \{.*?^\})", blank, text, flags=re.M | re.S)
    return re.sub(r"(?<!:)//.*", "", text)


# By module: `core/time.rs` is ("core", "time").
TEXTS = {path.relative_to(SRC).with_suffix("").parts: production(path.read_text()) for path in sorted(SRC.rglob("*.rs"))}
TESTS = {module for module in TEXTS if module[-1] == "tests"}


def expanded(tree):
    """`a::{b, c::{d}}` as `a::b` and `a::c::d`."""
    before, brace, rest = re.sub(r"\s+as \w+|\s", "", tree).partition("{")
    parts = re.findall(r"(?:[^,{}]|\{(?:[^{}]|\{[^{}]*\})*\})+", rest[: rest.rfind("}")])
    return [path for part in parts for path in expanded(before + part)] if brace else [before]


def absolute(module, path):
    """From the crate's root; none where the path is another crate's."""
    first, *rest = names = path.removesuffix("::self").split("::")
    base = module
    while names[:1] in (["super"], ["self"]):
        base = base[:-1] if names.pop(0) == "super" else base
    if first == "crate":
        return tuple(rest)
    return (*base, *names) if first in ("super", "self") or (*base, first) in TEXTS else None


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
    """The file that holds what a path names."""
    depth = next((depth for depth in range(len(path), 0, -1) if path[:depth] in TEXTS), 0)
    exports = paths(path[:depth]) if 0 < depth < len(path) else []
    exported = [at for at, is_exported, _, _ in exports if is_exported and at[-1] == path[depth] and at != path]
    return target(exported[0]) if exported else path[:depth]


def circle(start, imports):
    """The shortest way from a file back to itself, if there is one."""
    ways = [[start]]
    for way in ways:
        for to in imports[way[-1]]:
            if to == start:
                return way
            if all(to not in other for other in ways):
                ways.append([*way, to])
    return []


def main():
    wrong, circles = [f"src/{module[0]}: it has no layer" for module in TEXTS if module[0] not in RANK], {}
    imports, left = {module: {} for module in TEXTS}, set(KNOWN)
    for module, (path, _, is_used, line) in ((module, path) for module in TEXTS if module not in TESTS for path in paths(module)):
        to = target(path)
        names = ("/".join(module) + ".rs", "/".join(to) + ".rs")
        if not is_used or not to or to == module or names in KNOWN:
            left.discard(names)
            continue
        imports[module].setdefault(to, line)
        if module[0] != to[0] and RANK.get(to[0], 0) >= RANK.get(module[0], 0) and (module[0], to[0]) not in BESIDE:
            wrong.append(f"src/{names[0]}:{line}: {module[0]} must not know {to[0]}, where src/{names[1]} lies")
    wrong += [f"src/{ours} no longer imports src/{theirs}: remove that from KNOWN" for ours, theirs in sorted(left)]
    for way in filter(None, (circle(module, imports) for module in TEXTS)):
        steps = [f"  src/{'/'.join(a)}.rs:{imports[a][b]} imports src/{'/'.join(b)}.rs" for a, b in zip(way, way[1:] + way[:1])]
        circles.setdefault(frozenset(way), "a circle:\n" + "\n".join(steps))
    print("\n".join([*wrong, *circles.values()]) or "The layers of src/ hold.")
    return 1 if wrong or circles else 0


if __name__ == "__main__":
    sys.exit(main())
