#!/usr/bin/env bash
# Builds what the virtual machine boots, once, and prints its folder:
#
#   kernel      Debian's own, unpacked to plain ELF so that the emulator starts it
#               directly instead of emulating its decompression
#   initramfs   busybox and the disk driver
#   root.ext4   Debian 12, minimal, with the user `tester`
#
# The folder's name carries a digest of this script: change it and a new image
# replaces the old one. Delete the folder for newer packages.
set -Eeuo pipefail

SELF=$(realpath "${BASH_SOURCE[0]}")
readonly SELF
readonly SUITE=bookworm
readonly KERNEL=linux-image-cloud-amd64
readonly PACKAGES=bash,busybox-static,e2fsprogs,iproute2,kmod,libcap2-bin,login,mount,passwd,procps,python3,uidmap,util-linux
# Loaded by the initramfs: the disk, then the ports that carry output and status.
readonly MODULES=(virtio_pci virtio_blk virtio_console)

CACHE=$(realpath -m "${LAKEKEEP_VM_CACHE:-${SELF%/*}/../../target/vm}")
readonly CACHE

say() {
    printf 'vm: %s\n' "$*" >&2
}

require_root() {
    if ((EUID != 0)); then
        say 'building the image needs root: run tests/vm/image.sh once as root'
        exit 125
    fi
}

# Packages of the guest's Debian, whatever the host's release.
bootstrap() {
    local tree=$1
    mmdebstrap --quiet --mode=root --variant=apt --include="$PACKAGES" \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --customize-hook='echo "127.0.0.1 localhost" >"$1/etc/hosts"' \
        --customize-hook="'$SELF' --download-kernel \"\$1\"" \
        "$SUITE" "$tree" >&2
}

# Runs as a hook of mmdebstrap, while the guest's package lists are at hand. The
# kernel is unpacked, not installed: the guest needs no boot loader nor initramfs.
download_kernel() {
    local tree=$1 package
    export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
    package=$(apt-cache depends --important "$KERNEL" | sed -n 's/^ *Depends: //p' | head -n 1)
    cd "$tree/var/cache"
    apt-get --quiet=2 -o APT::Sandbox::User=root download "$package"
    dpkg-deb --extract "$package"_*.deb kernel
    rm -- "$package"_*.deb
}

install_modules() {
    local tree=$1 version=$2
    mv "$tree/var/cache/kernel/lib/modules" "$tree/usr/lib/modules"
    chroot "$tree" depmod "$version"
}

# A number from the kernel image's setup header (Documentation/arch/x86/boot.rst).
header_field() {
    local image=$1 offset=$2 bytes=$3
    od --address-radix=n --format="u$bytes" --skip-bytes="$offset" --read-bytes="$bytes" "$image" |
        tr -d ' '
}

# The payload's last four bytes are its unpacked size, not part of the LZ4 stream.
unpack_kernel() {
    local image=$1 output=$2 setup_sectors offset length
    setup_sectors=$(header_field "$image" $((0x1f1)) 1)
    offset=$(header_field "$image" $((0x248)) 4)
    length=$(header_field "$image" $((0x24c)) 4)
    offset=$((offset + (setup_sectors + 1) * 512))
    head --bytes="$((offset + length - 4))" "$image" | tail --bytes="+$((offset + 1))" |
        lz4 --decompress --quiet --stdout - >"$output"
}

# Every module with those it depends on, in loading order.
module_files() {
    local tree=$1 version=$2
    chroot "$tree" modprobe --show-depends --set-version "$version" --all "${MODULES[@]}" |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

make_initramfs() {
    local tree=$1 version=$2 output=$3 stage file
    stage=$tree/var/cache/initramfs
    mkdir -p "$stage"/{bin,dev,modules,root}
    cp "$tree/bin/busybox" "$stage/bin/"
    chroot "$stage" /bin/busybox --install -s /bin
    while read -r file; do
        cp "$tree$file" "$stage/modules/"
        printf '%s\n' "${file##*/}" >>"$stage/modules/order"
    done < <(module_files "$tree" "$version")
    (cd "$stage" && find . | cpio --create --format=newc --quiet --owner=0:0) >"$output"
}

# An ordinary user, with the range of ids that Debian gives to the first one.
add_tester() {
    local tree=$1
    chroot "$tree" useradd --uid 1000 --create-home --shell /bin/bash tester
    printf 'tester:100000:65536\n' | tee "$tree/etc/subuid" >"$tree/etc/subgid"
}

# No journal: the disk is thrown away after each run. The size is sparse.
make_disk() {
    local tree=$1 output=$2
    mkfs.ext4 -q -F -d "$tree" -L lakekeep-vm -O ^has_journal -m 0 \
        -E lazy_itable_init=0,root_owner=0:0 "$output" 4G
}

build() {
    local work=$1 tree=$1/tree version image
    bootstrap "$tree"
    image=$(echo "$tree"/var/cache/kernel/boot/vmlinuz-*)
    version=${image##*/vmlinuz-}
    install_modules "$tree" "$version"
    unpack_kernel "$image" "$work/kernel"
    make_initramfs "$tree" "$version" "$work/initramfs"
    rm -rf "$tree/var/cache/kernel" "$tree/var/cache/initramfs"
    add_tester "$tree"
    make_disk "$tree" "$work/root.ext4"
    rm -rf "$tree"
}

# Readers see a whole image or none; two builders don't meet.
build_once() {
    local folder=$1 work
    exec 9>"$CACHE/lock"
    flock 9
    if [[ -d $folder ]]; then
        return
    fi
    require_root
    say "building the image in $folder"
    work=$(mktemp --directory "$CACHE/build.XXXXXX")
    # shellcheck disable=SC2064 # expanded now: `work` is local
    trap "rm -rf '$work'" EXIT
    build "$work" >&2
    chmod 0755 "$work"
    rm -rf "$CACHE"/image-*
    mv "$work" "$folder"
}

main() {
    trap 'say "image.sh: line $LINENO failed: $BASH_COMMAND"' ERR
    if [[ ${1-} == --download-kernel ]]; then
        download_kernel "$2"
        return
    fi
    mkdir -p "$CACHE"
    local digest folder
    digest=$(sha256sum "$SELF")
    folder=$CACHE/image-${digest:0:12}
    if [[ ! -d $folder ]]; then
        build_once "$folder"
    fi
    printf '%s\n' "$folder"
}

main "$@"
