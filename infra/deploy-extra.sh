#!/bin/sh
# deploy-extra.sh ENV NAME [Parameter=value ...]: deploys infra/NAME.yaml beside the collector's stack of ENV. A
# parameter with the name of one of that stack's outputs gets its value, unless it is given. A stack with a program of its
# own is built first, unless CodeBucket is given. Needs the AWS CLI, the SAM CLI and python3.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
env=$1
name=$2
shift 2
stack=incydr-collector-$env
template=$root/infra/$name.yaml
[ -f "$template" ] || { echo "there is no infra/$name.yaml" >&2; exit 1; }
"$root/infra/needs.sh" aws sam

outputs=$(aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].Outputs' --output json)
# One parameter a line.
overrides=$(printf '%s' "$outputs" | python3 "$root/infra/parameters.py" "$template" "$@")

IFS='
'
set -f
if grep -q '^ *BuildMethod:' "$template" && ! printf '%s\n' "$overrides" | grep -q '^CodeBucket="[^"]'; then
    built=$root/.aws-sam/$name
    # shellcheck disable=SC2086
    sam build --beta-features --template-file "$template" --build-dir "$built/build" --parameter-overrides $overrides
    python3 "$root/infra/check-built.py" "$built"
    template=$built/build/template.yaml
fi
# shellcheck disable=SC2086
exec sam deploy --template-file "$template" --stack-name "$stack-$name" --resolve-s3 --no-fail-on-empty-changeset \
    --capabilities CAPABILITY_NAMED_IAM --parameter-overrides $overrides
