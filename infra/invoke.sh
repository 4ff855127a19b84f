#!/bin/sh
# invoke.sh ENV EVENT: invokes the function of ENV once, waits for its answer, and prints it: in a terminal as a table,
# elsewhere as JSON. Fails if the run does. Needs the AWS CLI, 1 or 2.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
arn=$("$here/output.sh" "incydr-collector-$1" FunctionArn)
function=${arn##*:}
echo "incydr-collector-$1 in $(echo "$arn" | cut -d : -f 4)" >&2
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
printf '%s' "$2" >"$files/event"

# A run may take a quarter of an hour. By default the CLI gives up after a minute and sends the event again, which
# starts a second run. Routers on the way to AWS drop a silent connection after some minutes, hence the keep-alive.
export AWS_MAX_ATTEMPTS=1 BOTOCORE_TCP_KEEPALIVE=true
failed=$(aws lambda invoke --function-name "$function" --payload "fileb://$files/event" --cli-read-timeout 0 \
    --query FunctionError --output text "$files/answer")
if [ -t 1 ]; then
    python3 "$here/answer.py" "$files/answer"
else
    cat "$files/answer"
    echo
fi
[ "$failed" = None ] || { echo "The run failed: errorType and errorMessage say why." >&2; exit 1; }
