#!/usr/bin/env bash
# Runs the test of many guests with N of them, in place of the few that `make test` takes.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
cd "$ROOT"
# The simulator stands beside the operator.
"$ROOT/scripts/build.sh" >/dev/null
INNKEEPER_E2E_GUESTS=${N:-1000} cargo test --workspace --locked --quiet --test e2e -- --nocapture many_guests_are_bound
