#!/usr/bin/env python3
"""Checks the pages: README.md, docs/, and the pages in infra/.

* Each link leads to a file of the repository, and each anchor to a heading or an `<a id>` there.
* Each path in backticks that begins with src/, tests/, infra/ or docs/ exists. SIEM pages are excepted, because they
  name files of others.
* A block of commands sets the variables that it uses: a reader copies the block alone.
* Each `aws lambda invoke` is one invocation, however long: by default the AWS CLI gives up after 60 s and sends the event again.
* README.md has at most 150 lines and links every page of docs/.
* docs/deploy.md names the plans that `probe` tells.
* docs/data.md has each stream of the code with its permission.
* docs/operate.md names each metric, `errorType`, status, state and health finding of the code, and each alarm. The
  messages and findings that it quotes are in the code."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONGEST_README = 150
OPERATE = ROOT / "docs" / "operate.md"


def text(path):
    return (ROOT / path).read_text("utf-8")


def without_code(page):
    """A page's lines, with those in code blocks emptied."""
    inside, lines = False, []
    for line in page.split("\n"):
        fence = re.match(r"\s*(```|~~~)", line)
        lines.append("" if fence or inside else line)
        inside ^= bool(fence)
    return lines


@cache
def anchors(path):
    """GitHub's anchors of a page's headings, and the page's own `<a id>`."""
    found, seen = set(), {}
    for line in without_code(path.read_text("utf-8")):
        found |= set(re.findall(r'<a (?:id|name)="([^"]+)"', line))
        if heading := re.match(r"#{1,6} +(.*?)\s*#*$", line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
            seen[slug] = seen.get(slug, 0) + 1
    return found


def links(page):
    """Yields the errors in a page's links and paths."""
    for number, line in enumerate(without_code(page.read_text("utf-8")), 1):
        at = f"{page.relative_to(ROOT)}:{number}"
        plain = re.sub(r"`[^`]*`", "", line)
        targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`([^`]*)`", "", line)) + re.findall(r'(?:src|srcset)="([^"]+)"', plain)
        for target in targets:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            place, _, anchor = target.partition("#")
            file = (page.parent / place).resolve() if place else page
            if not file.is_relative_to(ROOT) or not file.exists():
                yield f"{at}: {target} leads nowhere"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                yield f"{at}: {target}: {file.relative_to(ROOT)} has no such heading"
        named = re.findall(r"`((?:src|tests|infra|docs)/[\w./-]*[\w/])`", line)
        for path in named if page.parent.name != "siem" else []:
            if not (ROOT / path).exists() and not (page.parent / path).exists():
                yield f"{at}: there is no {path}"


def unset(page):
    """Yields the variables of a page's shell blocks that the block doesn't set."""
    for block in re.findall(r"^ *```(?:sh|bash)\n(.*?)^ *```$", page.read_text("utf-8"), re.M | re.S):
        for name in sorted(set(re.findall(r"\$\{?([A-Za-z_]\w*)", block))):
            if not re.search(rf"(?:^|[\s;(])(?:{name}=|for {name} in\b|read\b[^\n;|]*\b{name}\b)", block, re.M):
                yield f"{page.relative_to(ROOT)}: nothing sets ${name} in {block.splitlines()[0].strip()!r} ..."


def impatient(page):
    """Yields the invocations of a page that the AWS CLI would repeat."""
    for line in page.read_text("utf-8").replace("\\\n", " ").split("\n"):
        for needed in ["AWS_MAX_ATTEMPTS=1 ", "--cli-read-timeout 0 "] if "aws lambda invoke" in line else []:
            if needed not in line:
                yield f"{page.relative_to(ROOT)}: {needed}is missing in {line.strip()!r}"


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def variants(path, enum):
    body = re.search(rf"pub enum {enum} \{{(.*?)^\}}", text(path), re.S | re.M)[1]
    return re.findall(r"^    (\w+)[,({]", body, re.M)


def untold():
    """Yields the terms of the code that docs/operate.md doesn't explain."""
    page = OPERATE.read_text("utf-8")
    runbook = text("infra/runbook.md")
    names = set(re.findall(r'\(?"(\w+)", "(?:Count|Bytes|Seconds|Milliseconds)"', text("src/edge/metrics.rs")))
    names |= set(variants("src/core/error_type.rs", "ErrorType"))
    names |= {snake(name) for name in variants("src/actions/answer.rs", "Status")}
    names |= {snake(name) for name in variants("src/core/states.rs", "State")}
    names |= {snake(name) for name in variants("src/collect/health/finding.rs", "FindingKind")}
    yield from (f"docs/operate.md: `{name}` is told nowhere" for name in sorted(names) if f"`{name}`" not in page)
    code = re.sub(r"\s+", " ", " ".join(path.read_text("utf-8").replace('\\"', '"') for path in sorted((ROOT / "src").rglob("*.rs"))))
    for title in ["Messages", "Findings of verify"]:
        section = re.search(rf"^#+ {title}\n(.*?)(?=^#|\Z)", page, re.S | re.M)[1]
        for cell in re.findall(r"^\| (\".*?) \|", section, re.M):
            for quote in re.findall(r'"([^"]+)"', cell):
                if not all(part.strip() in code for part in quote.split("…")):
                    yield f"docs/operate.md quotes {quote!r}, which the code doesn't say"
    for section in sorted(set(re.findall(r'"Runbook: ([\w ]+)"', text("infra/monitoring.yaml")))):
        if f"\n## {section}\n" not in runbook:
            yield f"infra/runbook.md: the alarm's section {section!r} is missing"
        if f"runbook.md#{section.lower().replace(' ', '-')})" not in page:
            yield f"docs/operate.md: no link to the alarm {section!r} in infra/runbook.md"


def streams():
    page = text("docs/data.md")
    for name, permission in re.findall(r'^    \w+: "(\w+)", \w+, "([^"(]+?)(?: \(|")', text("src/core/stream.rs"), re.M):
        row = re.search(rf"^\| `{name}`.*", page, re.M)
        if not row or f"`{permission}`" not in row[0]:
            yield f"docs/data.md: no row of `{name}` with its permission, `{permission}`"


def plans():
    """Yields each access of `probe` whose plans docs/deploy.md tells otherwise."""
    told = dict(re.findall(r'Self::(Full|Base) => \{?\s*"Incydr ([^";]+)', text("src/actions/probe.rs")))
    for access in ["Full", "Base"]:
        row = re.search(rf"^\| ([^|]+) \| {access.lower()} \|", text("docs/deploy.md"), re.M)
        if not row or row[1].split(", ") != re.split(", | or ", told.get(access, "")):
            yield f"docs/deploy.md: the plans with {access.lower()} access are not those that probe tells: {told.get(access)}"


def main():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split("\n")
    pages = [ROOT / name for name in sorted(set(listed)) if name and (ROOT / name).exists()]
    wrong = [fault for page in pages for fault in [*links(page), *unset(page), *impatient(page)]]
    readme = text("README.md")
    if (lines := readme.count("\n")) > LONGEST_README:
        wrong.append(f"README.md has {lines} lines, which may be {LONGEST_README}: a fact belongs on a page of docs/")
    wrong += [f"README.md doesn't link docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")) if f"(docs/{page.name}" not in readme]
    wrong += [*streams(), *untold(), *plans()]
    print("\n".join(wrong) or f"The links of {len(pages)} pages lead somewhere.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
