#!/usr/bin/env bash
# Explores the life of a guest in small worlds with stateright. Optimised, without EC2: 200 crates are built for it once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/model MODEL_FAULTS=${MODEL_FAULTS:-2} MODEL_TICKS=${MODEL_TICKS:-3}
cd "$ROOT"
cargo test --locked --no-default-features --features model --release --lib -- --nocapture guest::model_explored_tests
