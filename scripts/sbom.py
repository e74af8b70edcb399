#!/usr/bin/env python3
"""What the operator is made of, as CycloneDX, from `cargo metadata --format-version 1`:

    cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu | sbom.py Cargo.lock

Counted is what is linked into the program or runs while it is built; what only tests use is not."""

from __future__ import annotations

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

ROOT = "innkeeper"


def checksums(lock: str) -> dict[tuple[str, str], str]:
    """SHA-256 of each package from a registry, by name and version."""
    found = {}
    for entry in lock.split("[[package]]")[1:]:
        fields = dict(re.findall(r'^(name|version|checksum) = "(.+)"$', entry, re.MULTILINE))
        if "checksum" in fields:
            found[fields["name"], fields["version"]] = fields["checksum"]
    return found


def reached(metadata: dict[str, Any], root: str) -> dict[str, list[str]]:
    """What each package depends on, of those that the root needs for more than its tests."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found: dict[str, list[str]] = {}
    ahead = [root]
    while ahead:
        package = ahead.pop()
        if package in found:
            continue
        needed = [each["pkg"] for each in nodes[package]["deps"] if any(kind["kind"] != "dev" for kind in each["dep_kinds"])]
        found[package] = needed
        ahead += needed
    return found


def purl(package: dict[str, Any]) -> str:
    """A package's URL."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package: dict[str, Any], sums: dict[tuple[str, str], str]) -> dict[str, Any]:
    """A package as CycloneDX wants it."""
    made: dict[str, Any] = {
        "type": "library", "bom-ref": purl(package), "name": package["name"], "version": package["version"],
        "purl": purl(package),
    }  # fmt: skip
    if licence := package.get("license"):
        # Before SPDX expressions a slash meant a choice.
        made["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", licence)}]
    if digest := sums.get((package["name"], package["version"])):
        made["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return made


def sbom(metadata: dict[str, Any], lock: str) -> dict[str, Any]:
    """The whole document. The same input makes the same document, its serial number included."""
    packages = {package["id"]: package for package in metadata["packages"]}
    root = next(key for key, package in packages.items() if package["name"] == ROOT)
    needs, sums = reached(metadata, root), checksums(lock)
    parts = sorted((component(packages[key], sums) for key in needs if key != root), key=lambda part: part["bom-ref"])
    links = sorted(
        ({"ref": purl(packages[key]), "dependsOn": sorted({purl(packages[each]) for each in needed})} for key, needed in needs.items()),
        key=lambda link: link["ref"],
    )
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([parts, links]))}",
        "metadata": {"component": component(packages[root], sums) | {"type": "application"}},
        "components": parts, "dependencies": links,
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(sbom(json.load(sys.stdin), Path(sys.argv[1]).read_text()), sys.stdout, indent=2)
    print()
