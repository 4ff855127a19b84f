#!/bin/sh
# Holds whole runs against the vendor's OpenAPI, whose file isn't in this repository: prism.sh <file>. Needs npx, which
# downloads prism, and python3 with venv.
set -eu

openapi=$(realpath "$1")
cd "$(dirname "$0")/../.."
export PYTHONPYCACHEPREFIX="$PWD/target/pycache" NO_PROXY=127.0.0.1
unset SIMULATOR_S3_ENDPOINT SIMULATOR_S3_ACCESS_KEY SIMULATOR_S3_SECRET_KEY

tests/venv.sh conformance tests/conformance/requirements.txt
target/venv-conformance/bin/python tests/conformance/prism.py "$openapi"
