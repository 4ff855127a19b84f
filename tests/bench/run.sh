#!/bin/sh
# Measures the collector and its peers; prints tables, and writes them to target/bench.md. Needs python3 with venv.
# Everything runs on loopback. Arguments go to bench.py: run.sh --quick. With "growth" as the first argument it draws
# tests/bench/growth.svg instead.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
export PYTHONPYCACHEPREFIX="$PWD/target/pycache" NO_PROXY=127.0.0.1

tests/venv.sh bench tests/bench/requirements.txt
cargo build --release --package incydr-collector --bin incydr-collector
cargo build --profile bench-tools --package bench

script=bench.py
if [ "${1:-}" = growth ]; then
    script=growth.py
    shift
fi
exec target/venv-bench/bin/python "tests/bench/$script" "$@"
