#!/bin/sh
# Checks the Sigma rules: each fires on a matching record and on no near miss, and infra/detections/converted is up to
# date. Needs python3 with venv. Arguments go to pytest.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
export PYTHONPYCACHEPREFIX="$PWD/target/pycache"

echo "detections: each rule converts, to what is there"
tests/detections/convert.sh --check

echo "detections: each rule fires where it must, and nowhere else"
target/venv-detections/bin/python -m pytest -q -p no:cacheprovider tests/detections "$@"
