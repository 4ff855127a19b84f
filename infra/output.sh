#!/bin/sh
# output.sh STACK NAME: prints an output of a stack. Needs the AWS CLI.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
"$here/needs.sh" aws

# The region that the CLI asks. Its version 1 doesn't read AWS_REGION.
region() {
    named=${AWS_DEFAULT_REGION:-}
    case $(aws --version 2>&1) in aws-cli/1.*) ;; *) named=${AWS_REGION:-$named} ;; esac
    echo "${named:-$(aws configure get region || echo 'no region')}"
}

said=$(mktemp)
trap 'rm -f "$said"' EXIT
if ! value=$(aws cloudformation describe-stacks --stack-name "$1" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue" 2>"$said"); then
    if grep -q "does not exist" "$said"; then
        echo "there is no stack $1 in $(region): ENV=... names the stack, AWS_REGION and AWS_DEFAULT_REGION the region" >&2
    else
        cat "$said" >&2
    fi
    exit 1
fi
[ -n "$value" ] || { echo "the stack $1 has no output $2" >&2; exit 1; }
echo "$value"
