#!/usr/bin/env bash
# Copies a built library, its headers and what finds them into place; called by `make install`. Names every file it wrote.
#
#   PREFIX, LIBDIR, INCLUDEDIR   where they are at run time
#   DESTDIR                      put before each of them: for packagers
#   STRIP                        the program that strips; "cat" keeps everything
#   RELEASE                      the directory of the built library
#   COMMAND                      the built command; where it was not built, it is left out
set -euo pipefail
cd "$(dirname "$0")/.."

: "${PREFIX:?}" "${LIBDIR:?}" "${INCLUDEDIR:?}" "${RELEASE:?}"
: "${DESTDIR=}" "${STRIP:=strip}" "${COMMAND=}"

for path in "$PREFIX" "$LIBDIR" "$INCLUDEDIR"; do
    [[ $path == /* ]] || { echo "install: $path is not an absolute path" >&2; exit 1; }
done

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
abi=$(sed -n 's/^#define WALREC_ABI_VERSION \([0-9]*\)$/\1/p' include/walrec.h)
IFS=. read -r major minor patch <<<"$version"

put() { # mode, source, target
    install -D -m "$1" "$2" "$DESTDIR$3"
    echo "$DESTDIR$3"
}

put_stripped() { # mode, strip's flag, source, target
    install -d "$(dirname "$DESTDIR$4")"
    if [[ $STRIP == cat ]]; then
        cp -f "$3" "$DESTDIR$4"
    else
        "$STRIP" "$2" -o "$DESTDIR$4" "$3"
    fi
    chmod "$1" "$DESTDIR$4"
    echo "$DESTDIR$4"
}

put_link() { # target's name, link
    ln -sfn "$1" "$DESTDIR$2"
    echo "$DESTDIR$2"
}

put_filled() { # template, target
    install -d "$(dirname "$DESTDIR$2")"
    sed -e "s|@PREFIX@|$PREFIX|g" -e "s|@LIBDIR@|$LIBDIR|g" -e "s|@INCLUDEDIR@|$INCLUDEDIR|g" \
        -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" \
        -e "s|@MAJOR@|$major|g" -e "s|@MINOR@|$minor|g" -e "s|@PATCH@|$patch|g" \
        -e "s|@INCLUDE_FROM_HERE@|$(realpath -m --relative-to="$LIBDIR/cmake/walrec" "$INCLUDEDIR")|g" \
        "packaging/$1" >"$DESTDIR$2"
    chmod 644 "$DESTDIR$2"
    echo "$DESTDIR$2"
}

for header in include/*; do
    put 644 "$header" "$INCLUDEDIR/$(basename "$header")"
done
put_stripped 755 --strip-unneeded "$RELEASE/libwalrec.so" "$LIBDIR/libwalrec.so.$version"
put_link "libwalrec.so.$version" "$LIBDIR/libwalrec.so.$abi"
put_link "libwalrec.so.$abi" "$LIBDIR/libwalrec.so"
if [[ $STRIP == cat ]]; then
    put 644 "$RELEASE/libwalrec.a" "$LIBDIR/libwalrec.a"
else
    # The names are those of the shared library.
    nm -D --defined-only "$RELEASE/libwalrec.so" | awk '{ print $3 }' \
        | packaging/localize.sh "$RELEASE/libwalrec.a" "$DESTDIR$LIBDIR/libwalrec.a"
    echo "$DESTDIR$LIBDIR/libwalrec.a"
fi
put_filled walrec.pc.in "$LIBDIR/pkgconfig/walrec.pc"
put_filled walrec-config.cmake.in "$LIBDIR/cmake/walrec/walrec-config.cmake"
put_filled walrec-config-version.cmake.in "$LIBDIR/cmake/walrec/walrec-config-version.cmake"
put 644 docs/man/walrec.3 "$PREFIX/share/man/man3/walrec.3"
# Each function has a page, which is that one.
for name in $(sed '/^\.SH SYNOPSIS/q' docs/man/walrec.3 | grep -o 'walrec_[a-z_]*'); do
    printf '.so man3/walrec.3\n' >"$DESTDIR$PREFIX/share/man/man3/$name.3"
    echo "$DESTDIR$PREFIX/share/man/man3/$name.3"
done
if [[ -n $COMMAND && -x $COMMAND ]]; then
    put_stripped 755 --strip-all "$COMMAND" "$PREFIX/bin/walrec"
    put 644 docs/man/walrec.1 "$PREFIX/share/man/man1/walrec.1"
fi
