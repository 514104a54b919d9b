#!/usr/bin/env bash
# The README's second command: builds everything once and passes all tests.
# As root it also installs what the tests run against and tests both as root and
# as an ordinary user; without root, the tests that need it are reported skips.
#
# LAKEKEEP_TESTS_REQUIRE  features whose absence is a failure, not a skip:
#                         comma-separated, or "all"
# LAKEKEEP_TESTS_UV       the program uv, if it is here already; else it is got from PyPI (20 MB)
# LAKEKEEP_TESTS_VM=1     also run the suite in a virtual machine with pure
#                         cgroup v2 on Debian's own kernel (slow: emulated)
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }

packages() {
    local missing=()
    local entry command package
    for entry in cc:gcc /usr/bin/python3:python3 newuidmap:uidmap setpriv:util-linux \
        script:bsdutils ip:iproute2 unshare:util-linux git:git bash:bash \
        busybox:busybox curl:curl skopeo:skopeo; do
        command=${entry%%:*} package=${entry##*:}
        command -v "$command" >/dev/null || missing+=("$package")
    done
    # A registry, and who builds and pushes images: what `image pull` is tested against.
    if [ "$(id -u)" -eq 0 ]; then
        for entry in docker-registry:docker-registry htpasswd:apache2-utils umoci:umoci \
            buildah:buildah debootstrap:debootstrap; do
            command=${entry%%:*} package=${entry##*:}
            command -v "$command" >/dev/null || missing+=("$package")
        done
    fi
    # Servers and clients that egress is tested with.
    if [ "$(id -u)" -eq 0 ]; then
        for entry in /usr/sbin/apache2:apache2-bin /usr/sbin/dnsmasq:dnsmasq-base /usr/bin/redis-server:redis-server \
            /usr/bin/redis-cli:redis-tools /usr/lib/postgresql:postgresql /usr/bin/psql:postgresql-client \
            /usr/bin/curl:curl /usr/bin/node:nodejs /usr/bin/javac:default-jdk-headless \
            /usr/lib/python3/dist-packages/{pip:python3-pip,requests:python3-requests,aiohttp:python3-aiohttp} \
            ping:iputils-ping nft:nftables iptables:iptables tc:iproute2; do
            command=${entry%%:*} package=${entry##*:}
            [ -e "$command" ] || command -v "$command" >/dev/null || missing+=("$package")
        done
    fi
    # Debian divides venv from Python.
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    [ "${#missing[@]}" -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ]; then
        echo "test.sh: missing: ${missing[*]}; install them (Debian: apt-get install ${missing[*]})" >&2
        exit 1
    fi
    apt-get update -q >/dev/null
    # The tests start servers of their own: at run level 1 Debian starts none (invoke-rc.d(8)).
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends "${missing[@]}"
}

# uv, which `env build` runs in sandboxes: one version in a folder of its own, read by the tests.
uv() {
    local version=0.13.9
    local venv=${XDG_CACHE_HOME:-$HOME/.cache}/lakekeep-uv/$version
    if [ ! -e "$venv/ready" ]; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        # Without an index there is no uv, and its tests are skips, or failures where it is required.
        if ! "$venv/bin/python" -m pip install --quiet "uv==$version"; then
            echo "test.sh: uv $version cannot be installed from PyPI" >&2
            return
        fi
        touch "$venv/ready"
    fi
    export LAKEKEEP_TESTS_UV=$venv/bin/uv
}

tests() {
    # One process a case where nextest is there; cargo's own runner else.
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --release --workspace --locked "$@"
    else
        cargo test --release --workspace --locked --lib --bins --tests "$@"
    fi
    cargo test --release --workspace --locked --doc
}

step "packages"
packages
[ -n "${LAKEKEEP_TESTS_UV:-}" ] || uv
# What needs no compiler's work comes first.
step "format"
cargo fmt --all --check
# Workspaces of their own, because they take long to compile or are of other versions.
for apart in udf/datafusion tests/peers/arrow-udf-flight; do
    cargo fmt --manifest-path "$apart/Cargo.toml" --check
    cargo metadata --locked --format-version 1 --manifest-path "$apart/Cargo.toml" >/dev/null
done
step "layering"
.ci/layering.sh
# Everything in one go, with the features that all of it asks for together: what the
# tests run, target/release/lakekeep among it, is then compiled once.
step "build"
cargo build --release --workspace --all-targets --locked
step "tests"
tests "$@"
step "the Python client, and user functions in sandboxes"
LAKEKEEP_BIN=$PWD/target/release/lakekeep LAKEKEEP_UDF_BROKER=1 python/test.sh -q
step "lints"
cargo clippy --release --workspace --all-targets --locked -- -D warnings
if [ "${LAKEKEEP_TESTS_VM:-0}" = 1 ]; then
    step "the suite on pure cgroup v2, in a virtual machine"
    tests/vm/all.sh
fi
