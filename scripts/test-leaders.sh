#!/usr/bin/env bash
# Two replicas of which the leader is killed again and again, KILLS times, by SIGTERM and SIGKILL in turn, while guests are
# made and removed. Prints how long nobody led.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH INNKEEPER_KILLS=${KILLS:-30}
cd "$ROOT"
# The simulators stand beside the operator; --workspace keeps the dependencies' features as the tests have them.
"$ROOT/scripts/build.sh" >/dev/null
cargo test --workspace --locked --test e2e leaders:: -- --nocapture --test-threads=1
