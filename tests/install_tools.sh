#!/usr/bin/env bash
# Installs what the tests need beside Rust, where it is missing: with apt-get, as root or by sudo. Where that cannot be, it says what is
# missing and goes on: a test that cannot run without a tool says so itself. With --required, a missing compiler is an error.
set -euo pipefail

# Without these nothing can be built.
declare -A required=([g++]=g++ [gcc]=gcc [make]=make [nm]=binutils [readelf]=binutils)
# Without these some tests say that they did not run. Command and Debian package.
declare -A wanted=(
    [strace]=strace
    [mkfs.ext4]=e2fsprogs
    [mkfs.xfs]=xfsprogs
    [mkfs.btrfs]=btrfs-progs
)

missing_of() {
    local -n table=$1
    for command in "${!table[@]}"; do
        command -v "$command" >/dev/null || [[ -x /usr/sbin/$command ]] || echo "${table[$command]}"
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
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package" >/dev/null \
            || echo "could not be installed: $package" >&2
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
