#!/usr/bin/env bash
# Kills, storms and neighbours: about ten minutes with the settings here, all kill points with CHAOS_STRIDE=1, more storms with SEEDS=200.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
export CHAOS_STRIDE=${CHAOS_STRIDE:-14} CHAOS_SEEDS=${SEEDS:-3}
cd "$ROOT"
# The simulators stand beside the operator; --workspace keeps the dependencies' features as the tests have them.
"$ROOT/scripts/build.sh" >/dev/null
cargo test --workspace --locked --test chaos
