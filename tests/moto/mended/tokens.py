"""Client tokens of RunInstances.

EC2 binds a token to the parameters of the first request that carries it, even where that request then fails for want
of capacity: the same token with another instance type is a mismatch from then on. A token whose instance has been
terminated starts nothing any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Refused

# Not part of what is asked for; a repeated request may differ in them.
_NOT_PARAMETERS = {"Action", "Version", "ClientToken", "DryRun"}


def fingerprint(parameters: Mapping[str, str]) -> str:
    """One value for all that a request asks for."""
    asked = {name: value for name, value in parameters.items() if name not in _NOT_PARAMETERS}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass
class Claim:
    """What a token stands for: the parameters and, once it succeeded, the reservation."""

    fingerprint: str
    reservation: Any = None
    instances: list[Any] = field(default_factory=list)
    """The reservation's, also after the account has forgotten them."""

    def settle(self, reservation: Any) -> None:
        """The request succeeded."""
        self.reservation = reservation
        self.instances = list(reservation.instances)


class Tokens:
    """Claims by account, region and token. Not locked: RunInstances is served one at a time."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str, str], Claim] = {}

    def claim(self, account: str, region: str, token: str, asked: str) -> Claim:
        """The claim of this token; the first call makes it."""
        claim = self._claims.setdefault((account, region, token), Claim(asked))
        if claim.fingerprint != asked:
            raise Refused("IdempotentParameterMismatch")
        if any(instance.state in ("shutting-down", "terminated") for instance in claim.instances):
            raise Refused("IdempotentInstanceTerminated")
        return claim

    def clear(self) -> None:
        """Forgets every token."""
        self._claims.clear()
