"""What Google's description of the API says is held to, and recorded exchanges fit it."""

from __future__ import annotations

import json
import os
import re
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from gcesim.discovery import Discovery

from .endpoint import PROJECT, ZONE, Endpoint

RECORDED = Path(os.environ.get("INNKEEPER_GCP_LOGS", Path(__file__).resolve().parents[4] / "shared/data/gcp-http-logs"))


class Schema(Endpoint):
    where = f"projects/{PROJECT}/zones/{ZONE}"

    def refused(self, status: int, words: str, *request: Any) -> None:
        got, body = self.raw(*request)
        self.assertEqual(got, status, body)
        self.assertIn(words, body["error"]["message"])

    def test_what_is_not_in_the_api_is_refused(self) -> None:
        self.refused(404, "There is no method", "GET", f"{self.where}/guests")
        self.refused(501, "not in this simulator", "GET", f"{self.where}/instanceGroups")
        self.refused(400, "Cannot bind query parameter", "GET", f"{self.where}/instances?fliter=x")
        self.refused(400, "A number is expected", "GET", f"{self.where}/instances?maxResults=many")
        self.refused(400, 'Unknown name "nmae"', "POST", f"{self.where}/instances", {"nmae": "one"})
        self.refused(400, "object expected", "POST", f"{self.where}/instances", [])
        self.refused(400, "Must be a match of regex", "POST", f"{self.where}/instances", {"name": "One"})
        self.refused(400, "none of the enum", "POST", f"{self.where}/instances", {"scheduling": {"onHostMaintenance": "STAY"}})
        self.refused(404, "zones/europe-west1-x' was not found", "GET", f"projects/{PROJECT}/zones/europe-west1-x/instances")

    def test_a_permission_that_lacks_is_named(self) -> None:
        self.admin("POST", "denied", ["compute.instances.list"])
        self.refused(403, "Required 'compute.instances.list' permission", "GET", f"{self.where}/instances")


class Tokens(Endpoint):
    arguments = ()

    def test_requests_need_a_token(self) -> None:
        status, body = self.raw("GET", f"projects/{PROJECT}/aggregated/instances")
        self.assertEqual((status, body["error"]["errors"][0]["reason"]), (401, "authError"))


@unittest.skipUnless(RECORDED.is_dir(), "recorded exchanges (INNKEEPER_GCP_LOGS) are not here")
class Recorded(unittest.TestCase):
    """Exchanges recorded by others. What is masked in them gets a value again."""

    def test_the_description_fits_them(self) -> None:
        discovery, seen = Discovery.load(), 0
        for file in sorted(RECORDED.glob("*.log")):
            text = re.sub(r'("(?:targetId|id)": )"\$\{\w*\}"', r'\1"1"', file.read_text())
            for verb, url, body, status, answer in exchanges(re.sub(r"\$\{\w*\}", "masked", text)):
                parts = urlsplit(url)
                if not parts.path.startswith("/compute/v1/") or status >= 400:
                    continue
                with self.subTest(file=file.name, request=f"{verb} {url}"):
                    route = discovery.route(verb, parts.path.removeprefix("/compute/v1/"))
                    self.assertIsNotNone(route)
                    discovery.check_parameters(route, dict(parse_qsl(parts.query)))
                    if body is not None:
                        discovery.check_request(route, body)
                    discovery.check_answer(route, answer)
                    seen += 1
        self.assertGreater(seen, 200)


def exchanges(text: str) -> Iterator[tuple[str, str, Any, int, Any]]:
    """Verb, address, request body, status, answer."""
    for block in text.split("\n---\n"):
        parts = re.split(r"\n\n", block.strip(), maxsplit=1)
        verb, _, url = parts[0].split("\n", 1)[0].partition(" ")
        status = re.search(r"^(\d{3}) [A-Z]", block, re.MULTILINE)
        if verb not in ("GET", "POST", "DELETE", "PATCH", "PUT") or not status:
            continue
        yield verb, url, document(block[: status.start()]), int(status[1]), document(block[status.start() :])


def document(text: str) -> Any:
    """The JSON object in a text."""
    start = text.find("\n{")
    return json.loads(text[start:]) if start >= 0 else None
