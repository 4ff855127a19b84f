#!/bin/sh
# output.sh STACK NAME: prints an output of a stack. Needs the AWS CLI.
set -eu

value=$(aws cloudformation describe-stacks --stack-name "$1" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue")
[ -n "$value" ] || { echo "the stack $1 has no output $2" >&2; exit 1; }
echo "$value"
