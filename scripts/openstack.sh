#!/usr/bin/env bash
# Makes the OpenStack control plane of the tests (tests/openstack) in the cache, with databases to start from, and prints its
# path: Keystone, Placement, Glance, Neutron and Nova from PyPI, MariaDB from the distribution.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FOLDER=$ROOT/tests/openstack
# The packages are pinned for this version of Python.
PYTHON=${INNKEEPER_OPENSTACK_PYTHON:-$(command -v python3.11 || command -v python3 || true)}
[ -n "$PYTHON" ] || die "Python 3.11 is needed for OpenStack, and is not on PATH"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
  die "OpenStack's packages are pinned for Python 3.11 (tests/openstack/requirements.txt); name one in INNKEEPER_OPENSTACK_PYTHON"
ensure mariadbd mariadb-server-core "for OpenStack's databases"
ensure mariadb mariadb-client-core "for OpenStack's databases"

VERSION=$("$PYTHON" -c 'import sys; print(*sys.version_info[:2], sys.prefix)')
# What runs from the template may be changed without making it anew; what makes it may not.
HOME_OF_IT=$CACHE/openstack-$(hash_of "$FOLDER"/requirements.txt "$FOLDER"/conf.py <<<"$VERSION")

build() {
  [ -e "$HOME_OF_IT/complete" ] && "$HOME_OF_IT/bin/python" -c "" 2>/dev/null && return
  local began=$SECONDS
  say "openstack: installing it and making its databases (once; about four minutes)"
  rm -rf -- "$HOME_OF_IT"
  "$PYTHON" -m venv "$HOME_OF_IT"
  # Two of the packages come as sources without anything to compile.
  "$HOME_OF_IT/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes -r "$FOLDER/requirements.txt" >&2
  "$HOME_OF_IT/bin/python" -m compileall -q "$HOME_OF_IT/lib" >/dev/null 2>&1 || true
  "$HOME_OF_IT/bin/python" -B "$FOLDER/control_plane.py" template --to "$HOME_OF_IT/template.tgz" >&2
  : >"$HOME_OF_IT/complete"
  keep_newest "$CACHE/openstack"
  say "openstack: ready in $((SECONDS - began)) s"
}

locked openstack build
touch -c "$HOME_OF_IT"
printf '%s\n' "$HOME_OF_IT"
