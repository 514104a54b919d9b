#!/usr/bin/env bash
# The README's first command: builds lakekeep and runs untrusted Python over a
# real CSV file in a sandbox. Installs what is missing when it is root.
set -euo pipefail
cd "$(dirname "$0")"

need() { # command, Debian package
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" -ne 0 ]; then
        echo "quickstart: $1 is missing; install it (Debian: apt-get install $2) and run again" >&2
        exit 1
    fi
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$2" >/dev/null
}

need cc gcc
# A Python of the distribution: the sandbox shows /usr, not a home directory.
[ -x /usr/bin/python3 ] || need /usr/bin/python3 python3

cargo build --release --quiet
receipt=$(mktemp)
trap 'rm -f "$receipt"' EXIT
./target/release/lakekeep run --receipt "$receipt" \
    --mount examples/quickstart/summarise.py:/code/summarise.py \
    --mount examples/quickstart/jfk-weather-2013.csv:/data/weather.csv \
    --memory 256MiB --timeout 30s \
    -- /usr/bin/python3 /code/summarise.py /data/weather.csv
echo
echo "Receipt (what the kernel enforced, read back):"
./target/release/lakekeep inspect "$receipt"
