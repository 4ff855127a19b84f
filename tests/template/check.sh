#!/bin/sh
# Checks template.yaml: SAM, cfn-lint, and that it is true to the code. Needs python3 with venv, no AWS account.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
here=tests/template
venv=target/venv-template
cd "$root"

# Everything that the tools would leave in the home directory or beside the sources goes below target/.
mkdir -p target
export PIP_CACHE_DIR="$root/target/pip-cache" UV_CACHE_DIR="$root/target/uv-cache"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
export SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR="$root/target/sam"
# sam wants a region even where it asks AWS nothing.
export AWS_DEFAULT_REGION=us-east-1

# The stamp is written last: an installation that was broken off is done again.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.installed" || ! "$venv/bin/python" -c '' 2>/dev/null; then
    echo "template: installing the checkers (once)"
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet "$(grep '^uv==' "$here/requirements.txt")"
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.installed"
fi

echo "template: sam validate --lint"
"$venv/bin/sam" validate --lint --template template.yaml

echo "template: cfn-lint"
"$venv/bin/cfn-lint" --config-file infra/checks/cfnlintrc.yaml -- template.yaml

echo "template: true to the code"
"$venv/bin/python" -m pytest -q -p no:cacheprovider "$here"
