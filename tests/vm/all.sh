#!/usr/bin/env bash
# Runs the whole suite inside the virtual machine, as root and as an ordinary user
# with a delegated cgroup, against the checkout's release build.
set -euo pipefail

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly HERE
readonly ROOM=$HERE/../..

# An emulated processor is slow; the sizes are for what differs there, not for endurance.
export LAKEKEEP_TESTS_SLACK=${LAKEKEEP_VM_SLACK:-10}
export LAKEKEEP_TESTS_KILLS=${LAKEKEEP_VM_KILLS:-4}
export LAKEKEEP_TESTS_RUNS=${LAKEKEEP_VM_RUNS:-5}
# What this machine has, so that its absence is a failure and no skip. Started by root,
# the tests also run sandboxes as a user who was given neither ids nor a cgroup: the
# limits are required of the tester, who was.
readonly ROOT_HAS=root,cgroup,seccomp,landlock,wall_time_limit,scratch_limit,project-quota
readonly TESTER_HAS=$ROOT_HAS,separate_uid,memory_limit,swap_limit,cpu_limit,pids_limit

users=(root tester)
only=()

usage() {
    cat <<'USAGE'
Usage: tests/vm/all.sh [--user root|tester] [TEST]...

Runs the tests of lakekeep-tests and lakekeep-sys, or only the named executables
(attacks, limits, receipt, ...), inside the virtual machine: as root and then as the
ordinary user `tester`, or as one of them. Fails when a test fails. The binaries are
those of target/release; cargo builds what is missing or out of date.

Environment: CARGO_TARGET_DIR; in place of the LAKEKEEP_TESTS_* of the same name, which
are the host's, LAKEKEEP_VM_SLACK (10), LAKEKEEP_VM_KILLS (4), LAKEKEEP_VM_RUNS (5).
USAGE
}

parse_arguments() {
    while (($# > 0)); do
        case $1 in
        --help)
            usage
            exit 0
            ;;
        --user)
            users=("${2:?--user needs root or tester}")
            shift 2
            ;;
        *)
            only+=("$1")
            shift
            ;;
        esac
    done
}

# The paths of the test executables, as cargo names them: with the features of the whole
# workspace, as test.sh builds it, so that nothing is compiled twice. Of the manager's tests
# the one whose kernel hosts may lack; the others only where they are named.
test_executables() {
    cargo test --release --locked --workspace --no-run \
        --message-format=json | python3 -c '
import json, sys
wanted = sys.argv[1:]
found = set()
for line in sys.stdin:
    item = json.loads(line)
    if item["reason"] != "compiler-artifact" or not item["profile"]["test"]:
        continue
    name = item["target"]["name"]
    # A library of its own tests, or a file in tests/; a binary has none.
    ours = "/tests#" in item["package_id"] and "test" in item["target"]["kind"]
    kept = ours and not name.startswith("manager_") or name in ("lakekeep_sys", "manager_quotas")
    if item["executable"] and (name in wanted if wanted else kept):
        found.add(name)
        print(item["executable"])
missing = set(wanted) - found
if missing:
    sys.exit("no test executable is named " + ", ".join(sorted(missing)))
' "${only[@]}"
}

run_as() {
    local user=$1 has=$ROOT_HAS tests
    shift
    tests=("$@")
    if [[ $user != root ]]; then
        has=${TESTER_HAS#root,}
        # Only root starts a manager for many users.
        mapfile -t tests < <(printf '%s\n' "$@" | grep --invert-match '/manager_')
    fi
    LAKEKEEP_TESTS_REQUIRE=$has "$HERE/suite.sh" \
        --bin-dir "${CARGO_TARGET_DIR:-target}/release" --user "$user" \
        --memory 5G --each 5400 --timeout 14400 "${tests[@]}" -- --test-threads 2
}

main() {
    parse_arguments "$@"
    cd "$ROOM"
    local user list tests failed=()
    cargo build --release --workspace --all-targets --locked
    list=$(test_executables)
    mapfile -t tests <<<"$list"
    for user in "${users[@]}"; do
        run_as "$user" "${tests[@]}" || failed+=("$user")
    done
    if ((${#failed[@]} > 0)); then
        printf '\nvm: FAILED as %s\n' "${failed[*]}"
        exit 1
    fi
    printf '\nvm: passed as %s\n' "${users[*]}"
}

main "$@"
