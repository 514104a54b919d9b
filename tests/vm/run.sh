#!/usr/bin/env bash
# Runs a command in a virtual machine with pure cgroup v2 on Debian's own kernel
# and exits with the command's status.
set -euo pipefail

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly HERE
# timeout(1)'s conventions: 124 ran out of time, 125 the tool itself failed.
readonly TIMED_OUT=124 MACHINE_FAILED=125

memory=2G
cpus=2
timeout=600
copies=()
command=()
# What cleanup has to undo.
run='' emulator=''

usage() {
    cat <<'USAGE'
Usage: tests/vm/run.sh [OPTION]... -- COMMAND [ARGUMENT]...

Runs COMMAND as root in a throw-away virtual machine: Debian 12's cloud kernel,
pure cgroup v2, no network. Its output goes to standard output; its exit status
is this script's.

  --copy HOST:GUEST  a file or folder to place in the guest (repeatable)
  --memory SIZE      the guest's memory (2G)
  --cpus N           the guest's processors (2)
  --timeout SECONDS  for the machine's whole run (600)

Exit status: the command's; 124 out of time; 125 the machine failed (panic, no
status reported) or the arguments are wrong. The console log is then kept.

Environment:
  LAKEKEEP_VM_CACHE  where image and logs live (the checkout's target/vm)
  LAKEKEEP_VM_ACCEL  the emulator's accelerator (tcg)
USAGE
}

say() {
    printf 'vm: %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit "$MACHINE_FAILED"
}

parse_arguments() {
    while (($# > 0)); do
        case $1 in
        --copy | --memory | --cpus | --timeout)
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
            command=("$@")
            break
            ;;
        *) fail "unknown argument '$1'; the command comes after --; see --help" ;;
        esac
    done
    ((${#command[@]} > 0)) || fail 'no command; it comes after --; see --help'
}

take_option() {
    local name=$1 value=$2
    case $name in
    --copy) copies+=("$value") ;;
    --memory) memory=$value ;;
    --cpus) cpus=$value ;;
    --timeout) timeout=$value ;;
    esac
}

check_copy() {
    local host=${1%:*} guest=${1##*:}
    [[ $1 == *:* && $guest == /* ]] || fail "--copy '$1': want HOST:GUEST with GUEST absolute"
    [[ -e $host ]] || fail "--copy '$1': no such file on the host: $host"
}

# Each tool with the Debian package that brings it.
readonly TOOLS='
qemu-system-x86_64:qemu-system-x86
mmdebstrap:mmdebstrap
mkfs.ext4:e2fsprogs
cpio:cpio
lz4:lz4
setpriv:util-linux
'

install_tools() {
    local entry packages=()
    for entry in $TOOLS; do
        command -v "${entry%:*}" >/dev/null || packages+=("${entry#*:}")
    done
    ((${#packages[@]} > 0)) || return 0
    ((EUID == 0)) || fail "missing; as root: apt-get install ${packages[*]}"
    say "installing ${packages[*]}"
    apt-get --quiet=2 update >&2
    DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 --yes --no-install-recommends \
        install "${packages[@]}" >&2
}

# The files travel as a tar on a raw disk and are unpacked over the guest's root:
# ordinary root-owned files on ext4, wherever the caller wants them.
make_payload() {
    local run=$1 copy stage=$1/stage
    mkdir "$stage"
    for copy in "${copies[@]}"; do
        mkdir -p "$stage${copy##*:}"
        rmdir "$stage${copy##*:}"
        cp -R -H --preserve=mode,timestamps,links --reflink=auto "${copy%:*}" "$stage${copy##*:}"
    done
    tar --create --file "$run/payload" --directory "$stage" --owner=0 --group=0 --numeric-owner .
    rm -rf "$stage"
}

# The guest's scripts and the command follow the prepared archive: the kernel
# unpacks them one over the other.
make_initramfs() {
    local run=$1 image=$2 stage=$1/initramfs.d
    local overlay=$stage/overlay
    mkdir -p "$overlay/dev" "$overlay/run/lakekeep-vm" "$overlay/usr/local/bin"
    ln -s /proc/self/fd "$overlay/dev/fd"
    ln -s /proc/self/fd/0 "$overlay/dev/stdin"
    ln -s /proc/self/fd/1 "$overlay/dev/stdout"
    ln -s /proc/self/fd/2 "$overlay/dev/stderr"
    cp "$HERE/guest/init" "$stage/"
    cp "$HERE"/guest/{main,fstab} "$overlay/run/lakekeep-vm/"
    cp "$HERE/guest/as-tester" "$overlay/usr/local/bin/"
    printf '%s\0' "${command[@]}" >"$overlay/run/lakekeep-vm/command"
    {
        cat "$image/initramfs"
        (cd "$stage" && find . -mindepth 1 | cpio --create --format=newc --quiet --owner=0:0)
    } >"$run/initramfs"
    rm -rf "$stage"
}

# A panic or an oops reboots at once, and a reboot ends the emulator. The last two
# keep a busy host's late timer ticks from being taken for broken hardware.
readonly KERNEL_ARGUMENTS='console=ttyS0 quiet cgroup_no_v1=all oops=panic panic=-1
    random.trust_cpu=on tsc=reliable no_timer_check'

qemu_arguments() {
    local run=$1 image=$2
    printf '%s\n' -nodefaults -no-user-config -no-reboot -display none \
        -machine pc -accel "${LAKEKEEP_VM_ACCEL:-tcg}" -cpu max -smp "$cpus" -m "$memory" \
        -kernel "$image/kernel" -initrd "$run/initramfs" -append "${KERNEL_ARGUMENTS//$'\n'/}" \
        -serial "file:$run/console.log" \
        -drive "file=$image/root.ext4,format=raw,if=virtio,snapshot=on,cache=unsafe" \
        -device virtio-serial-pci \
        -chardev "file,id=output,path=$run/output" \
        -device virtserialport,chardev=output,name=lakekeep.output \
        -chardev "file,id=status,path=$run/status" \
        -device virtserialport,chardev=status,name=lakekeep.status
    if [[ -e $run/payload ]]; then
        printf '%s\n' -drive "file=$run/payload,format=raw,if=virtio,read-only=on"
    fi
}

# Neither the timer nor the emulator outlives this script, however it ends.
boot() {
    local run=$1 image=$2 arguments relay status=0
    mapfile -t arguments < <(qemu_arguments "$run" "$image")
    mkfifo "$run/output"
    touch "$run/status" "$run/console.log"
    cat "$run/output" &
    relay=$!
    TMPDIR=$run setpriv --pdeathsig TERM \
        timeout --kill-after=5 "$timeout" \
        setpriv --pdeathsig KILL qemu-system-x86_64 "${arguments[@]}" \
        </dev/null >"$run/emulator.log" 2>&1 &
    emulator=$!
    wait "$emulator" || status=$?
    emulator=''
    # An emulator that failed to start never opened the other end.
    : <>"$run/output"
    wait "$relay"
    return "$status"
}

# The reason for a panic goes last: the trace after it is longer than what is shown.
keep_logs() {
    local run=$1 kept
    rm -f "$run"/{initramfs,payload,output,status}
    kept=${run%/*}/failed.${run##*.}
    mv "$run" "$kept"
    tail --lines=20 "$kept/emulator.log" "$kept/console.log" >&2
    grep --text --max-count=1 'Kernel panic' "$kept/console.log" >&2 || true
    say "logs kept in $kept"
}

# The command's status if the guest reported one, whatever came after.
judge() {
    local run=$1 emulator_status=$2 reported=''
    read -r reported <"$run/status" || true
    if [[ $reported =~ ^[0-9]+$ ]]; then
        return "$reported"
    fi
    if ((emulator_status == 124)); then
        say "out of time after $timeout s"
        keep_logs "$run"
        return "$TIMED_OUT"
    fi
    say "the machine ended without reporting a status (emulator: $emulator_status)"
    keep_logs "$run"
    return "$MACHINE_FAILED"
}

cleanup() {
    if [[ -n $emulator ]]; then
        kill "$emulator" || true
    fi
    rm -rf "$run"
}

main() {
    parse_arguments "$@"
    local copy image status=0
    for copy in "${copies[@]}"; do
        check_copy "$copy"
    done
    install_tools
    image=$("$HERE/image.sh") || fail 'no image'
    run=$(mktemp --directory "${image%/*}/run.XXXXXX")
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if ((${#copies[@]} > 0)); then
        make_payload "$run"
    fi
    make_initramfs "$run" "$image"
    boot "$run" "$image" || status=$?
    judge "$run" "$status"
}

main "$@"
