#!/bin/sh
# needs.sh PROGRAM...: fails if one of the programs is not installed.
for program; do
    command -v "$program" >/dev/null || { echo "$program is not installed; make doctor names what to install" >&2; exit 2; }
done
