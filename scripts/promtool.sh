#!/usr/bin/env bash
# Puts Prometheus's promtool, which checks alerts, into the cache and prints its path. It is taken out of Debian's package
# without installing that, as the package would start a server.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

fetch() {
  [ -x "$BIN/promtool" ] && return
  if command -v promtool >/dev/null; then
    ln -sfn "$(command -v promtool)" "$BIN/promtool"
    return
  fi
  command -v apt-get >/dev/null || die "promtool is needed to check the alerts, and is not on PATH"
  say "promtool: fetching Debian's package of Prometheus (once)"
  local work
  rm -rf -- "$BIN"/.promtool.*
  work=$(mktemp -d "$BIN/.promtool.XXXXXX")
  (cd "$work" && { apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; } && dpkg -x prometheus_*.deb .) >&2
  mv -f -- "$work/usr/bin/promtool" "$BIN/promtool"
  rm -rf -- "$work"
}

locked promtool fetch
printf '%s\n' "$BIN/promtool"
