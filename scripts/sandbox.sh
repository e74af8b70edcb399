#!/usr/bin/env bash
# sandbox.sh start|stop|status: an API server, a simulated Xen pool, an EC2 endpoint and the operator on loopback; with
# POOLS=all a simulator of Google's API and an OpenStack control plane too.
#
# Their state (pids, logs, kubeconfig, addresses) is in SANDBOX. scripts/demo.sh sources this file for its functions and
# runs them in a folder of its own. With INNKEEPER_USE_CLUSTER=1 the cluster that kubectl talks to is used instead of
# an own API server; the pools stay simulated.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SANDBOX=${INNKEEPER_SANDBOX:-$CACHE/sandbox}
REGION=eu-west-1
case ${POOLS:=two} in
  two) EXAMPLES=$ROOT/examples SERVERS="the Xen pool and the EC2 endpoint" ;;
  all) EXAMPLES=$ROOT/examples/four-pools SERVERS="the Xen pool, the EC2 endpoint, Google's simulator and OpenStack" ;;
  *) die "POOLS is \"all\", or left out; it is \"$POOLS\"" ;;
esac
MARK=app.kubernetes.io/created-by=innkeeper-sandbox # on what is made beside the examples' own objects
# Room for four guests of 2 GiB: domain 0 leaves 6,124 MiB free on each host, which is two of them and not three.
XAPI_SIM=(--hosts 2 --host-memory 8GiB)
# Before each server: outlive the terminal. The demo's servers end with it instead.
LEASH=(setsid)

python() { "$CACHE/venv/bin/python" "$@"; }
kubectl() { KUBECONFIG=$SANDBOX/kubeconfig "$BIN/kubectl" "$@"; }
look() { python "$ROOT/scripts/look.py" --sandbox "$SANDBOX" "$@"; }

# A pid alone may by now be another process's: what identifies one is the pid and when it started. Nothing is printed
# for a process that has ended, also if nobody has asked for its exit status yet.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }
runs() { # NAME: whether the server of this name runs; its pid is left in PID
  local since
  read -r PID since 2>/dev/null <"$SANDBOX/pids/$1" && [ "$(started_at "$PID")" = "$since" ]
}

launch() { # NAME COMMAND...
  local name=$1
  shift
  "${LEASH[@]}" "$@" </dev/null >"$SANDBOX/logs/$name.log" 2>&1 &
  printf '%s %s\n' "$!" "$(started_at "$!")" >"$SANDBOX/pids/$name"
}

halt() { # NAME: asks a server to end, and ends it where it does not
  if runs "$1"; then
    kill "$PID" 2>/dev/null || true
    wait_for 10 "$1 ends" not runs "$1" || { runs "$1" && kill -KILL "$PID"; }
  fi
  rm -f -- "$SANDBOX/pids/$1"
}
not() { ! "$@"; }

ready() { # NAME SECONDS COMMAND...: waits until the command succeeds, as long as the server runs
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" 2>/dev/null; do
    if ! runs "$name"; then
      tail -n 20 "$SANDBOX/logs/$name.log" >&2
      die "$name ended at its start; its log is $SANDBOX/logs/$name.log"
    fi
    [ "$SECONDS" -lt "$deadline" ] || die "$name is not ready in time; its log is $SANDBOX/logs/$name.log"
    sleep 0.1
  done
}

answers() ( # PORT PATH: whether GET answers 200
  exec {socket}<>"/dev/tcp/127.0.0.1/$1"
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&"$socket"
  read -r -t 2 _ code _ <&"$socket" && [ "$code" = 200 ]
)

free_port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

sandbox_stop() { # what uses the others goes first
  local name
  for name in operator openstack gce ec2 xapi-sim controlplane; do halt "$name"; done
}

start_pools() {
  local key secret images
  # The images that the examples name exist at the EC2 endpoint.
  mapfile -t images < <(grep -rhoE --include='*.yaml' 'ami-[0-9a-z]+' "$EXAMPLES" | sort -u | sed 's/^/--image=/')
  (umask 077 && printf 'AKIADEMO %s\n' "$(python -c 'import secrets; print(secrets.token_hex(20))')" >"$SANDBOX/ec2-keys")
  read -r key secret <"$SANDBOX/ec2-keys"
  launch ec2 "$CACHE/venv/bin/python" -B "$ROOT/tests/moto/moto_ec2.py" --state-file "$SANDBOX/ec2.json" \
    --region "$REGION" --access-key "$key" --secret-key "$secret" "${images[@]}"
  launch xapi-sim "$PROGRAMS/xapi-sim" --port 0 --state-file "$SANDBOX/xapi-sim.json" "${XAPI_SIM[@]}"
  [ "$POOLS" = all ] || return 0
  launch gce "$CACHE/venv/bin/python" -B "$ROOT/tests/gce-sim/gce_sim.py" --state-file "$SANDBOX/gce.json"
  launch openstack "$INNKEEPER_OPENSTACK/bin/python" -B "$ROOT/tests/openstack/control_plane.py" run \
    --template "$INNKEEPER_OPENSTACK/template.tgz" --state-file "$SANDBOX/openstack.json"
}

start_cluster() {
  if [ -n "${INNKEEPER_USE_CLUSTER:-}" ]; then
    "$BIN/kubectl" config view --raw --minify --flatten >"$SANDBOX/kubeconfig"
    say "sandbox: using the cluster $(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')"
    kubectl get --raw /readyz >/dev/null || die "the cluster does not answer"
    [ -z "$(kubectl get cloudpools -o name 2>/dev/null)" ] ||
      die "the cluster has CloudPools already; a second operator would act on them"
    return
  fi
  launch controlplane "$BIN/controlplane" --data-dir "$SANDBOX/controlplane" --kubeconfig "$SANDBOX/kubeconfig" \
    --port 0 --unsafe-no-fsync
}

start_operator() {
  local port
  port=$(free_port)
  printf '%s\n' "$port" >"$SANDBOX/operator-port"
  launch operator "$PROGRAMS/innkeeper" run --kubeconfig "$SANDBOX/kubeconfig" --listen "127.0.0.1:$port"
  ready operator 30 answers "$port" /readyz
}

# What the servers need that is not built with the operator.
sandbox_setup() {
  "$ROOT/scripts/setup.sh"
  [ "$POOLS" = two ] || INNKEEPER_OPENSTACK=$("$ROOT/scripts/openstack.sh")
  export INNKEEPER_OPENSTACK
}

# Starts all of them. What another run left in the folder is stopped and removed before.
sandbox_start() {
  sandbox_stop
  rm -rf -- "$SANDBOX"
  (umask 077 && mkdir -p "$SANDBOX/pids" "$SANDBOX/logs")
  PROGRAMS=$("$ROOT/scripts/build.sh")
  say "sandbox: starting the API server, $SERVERS"
  start_cluster
  start_pools
  [ -n "${INNKEEPER_USE_CLUSTER:-}" ] || ready controlplane 60 test -e "$SANDBOX/controlplane/ready"
  ready xapi-sim 20 test -e "$SANDBOX/xapi-sim.json"
  ready ec2 30 test -e "$SANDBOX/ec2.json"
  if [ "$POOLS" = all ]; then
    ready gce 30 test -e "$SANDBOX/gce.json"
    ready openstack 300 test -s "$SANDBOX/openstack.json"
  fi
  "$PROGRAMS/innkeeper" crds >"$SANDBOX/crds.yaml"
  kubectl apply --server-side --force-conflicts -f "$SANDBOX/crds.yaml" >/dev/null
  kubectl wait --for=condition=Established --timeout=30s -f "$SANDBOX/crds.yaml" >/dev/null
  look manifests "$EXAMPLES" >"$SANDBOX/examples.yaml"
  (umask 077 && look secrets "$MARK" >"$SANDBOX/secrets.yaml")
  kubectl apply --server-side -f "$SANDBOX/secrets.yaml" >/dev/null
  start_operator
  say "sandbox: the operator is ready"
}

main() {
  case "${1:-}" in
    start)
      if runs operator; then
        say "sandbox: runs already"
      else
        sandbox_setup
        trap 'sandbox_stop' ERR EXIT
        sandbox_start
        trap - ERR EXIT
      fi
      say "  export KUBECONFIG=$SANDBOX/kubeconfig PATH=$BIN:\$PATH"
      say "  kubectl apply -f $SANDBOX/examples.yaml     # the pools and the workload of ${EXAMPLES#"$ROOT"/}/, with the addresses here"
      say "  kubectl get cloudpools,virtualworkloads,guests -A"
      say "  logs: $SANDBOX/logs; end: make sandbox-stop"
      ;;
    stop) sandbox_stop ;;
    status)
      local name
      for name in controlplane xapi-sim ec2 gce openstack operator; do
        if runs "$name"; then say "$name: pid $PID"; else say "$name: does not run"; fi
      done
      ;;
    *) die "usage: $0 start|stop|status" ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
