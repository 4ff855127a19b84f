#!/bin/sh
# Checks the templates with SAM, cfn-lint and checkov, that they agree with the code, and that real runs need exactly
# the rights that they give. Needs python3 with venv and the debug binaries, no AWS account. Arguments go to pytest:
# check.sh -k lifecycle
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
here=tests/template
venv=target/venv-template
cd "$root"

# Files that sam would write to the home directory go below target/.
export PYTHONPYCACHEPREFIX="$PWD/target/pycache" SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR="$root/target/sam" NO_PROXY=127.0.0.1
# sam needs a region even if it sends nothing to AWS.
export AWS_DEFAULT_REGION=us-east-1

tests/venv.sh template "$here/requirements.txt"
tests/venv.sh checkov "$here/checkov/requirements.txt"
[ -x "${CARGO_TARGET_DIR:-target}/debug/simulator" ] || cargo build --workspace --bins

echo "template: sam validate --lint"
"$venv/bin/sam" validate --lint --template template.yaml

echo "template: cfn-lint"
"$venv/bin/cfn-lint" --config-file infra/checks/cfnlintrc.yaml -- template.yaml infra/*.yaml

# Each exception has its reason beside the resource.
echo "template: checkov"
target/venv-checkov/bin/checkov --skip-download --framework cloudformation --compact --quiet \
    --file template.yaml infra/*.yaml

echo "template: true to the code, and no right too many or too few"
"$venv/bin/python" -m pytest -q -p no:cacheprovider "$here" "$@"
