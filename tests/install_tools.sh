#!/usr/bin/env bash
# Installs what the tests need beside Rust, where it is missing: with apt-get, as root or by sudo. Where that cannot be, it says what is
# missing and goes on: a test that cannot run without a tool says so itself. With --required, a missing compiler is an error.
set -euo pipefail

# Without these nothing can be built.
declare -A required=([g++]=g++ [gcc]=gcc [make]=make [nm]=binutils [readelf]=binutils)
# Without these some tests say that they did not run. Command and Debian package; behind a bar, the one that has it in other releases.
# A command with arguments is there if it succeeds.
declare -A wanted=(
    [lz4]=lz4
    [mkfs.btrfs]=btrfs-progs
    [mkfs.xfs]=xfsprogs
    [qemu-storage-daemon]='qemu-utils|qemu-system-common'
    [strace]=strace
    [mkfs.ext4]=e2fsprogs [filefrag]=e2fsprogs [losetup]=mount [fallocate]=util-linux
    [clang++]=clang [cmake]=cmake [pkg-config]=pkg-config
    [valgrind]=valgrind
    [abidiff]=abigail-tools
    [doxygen]=doxygen [man]=man-db
    [python3]=python3 ['python3 -m ensurepip --version']=python3-venv
)

missing_of() {
    local -n table=$1
    for command in "${!table[@]}"; do
        if [[ $command == *' '* ]]; then
            $command >/dev/null 2>&1
        else
            command -v "$command" >/dev/null || [[ -x /usr/sbin/$command ]]
        fi || echo "${table[$command]}"
    done | sort -u
}

mapfile -t missing < <(missing_of required; missing_of wanted)
if ((${#missing[@]} == 0)); then
    exit 0
fi
sudo=()
((EUID == 0)) || sudo=(sudo -n)
if command -v apt-get >/dev/null && { ((EUID == 0)) || command -v sudo >/dev/null; }; then
    echo "installing: ${missing[*]}"
    "${sudo[@]}" apt-get update -q >/dev/null || true
    for package in "${missing[@]}"; do
        for choice in ${package//|/ }; do
            "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$choice" >/dev/null \
                || echo "could not be installed: $choice" >&2
            { missing_of required; missing_of wanted; } | grep -xF "$package" >/dev/null || break
        done
    done
fi
mapfile -t missing < <(missing_of wanted)
((${#missing[@]} == 0)) || echo "not there, so some tests will say that they did not run: ${missing[*]}" >&2
mapfile -t missing < <(missing_of required)
if ((${#missing[@]})); then
    echo "missing: ${missing[*]}" >&2
    [[ ${1-} == --required ]] && exit 1
fi
exit 0
