#!/usr/bin/env bash
# Shows that the tests of faults can fail: builds the operator with two planted defects, and sees that the model and the
# harness find each of them.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
cd "$ROOT"
# A feature of this package alone: only it is built anew.
build() { cargo test --workspace --locked --features defects "$@"; }
build --no-run --lib --bins --examples --test chaos
failed=0

# finds WHAT DEFECT COMMAND...: the command must fail with a violation.
finds() {
  local what=$1 log status=0
  export INNKEEPER_DEFECT=$2
  shift 2
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  unset INNKEEPER_DEFECT
  if [ "$status" != 0 ] && grep -qiE 'violat' "$log"; then
    say "$what: the defect was found: $(grep -iE -m1 'violat' "$log" | cut -c1-160)"
  else
    say "$what: the defect was NOT found"
    tail -20 "$log" >&2
    failed=1
  fi
  rm -f -- "$log"
}

finds "model, key forgotten" forgotten-key build --lib -- guest::model_explored_tests
# A pool must be silent for as long as a VM is waited for.
MODEL_TICKS=5 finds "model, failed read taken for absence" failed-read-is-absent build --lib -- guest::model_explored_tests
export CHAOS_REST=90
CHAOS_REPLAY=overflow/xen:9:after finds "harness, key forgotten" forgotten-key build --test chaos
CHAOS_SCENARIOS=silence finds "harness, failed read taken for absence" failed-read-is-absent build --test chaos
# The sound operator again, where the other tests look for it.
"$ROOT/scripts/build.sh" >/dev/null
[ "$failed" = 0 ] && say "both defects are found by both"
exit "$failed"
