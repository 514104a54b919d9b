#!/usr/bin/env bash
# Tests the Python client: format, lints, types, tests, in an environment of its own.
#
# LAKEKEEP_PYTHON         the interpreter, python3
# LAKEKEEP_SOCKET         a real manager, for tests/live
# LAKEKEEP_TESTS_REQUIRE  `manager` or `all`: no such manager is a failure, not a skip
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"

python=${LAKEKEEP_PYTHON:-python3}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lakekeep-python
# One environment for each interpreter and each set of dependencies.
key=$({ "$python" -VV; pwd; cat pyproject.toml; } | sha256sum | cut -c1-16)
venv=$cache/$key

if [ ! -e "$venv/ready" ]; then
    rm -rf "$venv"
    mkdir -p "$cache"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --upgrade pip
    "$venv/bin/python" -m pip install --quiet --editable '.[test,lint,generate,udf,engines]'
    touch "$venv/ready"
fi

step() { printf '\n== python: %s\n' "$*"; }
step "format and lints"
# The worker of user functions and its benchmark are rooms of their own, by the same rules.
"$venv/bin/ruff" format --check --config pyproject.toml . ../udf ../benches/udf
"$venv/bin/ruff" check --config pyproject.toml . ../udf ../benches/udf
step "types"
"$venv/bin/mypy"
step "tests"
"$venv/bin/python" -m pytest "$@"
