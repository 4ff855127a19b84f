#!/bin/sh
# release_again.sh: makes the release once more, of the last commit, in a checkout at another place and with nothing built, and
# compares every file with that of `make release`. Takes as long as a first build. Needs git, and what infra/release.sh needs.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
first=$(cd "${CARGO_TARGET_DIR:-target}/release-$version" && pwd) || { echo "first: make release" >&2; exit 1; }
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT

mkdir "$again/checkout"
git archive HEAD | tar -x -C "$again/checkout"
CARGO_TARGET_DIR=$again/target "$again/checkout/infra/release.sh" "$again/release"
diff -r "$first" "$again/release" || { echo "The release that was made again differs." >&2; exit 1; }
echo "The release is the same, byte for byte."
