#!/usr/bin/env bash
# Guests on a Xen pool that fails all the time: in the end it must hold exactly what the API server says. An hour or more.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
export INNKEEPER_SOAK=${SEEDS:-20},${N:-200}
cd "$ROOT"
# Optimised, and without the providers that are not needed here: the AWS SDK takes minutes. The simulator stands beside it.
cargo build --release --no-default-features --locked -p innkeeper -p xapi-sim --bins --examples >&2
export E2E_PROGRAM=$CARGO_TARGET_DIR/release/innkeeper
# --workspace keeps the dependencies' features as the tests have them.
cargo test --workspace --locked --test e2e soak:: -- --nocapture
