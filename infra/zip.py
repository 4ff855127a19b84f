"""zip.py BINARY ZIP: packs the binary as `bootstrap`, always with the same bytes, and prints the size."""

import re
import sys
import zipfile
from pathlib import Path

# provided.al2023 has glibc 2.34.
GLIBC = (2, 34)


def main(binary: Path, target: Path) -> None:
    content = binary.read_bytes()
    needed = max(
        (tuple(map(int, version.split(b"."))) for version in re.findall(rb"GLIBC_(\d+\.\d+)", content)), default=(0, 0)
    )
    if needed > GLIBC:
        sys.exit(f"{binary} needs glibc {dotted(needed)}, and Lambda's al2023 has {dotted(GLIBC)}: build with cargo-lambda")
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix: the permissions below count.
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o100755 << 16
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(entry, content)
    size = target.stat().st_size
    print(f"{target}: {size / 1e6:.1f} MB zipped, {len(content) / 1e6:.1f} MB unzipped (Lambda takes 50 and 250)")


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


main(Path(sys.argv[1]), Path(sys.argv[2]))
