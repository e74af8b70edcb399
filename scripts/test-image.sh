#!/usr/bin/env bash
# Builds the image from the Containerfile and the local binary, and runs it as a cluster would: another user, a root file
# system that cannot be written, no rights. What the release takes from a registry, the base, is replaced by the libraries
# of this machine.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ensure buildah buildah "to build the image"
PROGRAMS=$("$ROOT/scripts/build.sh")
WORK=$(mktemp -d "${TMPDIR:-/tmp}/innkeeper-image.XXXXXX")
BUILDAH=(buildah --root "$WORK/store" --runroot "$WORK/run" --storage-driver vfs)
trap 'chmod -R u+w "$WORK"; rm -rf -- "$WORK"' EXIT

build() { # CONTEXT NAME ARGUMENT...
  local context=$1 name=$2
  shift 2
  "${BUILDAH[@]}" build --isolation chroot --tag "$name" "$@" "$context" >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; return 1; }
}

stand_in() { # the libraries that the program is linked with
  local library
  mkdir -p "$WORK/base/root"
  ldd "$PROGRAMS/innkeeper" | grep -oE '/[^ ]+' | while read -r library; do
    mkdir -p "$WORK/base/root${library%/*}"
    cp -L "$library" "$WORK/base/root$library"
  done
  printf 'FROM scratch\nCOPY root/ /\n' >"$WORK/base/Containerfile"
  build "$WORK/base" localhost/base
}

# run COMMAND...: the image's program, its root file system read-only, as its user, who has no capabilities.
run() {
  local root
  root=$("${BUILDAH[@]}" mount "$CONTAINER")
  # shellcheck disable=SC2016 # the inner shell expands these
  unshare --mount sh -c 'root=$1; shift
    mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
    exec env -i PATH=/usr/sbin:/usr/bin setpriv --no-new-privs chroot --userspec=65532:65532 "$root" "$@"' sh "$root" "$@"
}
config() { "${BUILDAH[@]}" inspect --type image --format "$1" localhost/innkeeper; }
check() { [ "$2" = "$3" ] || die "$1: expected \"$3\", found \"$2\""; }

stand_in
mkdir "$WORK/context"
cp "$PROGRAMS/innkeeper" "$WORK/context/innkeeper-linux-test"
build "$WORK/context" localhost/innkeeper -f "$ROOT/Containerfile" --build-arg BASE=localhost/base \
  --build-arg BINARY=innkeeper-linux-test --build-arg VERSION=test

check "the image's user" "$(config '{{.OCIv1.Config.User}}')" 65532:65532
check "its entry point" "$(config '{{.OCIv1.Config.Entrypoint}}')" "[/usr/local/bin/innkeeper]"
check "its command" "$(config '{{.OCIv1.Config.Cmd}}')" "[run]"
check "its version" "$(config '{{index .OCIv1.Config.Labels "org.opencontainers.image.version"}}')" test

CONTAINER=$("${BUILDAH[@]}" from localhost/innkeeper)
run /usr/local/bin/innkeeper crds >"$WORK/crds"
grep -c '^kind: CustomResourceDefinition$' "$WORK/crds" | grep -qx 3 || die "the image's program does not print the kinds"
# Without a cluster it says so and ends; that it got so far shows that it writes nothing at its start.
if run /usr/local/bin/innkeeper run 2>"$WORK/said"; then die "it runs without a cluster"; fi
grep -q "cannot find a cluster" "$WORK/said" || { cat "$WORK/said" >&2; die "it did not start as expected"; }
say "test-image: ok ($(stat -c %s "$WORK/context/innkeeper-linux-test") bytes of program)"
