# shellcheck shell=bash
# The demonstration on all four providers, sourced by demo.sh: twelve guests go where law and price say, each client of a
# provider sees what the guests' status says, running and stopped; a pool is cordoned and drained, and its guests are made
# anew elsewhere; removed. Every number in the last line is counted.

LEAVING=openstack-frankfurt # the pool that is cordoned and drained
DRAINED=2                   # guests that are left there after one was deleted by hand

# clients [--alone]: asks each provider's official client for our VMs, and compares them with the guests.
clients() {
  kubectl get cloudpools,guests -A -o json |
    python -B "$ROOT/tests/clients/compare.py" --sandbox "$SANDBOX" --owner "$OWNER" "$@"
}

bound() { get_guests 'jsonpath={range .items[*]}{.spec.binding.pool}{"\n"}{end}' | grep -cx -- "$1" || true; }

# vms: which VM each guest has: its name, UID and incarnation.
vms() { get_guests 'jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.incarnation}{"\n"}{end}' | sort; }

# everywhere XEN EC2 GCE OPENSTACK WHEN: counts the running VMs at the providers.
everywhere() {
  read -r XEN EC2 GCE OPENSTACK _ < <(look providers "$SANDBOX/baseline.json")
  say "  at the providers: $XEN run on Xen, $EC2 at EC2, $GCE at Google, $OPENSTACK on OpenStack"
  [ "$XEN $EC2 $GCE $OPENSTACK" = "$1 $2 $3 $4" ] ||
    fail "$5: expected $1 on Xen, $2 at EC2, $3 at Google and $4 on OpenStack"
}

# agree WHEN: the clients see what the guests' status says. Addresses and states follow within seconds.
agree() {
  local deadline=$((SECONDS + 30))
  until clients >"$SANDBOX/clients" 2>"$SANDBOX/clients.differences"; do
    [ "$SECONDS" -lt "$deadline" ] || {
      cat "$SANDBOX/clients" "$SANDBOX/clients.differences" >&2
      fail "$1: a client sees otherwise than Guest.status says"
    }
  done
  SEEN=$(wc -l <"$SANDBOX/clients")
  [ "$SEEN" = 12 ] || fail "$1: the clients see $SEEN VMs of 12"
}

# until_phase PHASE SECONDS: waits until all twelve guests are in a phase.
until_phase() {
  local deadline=$((SECONDS + $2))
  until [ "$(get_guests 'jsonpath={range .items[*]}{.status.phase}{"\n"}{end}' | grep -cx "$1")" = 12 ]; do
    [ "$SECONDS" -lt "$deadline" ] || {
      get_guests wide >&2
      fail "expected twelve guests to be $1 within $2 s"
    }
    sleep 0.5
  done
}

# until_left POOL NUMBER SECONDS: waits until so many guests are bound to a pool and all twelve run. Meanwhile no look at the
# providers finds a guest with two VMs.
until_left() {
  local deadline=$((SECONDS + $3)) here running all shown=
  while true; do
    here=$(bound "$1")
    read -r running all < <(count_guests)
    [ "$here $running $all" = "$shown" ] || say "  $here of $all guests are placed in $1, and $running run"
    shown="$here $running $all"
    [ "$shown" != "$2 12 12" ] || return 0
    clients --alone || fail "a guest has two VMs"
    LOOKS=$((LOOKS + 1))
    [ "$SECONDS" -lt "$deadline" ] || {
      get_guests wide >&2
      fail "expected $2 guests in $1 and twelve that run within $3 s"
    }
    sleep 0.3
  done
}

spread() {
  local law
  heading "five pools of four providers, and a workload of twelve"
  look baseline >"$SANDBOX/baseline.json"
  look pools >"$SANDBOX/pools.yaml"
  kubectl apply --server-side -f "$SANDBOX/pools.yaml" >&2
  kubectl wait cloudpools --all --for=condition=Ready --timeout=60s >/dev/null || fail "a pool is not Ready within 60 s"
  kubectl apply --server-side -f "$SANDBOX/examples.yaml" >&2
  until_guests 12 120
  echo >&2
  kubectl get cloudpools >&2
  echo >&2
  get_guests json | look table
  [ "$(bound gce-iowa)" = 0 ] || fail "a guest is in gce-iowa, where the workload may not go"
  law=$(get_guests 'jsonpath={.items[0].status.placement.rejected[?(@.pool=="gce-iowa")].why}')
  say "  home first, then the cheapest of the others, up to the limit of each; gce-iowa is cheaper yet: $law"
  everywhere 4 2 3 3 "after the start"
}

compared() {
  heading "XenAPI, boto3, google-cloud-compute and openstacksdk list our guests"
  agree "running"
  cat "$SANDBOX/clients" >&2
  say "  provider, id, marks, state, size, type, zone and addresses are as Guest.status says, for each of $SEEN"
  kubectl patch virtualworkload -n "$NAMESPACE" "$WORKLOAD" --type=merge \
    -p '{"spec":{"template":{"powerState":"Stopped","shutdown":{"mode":"Hard"}}}}' >&2
  until_phase Stopped 120
  everywhere 0 0 0 0 "with all switched off"
  agree "stopped"
  kubectl patch virtualworkload -n "$NAMESPACE" "$WORKLOAD" --type=merge -p '{"spec":{"template":{"powerState":"Running"}}}' >&2
  until_guests 12 120
  agree "running again"
  say "  so they are when all are off, and when all run again"
}

cordon() {
  heading "$LEAVING is cordoned: who is there stays, whoever is made anew goes elsewhere"
  local one
  vms >"$SANDBOX/before"
  kubectl patch cloudpool "$LEAVING" --type=merge -p '{"spec":{"cordoned":true}}' >&2
  one=$(get_guests 'jsonpath={range .items[*]}{.spec.binding.pool} {.metadata.name}{"\n"}{end}' | awk -v pool="$LEAVING" '$1 == pool { print $2; exit }')
  # What was asked for a moment ago may still turn up: it is waited for, two minutes at most.
  kubectl delete guest -n "$NAMESPACE" "$one" --timeout=180s >&2 || fail "$one is not gone within 180 s"
  LOOKS=0
  until_left "$LEAVING" "$DRAINED" 180
  everywhere 4 3 3 2 "with the pool cordoned"

  heading "it is drained: the workload allows Recreate, so its guests are made anew elsewhere"
  kubectl patch cloudpool "$LEAVING" --type=merge -p '{"spec":{"drain":true}}' >&2
  until_left "$LEAVING" 0 300
  get_guests json | look table
  everywhere 4 5 3 0 "with the pool drained"
  agree "after the moves"
  vms >"$SANDBOX/after"
  REPLACED=$(comm -13 "$SANDBOX/before" "$SANDBOX/after" | wc -l)
  [ "$REPLACED" = 3 ] || fail "three guests had to be replaced, $REPLACED were"
  say "  $REPLACED guests have another VM, the others the same; none of $LOOKS looks at the providers found a guest with two"
}

demo_all() {
  local replicas xen ec2 gce openstack
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  sandbox_start
  read -r NAMESPACE WORKLOAD replicas < <(look workload)
  [ "$replicas" = 12 ] || fail "the example asks for $replicas guests, the demo is written for 12"
  OWNER=$(kubectl get namespace kube-system -o 'jsonpath={.metadata.uid}')
  spread
  xen=$XEN ec2=$EC2 gce=$GCE openstack=$OPENSTACK
  compared
  cordon

  leave_nothing 180
  printf 'demo: ok guests=%d xen=%d ec2=%d gce=%d openstack=%d clients=%d replaced=%d left=%d seconds=%d\n' \
    "$replicas" "$xen" "$ec2" "$gce" "$openstack" "$SEEN" "$REPLACED" "$LEFT" "$((SECONDS - BEGAN))"
}
