#!/bin/sh
# Runs the whole-run tests against an S3 written by others: SeaweedFS, which checks signatures, checksums and
# conditions. It listens on loopback only, keeps its files below target/, and is removed afterwards. Without arguments
# it runs all tests except those that are about the API alone. Otherwise arguments go to the tests: third_party_s3.sh
# store::
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
export PYTHONPYCACHEPREFIX="$PWD/target/pycache" NO_PROXY=127.0.0.1
tests/venv.sh conformance tests/conformance/requirements.txt
bin=target/venv-conformance/bin
[ -x "${CARGO_TARGET_DIR:-target}/debug/simulator" ] || cargo build --workspace --bins

dir=$(mktemp -d "$root/target/seaweedfs.XXXXXX")
weed=
# Two ports each for S3, master, filer and volume server: HTTP and gRPC.
ports=$("$bin/python" -c '
from socket import create_server
sockets = [create_server(("127.0.0.1", 0)) for _ in range(8)]
print(*(socket.getsockname()[1] for socket in sockets))')

stop() {
    # Its data is not needed any more, and an orderly shutdown would take 15 s.
    if [ -n "$weed" ]; then
        kill -KILL "$weed" 2>/dev/null || true
        wait "$weed" 2>/dev/null || true
    fi
    # It creates sockets there, wherever its files are.
    for port in $ports; do rm -f /tmp/seaweedfs-*-"$port".sock; done
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

export SIMULATOR_S3_ACCESS_KEY=AKIASECONDSTORE SIMULATOR_S3_SECRET_KEY=second-store-secret-key
cat >"$dir/s3.json" <<JSON
{"identities": [{"name": "tests", "actions": ["Admin"],
  "credentials": [{"accessKey": "$SIMULATOR_S3_ACCESS_KEY", "secretKey": "$SIMULATOR_S3_SECRET_KEY"}]}]}
JSON

# Each test has a bucket, and each bucket its own volumes, so there are many small ones. Telemetry would
# report statistics.
start() {
    s3=$1
    WEED_MASTER_VOLUME_GROWTH_COPY_1=1 "$bin/weed" -logtostderr=true server \
        -dir="$dir" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -s3 -s3.config="$dir/s3.json" -s3.iam=false \
        -s3.port="$1" -s3.port.grpc="$2" -s3.port.iceberg=0 -s3.port.lance=0 \
        -master.port="$3" -master.port.grpc="$4" -master.volumeSizeLimitMB=64 -master.telemetry=false \
        -filer.port="$5" -filer.port.grpc="$6" \
        -volume.port="$7" -volume.port.grpc="$8" -volume.max=10000 >"$dir/log" 2>&1 &
    weed=$!
}
# shellcheck disable=SC2086
start $ports
export SIMULATOR_S3_ENDPOINT="http://127.0.0.1:$s3"

# It answers before it can store anything.
echo "third-party S3: waiting for SeaweedFS"
"$bin/python" tests/conformance/await_store.py || { tail -5 "$dir/log"; exit 1; }

echo "third-party S3: signatures, checksums and conditions"
"$bin/python" -m pytest tests/conformance/test_store.py

echo "third-party S3: whole runs"
# The tests mostly wait for deadlines and retries. Without keys of its own the store encrypts nothing.
if [ $# -eq 0 ]; then
    of_the_api_alone="actor_profiles api_faults audit_export back_off bad_input budget capped clock drift guide health_sources lanes lenient
        lying_counts metrics outages paging probe refusals refused_queries retention saved_searches sign_ins silence
        stopped stuck stuck_ids stuck_kinds stuck_lists stuck_records tls uncounted vendor_facts"
    for module in $of_the_api_alone; do set -- "$@" --skip "$module::"; done
    set -- "$@" --skip s3_errors::each_write_asks_for_the_encryption
fi
RUST_TEST_THREADS=${RUST_TEST_THREADS:-8} cargo test --quiet --workspace --test whole_run -- "$@"
