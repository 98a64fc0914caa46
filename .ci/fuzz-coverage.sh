#!/usr/bin/env bash
# The parsers of the S3 door and of the log under libFuzzer, so many seconds each (`make fuzz-coverage`). The targets and
# corpora are those of the tests. What fails is kept in target/fuzz/TARGET and belongs into its corpus then.
# Usage: fuzz-coverage.sh SECONDS [TARGET ...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
export PATH=$PWD/target/tools/bin:$PATH
# Coverage feedback is a compiler flag of nightly; the sanitizers are left out: there is no unsafe code here to check.
rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
command -v cargo-fuzz >/dev/null || cargo install --locked --quiet --root target/tools cargo-fuzz@0.13.2

targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  for folder in tests/fuzz/corpus/*; do
    case "${folder##*/}" in
      # Parsers that a crate of their own reads (serde's and TOML's): the mutations of `make fuzz` are for them.
      config | console-json | replication-frame) ;;
      *) targets+=("${folder##*/}") ;;
    esac
  done
fi
for target in "${targets[@]}"; do
  echo "== $target"
  mkdir -p "target/fuzz/$target" "target/fuzz-coverage/$target"
  SILTSTONE_FUZZ_TARGET=$target cargo +nightly fuzz run --sanitizer none --target-dir target/fuzz-coverage-build parsers \
    "target/fuzz-coverage/$target" "tests/fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=1024 -artifact_prefix="target/fuzz/$target/" -print_final_stats=1
done
