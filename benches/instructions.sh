#!/usr/bin/env bash
# Counts instructions with callgrind, beside what benches/instructions.txt says; see `make bench-insn`.
#
#   instructions.sh HOT COLD WORK [record]     HOT: benches/instructions.c, COLD: examples/instructions.rs, WORK: a directory for logs
#
# Fails when a count is more than 2 % above the record and the record was made with the same compilers. `record` writes it anew.
set -euo pipefail
shopt -s inherit_errexit

hot=$1 cold=$2 work=$3 mode=${4-}
record=$(dirname "$0")/instructions.txt
versions="$(rustc --version); $(${CC:-gcc} --version | head -n 1)"
if ! command -v valgrind >/dev/null; then
    echo "bench-insn: NOTHING WAS COUNTED: valgrind is not there (apt-get install valgrind)" >&2
    exit 0
fi
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

# Instructions of a run: of the named functions with what they call, or of all threads.
count() {
    local functions=()
    while [[ $1 != -- ]]; do functions+=("--toggle-collect=$1"); shift; done
    shift
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "${functions[@]}" "$@" 2>&1 >/dev/null \
        | sed -n 's/.*Collected : //p' | grep . || { echo "bench-insn: callgrind counted nothing for $*" >&2; return 1; }
}

divided() { awk -v n="$1" -v by="$2" 'BEGIN { printf "%.2f", n / by }'; }

declare -a names=() values=()
# A name, and the command that gives its count.
counted() {
    local value
    value=$("${@:2}")
    names+=("$1")
    values+=("$value")
}

# ---- the hot path: one thread's, in a log of its own each time -------------------------------------------------
appended() {
    local n
    mkdir "$work/$1"
    n=$(count "${@:2}" -- "$hot" "$1" "$work/$1")
    rm -rf "${work:?}/$1"
    divided "$n" 400000
}
counted append_library appended append walrec_append
counted append_batch_of_64 appended batch walrec_append_batch
counted reserve_commit_library appended reserve walrec_reserve walrec_commit
filled=$(appended inline with_inline)
alone=$(appended nothing with_nothing)
counted reserve_commit_inline awk -v a="$filled" -v b="$alone" 'BEGIN { printf "%.2f", a - b }'
counted fill_alone echo "$alone"

# ---- what grows with the work: the difference of two sizes -----------------------------------------------------
difference() {
    local many
    many=$(count -- "${@:3}")
    divided $((many - $1)) "$2"
}
few=$(count -- "$cold" finalize 100)
counted finalize_a_block difference "$few" 400 "$cold" finalize 500
"$cold" write "$work/few" 2
"$cold" write "$work/many" 10
for what in verify replay; do
    few=$(count -- "$cold" $what "$work/few")
    counted "${what}_an_event" difference "$few" $((8 * 64 * 256)) "$cold" $what "$work/many"
done

# ---- beside the record -----------------------------------------------------------------------------------------
if [[ $mode == record ]]; then
    {
        echo "# Instructions, counted by callgrind (make bench-insn); written by make bench-insn RECORD=1."
        echo "# The hot path: an event, with the ends of blocks and segments that come with it. finalize: a block of 256 events, guards included."
        echo "# $versions"
        for i in "${!names[@]}"; do echo "${names[i]} ${values[i]}"; done
    } >"$record"
fi
same=no
grep -qxF "# $versions" "$record" && same=yes
printf '%-26s %12s %12s\n' "instructions" recorded now
worse=0
for i in "${!names[@]}"; do
    old=$(awk -v name="${names[i]}" '$1 == name { print $2 }' "$record")
    verdict=$(awk -v old="${old:-0}" -v now="${values[i]}" 'BEGIN { if (old > 0 && now > old * 1.02) print "MORE than 2 % above the record" }')
    printf '%-26s %12s %12s  %s\n' "${names[i]}" "${old:--}" "${values[i]}" "$verdict"
    [[ -z $verdict ]] || worse=1
done
if [[ $same == no ]]; then
    echo "made by other compilers than the record, so nothing is compared: $versions"
    exit 0
fi
exit $worse
