#!/usr/bin/env bash
# The driver alone on a large pool, optimised, so that its limits are asserted. The AWS SDK is left out: it takes minutes.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$ROOT"
# --examples lets cargo choose the dependencies' features as it does for the test: each is compiled once.
cargo build --release --no-default-features --locked -p innkeeper -p xapi-sim --bins --examples >&2
INNKEEPER_SCALE=1 cargo test --release --no-default-features --locked -p innkeeper -p xapi-sim --test xapi_contract scale:: -- \
  --nocapture
