#!/usr/bin/env bash
# Makes of a Rust static library one that shows nothing but the names on standard input: another Rust library, whose standard library
# may be of another version, can then be linked into the same program. Called by install.sh.
#
#   localize.sh ARCHIVE RESULT <NAMES
set -euo pipefail

archive=$(realpath "$1") result=$(realpath -m "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/names"

# One object of what the names need. Sections are not collected here: this linker would make of a weak reference, by which the standard
# library asks for functions of a newer glibc, one that must be met. Groups are dissolved, or the other library's would stand for ours.
sed 's/^/--undefined=/' "$work/names" >"$work/roots"
ld -r --force-group-allocation "@$work/roots" -o "$work/all.o" "$archive"
# The bitcode is for LTO by Rust, and linkers' plugins cannot read several in one.
objcopy --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd --keep-global-symbols="$work/names" \
    "$work/all.o" "$work/library.o"
(cd "$work" && ar rcsD library.a library.o)
install -m 644 "$work/library.a" "$result"
