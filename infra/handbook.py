"""handbook.py DIRECTORY: copies into a release README.md, every page and file that its links lead to, and the files that the
commands on these pages use. So no link of a release is dead, and its directory deploys a collector as a checkout does."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = "README.md"
# The files that `make deploy`, `make doctor`, `make answers` and so on use.
COMMANDS = ["LICENSE", "Makefile", "template.yaml", "infra", "tests/venv.sh"]
NOT_OURS = shutil.ignore_patterns("__pycache__", ".terraform*", "*.tfstate*")


def main(directory: Path) -> None:
    copied: set[Path] = set()
    waiting = [ROOT / name for name in [PAGE, *COMMANDS]]
    while waiting:
        source = waiting.pop()
        if source in copied:
            continue
        copied.add(source)
        target = directory / source.relative_to(ROOT)
        if source.is_dir():
            shutil.copytree(source, target, ignore=NOT_OURS, dirs_exist_ok=True)
            waiting += source.rglob("*.md")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        if source.suffix == ".md":
            waiting += linked(source)


def linked(page: Path) -> Iterator[Path]:
    """The files and directories of the repository that a page links, pictures included."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", text):
        if not re.match(r"[a-z][a-z0-9+.-]*:", target):
            yield (page.parent / target).resolve()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
