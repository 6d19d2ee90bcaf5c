#!/usr/bin/env bash
# The main job, shown: one server, two devices, a memory travelling between them. Leaves nothing behind.
set -euo pipefail

bin=$(cd "${1:-target/debug}" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/engram-demo.XXXXXX")
token=demo-token-of-a-temporary-directory
pids=()
cloud_pid=

# Nothing of the caller's own configuration may leak into the demo, nor the other way.
unset ENGRAM_CLOUD_SERVER ENGRAM_CLOUD_TOKEN ENGRAMD_SOCKET ENGRAM_DATA_DIR ENGRAM_DATABASE_URL ENGRAM_PORT \
  ENGRAM_CLOUD_HOST ENGRAM_JWT_SECRET ENGRAM_CLOUD_INSECURE_NO_AUTH ENGRAM_CLOUD_ALLOWED_PROJECTS || true

cleanup() {
  status=$?
  trap - EXIT
  for pid in "${pids[@]}" $cloud_pid; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}" $cloud_pid; do wait "$pid" 2>/dev/null || true; done
  [ "$status" = 0 ] || { echo "--- the demo failed; the logs:"; tail -n 30 "$dir"/*.log; } >&2
  rm -rf "$dir"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ engramctl %s\n' "${*:2}"; ctl "$@"; }
ctl() { local device=$1; shift; "$bin/engramctl" --data-dir "$dir/$device" "$@"; }
now_ms() { local t=${EPOCHREALTIME:-}; if [ -n "$t" ]; then t=${t/[.,]/}; echo $((t / 1000)); else echo $(($(date +%s) * 1000)); fi; }
fail() { echo "demo: $*" >&2; exit 1; }

# until_ms SECONDS COMMAND...: repeats a command until it succeeds and prints how many milliseconds that took.
until_ms() {
  local limit=$1 start; shift; start=$(now_ms)
  until "$@" >/dev/null 2>&1; do
    [ $(($(now_ms) - start)) -lt $((limit * 1000)) ] || fail "gave up waiting for: $*"
    sleep 0.005
  done
  echo $(($(now_ms) - start))
}
# What status says, whatever it exits with.
says() { grep -q "$2" <<<"$(ctl "$1" status --json || true)"; }
finds() { ctl "$1" search "$2" --json | grep -q "$3"; }
finds_not() { ! finds "$@"; }
healthy() { says "$1" '"health":"healthy"'; }
answers() { local code=0; ctl "$1" status --json || code=$?; [ "$code" != 4 ]; }
listening() { grep -q 'listening on http://' "$dir/cloud.log"; }

start_cloud() {
  : >"$dir/cloud.log"
  ENGRAM_CLOUD_TOKEN=$token ENGRAM_CLOUD_ALLOWED_PROJECTS='*' ENGRAM_CLOUD_DATA_DIR=$dir/cloud ENGRAM_PORT=$port \
    "$bin/engram-cloud" serve >"$dir/cloud.log" 2>&1 &
  cloud_pid=$!
  until_ms 10 listening >/dev/null
  url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$dir/cloud.log" | head -n 1)
  port=${url##*:}
}

say "1. One server on the embedded store, two devices"
port=0
start_cloud
for device in laptop desktop; do
  "$bin/engramd" run --data-dir "$dir/$device" 2>"$dir/$device.log" &
  pids+=($!)
done
for device in laptop desktop; do
  until_ms 10 answers "$device" >/dev/null
  printf '%s' "$token" | run "$device" cloud login --server "$url" --token-stdin
  run "$device" enroll demo
done

say "2. A memory saved on the laptop is found on the desktop"
run laptop save --project demo --type decision --title "Use SQLite" "Local SQLite stays the source of truth."
echo "found after $(until_ms 20 finds desktop "source of truth" "Use SQLite") ms:"
run desktop search "source of truth"
sync_id=$(ctl desktop search "source of truth" --json | sed -n 's/.*"sync_id":"\([^"]*\)".*/\1/p' | head -n 1)
[ -n "$sync_id" ] || fail "the answer of search names no sync_id"

say "3. Edited on the desktop, the laptop sees it"
run desktop update "$sync_id" --title "Use SQLite, in WAL mode"
echo "seen after $(until_ms 20 finds laptop "WAL" "in WAL mode") ms:"
run laptop get "$sync_id"

say "4. Deleted on the laptop, it is gone on the desktop"
run laptop delete "$sync_id"
echo "gone after $(until_ms 20 finds_not desktop "WAL" "in WAL mode") ms"

say "5. The server goes away: local work goes on, and status says so"
kill "$cloud_pid"; wait "$cloud_pid" 2>/dev/null || true; cloud_pid=
run laptop save --project demo --title "Written during the outage" "Nothing is lost while the server is away."
until_ms 20 says laptop '"code":"transport_failed"' >/dev/null
code=0; run laptop status || code=$?
echo "exit code $code"
[ "$code" = 3 ] || fail "a status with an error exits with 3"

say "6. It comes back: both recover by themselves"
start_cloud
echo "recovered after $(until_ms 60 healthy laptop) ms; found on the desktop after $(until_ms 60 finds desktop "outage" "Written during") ms"
until_ms 60 healthy desktop >/dev/null
for device in laptop desktop; do
  say "   $device"
  run "$device" status
done
say "Done."
