#!/usr/bin/env bash
# The contract of the XAPI driver as it is run against a pool of one's own: a pool in a process apart, reached by its URL.
# LOAD names databases of pools (JSON, .gz or not) to try it on, one after the other; without it, the pool is made up.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/innkeeper-xapi.XXXXXX")
SIM=
cleanup() {
  [ -z "$SIM" ] || kill "$SIM" 2>/dev/null || true
  rm -rf -- "$FOLDER"
}
trap cleanup EXIT

told() { [ -s "$FOLDER/state.json" ]; }

# contract WHAT ARGUMENTS...: the cases against a pool that is started with these arguments.
contract() {
  local what=$1
  shift
  say "=== $what"
  rm -f "$FOLDER/state.json"
  "$PROGRAMS/xapi-sim" --state-file "$FOLDER/state.json" --password "contract" "$@" >"$FOLDER/log" &
  SIM=$!
  wait_for 30 "the pool answers" told
  INNKEEPER_XAPI_URL=$(sed -n 's/.*"url": *"\(https:[^"]*\)".*/\1/p' "$FOLDER/state.json" | head -1)
  export INNKEEPER_XAPI_URL INNKEEPER_XAPI_USER=root INNKEEPER_XAPI_PASSWORD=contract
  cargo test --workspace --locked --test xapi_contract
  kill "$SIM"
  wait "$SIM" 2>/dev/null || true
  SIM=
}

cd "$ROOT"
PROGRAMS=$("$ROOT/scripts/build.sh")
if [ -z "${LOAD:-}" ]; then
  contract "a pool of three hosts" --hosts 3 --vms 6
else
  for file in $LOAD; do contract "${file##*/}" --load "$file"; done
fi
