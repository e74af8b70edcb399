"""Servers as child processes that end with the test, however it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")
# A test that is killed takes its servers with it.
LEASH = ("setpriv", "--pdeathsig", "KILL")


class Process:
    """A server, its log beside it."""

    def __init__(self, name: str, command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*LEASH, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(env or os.environ)
            )

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def stop(self, *, kill: bool = False, within: float = 30) -> int:
        """Ends it and answers its exit status."""
        if self.running():
            if kill:
                self._child.kill()
            else:
                self._child.terminate()
            try:
                self._child.wait(within)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
                raise AssertionError(f"{self.name} did not end within {within} s") from None
        return self._child.returncode

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


def until(what: str, within: float, attempt: Callable[[], Value | None], state: Callable[[], object] | None = None) -> Value:
    """Tries until there is an answer; a failure says what was seen last."""
    deadline = time.monotonic() + within
    while True:
        if value := attempt():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within} s; {state() if state else ''}")
        time.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def http(url: str) -> str | None:
    """The answer of a GET, where it is one of success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def http_failure(url: str) -> str:
    """The answer of a GET that the server answers with a failure; nothing where it does not."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return ""
    except urllib.error.HTTPError as failure:
        return str(failure.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return ""
