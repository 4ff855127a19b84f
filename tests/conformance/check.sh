#!/bin/sh
# Checks the simulator with the vendor's own SDK and command line, its S3 with boto3, and the collector against the
# function that the Google SecOps guide prints. Needs python3 with venv. Everything runs on loopback. Arguments go to
# pytest: check.sh -k users
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
export PYTHONPYCACHEPREFIX="$PWD/target/pycache" NO_PROXY=127.0.0.1
# With these variables the simulator would use another store, and the vendor's client another tenant.
unset SIMULATOR_S3_ENDPOINT SIMULATOR_S3_ACCESS_KEY SIMULATOR_S3_SECRET_KEY
unset INCYDR_URL INCYDR_API_CLIENT_ID INCYDR_API_CLIENT_SECRET INCYDR_REFRESH_TOKEN INCYDR_REFRESH_URL

tests/venv.sh conformance tests/conformance/requirements.txt
for binary in simulator incydr-collector; do
    [ -x "${CARGO_TARGET_DIR:-target}/debug/$binary" ] || cargo build --workspace --bins
done

rm -f target/guide-comparison.txt
echo "conformance: the vendor's client, the guide's function"
target/venv-conformance/bin/python -m pytest tests/conformance "$@"
if [ -f target/guide-comparison.txt ]; then
    echo
    cat target/guide-comparison.txt
fi
