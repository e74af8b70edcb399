#!/usr/bin/env python3
"""An EC2 endpoint on loopback for tests: moto, mended where it differs from EC2 (see the package `mended`)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# moto reads these when it is imported.
os.environ.setdefault("MOTO_DISABLE_GLOBAL_CORS", "true")

from mended.serve import Options, serve
from mended.sigv4 import Credentials
from mended.world import WORLD


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--state-file", type=Path, help="where to write {url, pid, region} once the endpoint answers")
    parser.add_argument("--exit-with-pid", type=int, metavar="PID", help="end when this process ends")
    parser.add_argument("--access-key", help="accept only requests signed with this key and --secret-key")
    parser.add_argument("--secret-key")
    parser.add_argument("--region", default="eu-west-1", help="the region that --image is for")
    parser.add_argument("--image", action="append", default=[], metavar="AMI", help="an image that exists; repeatable")
    for name, text in (
        ("delay", "seconds from pending to running, stopping to stopped, shutting-down to terminated"),
        ("hide", "seconds that a fresh instance is unknown to other calls"),
        ("forget", "seconds that a terminated instance is still shown"),
    ):
        parser.add_argument(f"--{name}", type=float, default=getattr(WORLD.settings, name), help=text)
    given = parser.parse_args()
    if bool(given.access_key) != bool(given.secret_key):
        parser.error("--access-key and --secret-key go together")
    try:
        WORLD.settings = WORLD.settings.changed({"delay": given.delay, "hide": given.hide, "forget": given.forget})
    except ValueError as error:
        parser.error(str(error))
    credentials = Credentials(given.access_key, given.secret_key) if given.access_key else None
    serve(Options(given.port, given.state_file, credentials, given.region, given.image, given.exit_with_pid))


if __name__ == "__main__":
    main()
