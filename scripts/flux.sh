#!/usr/bin/env bash
# Builds Flux's kustomize-controller, and a command around its kstatus, from tests/gitops/flux into the cache, beside the
# controller's own definitions.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SOURCE=$ROOT/tests/gitops/flux
CONTROLLER=github.com/fluxcd/kustomize-controller

need go "to build Flux's kustomize-controller for the tests"
case "$(go env GOVERSION)" in
  go1.26 | go1.26.*) ;;
  *) export GOTOOLCHAIN=go1.26.8 ;; # the go command fetches it through the module proxy
esac
export GOFLAGS='' CGO_ENABLED=0 GOWORK=off
KEY=$(go env GOVERSION GOOS GOARCH | hash_of "$SOURCE"/go.mod "$SOURCE"/go.sum "$SOURCE"/*.go)
OUT=$BIN/flux-$KEY

build() {
  [ -x "$OUT/kustomize-controller" ] && return
  local began=$SECONDS work
  rm -rf -- "$BIN"/.flux.* # left by a run that was interrupted
  work=$(mktemp -d "$BIN/.flux.XXXXXX")
  say "flux: building kustomize-controller for the tests (once; about four minutes of processor time)"
  (
    cd "$SOURCE"
    compile() { nice -n 5 go build -p 2 -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/$1" "$2"; }
    compile kstatus .
    compile kustomize-controller "$CONTROLLER"
    cp "$(go list -m -f '{{.Dir}}' "$CONTROLLER")"/config/crd/bases/*.yaml "$work/crds.yaml"
  ) >&2
  chmod 755 "$work"
  chmod 644 "$work/crds.yaml"
  mv -T -- "$work" "$OUT"
  keep_newest "$BIN/flux"
  say "flux: built in $((SECONDS - began)) s"
}

locked flux build
touch -c "$OUT"
ln -sfn "$OUT" "$BIN/flux"
printf '%s\n' "$BIN/flux"
