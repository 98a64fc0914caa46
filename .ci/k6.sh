#!/usr/bin/env bash
# Load tests: `.ci/k6.sh SCENARIO…` runs k6/scenarios/SCENARIO.js, one after the other, each against a server of its own that
# is ended whatever happens, or against the one that ENDPOINT names. `install` only sees to k6. docs/load-tests.md has the
# variables. Credentials come from the environment and go on in it, never in arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.8.1
tools=$PWD/target/tools/bin
reports=$PWD/target/k6

# `set -e` is off inside a function whose failure is asked for, so what must not go on says so.
die() { echo "k6: $*" >&2; exit 1; }

# A k6 of the system will do (1.0 or newer); `go install` checks what it builds against Go's checksum database.
install_k6() {
  k6=${K6:-$(command -v k6 || echo "$tools/k6")}
  [[ -x $k6 || -n ${K6:-} ]] && return
  command -v go >/dev/null || die "neither k6 nor Go is installed; Go builds k6 $version (https://go.dev/doc/install)"
  echo "Building k6 $version, once, in target/tools" >&2
  GOBIN=$tools go install "go.k6.io/k6@$version"
}

server='' load='' work=''
# Where there is setpriv (Linux) what this script started ends even if the script is killed.
guard=(env)
! command -v setpriv >/dev/null || guard=(setpriv --pdeathsig TERM)

# SIGTERM lets the server finish; one that does not end by itself is killed, and that is a failure.
stop_server() {
  [[ -n $server ]] || return 0
  local pid=$server status=0
  server=''
  kill -TERM "$pid" 2>/dev/null || true
  timeout 60 tail --pid="$pid" -f /dev/null || { echo "k6: the server did not stop within 60 s" >&2; kill -KILL "$pid"; }
  wait "$pid" || status=$?
  [[ $status = 0 ]] || { echo "k6: the server ended with exit code $status; the end of its log:" >&2; tail -n 20 "$work/log" >&2; }
  return "$status"
}

clean_up() {
  if [[ -n $load ]]; then kill -TERM "$load" 2>/dev/null && wait "$load" || true; fi
  stop_server || true
  if [[ -n $work ]]; then rm -rf "$work"; fi
}

# Takes free ports, and asks the ready line for them.
start_server() {
  local binary=${SILTSTONE:-} line=''
  [[ -n $binary ]] || binary=$(ls target/release/siltstone target/debug/siltstone 2>/dev/null | head -n 1) || true
  [[ -x $binary ]] || die "no server to start: make build, or name one in SILTSTONE"
  # Not in a temporary folder: where that lies in memory, syncs cost nothing and the figures mean nothing.
  mkdir -p "${PERF_DATA:-$reports}"
  work=$(mktemp -d "${PERF_DATA:-$reports}/data.XXXXXX") || die "no folder for data"
  AWS_ACCESS_KEY_ID=AK$(od -An -N9 -tx1 /dev/urandom | tr -d ' \n' | tr a-f A-F)
  AWS_SECRET_ACCESS_KEY=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
  export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION=us-east-1 OWN_SERVER=1
  mkfifo "$work/ready" || die "no pipe for the ready line"
  SILTSTONE_ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID SILTSTONE_ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
    "${guard[@]}" "$binary" serve --data-dir "$work/data" --s3-listen "127.0.0.1:${PORT:-0}" --console-listen 127.0.0.1:0 \
    --cluster-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 >"$work/ready" 2>"$work/log" &
  server=$!
  # Stays open: a server that says more later must not die of it.
  exec 7<"$work/ready"
  while IFS= read -r -t 60 -u 7 line; do
    if [[ $line == *'"event":"ready"'* ]]; then break; fi
  done
  [[ $line == *'"event":"ready"'* ]] || { tail -n 20 "$work/log" >&2; die "the server did not get ready"; }
  ENDPOINT=$(address s3 "$line") METRICS_ENDPOINT=$(address metrics "$line")
  export ENDPOINT METRICS_ENDPOINT
  echo "server: $binary at $ENDPOINT" >&2
}

address() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" <<<"$2"; }

# k6 exits with 99 where a threshold was missed; the last line of the summary also counts checks and what had no samples.
run_scenario() {
  local name=$1 status=0 own=''
  [[ -f k6/scenarios/$name.js ]] || die "there is no scenario $name; there are $(cd k6/scenarios && echo *.js | sed 's/\.js//g')"
  if [[ -z ${ENDPOINT:-} ]]; then own=1; start_server; fi
  export REPORT_DIR=$reports/$name
  mkdir -p "$REPORT_DIR"
  rm -f "$REPORT_DIR"/{summary.txt,summary.json,report.html}
  K6_WEB_DASHBOARD=true K6_WEB_DASHBOARD_PORT=-1 K6_WEB_DASHBOARD_PERIOD=1s K6_WEB_DASHBOARD_EXPORT=$REPORT_DIR/report.html \
    K6_NO_USAGE_REPORT=true "${guard[@]}" "$k6" run --quiet "k6/scenarios/$name.js" &
  load=$!
  wait "$load" || status=$?
  load=''
  if [[ -n $own ]]; then
    stop_server || status=1
    exec 7<&-
    rm -rf "$work"
    unset ENDPOINT METRICS_ENDPOINT OWN_SERVER
  fi
  tail -n 1 "$REPORT_DIR/summary.txt" 2>/dev/null | grep -q ' passed, 0 failed$' || status=1
  echo "plots: target/k6/$name/report.html" >&2
  return "$status"
}

# The library shows first that it is right: a client with a wrong signature or a blind check would measure nothing.
selftest() {
  K6_NO_USAGE_REPORT=true "$k6" run --quiet k6/selftest.js
}

[[ $# -gt 0 ]] || die "which scenario? $(cd k6/scenarios && echo *.js | sed 's/\.js//g')"
install_k6
if [[ $1 = install ]]; then exec "$k6" version; fi
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [[ -n ${SLO:-} ]]; then SLO=$(realpath -e "$SLO"); export SLO; fi
if [[ -n ${ENDPOINT:-} && " $* " == *" soak "* && -z ${METRICS_ENDPOINT:-} ]]; then
  die "a soak of an existing server needs METRICS_ENDPOINT too"
fi
failed=()
selftest || failed+=(selftest)
for scenario in "$@"; do
  run_scenario "$scenario" || failed+=("$scenario")
done
[[ ${#failed[@]} = 0 ]] || die "failed: ${failed[*]}"
