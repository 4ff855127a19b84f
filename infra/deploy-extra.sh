#!/bin/sh
# deploy-extra.sh ENV NAME [Parameter=value ...]: deploys infra/NAME.yaml beside the collector's stack of ENV. A parameter
# that has the name of one of that stack's outputs gets its value, unless it is given. Needs the AWS CLI, the SAM CLI and
# python3.
# BUILT is the template that sam build left, where the stack has a program of its own.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
env=$1
name=$2
shift 2
stack=incydr-collector-$env
template=$root/infra/$name.yaml
[ -f "$template" ] || { echo "there is no infra/$name.yaml" >&2; exit 1; }

# A given parameter comes last, and the last one counts.
outputs=$(aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].Outputs' --output json)
filled=$(printf '%s' "$outputs" | python3 -c '
import json, re, sys
section = re.search(r"^Parameters:\n((?:[ #].*\n|\n)*)", open(sys.argv[1]).read(), re.M)[1]
names = set(re.findall(r"^  (\w+):$", section, re.M))
given = {argument.split("=", 1)[0] for argument in sys.argv[2:]}
for output in json.load(sys.stdin):
    if output["OutputKey"] in names - given:
        print(output["OutputKey"] + "=" + output["OutputValue"])
' "$template" "$@")

# shellcheck disable=SC2086
exec sam deploy --template-file "${BUILT:-$template}" --stack-name "$stack-$name" --resolve-s3 --no-fail-on-empty-changeset \
    --capabilities CAPABILITY_NAMED_IAM --parameter-overrides $filled "$@"
