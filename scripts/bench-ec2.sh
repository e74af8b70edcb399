#!/usr/bin/env bash
# Counts what the operator asks of a pool of INSTANCES at rest in SECONDS_AT_REST, and how long until a Guest tells of a change made
# behind its back.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
cd "$ROOT"
# The same features as everywhere: see scripts/build.sh.
cargo build --workspace --bins --locked >&2
INNKEEPER_EC2_INSTANCES=${INSTANCES:-1000} INNKEEPER_EC2_REST_SECONDS=${SECONDS_AT_REST:-120} \
  cargo test --workspace --locked --quiet --test e2e rest:: -- --nocapture
