#!/usr/bin/env bash
# Makes Debian packages of a built library: libwalrec0 (what a program needs to run) and libwalrec-dev (what it needs to be built).
# Called by `make deb`; RELEASE as for install.sh, OUT is where they go. Names each file it wrote.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${RELEASE:?}" "${OUT:?}"
command -v dpkg-deb >/dev/null || { echo "deb: dpkg-deb is not here; it comes with Debian" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
architecture=$(dpkg --print-architecture)
libdir=/usr/lib/$(gcc -print-multiarch 2>/dev/null || dpkg-architecture -qDEB_HOST_MULTIARCH)
# The floor that the library's symbols tell.
glibc=$(objdump -T "$RELEASE/libwalrec.so" | grep -o 'GLIBC_2\.[0-9]*' | sort -t. -k2 -n | tail -n 1 | cut -d_ -f2)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PREFIX=/usr LIBDIR=$libdir INCLUDEDIR=/usr/include DESTDIR=$work/all COMMAND='' RELEASE=$RELEASE packaging/install.sh >/dev/null

package() { # name, section, depends, summary, text; its files are in place below $work/NAME
    local tree=$work/$1
    install -d "$tree/DEBIAN" "$tree/usr/share/doc/$1"
    {
        echo "License: MIT or Apache-2.0"
        echo
        cat LICENSE-MIT THIRD-PARTY-NOTICES
    } >"$tree/usr/share/doc/$1/copyright"
    cat >"$tree/DEBIAN/control" <<END
Package: $1
Version: $version
Architecture: $architecture
Section: $2
Priority: optional
Maintainer: walrec <walrec@localhost>
Depends: $3
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Description: $4
 $5
END
    dpkg-deb --root-owner-group --build "$tree" "$OUT/$1_${version}_$architecture.deb" >/dev/null
    echo "$OUT/$1_${version}_$architecture.deb"
}

install -d "$OUT" "$work/libwalrec0$libdir" "$work/libwalrec-dev$libdir"
cp -a "$work/all$libdir/libwalrec.so."* "$work/libwalrec0$libdir/"
cp -a "$work/all$libdir/"{libwalrec.so,libwalrec.a,pkgconfig,cmake} "$work/libwalrec-dev$libdir/"
cp -a "$work/all/usr/include" "$work/libwalrec-dev/usr/"
install -d "$work/libwalrec-dev/usr/share"
cp -a "$work/all/usr/share/man" "$work/libwalrec-dev/usr/share/"
gzip -9n "$work/libwalrec-dev/usr/share/man/man3/"*
printf 'libwalrec 0 libwalrec0\n' | install -D -m 644 /dev/stdin "$work/libwalrec0/DEBIAN/shlibs"
printf 'activate-noawait ldconfig\n' | install -D -m 644 /dev/stdin "$work/libwalrec0/DEBIAN/triggers"

package libwalrec0 libs "libc6 (>= $glibc), libgcc-s1" "write-ahead-log recorder for matching engines" \
    "Appends events in nanoseconds, makes them durable in the background, recovers them after a crash."
package libwalrec-dev libdevel "libwalrec0 (= $version)" "write-ahead-log recorder for matching engines, development files" \
    "Headers for C and C++, the static library, and files for pkg-config and CMake."
