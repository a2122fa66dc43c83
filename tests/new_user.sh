#!/usr/bin/env bash
# README's steps as somebody new takes them: a clean Debian root, with the packages that README names and nothing else, a fresh clone of
# what is committed, and README's own lines, in their order, to a program that is compiled by hand, one that pkg-config finds the
# library for, and one that CMake does. Each is run, and must say what README's program says.
#
#   new_user.sh FOLDER     where the root is made; it is removed at the end, unless a step failed
#
# Needs root and debootstrap. Rust comes as README tells; where that cannot be fetched, this machine's toolchain is put there, read-only.
set -euo pipefail

not_run() { echo "SKIP new user: README's steps DID NOT RUN in a clean root: $*" >&2; exit 0; }

# --- Inside of the root -----------------------------------------------------------------------------------------------------------

# The README's fenced blocks of a language, one after another.
blocks() { awk -v fence="\`\`\`$1" '$0 == "```" { inside = 0 } inside { print } $0 == fence { inside = 1 }' README.md; }

# The one line of README's shell blocks that has these words.
line_with() {
    local found
    found=$(blocks sh | grep -F -- "$1") || { echo "README has no line with: $1" >&2; exit 1; }
    (($(wc -l <<<"$found") == 1)) || { echo "README has several lines with: $1" >&2; exit 1; }
    echo "$found"
}

step() { echo "new user: $1"; eval "$1"; }

says() { # which program
    rm -rf orders.log
    local said
    said=$("$1")
    [[ $said == "event 1: ok, ok" ]] || { echo "$1 says: $said" >&2; exit 1; }
    echo "FIGURE new user: $2: $said"
}

inside() {
    export HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    cd / # README alone lies here, as a visitor sees it
    apt-get update -q >/dev/null
    echo "new user: $(line_with apt-get)"
    eval "$(line_with apt-get)" >/dev/null
    if [[ -d /toolchain/bin ]]; then
        export PATH=/toolchain/bin:$PATH
    else
        step "$(line_with rustup.rs)"
    fi
    git clone -q /repository /root/clone
    cd /root/clone
    step "$(line_with 'make library')"
    blocks c >orders.c
    step "$(line_with 'cc -std=c99 orders.c -Iinclude')"
    says ./orders "C, by hand"
    step "$(line_with 'cp orders.c orders.cpp')"
    step "$(line_with 'g++ -std=c++17 orders.cpp')"
    says ./orders "C++, by hand"
    step "$(line_with 'make install')"
    step "$(line_with 'export PKG_CONFIG_PATH')"
    step "$(line_with 'pkg-config --cflags')"
    says ./orders "C, by pkg-config"
    blocks cmake >CMakeLists.txt
    step "$(line_with 'cmake -B')"
    step "$(line_with 'cmake --build')"
    says build/orders "C, by CMake"
    echo "new user: from a bare root to four running programs in $SECONDS s"
}

if [[ ${1-} == --inside ]]; then
    inside
    exit 0
fi

# --- Outside ----------------------------------------------------------------------------------------------------------------------

cd "$(dirname "$0")/.."
folder=${1:?the folder}
((EUID == 0)) || not_run "this needs root"
command -v debootstrap >/dev/null || not_run "debootstrap is not here (apt-get install debootstrap)"
command -v unshare >/dev/null || not_run "unshare is not here"
# From where this machine's own packages come.
read -r mirror suite < <(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk '$1 == "Debian" && $3 !~ /-/ { print $2, $3; exit }') || true
[[ -n ${suite-} ]] || not_run "apt names no Debian release"

root=$folder/root
rm -rf "$root"
mkdir -p "$root"
root=$(realpath "$root")
log=$folder/debootstrap.log
echo "new user: debootstrap of $suite"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$log" 2>&1 || not_run "debootstrap failed: $(tail -n 1 "$log")"
mkdir -p "$root/dev/shm"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp tests/new_user.sh "$root/new_user.sh"
git clone -q --bare . "$root/repository"
git --git-dir "$root/repository" show HEAD:README.md >"$root/README.md"

toolchain=
if ! curl --proto '=https' -sSf --max-time 20 -o /dev/null https://sh.rustup.rs 2>/dev/null; then
    toolchain=$(rustc --print sysroot) || not_run "rustup cannot be fetched, and there is no toolchain here"
    mkdir -p "$root/toolchain"
    echo "new user: rustup CANNOT be fetched here: this machine's toolchain is put there, read-only: $(rustc --version)"
fi
# Certificates of this machine, where its way to the registries has its own: Debian's package would not know them.
mkdir -p "$root/certificates"
certificates=()
if [[ -n ${SSL_CERT_FILE-} ]]; then
    cp -L "$SSL_CERT_FILE" "$root/certificates/all.crt"
    certificates=(SSL_CERT_FILE=/certificates/all.crt CARGO_HTTP_CAINFO=/certificates/all.crt)
fi

# In namespaces of its own: the mounts end with the steps.
export root toolchain
unshare --mount --pid --fork bash -euc '
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mkdir -p "$root/dev/pts"
    mount -t devpts devpts "$root/dev/pts"
    mount -t tmpfs -o size=256m,mode=1777 tmpfs "$root/dev/shm"
    if [[ -n $toolchain ]]; then
        mount --bind "$toolchain" "$root/toolchain"
        mount -o remount,bind,ro "$root/toolchain"
    fi
    exec chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" bash /new_user.sh --inside
' -- "${certificates[@]}"
rm -rf "$root"
