"""Many guests from one launch: a thousand calls of RunInstances would take minutes here, and say nothing more."""

from __future__ import annotations

from moto.backends import get_backend

from .world import WORLD


def apart(token: str) -> int:
    """Lets each instance that was launched with this token be the VM of a guest of its own, by its marks and its token."""
    number = 0
    for regions in get_backend("ec2").values():
        for backend in regions.values():
            for reservation in backend.reservations.values():
                for instance in reservation.instances:
                    if instance.client_token != token:
                        continue
                    number += 1
                    guest, name = f"crowd-{number:04}", f"crowd-{number}"
                    instance.client_token = f"{guest}-1-{token}"
                    marks = {"guest": guest, "incarnation": "1", "namespace": "crowd", "name": name}
                    backend.create_tags([instance.id], {f"innkeeper.dev/{key}": value for key, value in marks.items()})
    WORLD.journal.note("apart", token=token, guests=number)
    return number
