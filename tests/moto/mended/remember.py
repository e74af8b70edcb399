"""DescribeInstances answered from memory while nothing has changed: moto takes seconds to write down a thousand instances."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .world import WORLD


def _question(environ: Mapping[str, Any]) -> str:
    body: str = environ["wsgi.input"].getvalue().decode("utf-8", "replace")
    return f"{environ.get('QUERY_STRING', '')} {body}"


# The version of an answer that holds for its own moment only.
_PASSING = -1


def version_of_now() -> int:
    """The version of an answer whose reading begins now. While an instance is hidden, time changes the answer too."""
    return _PASSING if WORLD.hidden_until > time.time() else WORLD.version


def remembered(environ: Mapping[str, Any], action: str) -> tuple[bytes, tuple[Any, ...]] | None:
    """What the same question was answered with, if that still holds."""
    if action != "DescribeInstances":
        return None
    version, answer, began = WORLD.answers.get(_question(environ), (_PASSING, b"", ()))
    return (answer, began) if version == WORLD.version else None


def remember(
    environ: Mapping[str, Any], action: str, version: int, answer: bytes, began: tuple[Any, ...]
) -> None:
    """Keeps an answer whose reading began at this version. One that a change may have overtaken is of no use later."""
    if action != "DescribeInstances" or version == _PASSING or not began[0].startswith("200"):
        return
    if len(WORLD.answers) >= 16:
        WORLD.answers.clear()
    WORLD.answers[_question(environ)] = (version, answer, began)
