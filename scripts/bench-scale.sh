#!/usr/bin/env bash
# Measures how long N guests take, with an optimised operator and simulator. PROFILE=dev uses what the tests use.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
cd "$ROOT"
N=${N:-1000}
# What measures is as optimised as what is measured: it makes the operator's writes once more.
if [ "${PROFILE:-release}" = dev ]; then
  "$ROOT/scripts/build.sh" >/dev/null
  folder=debug options=(--workspace)
else
  # Without the providers that are not needed here: the AWS SDK takes minutes.
  folder=release options=(--release --no-default-features -p innkeeper)
  cargo build --release --no-default-features --locked -p innkeeper -p xapi-sim --bins --examples >&2
fi
SCALE_GUESTS=$N SCALE_PROGRAM="$CARGO_TARGET_DIR/$folder/innkeeper" \
  cargo test "${options[@]}" --locked --quiet --test scale
