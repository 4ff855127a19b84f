#!/bin/sh
# Checks template.yaml: SAM, cfn-lint, and that it is true to the code. Needs python3 with venv, no AWS account.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
here=tests/template
venv=target/venv-template
cd "$root"

# What sam would leave in the home directory goes below target/.
export PYTHONDONTWRITEBYTECODE=1 SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR="$root/target/sam"
# sam wants a region even where it asks AWS nothing.
export AWS_DEFAULT_REGION=us-east-1

tests/venv.sh template "$here/requirements.txt"

echo "template: sam validate --lint"
"$venv/bin/sam" validate --lint --template template.yaml

echo "template: cfn-lint"
"$venv/bin/cfn-lint" --config-file infra/checks/cfnlintrc.yaml -- template.yaml

echo "template: true to the code"
"$venv/bin/python" -m pytest -q -p no:cacheprovider "$here"
