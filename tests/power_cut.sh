#!/bin/sh
# Cuts the power of a file system while the local backend writes to it, and looks at what is left.
#
# Usage, as root: tests/power_cut.sh [ext4|xfs] [rounds]
# Makes the file system in a file, mounts it, and stops it with the kernel's "shutdown" call, which throws away
# all that is not on the disk yet.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-ext4}
rounds=${2:-10}
place=$(mktemp -d)
writer=
cleanup() {
    [ -z "$writer" ] || kill -9 "$writer" 2>/dev/null || true
    umount "$place/mount" 2>/dev/null || true
    rm -rf "$place"
}
trap cleanup EXIT
mkdir "$place/mount"
cargo build --quiet --package tests --bin pack_writer
program=${CARGO_TARGET_DIR:-target}/debug/pack_writer folder=$place/mount/repository

truncate -s 1500M "$place/image"
"mkfs.$kind" -q "$place/image"
for round in $(seq "$rounds"); do
    mount -o loop "$place/image" "$place/mount"
    : >"$place/lines"
    "$program" write "$folder" >"$place/lines" 2>/dev/null &
    writer=$!
    while [ "$(grep -c stored "$place/lines")" -lt $((round * 3)) ]; do
        kill -0 "$writer" # it must not end by itself
    done
    # The same call for ext4 and xfs; 2: without writing the journal.
    python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$place/mount"
    kill -9 "$writer" 2>/dev/null || true
    wait "$writer" 2>/dev/null || true
    writer=
    umount "$place/mount"
    mount -o loop "$place/image" "$place/mount"
    printf 'round %s: ' "$round"
    "$program" look "$folder" "$place/lines" >"$place/verdict" 2>&1 || {
        cat "$place/verdict"
        exit 1
    }
    grep 'are there' "$place/verdict"
    umount "$place/mount"
done
