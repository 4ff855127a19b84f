#!/bin/sh
# Converts the Sigma rules for each SIEM into infra/detections/converted. Arguments go to convert.py: --check
set -eu

cd "$(dirname "$0")/../.."
export PYTHONPYCACHEPREFIX="$PWD/target/pycache"

tests/venv.sh detections tests/detections/requirements.txt
tests/venv.sh datadog tests/detections/requirements-datadog.txt
target/venv-detections/bin/python infra/detections/convert.py --only splunk sentinel elastic secops logscale panther athena pipelines "$@"
target/venv-datadog/bin/python infra/detections/convert.py --only datadog "$@"
