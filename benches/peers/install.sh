#!/usr/bin/env bash
# Installs what the peers need beside crates, where it is missing: Debian packages by apt-get, as root or by sudo, and a cmake that is
# new enough for Aeron, from PyPI into target/tools. What cannot be had is said here, and its row says later that it did not run.
set -euo pipefail

tools=$1
# File and the Debian package that brings it.
declare -A wanted=(
    [/usr/include/rocksdb/c.h]=librocksdb-dev
    [/usr/include/spdlog/async.h]=libspdlog-dev
)
if [[ ${AERON-1} != 0 ]]; then
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || wanted[/no/libclang]=libclang-dev
    wanted[/usr/include/uuid/uuid.h]=uuid-dev
    wanted[/usr/include/bsd/bsd.h]=libbsd-dev
    python3 -m venv --help >/dev/null 2>&1 || wanted[/no/venv]=python3-venv
fi

sudo=()
((EUID == 0)) || sudo=(sudo -n)
missing=()
for file in "${!wanted[@]}"; do
    [[ -e $file ]] || missing+=("${wanted[$file]}")
done
if ((${#missing[@]})); then
    echo "installing: ${missing[*]}"
    "${sudo[@]}" apt-get update -q >/dev/null || true
    for package in "${missing[@]}"; do
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends \
            "$package" >/dev/null || echo "could not be installed: $package" >&2
    done
fi

new_enough() {
    local found
    found=$("$1" --version 2>/dev/null | sed -n '1s/.* //p') && [[ $(printf '%s\n' 3.30 "$found" | sort -V | head -1) == 3.30 ]]
}

if [[ ${AERON-1} != 0 ]] && ! new_enough cmake && ! new_enough "$tools/cmake/bin/cmake"; then
    echo "installing: cmake, into $tools/cmake"
    { python3 -m venv "$tools/cmake" && "$tools/cmake/bin/pip" -q install cmake; } || echo "could not be installed: cmake 3.30" >&2
fi
