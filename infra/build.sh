#!/bin/sh
# build.sh [ARCH [BINARY]]: builds the zip for Lambda's provided.al2023 and prints its size. ARCH is arm64 (the
# templates' default) or x86_64, BINARY incydr-collector or responder. Another processor than this machine's, or another
# system than Linux, needs cargo-lambda. Without it this machine's processor is built for, or, with STRICT=1 or on another
# system, nothing.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
arch=${1:-arm64}
name=${2:-incydr-collector}
case $(uname -m) in
aarch64 | arm64) native=arm64 ;;
*) native=x86_64 ;;
esac
case $arch in
arm64) triple=aarch64-unknown-linux-gnu ;;
x86_64) triple=x86_64-unknown-linux-gnu ;;
*) echo "ARCH is \"$arch\"; it takes arm64 or x86_64" >&2; exit 1 ;;
esac

if [ "$arch" = "$native" ] && [ "$(uname -s)" = Linux ]; then
    how=cargo
elif cargo lambda --version >/dev/null 2>&1; then
    how=cargo-lambda
elif [ "$(uname -s)" != Linux ]; then
    echo "A program for Lambda can't be built here: on $(uname -s) that takes cargo-lambda (https://www.cargo-lambda.info/)." >&2
    exit 3
else
    echo "$arch can't be built here: that takes cargo-lambda (https://www.cargo-lambda.info/) on a machine with $native."
    [ -z "${STRICT:-}" ] || exit 3
    echo "Building $native instead. Deploy it with the parameter Architecture=$native."
    arch=$native
    how=cargo
fi

built=${CARGO_TARGET_DIR:-target}
if [ "$how" = cargo ]; then
    cargo build --release --locked --package incydr-collector --bin "$name"
    binary=$built/release/$name
else
    cargo lambda build --release --locked --target "$triple" --bin "$name"
    binary=$built/lambda/$name/bootstrap
fi
case $name in incydr-collector) zip=bootstrap.zip ;; *) zip=$name.zip ;; esac
exec python3 infra/zip.py "$binary" "$built/lambda/$arch/$zip"
