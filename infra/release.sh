#!/bin/sh
# release.sh [DIRECTORY]: makes what a release consists of. For each processor that can be built here: the zips of collector
# and responder, their SHA-256 and lists of ingredients (CycloneDX). Besides: the templates that take them, the notes, and the
# pages with all that their commands need. Needs cargo and python3; for another processor than this machine's, cargo-lambda.
# The same sources make the same bytes.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name=incydr-collector-$version
built=${CARGO_TARGET_DIR:-target}
release=${1:-$built/release-$version}
rm -rf "$release"
mkdir -p "$release"

# Panic messages contain the paths of the sources. This machine's paths would make its bytes different from others'.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$root=/incydr-collector"

# make_zip ARCH BUILT ZIP: copies the built zip to the release's name, and adds its hash and list of ingredients.
make_zip() {
    cp "$built/lambda/$1/$2" "$release/$3.zip"
    (cd "$release" && python3 -c '
import hashlib, sys
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() + "  " + sys.argv[1])
' "$3.zip" >"$3.zip.sha256")
    python3 infra/sbom.py "$1" "$release/$3.zip" "$release/$3.cdx.json"
}

made=
for arch in ${ARCHITECTURES:-arm64 x86_64}; do
    if ! STRICT=1 infra/build.sh "$arch" || ! STRICT=1 infra/build.sh "$arch" responder; then
        echo "$arch is not part of this release: make it where it can be built, and put its files beside these." >&2
        continue
    fi
    make_zip "$arch" bootstrap.zip "$name-$arch"
    make_zip "$arch" responder.zip "incydr-responder-$version-$arch"
    made="$made $arch"
done
[ -n "$made" ] || { echo "no processor's zip could be made" >&2; exit 1; }
# shellcheck disable=SC2086
python3 infra/notes.py "$version" "$release" $made
python3 infra/handbook.py "$release"
echo "$release:"
ls -l "$release" | awk 'NR > 1 && !/^d/ { printf "  %10d  %s\n", $5, $NF }'
