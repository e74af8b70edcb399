#!/usr/bin/env bash
# Builds tests/controlplane (etcd and kube-apiserver in one process) into the cache and prints the path of the program.
# Cold it compiles about 1,900 packages: minutes on two cores. Warm it prints at once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

KUBERNETES=v1.36.2
GO=1.26 # with Go 1.27 the API server of 1.36 fails to serve /openapi/v2
SOURCE=$ROOT/tests/controlplane

need go "to build the control plane"
case "$(go env GOVERSION)" in
  "go$GO" | "go$GO".*) ;;
  *) export GOTOOLCHAIN=go$GO.8 ;; # the go command fetches it through the module proxy
esac
export GOFLAGS='' CGO_ENABLED=0 GOWORK=off

version() { # what clients see in /version, and what the components compare their features with
  local package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=36 -X %s.gitTreeState=clean ' \
      "$package" "$KUBERNETES" "$package" "$package" "$package"
  done
}
LDFLAGS="-s -w $(version)"
KEY=$(printf '%s %s' "$LDFLAGS" "$(go env GOVERSION GOOS GOARCH)" | hash_of "$SOURCE"/go.mod "$SOURCE"/go.sum "$SOURCE"/*.go)
OUT=$BIN/controlplane-$KEY

# Shows every hundredth package that was compiled, and all that is not the name of a package.
progress() {
  awk '/^[a-zA-Z0-9._~\/-]+$/ { if (++n % 100 == 0) { print "controlplane: " n " packages compiled"; fflush() }; next } { print; fflush() }' >&2
}

build() {
  [ -x "$OUT/controlplane" ] && return
  local began=$SECONDS work
  rm -rf -- "$BIN"/.controlplane.* # left by a run that was interrupted
  work=$(mktemp -d "$BIN/.controlplane.XXXXXX")
  say "controlplane: building Kubernetes $KUBERNETES for the tests (once; about 7 minutes on two cores)"
  (cd "$SOURCE" && nice -n 5 go build -v -p 2 -mod=readonly -trimpath -buildvcs=false \
    -ldflags "$LDFLAGS" -o "$work/controlplane" . 2>&1) | progress
  chmod 755 "$work"
  mv -T -- "$work" "$OUT"
  keep_newest "$BIN/controlplane"
  say "controlplane: built in $((SECONDS - began)) s"
}

locked controlplane build
touch -c "$OUT"
ln -sfn "$OUT/controlplane" "$BIN/controlplane"
printf '%s\n' "$BIN/controlplane"
