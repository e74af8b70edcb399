#!/usr/bin/env bash
# Prepares what the tests and the demo need beside Rust: the control plane, kubectl, helm, the Python environment.
# Safe to run again, and after an interrupted run; what is there already is not made again.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need cargo "to build the operator (https://rustup.rs)"
ensure cc build-essential "to link it and to compile the cryptography library"
ensure lua5.1 lua5.1 "to run the health check for Argo CD"
ensure buildah buildah "to build the image"
# rustup installs the toolchain that rust-toolchain.toml names, with clippy and rustfmt; a distribution's cargo is what it is.
cargo --version >/dev/null || die "cargo does not start"
for component in clippy fmt; do
  cargo "$component" --version >/dev/null 2>&1 || die "cargo $component is missing; with rustup: rustup component add clippy rustfmt"
done
"$ROOT/scripts/venv.sh" >/dev/null
"$ROOT/scripts/clients.sh"
"$ROOT/scripts/controlplane.sh" >/dev/null
# Other people's XAPI clients, with which the simulator is tried. Without them those tests say so and pass.
if command -v node >/dev/null && command -v npm >/dev/null; then
  "$ROOT/tests/xapi-sim/tests/clients/install.sh" >/dev/null || say "npm's xen-api cannot be fetched: its test is skipped"
fi
