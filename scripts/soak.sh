#!/usr/bin/env bash
# Guests on a Xen pool that fails all the time: in the end it must hold exactly what the API server says. An hour or more.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
export INNKEEPER_SOAK=${SEEDS:-20},${N:-200}
cd "$ROOT"
# The simulator stands beside the operator; --workspace keeps the dependencies' features as the tests have them.
"$ROOT/scripts/build.sh" >/dev/null
cargo test --workspace --locked --test e2e soak:: -- --nocapture
