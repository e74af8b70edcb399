"""What the operator asked of the API server, from its audit log, and what the chart allows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["{user}"]
  - level: None
"""


class Right(NamedTuple):
    """To do something to a kind, in a namespace or everywhere."""

    verb: str
    group: str
    resource: str
    where: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group} in {self.where}"


EVERYWHERE = "the cluster"


def granted(objects: Iterable[dict[str, Any]], account: str) -> set[Right]:
    """What the bindings to a ServiceAccount give it."""
    objects = list(objects)
    rights = set()
    for binding in objects:
        if not binding["kind"].endswith("RoleBinding") or account not in [each["name"] for each in binding["subjects"]]:
            continue
        where = binding["metadata"].get("namespace", EVERYWHERE)
        for role in objects:
            if role["kind"] != binding["roleRef"]["kind"] or role["metadata"]["name"] != binding["roleRef"]["name"]:
                continue
            if role["metadata"].get("namespace", EVERYWHERE) != where:
                continue
            for rule in role["rules"]:
                rights |= {
                    Right(verb, group, resource, where)
                    for verb in rule["verbs"] for group in rule["apiGroups"] for resource in rule["resources"]
                }  # fmt: skip
    return rights


def entries(log: Path) -> list[dict[str, Any]]:
    """The log's lines. The last may be half written."""
    found = []
    for line in log.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def denied(log: Iterable[dict[str, Any]]) -> list[str]:
    """The requests that were refused for want of rights."""
    return [
        f"{entry['verb']} {entry['requestURI']}"
        for entry in log
        if entry.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
        or entry.get("responseStatus", {}).get("code") in (401, 403)
    ]


def used(log: Iterable[dict[str, Any]], rights: set[Right]) -> set[Right]:
    """The rights that some request needed: that of its namespace where there is one, else that of the cluster."""
    found = set()
    for entry in log:
        reference = entry.get("objectRef")
        if not reference or entry.get("annotations", {}).get("authorization.k8s.io/decision") != "allow":
            continue
        resource = "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))
        # An apply that makes its object is authorised for both, and logged as a patch.
        made = entry["verb"] == "patch" and entry.get("responseStatus", {}).get("code") == 201
        for verb in (entry["verb"], "create") if made else (entry["verb"],):
            for where in (reference.get("namespace", EVERYWHERE), EVERYWHERE):
                right = Right(verb, reference.get("apiGroup", ""), resource, where)
                if right in rights:
                    found.add(right)
                    break
    return found
