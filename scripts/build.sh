#!/usr/bin/env bash
# Builds the operator and the XAPI simulator and prints the folder that holds the two programs.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# `--examples` (there are none) lets cargo choose the dependencies' features as it does for the tests. With `--bins`
# alone it would leave out what only tests use and build kube, reqwest and all above them a second time.
cargo build --workspace --bins --examples --locked >&2
printf '%s\n' "$CARGO_TARGET_DIR/debug"
