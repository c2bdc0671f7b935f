#!/usr/bin/env bash
# Whole flows of larder and restic on the same folder, in turns: wall and CPU seconds, peak memory.
# Usage: benches/peers.sh FOLDER [WORK]     (programs: $LARDER, else target/release/larder; $RESTIC, else restic)
set -euo pipefail
data=$1 work=$(mktemp -d -p "${2:-/tmp}")
trap 'rm -rf "$work"' EXIT
larder=${LARDER:-target/release/larder} restic="${RESTIC:-restic} --no-cache"
export RESTIC_PASSWORD=bench

# measure PROGRAM FLOW ARGUMENTS…
measure() {
    local program=$1 flow=$2
    shift 2
    # shellcheck disable=SC2086  # a program may bring a flag
    /usr/bin/time -f "$program $flow: %e s wall, %U user, %S system, %M KiB" \
        ${!program} -q -r "$work/$program" "$@" >/dev/null
}

for program in larder restic; do
    ${!program} -q -r "$work/$program" init >/dev/null
    measure "$program" "first backup" backup "$data"
done
for program in larder restic; do
    measure "$program" "unchanged backup" backup "$data"
    measure "$program" "check --read-data" check --read-data
done
for program in restic larder; do
    measure "$program" restore restore latest --target "$work/out"
    rm -rf "$work/out"
done
