"""Rendering the chart."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/innkeeper"
CACHE = Path(os.environ.get("INNKEEPER_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "innkeeper")
Object = dict[str, Any]


class Refused(Exception):
    """Helm's own words."""


def render(values: Object | None = None, *, notes: bool = False) -> str:
    """The manifests as text, for the release `ik` in the namespace `inns`."""
    values = {"image": {"repository": "registry.example.com/innkeeper"}} | (values or {})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.json"
        file.write_text(json.dumps(values))
        command = [str(CACHE / "bin/helm"), "template", "ik", str(CHART), "--namespace", "inns", "--values", str(file)]
        if notes:
            command = [*command[:1], "install", *command[2:], "--dry-run=client"]
        env = os.environ | {f"HELM_{what}_HOME": folder for what in ("CACHE", "CONFIG", "DATA")}
        env |= {"KUBECONFIG": str(Path(folder) / "none")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


class Manifests:
    """The objects that the chart makes of some values."""

    def __init__(self, values: Object | None = None) -> None:
        self.objects: list[Object] = [each for each in yaml.safe_load_all(render(values)) if each]

    def all(self, kind: str) -> list[Object]:
        """All of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        """The one of a kind, or of a kind and name."""
        found = [each for each in self.all(kind) if name in (None, each["metadata"]["name"])]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} objects {kind} {name or ''}")
        return found[0]

    def pod(self) -> Object:
        """The pod's spec."""
        spec: Object = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    def container(self) -> Object:
        """The one container."""
        (container,) = self.pod()["containers"]
        found: Object = container
        return found
