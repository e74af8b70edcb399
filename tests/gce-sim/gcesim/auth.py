"""A service account with its key, and whether a request carries a token that the key has signed."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

EMAIL = "innkeeper@acme-test.iam.gserviceaccount.com"
AUDIENCE = "https://compute.googleapis.com/"


class Account:
    """A service account. Two keys: one that the project knows, one that it does not."""

    def __init__(self) -> None:
        self._good, self._bad = (rsa.generate_private_key(65537, 2048) for _ in range(2))

    def key(self, good: bool) -> dict[str, str]:
        """A key file as Google gives it out."""
        pem = (self._good if good else self._bad).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "acme-test",
            "private_key_id": "5f3c" * 10,
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "100000000000000000000",
            "token_uri": "https://oauth2.googleapis.com/token",
            "universe_domain": "googleapis.com",
        }

    def accepts(self, header: str) -> bool:
        """Whether this is a token that the account has signed itself, for this API, and that is still good."""
        kind, _, token = header.partition(" ")
        parts = token.split(".")
        if kind.lower() != "bearer" or len(parts) != 3:
            return False
        try:
            self._good.public_key().verify(
                _decode(parts[2]), f"{parts[0]}.{parts[1]}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            head, claims = (json.loads(_decode(part)) for part in parts[:2])
        except (InvalidSignature, ValueError):
            return False
        return head.get("alg") == "RS256" and _is_good(claims)


def _is_good(claims: dict[str, Any]) -> bool:
    now = time.time()
    from_it = claims.get("iss") == claims.get("sub") == EMAIL
    for_us = claims.get("aud") == AUDIENCE or "auth/c" in str(claims.get("scope"))
    lives = claims.get("iat", now) <= now + 60 and now < claims.get("exp", 0) <= claims.get("iat", 0) + 3600
    return from_it and for_us and lives


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
