#!/bin/sh
# venv.sh NAME REQUIREMENTS: prepares target/venv-NAME with pinned tools, once. Needs python3 with venv. Uses the
# network only while something is missing.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
name=$1
requirements=$2
cd "$root"
venv=target/venv-$name

# Files that the installers would write to the home directory go below target/.
mkdir -p target
export PIP_CACHE_DIR="$root/target/pip-cache" UV_CACHE_DIR="$root/target/uv-cache"
export PIP_DISABLE_PIP_VERSION_CHECK=1

# The installer is fetched once. After that each environment takes seconds.
uv=$(grep '^uv==' "$requirements")
if [ "$(cat target/venv-uv/uv.installed 2>/dev/null)" != "$uv" ] || ! target/venv-uv/bin/uv --version >/dev/null 2>&1; then
    python3 -m venv --clear target/venv-uv
    target/venv-uv/bin/python -m pip install --quiet "$uv"
    echo "$uv" >target/venv-uv/uv.installed
fi

# The stamp is written last, so that an interrupted installation is repeated.
if ! cmp -s "$requirements" "$venv/requirements.installed" || ! "$venv/bin/python" -c '' 2>/dev/null; then
    echo "$name: installing its tools (once)"
    target/venv-uv/bin/uv venv --quiet --clear --python python3 "$venv"
    target/venv-uv/bin/uv pip install --quiet --python "$venv/bin/python" -r "$requirements"
    cp "$requirements" "$venv/requirements.installed"
fi
