#!/usr/bin/env python3
"""Checks the layers of src/, and draws them.

It fails on an import from a lower layer to a higher one, and on circular imports among the files of src/ or the Python
files of infra/. `#[cfg(test)]` modules may import anything. A file that imports a re-exported name imports both the
file that re-exports it and the file that defines it. A re-export is an import only if its own file uses the name. Calls
of methods are not seen. Python imports count wherever they are, also in a function.

The picture docs/layers.svg is made from the same imports. Without an argument the script fails if the picture differs
from what it would draw; `--draw` draws it."""

import ast
import re
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SRC, INFRA = ROOT / "src", ROOT / "infra"
# From the bottom up. The parts of one layer may not import each other, with these exceptions.
LAYERS = [["core"], ["bucket", "incydr", "secrets"], ["collect"], ["actions", "respond"], ["edge"], ["lib", "main", "bin"]]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
BESIDE = {("incydr", "secrets")}
# The picture's text for each part: its name, and what it contains.
SAYS = {
    "main": "the collector's binary",
    "bin": "the responder's binary",
    "edge": "event in, answer out, metrics, log",
    "actions": "collect, backfill, verify, probe, health",
    "respond": "the responder: act in Incydr on request",
    "collect": "one stream in one run: windows, lists, commit",
    "bucket": "S3: objects, checkpoint, manifests",
    "incydr": "API: client, token, budget, pages",
    "secrets": "the API client's credentials",
    "core": "plain values without I/O: time, intervals, schedule, checkpoint, manifest, NDJSON, settings",
}
PICTURE = ROOT / "docs" / "layers.svg"
USE = re.compile(r"^[ \t]*(pub(?:\([^)]*\))? )?use ([^;]+);", re.M)
TEST_MODULE = re.compile(r"^#\[cfg\(test\)\]\nmod \w+(?:;| \{.*?^\})", re.M | re.S)


def blank(found):
    """Replaces text by as many empty lines."""
    return "\n" * found[0].count("\n")


def production(path):
    # The binaries use the crate's name for the library.
    text = re.sub(r"\bincydr_collector::", "crate::", path.read_text("utf-8"))
    return re.sub(r"(?<!:)//.*", "", TEST_MODULE.sub(blank, text))


# By module: `core/time.rs` is ("core", "time").
TEXTS = {path.relative_to(SRC).with_suffix("").parts: production(path) for path in SRC.rglob("*.rs")
         if "tests" not in path.relative_to(SRC).with_suffix("").parts}


def expanded(tree):
    """Expands `a::{b, c::{d}}` to `a::b` and `a::c::d`."""
    before, brace, rest = re.sub(r"\s+as \w+|\s", "", tree).partition("{")
    parts = re.findall(r"(?:[^,{}]|\{(?:[^{}]|\{[^{}]*\})*\})+", rest[: rest.rfind("}")])
    return [path for part in parts for path in expanded(before + part)] if brace else [before]


def absolute(module, path):
    """The path from the crate's root. None if it belongs to another crate."""
    first, *rest = names = path.removesuffix("::self").split("::")
    while names[:1] in (["super"], ["self"]):
        module = module[:-1] if names.pop(0) == "super" else module
    if first == "crate":
        return tuple(rest)
    return (*module, *names) if first in ("super", "self") or (*module, first) in TEXTS else None


@cache
def paths(module):
    """Each path that a file names: whether it is exported, whether it is imported, and its line."""
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


def targets(path):
    """The modules that a path leads to: those that re-export the name, and last the one that defines it."""
    depth = next((depth for depth in range(len(path), 0, -1) if path[:depth] in TEXTS), 0)
    exports = paths(path[:depth]) if 0 < depth < len(path) else []
    exported = [at for at, is_exported, _, _ in exports if is_exported and at[-1] == path[depth] and at != path]
    return [path[:depth], *(targets(exported[0]) if exported else [])]


def imported(path):
    """The Python files of infra/ that a file imports, with the line. Files in its own directory are found first."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in names:
            files = [other for other in PYTHON if other.stem == name.partition(".")[0]]
            for other in sorted(files, key=lambda other: other.parent != path.parent)[:1]:
                found.setdefault(other, node.lineno)
    return found


def circle(imports, name):
    """A circle of imports, if there is one."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        way = error.args[1][::-1]
        return ["a circle:", *(f"  {name(a)}:{imports[a][b]} imports {name(b)}" for a, b in zip(way, way[1:]))]
    return []


def drawn(knows):
    """Draws the layers, the highest on top. Below each part are the other parts that it imports."""
    left, width, height, gap = 24, 872, 76, 20
    out, y = [], 20
    for parts in reversed(LAYERS):
        parts = [part for part in parts if part in SAYS]
        each = (width - gap * (len(parts) - 1)) / len(parts)
        for n, part in enumerate(parts):
            x = left + n * (each + gap)
            names = sorted(knows.get(part, ()), key=lambda name: (-RANK[name], name))
            uses = "uses " + ", ".join(names) if names else "uses no other part"
            out += [
                f'<rect class="box" x="{x:.0f}" y="{y}" width="{each:.0f}" height="{height}" rx="6"/>',
                f'<text class="name" x="{x + 14:.0f}" y="{y + 24}">{part}</text>',
                f'<text x="{x + 14:.0f}" y="{y + 44}">{SAYS[part]}</text>',
                f'<text class="dim" x="{x + 14:.0f}" y="{y + 63}">{uses}</text>',
            ]
        y += height + gap
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 {y}" width="920" height="{y}" role="img">
<title>The layers of src/: each part uses only parts below it</title>
<!-- Drawn by tests/layers.py. -->
<style>
  text {{ font: 13px system-ui, sans-serif; fill: #1f2328 }}
  .name {{ font: 600 15px ui-monospace, monospace }}
  .dim {{ fill: #59636e }}
  .ground {{ fill: #ffffff }}
  .box {{ fill: #f6f8fa; stroke: #818b98 }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #f0f6fc }}
    .dim {{ fill: #9198a1 }}
    .ground {{ fill: #0d1117 }}
    .box {{ fill: #151b23; stroke: #656c76 }}
  }}
</style>
<rect class="ground" width="920" height="{y}" rx="8"/>
""" + "\n".join(out) + "\n</svg>\n"


wrong = [f"src/{module[0]} has no layer" for module in TEXTS if module[0] not in RANK]
imports = {module: {} for module in sorted(TEXTS)}
knows = {}
for ours in imports:
    for path, _, is_used, line in paths(ours):
        for theirs in targets(path) if is_used else []:
            if theirs in ((), ours):
                continue
            imports[ours].setdefault(theirs, line)
            names = ("/".join(ours), "/".join(theirs))
            (part, *_), (other, *_) = ours, theirs
            if part != other:
                knows.setdefault(part, set()).add(other)
            if part != other and RANK.get(other, 0) >= RANK.get(part, 0) and (part, other) not in BESIDE:
                wrong.append(f"src/{names[0]}.rs:{line}: {part} must not know {other}, where src/{names[1]}.rs lies")
wrong += circle(imports, lambda module: f"src/{'/'.join(module)}.rs")
PYTHON = sorted(INFRA.rglob("*.py"))
wrong += circle({path: imported(path) for path in PYTHON}, lambda path: str(path.relative_to(ROOT)))
if "--draw" in sys.argv[1:]:
    PICTURE.write_text(drawn(knows), "utf-8")
elif not PICTURE.exists() or PICTURE.read_text("utf-8") != drawn(knows):
    wrong.append("docs/layers.svg is not the picture of these imports: run python3 tests/layers.py --draw")
print("\n".join(dict.fromkeys(wrong)) or "The layers of src/ hold, and nothing imports in a circle.")
sys.exit(1 if wrong else 0)
