#!/bin/sh
# The compiler for the fuzzers: what judges the library is not watched for coverage, so that an input counts as new by what it makes
# the library do, and the judges run at full speed. (The checksum's four lanes are no vector: gathered into one and taken apart again, they
# cost twice the time.) Called as `rustc.sh RUSTC ARGUMENTS...` by Cargo (RUSTC_WRAPPER).
for argument; do
  shift
  case "$previous $argument" in
  "--crate-name walrec_fuzz") judge=judge ;;
  "--crate-name twox_hash") judge=checksum ;;
  esac
  set -- "$@" "$argument"
  previous=$argument
done
[ "$judge" != checksum ] || set -- "$@" -Cno-vectorize-slp
if [ -n "$judge" ]; then
  for argument; do
    shift
    [ "$argument" = -Cpasses=sancov-module ] || set -- "$@" "$argument"
  done
fi
exec "$@"
