#!/bin/sh
# backfill.sh ENV EVENT: starts the backfill of ENV once, follows it to its end, and prints its answer. Stopping this
# script doesn't stop the backfill. Needs the AWS CLI, 1 or 2.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
machine=$("$here/output.sh" "incydr-collector-$1-backfill" BackfillArn)
# The execution has its own name, so that a repeated request of the CLI starts no second one.
execution=$(aws stepfunctions start-execution --state-machine-arn "$machine" --input "$2" \
    --name "by-hand-$(date -u +%Y%m%dT%H%M%SZ)-$$" --query executionArn --output text)
echo "Started $execution" >&2

told() {
    aws stepfunctions describe-execution --execution-arn "$execution" --output text --query "$1"
}
while status=$(told status) && [ "$status" = RUNNING ]; do
    sleep "${POLL_SECONDS:-15}"
done
case $status in
SUCCEEDED) told output ;;
*) echo "$status: $(told '[error, cause]')" >&2; exit 1 ;;
esac
