#!/usr/bin/env bash
# All tests: what `make test` runs. Prints what it is at, how long each step took, and at the end how many tests ran.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BEGAN=$SECONDS
LOGS=$(mktemp -d "${TMPDIR:-/tmp}/innkeeper-test.XXXXXX")
TIMES=()
HEARTBEAT=
BESIDE=
cleanup() {
  [ -z "$HEARTBEAT" ] || kill "$HEARTBEAT" 2>/dev/null || true
  [ -z "$BESIDE" ] || kill -- "-$BESIDE" 2>/dev/null || true
  rm -rf -- "$LOGS"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Long silences look like a hang: one crate of the AWS SDK alone compiles for minutes.
heartbeat() {
  local name=$1 since=$SECONDS never
  # Nothing is ever written here; a `sleep` would outlive us and keep the caller's pipe open.
  exec {never}<> <(:)
  while true; do
    read -r -t 60 -u "$never" || true
    say "... $name, $((SECONDS - since)) s"
  done
}

summary() {
  local line
  for line in "${TIMES[@]}"; do say "  $line"; done
}

# failures FILE: what of a step's output tells why it failed, once more at the end: whoever sees only the tail sees it too.
failures() {
  say "=== what failed"
  grep -E -A 6 '^error(\[|:)|^test .*FAILED|panicked at|VIOLATION|^(ERROR|FAIL):|FAILED$' "$1" | cut -c 1-2000 | tail -n 120 || true
}

# step NAME COMMAND...: runs one step, shows and keeps its output, ends the run where it fails.
step() {
  local name=$1 since=$SECONDS status=0 took
  shift
  say "=== $name"
  heartbeat "$name" &
  HEARTBEAT=$!
  "$@" 2>&1 | tee "$LOGS/$name" || status=$?
  kill "$HEARTBEAT" 2>/dev/null || true
  wait "$HEARTBEAT" 2>/dev/null || true
  HEARTBEAT=
  took=$((SECONDS - since))
  # What ran beside us took its own time.
  [ ! -e "$LOGS/$name.ended" ] || read -r _ took <"$LOGS/$name.ended"
  TIMES+=("$(printf '%-16s %4d s%s' "$name" "$took" "$([ "$status" = 0 ] || printf ' FAILED')")")
  if [ "$status" != 0 ]; then
    failures "$LOGS/$name"
    summary
    say "test: $name failed"
    exit 1
  fi
}

# beside NAME...: runs these functions one after the other while we go on, and keeps what they say.
beside() {
  # In a group of its own, so that it can be ended with all that it started.
  set -m
  (
    set +m
    for name in "$@"; do
      since=$SECONDS status=0
      "$name" >"$LOGS/$name.said" 2>&1 || status=$?
      echo "$status $((SECONDS - since))" >"$LOGS/$name.ends"
      mv "$LOGS/$name.ends" "$LOGS/$name.ended"
    done
  ) </dev/null &
  BESIDE=$!
  set +m
}

# result NAME: waits for one of them, and says what it said and how it ended.
result() {
  local status=1
  until [ -e "$LOGS/$1.ended" ]; do
    kill -0 "$BESIDE" 2>/dev/null || [ -e "$LOGS/$1.ended" ] || { say "$1 was ended"; return 1; }
    sleep 1
  done
  cat "$LOGS/$1.said"
  read -r status _ <"$LOGS/$1.ended"
  return "$status"
}

# Tests that mostly wait, for the clocks of providers and for rest: they run beside the others.
WAITING=(chaos provider_contract)
# The names of all other integration tests: a new one is among them without being named here.
other_tests() {
  cargo metadata --no-deps --format-version 1 --locked | "$CACHE/venv/bin/python" -c '
import json, sys
there = {target["name"] for package in json.load(sys.stdin)["packages"] for target in package["targets"] if "test" in target["kind"]}
waiting = set(sys.argv[1:])
sys.exit(f"no such tests: {waiting - there}") if waiting - there else print(*sorted(there - waiting))
' "${WAITING[@]}"
}
# The functions below are called where a failure does not end them by itself.
tests_at_work() {
  local names name options=() status=0
  names=$(other_tests) || return
  for name in $names; do options+=(--test "$name"); done
  cargo test --workspace --locked --no-fail-fast --lib --bins "${options[@]}" || status=$?
  cargo test --workspace --locked --no-fail-fast --doc || status=$?
  return "$status"
}
tests_waiting() { cargo test --workspace --locked --no-fail-fast "${WAITING[@]/#/--test=}"; }
python_tests() { (cd "$ROOT/tests/$1" && PYTHONDONTWRITEBYTECODE=1 "$CACHE/venv/bin/python" -m unittest discover -s "$2" -t .); }
ec2_selftest() { python_tests moto selftest; }
gce_selftest() { python_tests gce-sim selftest; }
clients_selftest() { python_tests clients .; }
chart() { "$ROOT/scripts/test-chart.sh"; }
image() { "$ROOT/scripts/test-image.sh"; }
go_format() {
  local unformatted
  unformatted=$(gofmt -l "$ROOT/tests/controlplane" "$ROOT/tests/gitops/flux")
  [ -z "$unformatted" ] || { say "not formatted (make fmt): $unformatted"; return 1; }
}

BESIDES=(tests_waiting ec2_selftest gce_selftest clients_selftest chart image)

# A machine that builds once gains nothing from incremental compilation, and pays for it in time and disk.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
# Where the tests find what was prepared.
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
cd "$ROOT"

step setup "$ROOT/scripts/setup.sh"
step format cargo fmt --all --check
step go_format go_format
# The same packages, targets and features as the tests: each dependency is compiled once for checking and once to run.
step clippy cargo clippy --workspace --all-targets --locked -- -D warnings
step test_build cargo test --workspace --locked --no-run
beside "${BESIDES[@]}"
step tests_at_work tests_at_work
for name in "${BESIDES[@]}"; do step "$name" result "$name"; done

summary
awk -v seconds="$((SECONDS - BEGAN))" '
  /^test result: / { passed += $4; failed += $6; ignored += $8 }
  /^Ran [0-9]+ tests? in / { passed += $2 }
  END { printf "test: ok passed=%d ignored=%d seconds=%d\n", passed, ignored, seconds }
' "$LOGS/tests_at_work" "${BESIDES[@]/#/$LOGS/}"
