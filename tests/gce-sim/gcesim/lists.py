"""Lists: filters, pages, and lists of all zones together."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from .catalogue import ZONES
from .world import BASE, WORLD, Json, Refused, Thing

_TERM = re.compile(r'\(?\s*(labels\.)?([\w-]+)\s*(=|!=|:|eq)\s*"?([^")]*)"?\s*\)?')


def shown(things: Mapping[tuple[str, str, str], Thing], project: str, zone: str | None = None) -> list[Json]:
    """What reads show of a project, or of one zone of it."""
    now = time.monotonic()
    return [
        thing.value
        for (in_project, in_zone, _), thing in sorted(things.items())
        if in_project == project and zone in (None, in_zone) and now >= thing.shown
    ]


def page(items: list[Json], query: Mapping[str, str], kind: str, link: str) -> Json:
    """One page of a list."""
    items, token = _cut(_filtered(items, query.get("filter", "")), query)
    answer: Json = {"kind": kind, "id": link, "selfLink": BASE + link, "items": items}
    if not items:
        del answer["items"]
    return answer | token


def aggregated(items: list[Json], query: Mapping[str, str], kind: str, what: str, project: str) -> Json:
    """One page of a list over all zones."""
    items, token = _cut(_filtered(items, query.get("filter", "")), query)
    scopes: dict[str, Json] = {}
    for zone in ZONES:
        here = [item for item in items if item["zone"].rsplit("/", 1)[-1] == zone]
        scopes[f"zones/{zone}"] = {what: here} if here else _nothing(zone)
    link = f"projects/{project}/aggregated/{what}"
    answer = {"kind": kind, "id": link, "selfLink": BASE + link, "items": scopes} | token
    if WORLD.unreachable:
        answer["unreachables"] = [f"projects/{project}/zones/{zone}" for zone in sorted(WORLD.unreachable)]
    return answer


def _nothing(zone: str) -> Json:
    words = f"There are no results for scope 'zones/{zone}' on this page."
    return {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": words, "data": [{"key": "scope", "value": f"zones/{zone}"}]}}


def _cut(items: list[Json], query: Mapping[str, str]) -> tuple[list[Json], Json]:
    size, start = int(query.get("maxResults", 500)), int(query.get("pageToken") or 0)
    if not 0 < size <= 500:
        raise Refused(400, "invalid", "Invalid value for field 'maxResults': must be between 1 and 500")
    more: Json = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
    return items[start : start + size], more


def _filtered(items: list[Json], text: str) -> list[Json]:
    if not text:
        return items
    for term in re.split(r"\s+AND\s+", text):
        match = _TERM.fullmatch(term.strip())
        if not match:
            raise Refused(400, "invalid", f"Invalid value for field 'filter': '{text}'. Invalid list filter expression.")
        items = [item for item in items if _passes(item, *match.groups())]
    return items


def _passes(item: Json, of_labels: str | None, name: str, operator: str, wanted: str) -> bool:
    have: Any = item.get("labels", {}).get(name) if of_labels else item.get(name)
    if operator == ":" and wanted == "*":
        return have is not None
    return (str(have) == wanted) != (operator == "!=")
