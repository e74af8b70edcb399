"""Checks AWS Signature Version 4, as EC2 does: a wrong access key and a wrong secret are refused alike.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,\s]+),\s*"
    r"SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Credentials:
    """The one pair of keys that is accepted."""

    access_key: str
    secret_key: str


@dataclass(frozen=True)
class Signed:
    """The parts of a request that a signature covers. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def accepts(credentials: Credentials, request: Signed) -> bool:
    """Whether the request was signed with these credentials."""
    match = _HEADER.fullmatch(request.headers.get("authorization", ""))
    if not match or match["key"] != credentials.access_key:
        return False
    names = match["headers"].split(";")
    canonical = "\n".join(
        [
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in _pairs(request.query))),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
            "",
            match["headers"],
            request.headers.get("x-amz-content-sha256") or hashlib.sha256(request.body).hexdigest(),
        ]
    )
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            request.headers.get("x-amz-date", ""),
            match["scope"],
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (*match["scope"].split("/"), to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.compare_digest(key.hex(), match["signature"])


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)
