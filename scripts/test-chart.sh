#!/usr/bin/env bash
# Tests the Helm chart: lint, and what its templates make of many values.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CHART=$ROOT/charts/innkeeper

"$ROOT/scripts/venv.sh" >/dev/null
"$ROOT/scripts/clients.sh"
"$BIN/helm" lint --strict --quiet "$CHART" --set image.repository=registry.example.com/innkeeper
cd "$ROOT/tests"
PYTHONDONTWRITEBYTECODE=1 INNKEEPER_CACHE=$CACHE "$CACHE/venv/bin/python" -m unittest chart.test_templates
