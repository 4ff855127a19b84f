#!/bin/sh
# build.sh TARGET CARGO-ARGUMENTS...: runs `cargo build` and shows its progress in one line. Prints cargo's output only
# if it fails.
set -eu

what=$1
shift
said=$(mktemp)
trap 'rm -f "$said"' EXIT
began=$(date +%s)

cargo build --color never "$@" >"$said" 2>&1 &
cargo=$!
line=
if [ -t 2 ]; then
    while kill -0 "$cargo" 2>/dev/null; do
        crates=$(grep -c '^ *Compiling ' "$said" || true)
        # If everything is built already, it takes a moment and needs no line.
        if [ "$crates" -gt 0 ]; then
            line=yes
            printf '\rBuilding %s: crate %s, %s s ' "$what" "$crates" "$(($(date +%s) - began))" >&2
        fi
        sleep 1
    done
fi
if ! wait "$cargo"; then
    [ -z "$line" ] || echo >&2
    cat "$said" >&2
    exit 1
fi
crates=$(grep -c '^ *Compiling ' "$said" || true)
if [ "$crates" -gt 0 ]; then
    [ -z "$line" ] || printf '\r' >&2
    echo "Built $what: $crates crates in $(($(date +%s) - began)) s.    " >&2
fi
