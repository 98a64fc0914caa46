#!/usr/bin/env bash
# The parsers of outside bytes under libFuzzer, so many seconds each (`make fuzz-coverage`). The targets, their bounds and
# their corpora are those of the tests. What fails is kept in target/fuzz/TARGET; minimised (cargo fuzz tmin) it belongs
# into the target's corpus. What the engine finds worth keeping stays in target/fuzz-coverage for the next run.
# Usage: fuzz-coverage.sh SECONDS [TARGET ...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
# Coverage feedback is a compiler flag of nightly; a date, because the newest one may break the build any day.
toolchain=nightly-2026-05-20
export PATH=$PWD/target/tools/bin:$PATH
rustup toolchain list | grep -q "^$toolchain" || rustup toolchain install "$toolchain" --profile minimal
[ "$(cargo-fuzz --version 2>/dev/null)" = "cargo-fuzz 0.13.2" ] ||
  cargo install --locked --quiet --force --root target/tools cargo-fuzz@0.13.2

# The sanitizers are left out: no crate here has unsafe code, and the targets watch their memory themselves.
build=(--sanitizer none --target-dir target/fuzz-coverage-build)
cargo "+$toolchain" fuzz build "${build[@]}" parsers

targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  targets=(tests/fuzz/corpus/*)
  targets=("${targets[@]##*/}")
fi
failed=()
for target in "${targets[@]}"; do
  echo "== $target"
  mkdir -p "target/fuzz/$target" "target/fuzz-coverage/$target"
  log=target/fuzz-coverage/$target.log
  # What the engine finds is put into the first folder; the corpus of the tests is read only.
  if SILTSTONE_FUZZ_TARGET=$target cargo "+$toolchain" fuzz run "${build[@]}" parsers \
    "target/fuzz-coverage/$target" "tests/fuzz/corpus/$target" -- -max_total_time="$seconds" -max_len=65536 -timeout=10 \
    -rss_limit_mb=1024 -artifact_prefix="target/fuzz/$target/" -print_final_stats=1 >"$log" 2>&1; then
    grep -E '^stat::(number_of_executed_units|peak_rss_mb)' "$log"
  else
    failed+=("$target")
    grep -E -A3 'panicked|ERROR: libFuzzer|Test unit written' "$log" || tail -n 20 "$log"
  fi
done
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]} (logs in target/fuzz-coverage)" >&2; exit 1; }
