#!/usr/bin/env bash
# Tests the kinds with GitOps tools: kstatus and Argo CD's health check over every state, and a Git repository that Flux's
# kustomize-controller applies over and over.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
"$ROOT/scripts/flux.sh" >/dev/null
INNKEEPER_PROGRAMS=$("$ROOT/scripts/build.sh")
export INNKEEPER_PROGRAMS INNKEEPER_CACHE=$CACHE PYTHONDONTWRITEBYTECODE=1
cd "$ROOT/tests"
# XenAPI leaves its connection to the garbage collector.
"$CACHE/venv/bin/python" -W ignore::ResourceWarning -m unittest gitops.test_states gitops.test_commits
