#!/usr/bin/env python3
"""Writes a release's own values over the chart's empty ones: `release_chart.py values.yaml KEY=VALUE...`.

As text, so that the comments stay. Each key must be there once, and empty."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def fill(text: str, key: str, value: str) -> str:
    """The text with the value in place of the key's empty one."""
    filled, times = re.subn(rf'^( *{re.escape(key)}: )""$', lambda found: f'{found[1]}"{value}"', text, flags=re.MULTILINE)
    if times != 1:
        sys.exit(f"{key} stands there {times} times with an empty value, not once")
    return filled


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = path.read_text()
    for pair in sys.argv[2:]:
        key, _, value = pair.partition("=")
        text = fill(text, key, value)
    path.write_text(text)
