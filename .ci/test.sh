#!/usr/bin/env bash
# Every test, in the order that fails fastest. The last lines say what ran.
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0
summary=()

# Runs a step; its output is kept for counting what it ran. A step that ran nothing has failed.
step() {
  local name=$1 pattern=$2
  shift 2
  echo "== $name"
  local log status=0 ran bad began=$SECONDS
  log=$(mktemp)
  "$@" 2>&1 | tee "$log" || status=$?
  case "$pattern" in
    cargo)
      ran=$(grep -oE '[0-9]+ passed' "$log" | awk '{n+=$1} END {print n+0}')
      bad=$(grep -oE '[0-9]+ failed' "$log" | awk '{n+=$1} END {print n+0}') ;;
    pytest)
      ran=$(tail -n 3 "$log" | grep -oE '[0-9]+ passed' | awk '{n+=$1} END {print n+0}')
      bad=$(tail -n 3 "$log" | grep -oE '[0-9]+ (failed|error)' | awk '{n+=$1} END {print n+0}') ;;
    one) ran=1 bad=0 ;;
  esac
  rm -f "$log"
  if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; [ "$pattern" = one ] && ran=0; fi
  if [ "$ran" = 0 ] && [ "$bad" = 0 ]; then echo "$name ran no test"; bad=1; fi
  passed=$((passed + ran)) failed=$((failed + bad))
  summary+=("$name: $ran passed, $bad failed, $((SECONDS - began)) s")
}

# Three workers keep two cores busy: tests of time and of crashes mostly wait. Each has a server of its own.
PYTEST=(.venv/bin/python -m pytest -q --durations=5 -n 3 --dist worksteal -o tmp_path_retention_policy=failed)
step "format" one cargo fmt --all --check
step "structure" one python3 .ci/structure.py
step "coverage page" one python3 .ci/coverage.py
step "build" one cargo build --workspace --locked
# Determinism first: without it no seed repeats what it found.
step "simulation is deterministic" one target/debug/siltstone-sim meta --seed 1
step "simulation, fixed seeds" one target/debug/siltstone-sim sweep --from 1 --count 200
fresh=$(( 16#$(git rev-parse HEAD 2>/dev/null | cut -c1-8 || echo 1) ))
step "simulation, fresh seeds from $fresh" one target/debug/siltstone-sim sweep --from "$fresh" --count 100
step "lints" one cargo clippy --workspace --all-targets --locked -- -D warnings
step "units and properties" cargo cargo test --workspace --locked --no-fail-fast
step "planted bugs" one cargo run --locked -q -p siltstone-simulation --features mutants -- mutants
step "black box" pytest "${PYTEST[@]}" tests/blackbox
step "clients, installation" one .ci/clients.sh short
step "clients" pytest .venv/bin/python -m pytest -q --durations=5 -n 2 --dist loadgroup tests/clients
echo
echo "Left to 'make nightly': long simulations, kill -9 loops in the thousands, uploads of 5 GiB, the clients that take minutes to build."
printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
