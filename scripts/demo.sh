#!/usr/bin/env bash
# The demonstration, with POOLS=all that of scripts/demo-all.sh, else: two pools, a batch of two guests at home, six web
# servers, two at home and four rented; the batch ends and two of them come home; scaled to eight and to two; removed. At
# the end both providers are asked directly whether anything is left. Every number in the last line is counted, none is written.
. "$(dirname "${BASH_SOURCE[0]}")/sandbox.sh"

BEGAN=$SECONDS
SANDBOX=$CACHE/demo
LEASH=(setpriv --pdeathsig TERM setsid)

STAGE="the start"
heading() {
  STAGE=$1
  printf '\n=== %s (%d s)\n' "$1" "$((SECONDS - BEGAN))" >&2
}
fail() {
  say "demo: $*"
  exit 1
}
finish() {
  local status=$?
  sandbox_stop
  [ "$status" = 0 ] || say "demo: FAILED at: $STAGE; the logs are in $SANDBOX/logs"
}
get_guests() { kubectl get guests -n "$NAMESPACE" -l "innkeeper.dev/workload=$WORKLOAD" -o "$@"; }

# Running guests and all guests, from the API server. A guest that runs has been bound and has an address.
count_guests() {
  get_guests 'jsonpath={range .items[*]}{.status.phase}/{.status.addresses[0]}{"\n"}{end}' |
    awk -F/ 'NF { all++ } $1 == "Running" && $2 != "" { running++ } END { print running + 0, all + 0 }'
}

# until_guests NUMBER SECONDS: waits until exactly so many guests exist and all of them run; shows each change.
until_guests() {
  local deadline=$((SECONDS + $2)) running all shown=
  while true; do
    read -r running all < <(count_guests)
    [ "$running/$all" = "$shown" ] || say "  $running of $all guests run"
    shown=$running/$all
    [ "$shown" != "$1/$1" ] || return 0
    [ "$SECONDS" -lt "$deadline" ] || {
      get_guests wide >&2
      fail "expected $1 running guests within $2 s; $running of $all run"
    }
    sleep 0.3
  done
}

# until_home NUMBER SECONDS: waits until so many guests are bound at home.
until_home() {
  local deadline=$((SECONDS + $2)) home
  while true; do
    home=$(get_guests 'jsonpath={range .items[*]}{.spec.binding.pool}{"\n"}{end}' | grep -c '^xen-') || true
    [ "$home" != "$1" ] || return 0
    [ "$SECONDS" -lt "$deadline" ] || {
      get_guests wide >&2
      fail "expected $1 guests at home within $2 s; there are $home"
    }
    sleep 0.3
  done
}

# Two guests that have been there before, of the same image and size as the example's, and that only live at home.
batch() {
  cat <<END
apiVersion: innkeeper.dev/v1alpha1
kind: VirtualWorkload
metadata: { name: batch, namespace: $NAMESPACE }
spec:
  replicas: 2
  template: { image: { name: debian-12 }, size: { vcpus: 1, memory: 2Gi } }
  placement: { burst: { policy: Never } }
END
}

# every_provider_is_empty: asks all providers whether anything is left, which leaves the number in LEFT.
every_provider_is_empty() {
  read -r _ _ _ _ LEFT < <(look providers "$SANDBOX/baseline.json")
  if [ "$LEFT" != 0 ]; then
    look left "$SANDBOX/baseline.json" >&2
    fail "expected nothing to be left at the providers, there are $LEFT things"
  fi
  say "  at the providers: nothing is left"
}

# leave_nothing SECONDS: removes the workload, whose guests may take so long, and the pools, and sees that nothing is left.
leave_nothing() {
  heading "nothing"
  kubectl delete virtualworkload -n "$NAMESPACE" "$WORKLOAD" --timeout=60s >&2 || fail "the workload is not gone within 60 s"
  until_guests 0 "$1"
  kubectl delete -f "$SANDBOX/examples.yaml" --ignore-not-found --timeout=60s >&2 || fail "the pools are not gone within 60 s"
  every_provider_is_empty
  kubectl delete secrets -A -l "$MARK" >/dev/null
  sandbox_stop
}

# provided EXPECTED-XEN EXPECTED-EC2 WHEN: counts the running VMs at the providers; "-" expects nothing of one of them.
provided() {
  read -r XEN EC2 _ _ _ < <(look providers "$SANDBOX/baseline.json")
  say "  at the providers: $XEN run on Xen, $EC2 at EC2"
  [ "$1" = - ] || [ "$XEN" = "$1" ] || fail "$3: expected $1 VMs on Xen, the pool runs $XEN"
  [ "$2" = - ] || [ "$EC2" = "$2" ] || fail "$3: expected $2 instances at EC2, there are $EC2 running"
}

demo() {
  local replicas guests xen ec2 home
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  sandbox_start
  heading "two pools and a workload"
  look baseline >"$SANDBOX/baseline.json"
  read -r NAMESPACE WORKLOAD replicas < <(look workload)
  # The batch comes first, and has half of the room at home.
  look pools >"$SANDBOX/pools.yaml"
  kubectl apply --server-side -f "$SANDBOX/pools.yaml" >&2
  kubectl wait cloudpools --all --for=condition=Ready --timeout=30s >/dev/null
  batch | kubectl apply --server-side -f - >&2
  kubectl wait virtualworkload -n "$NAMESPACE" batch --for=condition=Ready --timeout=30s >/dev/null ||
    fail "the batch does not run within 30 s"
  kubectl apply --server-side -f "$SANDBOX/examples.yaml" >&2
  until_guests "$replicas" 60
  echo >&2
  kubectl get cloudpools >&2
  echo >&2
  get_guests json | look table
  provided 4 4 "after the start"
  read -r _ guests < <(count_guests)
  home=$EC2
  [ "$guests" = 6 ] || fail "the example asks for $guests guests, the demo is written for 6"

  heading "the batch ends: guests that overflowed come home"
  kubectl delete virtualworkload -n "$NAMESPACE" batch --timeout=60s >&2 || fail "the batch is not gone within 60 s"
  until_home 4 60
  until_guests "$replicas" 30
  get_guests json | look table
  provided 4 2 "with the batch gone"
  xen=$XEN ec2=$EC2 home=$((home - EC2))

  heading "eight guests: what does not fit at home is rented"
  kubectl scale virtualworkload -n "$NAMESPACE" "$WORKLOAD" --replicas=8 >&2
  until_guests 8 60
  provided 4 4 "with eight guests"

  heading "two guests: the last ones go first"
  kubectl scale virtualworkload -n "$NAMESPACE" "$WORKLOAD" --replicas=2 >&2
  until_guests 2 60
  provided - - "with two guests"
  [ "$((XEN + EC2))" = 2 ] || fail "two guests were left, and the providers run $((XEN + EC2)) VMs"

  leave_nothing 60
  printf 'demo: ok guests=%d xen=%d ec2=%d home=%d left=%d seconds=%d\n' \
    "$guests" "$xen" "$ec2" "$home" "$LEFT" "$((SECONDS - BEGAN))"
}

sandbox_setup
if [ "$POOLS" = all ]; then
  . "$ROOT/scripts/demo-all.sh"
  locked demo demo_all
else
  locked demo demo
fi
