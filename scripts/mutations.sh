#!/usr/bin/env bash
# Manifests with one wrong field each, against a real API server and the operator.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH MUTATIONS=${N:-2000}
cd "$ROOT"
"$ROOT/scripts/build.sh" >/dev/null
cargo test --workspace --locked --test mutations
