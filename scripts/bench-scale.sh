#!/usr/bin/env bash
# Measures how long N guests take, with an optimised operator and simulator. PROFILE=dev uses what the tests use.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
cd "$ROOT"
N=${N:-1000}
PROFILE=${PROFILE:-release}
# The same features as everywhere: see scripts/build.sh.
cargo build --workspace --bins --examples --locked --profile "$PROFILE" >&2
[ "$PROFILE" = dev ] && folder=debug || folder=$PROFILE
SCALE_GUESTS=$N SCALE_PROGRAM="$CARGO_TARGET_DIR/$folder/innkeeper" \
  cargo test --workspace --locked --quiet --test scale
