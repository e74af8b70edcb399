"""What GitOps tools make of an object: kstatus (Flux, by its own library) and the health check for Argo CD."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from cluster.stack import CACHE, ROOT

KSTATUS = CACHE / "bin/flux/kstatus"
LUA = ROOT / "charts/innkeeper/extras/argocd/health.lua"
# Argo CD's interpreter speaks Lua 5.1, and gives a script the object as the global `obj`.
HARNESS = 'obj = {0}\nlocal health = dofile("{1}")\nprint(health.status .. "\\n" .. (health.message or ""))\n'


def kstatus(*objects: dict[str, Any]) -> list[str]:
    """One word for each: Current, InProgress, Failed, Terminating."""
    text = yaml.safe_dump_all(objects)
    done = subprocess.run([str(KSTATUS)], input=text, capture_output=True, text=True, check=True)
    return done.stdout.split()


def argo(thing: dict[str, Any], script: Path = LUA) -> tuple[str, str]:
    """Status and message."""
    code = HARNESS.format(literal(thing), script)
    done = subprocess.run(["lua5.1", "-"], input=code, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr)
    status, message = done.stdout.rstrip("\n").split("\n", 1)
    return status, message


def literal(value: Any) -> str:
    """A value as Lua writes it. Lua's escapes of text are a subset of JSON's where all else is plain ASCII."""
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"[{literal(key)}] = {literal(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "{" + ", ".join(map(literal, value)) + "}"
        case str():
            plain = "".join(f"\\{byte:03d}" if not 32 <= byte < 127 or byte in b'"\\' else chr(byte) for byte in value.encode())
            return f'"{plain}"'
        case _:
            return json.dumps(value)
