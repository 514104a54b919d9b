#!/usr/bin/env bash
# Tests the Python client: format, lints, types, tests, in an environment of its own.
#
# LAKEKEEP_PYTHON         the interpreter, python3
# LAKEKEEP_SOCKET         a real manager, for tests/live
# LAKEKEEP_TESTS_REQUIRE  comma-separated: what is a failure where it is missing, not a skip.
#                         `manager`; `spark` (its protocol is got from PyPI: 456 MB, read once);
#                         `peers` (other projects' clients, in Rust, are built); or `all`
# LAKEKEEP_SPARK_PROTOCOL_JAR  Spark's protocol, if it is here already
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
required() { case ",${LAKEKEEP_TESTS_REQUIRE:-}," in *",$1,"* | *,all,*) ;; *) return 1 ;; esac; }
if required spark && [ -z "${LAKEKEEP_SPARK_PROTOCOL_JAR:-}" ]; then
    step "Spark's worker protocol"
    LAKEKEEP_SPARK_PROTOCOL_JAR=$("$venv/bin/python" tests/udf/edges/fetch_spark_protocol.py "$cache/spark")
    export LAKEKEEP_SPARK_PROTOCOL_JAR
fi
step "tests"
"$venv/bin/python" -m pytest "$@"
