#!/usr/bin/env bash
# The provider contract for OpenStack, with and without faults, against a real control plane. CASES chooses some.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

INNKEEPER_OPENSTACK=$("$ROOT/scripts/openstack.sh")
export INNKEEPER_OPENSTACK
# Its processes share the machine with the tests.
export INNKEEPER_PATIENCE=${INNKEEPER_PATIENCE:-6}
cd "$ROOT"
cargo test --workspace --locked --test provider_contract -- "openstack::${CASES:-}"
