#!/usr/bin/env bash
# Puts the third-party XAPI clients of the simulator's tests into the cache: npm's xen-api, and PyPI's XenAPI, which
# the Python environment of the other tests has already.
. "$(dirname "${BASH_SOURCE[0]}")/../../../../scripts/lib.sh"

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
need node "to run npm's xen-api"
need npm "to install it"
CLIENTS=$CACHE/xapi-clients-$(hash_of "$HERE/package.json" "$HERE/package-lock.json" <<<"$(node --version)")

build() {
  [ -e "$CLIENTS/complete" ] && return
  say "xapi-clients: installing npm's xen-api (once)"
  rm -rf -- "$CLIENTS"
  mkdir -p "$CLIENTS"
  cp -- "$HERE/package.json" "$HERE/package-lock.json" "$CLIENTS/"
  npm ci --prefix "$CLIENTS" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  : >"$CLIENTS/complete"
  keep_newest "$CACHE/xapi-clients"
}

locked xapi-clients build
ln -sfn "$CLIENTS" "$CACHE/xapi-clients"
"$ROOT/scripts/venv.sh" >/dev/null
printf '%s\n' "$CLIENTS"
