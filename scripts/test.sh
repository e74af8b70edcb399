#!/usr/bin/env bash
# All tests: what `make test` runs. Prints what it is at, how long each step took, and at the end how many tests ran.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BEGAN=$SECONDS
LOGS=$(mktemp -d "${TMPDIR:-/tmp}/innkeeper-test.XXXXXX")
TIMES=()
HEARTBEAT=
cleanup() {
  [ -z "$HEARTBEAT" ] || kill "$HEARTBEAT" 2>/dev/null || true
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
  local name=$1 since=$SECONDS status=0
  shift
  say "=== $name"
  heartbeat "$name" &
  HEARTBEAT=$!
  "$@" 2>&1 | tee "$LOGS/$name" || status=$?
  kill "$HEARTBEAT" 2>/dev/null || true
  wait "$HEARTBEAT" 2>/dev/null || true
  HEARTBEAT=
  TIMES+=("$(printf '%-16s %4d s%s' "$name" "$((SECONDS - since))" "$([ "$status" = 0 ] || printf ' FAILED')")")
  if [ "$status" != 0 ]; then
    failures "$LOGS/$name"
    summary
    say "test: $name failed"
    exit 1
  fi
}

python_tests() { (cd "$ROOT/tests/moto" && PYTHONDONTWRITEBYTECODE=1 "$CACHE/venv/bin/python" -m unittest discover -s selftest -t .); }
google_tests() { (cd "$ROOT/tests/gce-sim" && PYTHONDONTWRITEBYTECODE=1 "$CACHE/venv/bin/python" -m unittest discover -s selftest -t .); }
clients_tests() { (cd "$ROOT/tests/clients" && PYTHONDONTWRITEBYTECODE=1 "$CACHE/venv/bin/python" -m unittest discover -s . -t .); }
go_format() {
  local unformatted
  unformatted=$(gofmt -l "$ROOT/tests/controlplane" "$ROOT/tests/gitops/flux")
  [ -z "$unformatted" ] || { say "not formatted (make fmt): $unformatted"; return 1; }
}

# A machine that builds once gains nothing from incremental compilation, and pays for it in time and disk.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
# Where the tests find what was prepared.
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
cd "$ROOT"

step setup "$ROOT/scripts/setup.sh"
step format cargo fmt --all --check
step go-format go_format
# The same packages, targets and features as the tests: each dependency is compiled once for checking and once to run.
step clippy cargo clippy --workspace --all-targets --locked -- -D warnings
step test-build cargo test --workspace --locked --no-run
step test cargo test --workspace --locked --no-fail-fast
step ec2-selftest python_tests
step gce-selftest google_tests
step clients-selftest clients_tests
step chart "$ROOT/scripts/test-chart.sh"
step image "$ROOT/scripts/test-image.sh"

summary
awk -v seconds="$((SECONDS - BEGAN))" '
  /^test result: / { passed += $4; failed += $6; ignored += $8 }
  /^Ran [0-9]+ tests? in / { passed += $2 }
  END { printf "test: ok passed=%d ignored=%d seconds=%d\n", passed, ignored, seconds }
' "$LOGS/test" "$LOGS/ec2-selftest" "$LOGS/gce-selftest" "$LOGS/clients-selftest" "$LOGS/chart"
