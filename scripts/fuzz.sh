#!/usr/bin/env bash
# Fuzzes the parsers of outside bytes with cargo-fuzz. What it learns is kept below the cache, its seeds in fuzz/seeds.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cargo +nightly --version >/dev/null 2>&1 || die "a nightly toolchain is needed: rustup toolchain install nightly"
if [ ! -x "$BIN/cargo-fuzz" ]; then
  cargo install cargo-fuzz --version 0.13.2 --locked --root "$CACHE/fuzz-tools" >&2
  ln -sf "$CACHE/fuzz-tools/bin/cargo-fuzz" "$BIN/cargo-fuzz"
fi
export PATH=$BIN:$PATH
unset CARGO_TARGET_DIR
cd "$ROOT/fuzz"
for target in ${TARGETS:-answer events words first_boot}; do
  corpus=$CACHE/fuzz/$target
  mkdir -p "$corpus"
  [ "$target" != answer ] || for file in ../src/provider/xapi/testdata/*.json; do
    printf '{"jsonrpc":"2.0","id":1,"result":%s}' "$(cat "$file")" >"$corpus/$(basename "$file")"
  done
  # Not kept in the checkout: what a run finds to be interesting is only a shorter way to the same.
  cargo +nightly fuzz run --target-dir "$CACHE/fuzz/target" "$target" "$corpus" "seeds/$target" -- \
    -max_total_time="${SECONDS_EACH:-600}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
