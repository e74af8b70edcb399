"""Starts the simulator for a test class, and speaks to it as Google's own client does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1 as compute

SERVER = Path(__file__).resolve().parent.parent / "gce_sim.py"
PROJECT, ZONE, IMAGE = "acme-test", "europe-west1-b", "projects/acme-test/global/images/golden-7"


def poll(what: str, condition: Callable[[], Any], deadline: float = 20.0) -> Any:
    """The first true value of the condition; a failure where the deadline passes."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {deadline} s")


class Endpoint(unittest.TestCase):
    """A simulator for each class, empty for each test."""

    arguments: ClassVar[tuple[str, ...]] = ("--anonymous", "--step", "0.05")

    @classmethod
    def setUpClass(cls) -> None:
        cls.process = subprocess.Popen([sys.executable, str(SERVER), *cls.arguments], stdout=subprocess.PIPE, text=True)
        line = cls.process.stdout.readline()
        cls.url = line.strip().rsplit(" ", 1)[-1]

    @classmethod
    def tearDownClass(cls) -> None:
        cls.process.terminate()
        cls.process.wait()
        cls.process.stdout.close()

    def setUp(self) -> None:
        self.admin("POST", "reset")
        self.admin("POST", "settings", {"hide": 0})

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """An admin route."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/innkeeper/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def raw(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request of the API, and its status."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/compute/v1/{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def client(self, kind: Callable[..., Any] = compute.InstancesClient) -> Any:
        """One of Google's own clients."""
        here = {"credentials": AnonymousCredentials(), "client_options": ClientOptions(api_endpoint=self.url)}
        client = kind(**here)
        # It would ask Google itself how far an operation is, whatever endpoint it was given.
        operations = compute.ZoneOperationsClient(**here)
        client.transport._extended_operations_services["zone_operations"] = operations
        return client


def instance(name: str, kind: str = "e2-small", **more: Any) -> compute.Instance:
    """An instance to be made."""
    disk = compute.AttachedDisk(
        boot=True, auto_delete=True, initialize_params=compute.AttachedDiskInitializeParams(source_image=IMAGE)
    )
    card = compute.NetworkInterface(network="global/networks/default")
    machine = f"zones/{ZONE}/machineTypes/{kind}"
    return compute.Instance(name=name, machine_type=machine, disks=[disk], network_interfaces=[card], **more)
