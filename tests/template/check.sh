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

# The checks that read only the templates run beside the tests. Their output comes last.
said=$(mktemp)
trap 'rm -f "$said"' EXIT
rules() {
    echo "template: sam validate"
    "$venv/bin/sam" validate --template template.yaml

    echo "template: cfn-lint"
    "$venv/bin/cfn-lint" --config-file infra/checks/cfnlintrc.yaml -- template.yaml infra/*.yaml

    echo "template: the workflow"
    "$venv/bin/check-jsonschema" --quiet --builtin-schema vendor.github-workflows .github/workflows/build.yml

    # Each exception stands with its reason at the resource.
    echo "template: checkov"
    target/venv-checkov/bin/checkov --skip-download --framework cloudformation --compact --quiet \
        --file template.yaml infra/*.yaml
}
(set -e; rules) >"$said" 2>&1 &
rules=$!

# Three processes, because one of them waits for more than a minute.
echo "template: true to the code, and no right too many or too few"
failed=
"$venv/bin/python" -m pytest -q -p no:cacheprovider -n 3 --dist loadfile --no-loadscope-reorder "$here" "$@" || failed=yes
wait "$rules" || failed=yes
cat "$said"
[ -z "$failed" ]
