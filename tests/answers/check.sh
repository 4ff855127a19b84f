#!/bin/sh
# Checks views, saved queries, dashboards and the OCSF mapping: that they are up to date with infra/answers, that they
# are Athena's SQL, and their results over records that the real binary stored. Needs python3 with venv and the debug
# binaries. Arguments go to pytest.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
export PYTHONPYCACHEPREFIX="$PWD/target/pycache" NO_PROXY=127.0.0.1

tests/venv.sh answers tests/answers/requirements.txt
[ -x "${CARGO_TARGET_DIR:-target}/debug/simulator" ] || cargo build --workspace --bins

echo "answers: what is generated is as it is generated"
python3 infra/answers/generate.py --check

echo "answers: views, queries, dashboards, OCSF"
target/venv-answers/bin/python -m pytest -c tests/answers/pytest.ini tests/answers "$@"
