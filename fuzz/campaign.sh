#!/bin/bash
# One target's campaign: campaign.sh DIRECTORY TARGET LIBFUZZER-OPTIONS... Everything it leaves lies in DIRECTORY: the grown corpus, the
# log, and what was found. It prints one FIGURE, and fails when something was found.
set -eu
directory=$1 target=$2
shift 2
# Six changes at most: the first wrong thing hides what comes behind it, so long scripts reach less.
corpus=$directory/corpus/$target log=$directory/$target.log
mkdir -p "$corpus" "$directory/found"
begin=$(mktemp "$directory/begin.XXXXXX")
trap 'rm -f "$begin"' EXIT
binary=$(echo "$directory"/*/release/"$target")
echo "fuzz $target: the log is $log"
status=0
"$binary" "$corpus" "fuzz/corpus/$target" -max_len=97 -entropic=0 -rss_limit_mb=512 -report_slow_units=600 -malloc_limit_mb=64 -print_funcs=0 \
  -print_final_stats=1 -artifact_prefix="$directory/found/$target-" "$@" >"$log" 2>&1 || status=$?
told() { sed -n "s/^$1: *//p" "$log" | tail -n 1; }
found=$(find "$directory/found" -name "$target-*" -newer "$begin")
echo "FIGURE fuzz $target: $(told stat::number_of_executed_units) executions, $(told stat::average_exec_per_sec) a second," \
  "seed $(told 'INFO: Seed'), $(grep -c . <<<"$found" || true) found"
[ "$status" = 0 ] && [ -z "$found" ] && exit 0
tail -n 30 "$log" >&2
printf 'fuzz %s: exit status %s; what was found is kept:\n%s\n' "$target" "$status" "$found" >&2
exit 1
