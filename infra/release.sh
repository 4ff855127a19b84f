#!/bin/sh
# release.sh [DIRECTORY]: makes what a release consists of, for each processor that can be built here: the zip, its SHA-256
# and its list of ingredients (CycloneDX); and the template that takes the zip, and the notes. Needs cargo and python3; for
# the other processor than this machine's, cargo-lambda. The same sources make the same bytes.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name=incydr-collector-$version
built=${CARGO_TARGET_DIR:-target}
release=${1:-$built/release-$version}
rm -rf "$release"
mkdir -p "$release"

# Where the sources lie on this machine is told in the places of panics, and would make every machine's bytes its own.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$root=/incydr-collector"

made=
for arch in ${ARCHITECTURES:-arm64 x86_64}; do
    if ! STRICT=1 infra/build.sh "$arch"; then
        echo "$arch is not part of this release: make it where it can be built, and put its files beside these." >&2
        continue
    fi
    zip=$name-$arch.zip
    cp "$built/lambda/$arch/bootstrap.zip" "$release/$zip"
    (cd "$release" && python3 -c '
import hashlib, sys
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() + "  " + sys.argv[1])
' "$zip" >"$zip.sha256")
    python3 infra/sbom.py "$arch" "$release/$zip" "$release/$name-$arch.cdx.json"
    made="$made $arch"
done
[ -n "$made" ] || { echo "no processor's zip could be made" >&2; exit 1; }
# shellcheck disable=SC2086
python3 infra/notes.py "$version" "$release" $made
cp LICENSE README.md "$release"
echo "$release:"
ls -l "$release" | awk 'NR > 1 { printf "  %10d  %s\n", $5, $NF }'
