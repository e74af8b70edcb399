"""The process: binds the socket, writes the state file once it answers, ends on SIGTERM or with another process."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto import settings as moto_settings
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models.amis import Ami
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from . import launch, lifecycle, spot, visibility, volumes
from .admin import Admin
from .front import Front
from .sigv4 import Credentials


def install() -> None:
    """Mends moto in this process, and turns on the validation that EC2 always does."""
    moto_settings.ENABLE_AMI_VALIDATION = True
    moto_settings.EC2_ENABLE_INSTANCE_TYPE_VALIDATION = True
    visibility.install()
    lifecycle.install()
    launch.install()
    volumes.install()
    spot.install()


def add_images(region: str, images: list[str]) -> None:
    """Puts images with these ids into a region, beside those moto brings."""
    backend: Any = get_backend("ec2")[DEFAULT_ACCOUNT_ID][region]
    for image in images:
        backend.amis[image] = Ami(
            backend,
            image,
            name=f"innkeeper-test/{image}",
            owner_id="136693071363",
            public=True,
            virtualization_type="hvm",
            architecture="x86_64",
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name="/dev/xvda",
            region_name=region,
        )


@dataclass(frozen=True)
class Options:
    """How to serve."""

    port: int
    """On 127.0.0.1; 0 picks a free one."""
    state_file: Path | None
    """Written once the endpoint answers, removed at the end."""
    credentials: Credentials | None
    """What requests must be signed with."""
    region: str
    images: list[str]
    """Images that exist in the region beside those moto brings."""
    exit_with: int | None
    """The process to end with."""


def serve(options: Options) -> None:
    """Serves until SIGTERM, SIGINT or the end of the process it follows."""
    install()

    def fill() -> None:
        get_backend("ec2").reset()
        add_images(options.region, options.images)

    add_images(options.region, options.images)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # the journal says what was called
    dispatcher = DomainDispatcherApplication(create_backend_app)
    front = Front(dispatcher, options.credentials, Admin(fill))
    server = make_server("127.0.0.1", options.port, front, threaded=True, request_handler=MotoRequestHandler)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.exit_with is not None:
        threading.Thread(target=_follow, args=(os.pidfd_open(options.exit_with), stop), daemon=True).start()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    with urllib.request.urlopen(f"{url}/innkeeper/calls", timeout=30) as answer:
        answer.read()
    if options.state_file:
        _write(options.state_file, {"url": url, "pid": os.getpid(), "region": options.region})
    print(f"ec2: ready on {url}", flush=True)
    stop.wait()
    server.shutdown()
    if options.state_file:
        options.state_file.unlink(missing_ok=True)


def _follow(pidfd: int, stop: threading.Event) -> None:
    """A pidfd becomes readable when its process ends, however it ends."""
    select.select([pidfd], [], [])
    stop.set()


def _write(path: Path, state: dict[str, Any]) -> None:
    following = path.with_name(f"{path.name}.next")
    following.write_text(json.dumps(state) + "\n")
    following.replace(path)
