#!/usr/bin/env bash
# Runs test executables against the built binaries inside the virtual machine.
set -euo pipefail

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly HERE
# The shape of a target directory: the tests find their binaries and their list of
# skips by it.
readonly GUEST=/opt/lakekeep GUEST_RELEASE=/opt/lakekeep/target/release
readonly PROGRAMS=(lakekeep lakekeep-launcher lakekeep-relay lakekeep-manager lakekeep-tests-connect
    lakekeep-tests-pool)
# Settings of the tests that the guest's get too.
readonly SETTINGS=(LAKEKEEP_TESTS_REQUIRE LAKEKEEP_TESTS_SLACK LAKEKEEP_TESTS_KILLS
    LAKEKEEP_TESTS_RUNS)

bin_dir=${LAKEKEEP_BIN_DIR:-target/release}
user=root
each=300
machine_options=(--timeout 1800)
tests=()
test_arguments=()

usage() {
    cat <<'USAGE'
Usage: tests/vm/suite.sh [OPTION]... TEST-EXECUTABLE... [-- LIBTEST-ARGUMENT...]

Runs each libtest executable in the virtual machine and summarises. Fails when an
executable fails, prints no result line, or no test passed at all.

  --bin-dir DIR      holds lakekeep, lakekeep-launcher, lakekeep-manager and the tests' programs
                     ($LAKEKEEP_BIN_DIR, or target/release)
  --user USER        root, or tester: an ordinary user with a delegated cgroup (root)
  --each SECONDS     for each executable (300)
  --copy HOST:GUEST, --memory SIZE, --cpus N, --timeout SECONDS
                     as for run.sh (timeout: 1800)

The tests see LAKEKEEP_BIN_DIR (the guest's) and your LAKEKEEP_TESTS_REQUIRE,
LAKEKEEP_TESTS_SLACK (factor for their deadlines), LAKEKEEP_TESTS_KILLS and
LAKEKEEP_TESTS_RUNS. What they skip is counted and listed.
USAGE
}

fail() {
    printf 'vm suite: %s\n' "$*" >&2
    exit 125
}

take_option() {
    local name=$1 value=$2
    case $name in
    --bin-dir) bin_dir=$value ;;
    --user) user=$value ;;
    --each) each=$value ;;
    *) machine_options+=("$name" "$value") ;;
    esac
}

parse_arguments() {
    while (($# > 0)); do
        case $1 in
        --bin-dir | --user | --each | --copy | --memory | --cpus | --timeout)
            (($# > 1)) || fail "$1 needs a value; see --help"
            take_option "$1" "$2"
            shift 2
            ;;
        --help)
            usage
            exit 0
            ;;
        --)
            shift
            test_arguments=("$@")
            break
            ;;
        -*) fail "unknown option '$1'; see --help" ;;
        *)
            tests+=("$1")
            shift
            ;;
        esac
    done
}

check_arguments() {
    local file
    [[ $user == root || $user == tester ]] || fail "--user '$user': want root or tester"
    ((${#tests[@]} > 0)) || fail 'no test executable given; see --help'
    for file in "${PROGRAMS[@]/#/$bin_dir/}" "${tests[@]}"; do
        [[ -f $file && -x $file ]] || fail "not an executable file: $file (built?)"
    done
}

main() {
    parse_arguments "$@"
    check_arguments
    local file name copies=(--copy "$HERE/guest/suite:$GUEST/suite")
    local settings=("LAKEKEEP_BIN_DIR=$GUEST_RELEASE")
    for file in "${PROGRAMS[@]}"; do
        copies+=(--copy "$bin_dir/$file:$GUEST_RELEASE/$file")
    done
    for file in "${tests[@]}"; do
        copies+=(--copy "$file:$GUEST_RELEASE/deps/${file##*/}")
    done
    for name in "${SETTINGS[@]}"; do
        if [[ -n ${!name-} ]]; then
            settings+=("$name=${!name}")
        fi
    done
    exec "$HERE/run.sh" "${machine_options[@]}" "${copies[@]}" -- \
        env "${settings[@]}" \
        "$GUEST/suite" "$GUEST/target" "$user" "$each" "${test_arguments[@]}"
}

main "$@"
