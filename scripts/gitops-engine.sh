#!/usr/bin/env bash
# Builds tests/gitops/engine (Flux's library for applying, pruning and waiting) into the cache and prints its path.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SOURCE=$ROOT/tests/gitops/engine

need go "to build the GitOps engine of the tests"
case "$(go env GOVERSION)" in
  go1.26 | go1.26.*) ;;
  *) export GOTOOLCHAIN=go1.26.8 ;; # the go command fetches it through the module proxy
esac
export GOFLAGS='' CGO_ENABLED=0 GOWORK=off
KEY=$(go env GOVERSION GOOS GOARCH | hash_of "$SOURCE"/go.mod "$SOURCE"/go.sum "$SOURCE"/*.go)
OUT=$BIN/gitops-engine-$KEY

build() {
  [ -x "$OUT/engine" ] && return
  local began=$SECONDS work
  rm -rf -- "$BIN"/.gitops-engine.* # left by a run that was interrupted
  work=$(mktemp -d "$BIN/.gitops-engine.XXXXXX")
  say "gitops-engine: building Flux's apply library for the tests (once; about two minutes on two cores)"
  (cd "$SOURCE" && nice -n 5 go build -p 2 -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/engine" .) >&2
  chmod 755 "$work"
  mv -T -- "$work" "$OUT"
  keep_newest "$BIN/gitops-engine"
  say "gitops-engine: built in $((SECONDS - began)) s"
}

locked gitops-engine build
touch -c "$OUT"
ln -sfn "$OUT/engine" "$BIN/gitops-engine"
printf '%s\n' "$BIN/gitops-engine"
