#!/bin/sh
# Deploys the stacks with the SAM CLI to an emulated AWS on loopback, where the real binary collects from the simulator.
# Needs python3 with venv and the debug binaries, no AWS account. Arguments go to pytest: check.sh -k story
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"

# Files that sam would write to the home directory go below target/.
export PYTHONPYCACHEPREFIX="$PWD/target/pycache" SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR="$root/target/sam" NO_PROXY=127.0.0.1
# How often sam asks for a stack's progress.
export SAM_CLI_POLL_DELAY=0.2
# No real account: neither a profile nor a region of the user.
unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
export AWS_DEFAULT_REGION=us-east-1 AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test

tests/venv.sh template tests/template/requirements.txt
tests/venv.sh ministack tests/deploy/requirements.txt
[ -x "${CARGO_TARGET_DIR:-target}/debug/simulator" ] || cargo build --workspace --bins

# A process for each file, with its own emulated AWS. They mostly wait.
echo "deploy: the stacks, on an emulated AWS"
target/venv-template/bin/python -m pytest -q -p no:cacheprovider --durations=5 -n 4 --dist loadfile tests/deploy "$@"
