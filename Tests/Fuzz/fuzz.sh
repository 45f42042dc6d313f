#!/usr/bin/env bash
# Runs the fuzz targets. `make fuzz` builds first.
#
#   fuzz.sh run RUNS [TARGET…]      search, and print one row of the results table for each target
#   fuzz.sh minimise [TARGET…]      take what the search found new into the corpus, as few files as
#                                   cover the same
#
# The search works in .build/fuzz/search; the corpus in the repository is only read. A finding ends
# that target, is kept in .build/fuzz/search/TARGET/findings, and makes the script fail.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=.build/fuzz/release/penstock-fuzz
work=.build/fuzz/search
# Inputs larger than this find nothing new and cost time.
declare -A sizes=([superblock]=4200 [group]=16384 [record]=512 [ring]=16384 [envelope]=4096
  [acceptance]=2048 [event]=2048 [json]=2048 [identity]=1024 [configuration]=4096)
# A kept file is small, so that the repository stays small.
kept_size_max=4096
kept_count_max=48

# The address sanitizer would see the end of a process as a leak of what Swift keeps for good.
export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=8
# The Swift runtime would answer a trap with a debugger of its own, which the sanitizer takes for
# the finding.
export SWIFT_BACKTRACE=enable=no

prepare() {
  local target=$1
  mkdir -p "$work/$target"/{corpus,seeds,findings} "Tests/Fuzz/Corpus/$target"
  "$program" "$target" --seeds "$work/$target/seeds"
  case $target in
    configuration)
      cp edge-config/*.yaml Tests/GatewayConfigurationTests/Fixtures/valid/*.yaml \
        "$work/$target/seeds/"
      for name in Tests/GatewayConfigurationTests/Fixtures/invalid/*.yaml; do
        cp "$name" "$work/$target/seeds/invalid-$(basename "$name")"
      done ;;
    envelope) cp Tests/EnvelopeTests/Fixtures/* "$work/$target/seeds/" ;;
  esac
}

run() {
  local runs=$1 target=$2 status=0 log started seconds
  prepare "$target"
  log=$work/$target/log
  started=$(date +%s)
  local dictionary=Tests/Fuzz/Dictionaries/$target.dict options=()
  [ ! -f "$dictionary" ] || options+=("-dict=$dictionary")
  "$program" "$target" "${options[@]}" -runs="$runs" -max_len="${sizes[$target]}" -timeout=10 \
    -rss_limit_mb=1024 -artifact_prefix="$work/$target/findings/" \
    "$work/$target/corpus" "$work/$target/seeds" "Tests/Fuzz/Corpus/$target" \
    >"$log" 2>&1 || status=$?
  seconds=$(($(date +%s) - started))
  local done_runs coverage features kept
  done_runs=$(grep -oE '^#[0-9]+' "$log" | tail -1 | tr -d '#')
  coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -1 | cut -d' ' -f2)
  features=$(grep -oE 'ft: [0-9]+' "$log" | tail -1 | cut -d' ' -f2)
  kept=$(grep -c 'Test unit written' "$log" || true)
  echo "| $target | ${done_runs:-0} | ${coverage:-0} | ${features:-0} |" \
    "$((${done_runs:-0} / (seconds > 0 ? seconds : 1))) | $kept |"
  if [ "$status" -ne 0 ]; then
    grep -E "broken promise|Fatal error|SUMMARY" "$log" >&2 || tail -25 "$log" >&2
    echo "again: $program $target $(find "$work/$target/findings" -type f | tail -1)" >&2
  fi
  return "$status"
}

minimise() {
  local target=$1 file name count=0
  prepare "$target"
  rm -rf "$work/$target/merged" && mkdir "$work/$target/merged"
  "$program" "$target" -set_cover_merge=1 -max_len="${sizes[$target]}" "$work/$target/merged" \
    "Tests/Fuzz/Corpus/$target" "$work/$target/seeds" "$work/$target/corpus" \
    >"$work/$target/merge-log" 2>&1
  if [ -z "$(ls "$work/$target/merged")" ]; then
    echo "$target: the merge failed, see $work/$target/merge-log" >&2
    return 1
  fi
  # Regression inputs have names of their own and stay.
  find "Tests/Fuzz/Corpus/$target" -type f -regextype posix-extended \
    -regex '.*/[0-9a-f]{40}' -delete
  while read -r file; do
    [ "$count" -lt "$kept_count_max" ] || break
    name=$(sha1sum "$file" | cut -d' ' -f1)
    cp "$file" "Tests/Fuzz/Corpus/$target/$name"
    count=$((count + 1))
  done < <(find "$work/$target/merged" -type f -size -"$((kept_size_max + 1))"c -printf '%s %p\n' \
    | sort -n | awk '{ files[NR] = $2 } END {
        step = NR > '"$kept_count_max"' ? NR / '"$kept_count_max"' : 1
        for (i = 1; i <= NR; i += step) print files[int(i)] }')
  echo "$target: $(find "Tests/Fuzz/Corpus/$target" -type f | wc -l) files," \
    "$(du -sb "Tests/Fuzz/Corpus/$target" | cut -f1) bytes"
}

command=${1:?run or minimise}
shift
runs=0
if [ "$command" = run ]; then runs=${1:?how many runs}; shift; fi
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then mapfile -t targets < <("$program" --targets); fi
failed=0
if [ "$command" = run ]; then
  echo "| target | runs | edges covered | features | runs per second | findings |"
  echo "|---|--:|--:|--:|--:|--:|"
fi
for target in "${targets[@]}"; do
  case $command in
    run) run "$runs" "$target" || failed=1 ;;
    minimise) minimise "$target" || failed=1 ;;
    *) echo "run or minimise" >&2; exit 64 ;;
  esac
done
exit "$failed"
