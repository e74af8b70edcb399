#!/usr/bin/env bash
# Tests the Helm chart: lint, what its templates make of many values, and one installation from its first day to its last
# on a real API server, with the operator run as the Deployment says and with its ServiceAccount's rights. Also what goes out
# with a release beside the chart, what the pages say, and the restore of a lost cluster.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CHART=$ROOT/charts/innkeeper

"$ROOT/scripts/setup.sh"
"$ROOT/scripts/promtool.sh" >/dev/null
"$BIN/helm" lint --strict --quiet "$CHART" --set image.repository=registry.example.com/innkeeper
INNKEEPER_PROGRAMS=$("$ROOT/scripts/build.sh")
export INNKEEPER_PROGRAMS INNKEEPER_CACHE=$CACHE PYTHONDONTWRITEBYTECODE=1
cd "$ROOT/tests"

# XenAPI leaves its connection to the garbage collector.
tests() { "$CACHE/venv/bin/python" -W ignore::ResourceWarning -m unittest "$@"; }

# Beside the others, as most of it is waiting.
LOG=$(mktemp "${TMPDIR:-/tmp}/innkeeper-restore.XXXXXX")
trap 'kill "$RESTORE" 2>/dev/null || true; rm -f -- "$LOG"' EXIT
tests chart.test_restore >"$LOG" 2>&1 &
RESTORE=$!
tests chart.test_templates chart.test_docs chart.test_monitoring chart.test_release gitops.test_states.Health chart.test_cluster
wait "$RESTORE" || { cat "$LOG" >&2; die "chart.test_restore failed"; }
cat "$LOG" >&2
