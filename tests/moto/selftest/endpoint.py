"""Starts the endpoint for a test class, and speaks to it."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SERVER = Path(__file__).resolve().parent.parent / "moto_ec2.py"
REGION, IMAGE, KEY, SECRET = "eu-west-1", "ami-0innkeeper0test00", "AKIATEST", "not-a-secret"
DEADLINE = 20.0


def poll(what: str, condition: Callable[[], Any]) -> Any:
    """The first true value of the condition; a failure where the deadline passes."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {DEADLINE} s")


def start(*arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    """The process and its state file, once it answers."""
    folder = tempfile.mkdtemp(prefix="innkeeper-ec2-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    state = Path(folder) / "state.json"
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--state-file", str(state), "--region", REGION, "--image", IMAGE, *arguments],
        stdout=subprocess.DEVNULL,
    )

    def ready() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"the endpoint ended with {process.returncode}")
        return state.exists()

    poll("the endpoint answers", ready)
    return process, state


def client(url: str, service: str = "ec2", key: str = KEY, secret: str = SECRET) -> Any:
    """A client that does not retry: a test sees every answer."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=DEADLINE),
    )


@functools.cache
def shared() -> tuple[str, Any]:
    """URL and client of the one endpoint of all tests: starting one takes seconds. It ends with this process."""
    process, state = start("--access-key", KEY, "--secret-key", SECRET, "--exit-with-pid", str(os.getpid()))
    atexit.register(process.wait, DEADLINE)
    atexit.register(process.terminate)
    url = json.loads(state.read_text())["url"]
    return url, client(url)


class EndpointTest(unittest.TestCase):
    """The shared endpoint, emptied before each test."""

    url: ClassVar[str]
    ec2: ClassVar[Any]

    @classmethod
    def setUpClass(cls) -> None:
        cls.url, cls.ec2 = shared()

    def setUp(self) -> None:
        self.admin("POST", "reset")
        self.admin("POST", "settings", {"delay": 0.2, "hide": 0, "forget": 3600})

    def admin(self, method: str, route: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/innkeeper/{route}", method=method, data=None if body is None else json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.load(answer)

    def run_instances(self, **changed: Any) -> list[dict[str, Any]]:
        asked = {"ImageId": IMAGE, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **changed}
        return list(self.ec2.run_instances(**asked)["Instances"])

    def state(self, instance: str) -> str:
        found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"]
        return str(found[0]["Instances"][0]["State"]["Name"])

    def becomes(self, instance: str, state: str) -> None:
        poll(f"{instance} is {state}", lambda: self.state(instance) == state)

    def count(self) -> int:
        found = self.ec2.describe_instances()["Reservations"]
        return sum(len(reservation["Instances"]) for reservation in found)

    def refused(self, code: str, call: Callable[..., Any], *, status: int = 400, **arguments: Any) -> None:
        """The call must be refused with this code and HTTP status."""
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        answer = caught.exception.response
        self.assertEqual((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]), (code, status))
