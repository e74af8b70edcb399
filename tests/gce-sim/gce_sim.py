#!/usr/bin/env python3
"""A Compute Engine endpoint on loopback for tests (see the package `gcesim`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from gcesim.serve import Options, serve
from gcesim.world import WORLD


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--state-file", type=Path, help="where to write {url, pid, project, key} once it answers")
    parser.add_argument("--exit-with-pid", type=int, metavar="PID", help="end when this process ends")
    parser.add_argument("--anonymous", action="store_true", help="take requests without a token")
    parser.add_argument("--step", type=float, default=WORLD.settings.step, help="seconds from one state to the next")
    given = parser.parse_args()
    WORLD.settings = WORLD.settings.changed({"step": given.step})
    serve(Options(given.port, given.state_file, given.anonymous, given.exit_with_pid))


if __name__ == "__main__":
    main()
