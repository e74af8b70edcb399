"""What Google has in each zone: machine types and images. A few of many."""

from __future__ import annotations

from collections.abc import Mapping

from .world import BASE, Json, missing

REGIONS = {"europe-west1": ("b", "c", "d"), "europe-west2": ("a", "b", "c"), "us-central1": ("a", "b", "c", "f")}
ZONES = tuple(f"{region}-{letter}" for region, letters in REGIONS.items() for letter in letters)

_TYPES = {
    "e2-micro": (2, 1024, True), "e2-small": (2, 2048, True), "e2-medium": (2, 4096, True),
    "e2-standard-2": (2, 8192, False), "e2-standard-4": (4, 16384, False), "e2-standard-8": (8, 32768, False),
    "n2-standard-2": (2, 8192, False), "n2-standard-4": (4, 16384, False), "n2-highmem-2": (2, 16384, False),
    "n2d-standard-2": (2, 8192, False), "c3-standard-4": (4, 16384, False), "c4-standard-2": (2, 7168, False),
    "t2a-standard-2": (2, 8192, False), "n1-standard-1": (1, 3840, False),
}  # fmt: skip
_LACKS = {"europe-west1-d": {"c3-standard-4"}, "europe-west1-c": {"c4-standard-2", "t2a-standard-2"}}

# Project, name, family, size in GB.
_IMAGES = [
    ("debian-cloud", "debian-12-bookworm-v20261110", "debian-12", 10),
    ("acme-test", "golden-7", "golden", 4),
]


def machine_types(project: str, zone: str) -> list[Json]:
    """The types of a zone."""
    return [
        {
            "kind": "compute#machineType", "id": str(3000 + index), "creationTimestamp": "1969-12-31T16:00:00.000-08:00",
            "name": name, "description": f"{cpus} vCPU", "guestCpus": cpus, "memoryMb": memory, "isSharedCpu": shared,
            "architecture": "ARM64" if name.startswith("t2a") else "X86_64", "zone": zone,
            "selfLink": f"{BASE}projects/{project}/zones/{zone}/machineTypes/{name}",
        }
        for index, (name, (cpus, memory, shared)) in enumerate(_TYPES.items())
        if name not in _LACKS.get(zone, set())
    ]  # fmt: skip


def image(link: str) -> Json:
    """The image that a request names, by its path or by its family."""
    path = link.removeprefix(BASE)
    words = path.split("/")
    for project, name, family, size in _IMAGES:
        known = ([project, name], [project, "family", family])
        if [words[1], *words[4:]] in known and words[0] == "projects" and words[2:4] == ["global", "images"]:
            return {
                "kind": "compute#image", "id": "5555", "name": name, "family": family, "diskSizeGb": str(size),
                "status": "READY", "selfLink": f"{BASE}projects/{project}/global/images/{name}",
                "architecture": "X86_64",
            }  # fmt: skip
    raise missing(path)


def zone(values: Mapping[str, str]) -> str:
    """The zone of a request, which must be one."""
    if values["zone"] not in ZONES:
        raise missing(f"projects/{values['project']}/zones/{values['zone']}")
    return values["zone"]
