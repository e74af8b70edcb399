#!/usr/bin/env bash
# Removes what these scripts put into the cache, by name: the folder itself may be somebody's.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/sandbox.sh" stop
chmod -R u+w -- "$BIN" 2>/dev/null || true
rm -rf -- "$BIN" "$CACHE"/venv "$CACHE"/venv-* "$CACHE"/lock-* "$CACHE"/demo "$CACHE"/sandbox
# A target folder of the user's own is not ours to remove.
rm -rf -- "$CACHE/target"
rmdir -- "$CACHE" 2>/dev/null || true
say "clean: $CACHE"
