# Shared by the scripts beside it: sourced, never run. shellcheck shell=bash
#
# Everything that is built or fetched goes below CACHE, outside the checkout, under a name that holds a hash of what
# it was made from: a second clone finds it, and a changed input never meets an old result.

set -euo pipefail
# What is only assigned here is used by the scripts that source this file. shellcheck disable=SC2034
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${INNKEEPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/innkeeper}
BIN=$CACHE/bin
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
mkdir -p "$BIN"

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# need PROGRAM WHAT-FOR: stops with a sentence where a program is missing.
need() { command -v "$1" >/dev/null || die "$1 is needed $2, and is not on PATH"; }

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
    say "waiting for another run that prepares $name"
    flock "$fd"
  fi
  "$@" {fd}>&-
  exec {fd}>&-
}

# keep_newest PATTERN: of the cached builds that match, the two used last stay.
keep_newest() {
  local old
  # Names made by these scripts hold no newlines. shellcheck disable=SC2012
  ls -1dt "$@" 2>/dev/null | tail -n +3 | while IFS= read -r old; do rm -rf -- "$old"; done
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
