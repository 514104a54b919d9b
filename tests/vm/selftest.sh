#!/usr/bin/env bash
# Tests the machine itself: what it offers, and that no failure passes for success.
set -euo pipefail

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly HERE
WORK=$(mktemp --directory)
readonly WORK
trap 'rm -rf "$WORK"' EXIT
failures=0

# A failure that was wanted needs no logs.
drop_logs() {
    if [[ $1 =~ logs\ kept\ in\ ([^$'\n']+) ]]; then
        rm -rf -- "${BASH_REMATCH[1]}"
    fi
}

# Runs the machine; passes when its status is the one wanted and its output (both
# streams) matches the pattern.
expect() {
    local name=$1 want=$2 pattern=$3 status=0 output
    shift 3
    output=$("$HERE/run.sh" "$@" 2>&1) || status=$?
    if ((status == want)) && [[ $output =~ $pattern ]]; then
        printf 'ok      %s\n' "$name"
        drop_logs "$output"
        return
    fi
    failures=$((failures + 1))
    printf 'FAILED  %s: status %d, want %d and output like "%s"; got:\n%s\n' \
        "$name" "$status" "$want" "$pattern" "$output"
}

# 4 MB of every byte value: more than any buffer on the way holds.
expect_every_byte() {
    local program want got
    program='import sys; sys.stdout.buffer.write(bytes(range(256)) * 16384)'
    want=$(python3 -c "$program" | sha256sum)
    got=$("$HERE/run.sh" -- python3 -c "$program" | sha256sum)
    if [[ $got == "$want" ]]; then
        printf 'ok      every byte of the output\n'
    else
        failures=$((failures + 1))
        printf 'FAILED  every byte of the output: digest %s, want %s\n' "$got" "$want"
    fi
}

check_shape() {
    expect 'pure cgroup v2' 0 '^0::/payload.*1$' -- \
        sh -c 'cat /proc/self/cgroup; grep -c cgroup /proc/mounts'
    expect 'controllers for children' 0 'cpu.*memory.*pids' -- \
        cat /sys/fs/cgroup/payload/cgroup.controllers
    expect 'namespaces as root' 0 '^1$' -- \
        unshare -Urpf --mount-proc sh -c 'echo $$'
    expect 'the tester: delegated cgroup, user namespace' 0 'uid=1000.*/user-1000/session.*uid=0' -- \
        as-tester sh -ec 'id; cat /proc/self/cgroup
            mkdir /sys/fs/cgroup/user-1000/x; echo 9 >/sys/fs/cgroup/user-1000/x/pids.max
            echo $$ >/sys/fs/cgroup/user-1000/x/cgroup.procs; unshare -Ur id'
    expect 'su and Python' 0 '^uid=1000.*2$' -- \
        sh -ec 'su tester -c id; python3 -c "import csv, json; print(1 + 1)"'
    expect 'modules load on demand' 0 'overlay.*erofs|erofs.*overlay' -- sh -ec '
        losetup --find >/dev/null; mkdir /mnt/o
        mount -t overlay o -o lowerdir=/etc:/usr /mnt/o
        mount -t erofs none /mnt 2>/dev/null || true
        cat /proc/filesystems'
    expect 'loopback only' 0 '^lo$' -- ls /sys/class/net
}

check_interface() {
    mkdir "$WORK/folder"
    printf 'hello' >"$WORK/folder/file"
    expect 'copies' 0 '^hellohello0 0 1777$' \
        --copy "$WORK/folder:/srv/a/folder" --copy "$WORK/folder/file:/tmp/b" -- \
        sh -c 'cat /srv/a/folder/file /tmp/b; stat -c "%u %g" /tmp/b | tr "\n" " "; stat -c %a /tmp'
    expect 'arguments arrive unchanged' 0 $'^<a b><><c\nd>$' -- printf '<%s>' 'a b' '' $'c\nd'
    expect 'a reopened /dev/stdout' 0 '^here$' -- sh -c 'echo here >/dev/stdout'
    expect_every_byte
    expect 'a process left behind' 0 '^done$' -- sh -c 'sleep 1000 & echo done'
}

check_failures() {
    expect 'exit status' 7 '^$' -- sh -c 'exit 7'
    expect 'death by signal' 137 '' -- sh -c 'kill -9 $$'
    expect 'missing command' 127 'No such file' -- /no/such/command
    expect 'out of time' 124 'before.*out of time after 8 s' --timeout 8 -- sh -c 'echo before; sleep 1000'
    expect 'kernel panic' 125 'Kernel panic - not syncing: sysrq triggered crash' -- \
        sh -c 'echo c >/proc/sysrq-trigger'
    expect 'power-off under the command' 125 'without reporting' -- busybox poweroff -nf
    expect 'no command' 125 'no command' --memory 1G
    expect 'missing copy' 125 'no such file' --copy /no/such:/x -- true
    expect 'emulator fails' 125 'expects a non-negative number' --memory nonsense -- true
}

check_shape
check_interface
check_failures
printf '%d failed\n' "$failures"
((failures == 0))
