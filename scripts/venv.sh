#!/usr/bin/env bash
# Makes the Python environment of the tests and scripts (tests/moto/requirements.txt) in the cache and prints its path.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

REQUIREMENTS=$ROOT/tests/moto/requirements.txt
PYTHON=${PYTHON:-python3}
need "$PYTHON" "for the tests' EC2 and Google endpoints"

VERSION=$("$PYTHON" -c 'import sys; print(*sys.version_info[:2], sys.prefix)')
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "Python 3.10 or later is needed; this is $VERSION"
VENV=$CACHE/venv-$(hash_of "$REQUIREMENTS" <<<"$VERSION")

# Debian keeps the part of Python that makes environments in a package of its own.
can_make_environments() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }
complete_python() {
  can_make_environments && return
  { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } ||
    die "$PYTHON cannot make virtual environments; on Debian: apt-get install python3-venv"
  say "venv: installing python3-venv"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv; } >&2
  can_make_environments || die "$PYTHON cannot make virtual environments, even with python3-venv installed"
}

build() {
  [ -e "$VENV/complete" ] && "$VENV/bin/python" -c "" 2>/dev/null && return
  local began=$SECONDS
  say "venv: installing the Python packages of the tests (once; about 20 seconds)"
  complete_python
  # An environment holds its own path: it is built in place, and counts only once `complete` is written.
  rm -rf -- "$VENV"
  "$PYTHON" -m venv "$VENV"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --only-binary :all: -r "$REQUIREMENTS" >&2
  "$VENV/bin/python" -m compileall -q "$VENV/lib" >/dev/null 2>&1 || true # else the first start of each run pays
  : >"$VENV/complete"
  keep_newest "$CACHE/venv"
  say "venv: ready in $((SECONDS - began)) s"
}

locked venv build
touch -c "$VENV"
ln -sfn "$VENV" "$CACHE/venv"
printf '%s\n' "$VENV"
