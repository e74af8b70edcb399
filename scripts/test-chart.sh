#!/usr/bin/env bash
# Tests the Helm chart: lint, what its templates make of many values, and one installation from its first day to its last
# on a real API server, with the operator run as the Deployment says and with its ServiceAccount's rights. Also what goes out
# with a release beside the chart.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CHART=$ROOT/charts/innkeeper

"$ROOT/scripts/venv.sh" >/dev/null
"$ROOT/scripts/clients.sh"
"$BIN/helm" lint --strict --quiet "$CHART" --set image.repository=registry.example.com/innkeeper
"$ROOT/scripts/controlplane.sh" >/dev/null
INNKEEPER_PROGRAMS=$("$ROOT/scripts/build.sh")
export INNKEEPER_PROGRAMS INNKEEPER_CACHE=$CACHE PYTHONDONTWRITEBYTECODE=1
cd "$ROOT/tests"
# XenAPI leaves its connection to the garbage collector.
"$CACHE/venv/bin/python" -W ignore::ResourceWarning -m unittest chart.test_templates chart.test_release \
  gitops.test_states.Health chart.test_cluster
