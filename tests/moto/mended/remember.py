"""DescribeInstances answered from memory while nothing has changed: moto takes seconds to write down a thousand instances."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .world import WORLD


def _question(environ: Mapping[str, Any]) -> str:
    body: str = environ["wsgi.input"].getvalue().decode("utf-8", "replace")
    return f"{environ.get('QUERY_STRING', '')} {body}"


def remembered(environ: Mapping[str, Any], action: str) -> tuple[bytes, tuple[Any, ...]] | None:
    """What the same question was answered with, if that still holds."""
    if action != "DescribeInstances" or WORLD.hidden_until > time.time():
        return None
    version, answer, began = WORLD.answers.get(_question(environ), (-1, b"", ()))
    return (answer, began) if version == WORLD.version else None


def remember(
    environ: Mapping[str, Any], action: str, version: int, answer: bytes, began: tuple[Any, ...]
) -> None:
    """Keeps an answer. One that a change may have overtaken carries the version from before it."""
    if action != "DescribeInstances" or WORLD.hidden_until > time.time() or not began[0].startswith("200"):
        return
    if len(WORLD.answers) >= 16:
        WORLD.answers.clear()
    WORLD.answers[_question(environ)] = (version, answer, began)
