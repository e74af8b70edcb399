# shellcheck shell=bash
# Shared by the scripts beside it: sourced, never run.
#
# Everything that is built or fetched goes below CACHE, outside the checkout, under a name that holds a hash of what
# it was made from: a second clone finds it, and a changed input never meets an old result.

set -euo pipefail
# shellcheck disable=SC2034 # the scripts that source this file use it
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${INNKEEPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/innkeeper}
BIN=$CACHE/bin
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
mkdir -p "$BIN" "$CARGO_TARGET_DIR"

# Tests hold the path of the checkout that they were built in, and cargo does not see that another one shares the
# target directory: what reads the path is built again where the checkout is another than the last time.
if [ "$(cat "$CARGO_TARGET_DIR/checkout" 2>/dev/null)" != "$ROOT" ]; then
  grep -rlZ --include='*.rs' 'CARGO_MANIFEST_DIR' "$ROOT/tests" | xargs -0 touch -c
  printf '%s' "$ROOT" >"$CARGO_TARGET_DIR/checkout"
fi

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# need PROGRAM WHAT-FOR: stops with a sentence where a program is missing.
need() { command -v "$1" >/dev/null || die "$1 is needed $2, and is not on PATH"; }

# ensure PROGRAM PACKAGE WHAT-FOR: installs a Debian package where its program is missing and we may.
ensure() {
  command -v "$1" >/dev/null && return
  { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } ||
    die "$1 is needed $3, and is not on PATH; on Debian: apt-get install $2"
  say "installing $2 ($1 is needed $3)"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$2"; } >&2
}

# hash_of FILE...: one hash over what is piped in and the contents of the files. Their names do not count.
hash_of() {
  cat -- - "$@" | sha256sum | cut -c1-16
}

# locked NAME COMMAND...: runs a function while no other script does the same; the lock ends with the process.
locked() {
  local name=$1 fd
  shift
  exec {fd}>"$CACHE/lock-$name"
  if ! flock -n "$fd"; then
    say "waiting for another run to be done with: $name"
    flock "$fd"
  fi
  "$@" {fd}>&-
  exec {fd}>&-
}

# keep_newest PREFIX: of the builds PREFIX-HASH the two used last stay; another checkout may use the second.
keep_newest() {
  local old
  # shellcheck disable=SC2012 # names that end in a hash hold no newlines
  ls -1dt "$1"-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]* 2>/dev/null | tail -n +3 |
    while IFS= read -r old; do rm -rf -- "$old"; done
}

# wait_for SECONDS WHAT COMMAND...: tries the command until it succeeds or the deadline passes.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || { say "$what: not within the deadline"; return 1; }
    sleep 0.1
  done
}
