"""Google's description of the API: routes, and whether a value is what a schema says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

Json = dict[str, Any]


class Mismatch(Exception):
    """A value is not what its schema says; the text begins with the path to it."""


@dataclass(frozen=True)
class Route:
    """A method of the API, and the values of its path."""

    method: Json
    values: Mapping[str, str]

    @property
    def name(self) -> str:
        """Such as `compute.instances.insert`."""
        return str(self.method["id"])


class Discovery:
    """The document, ready to be asked."""

    def __init__(self, document: Json) -> None:
        self._schemas: Json = document["schemas"]
        self._common: Json = document["parameters"]
        self._methods: dict[tuple[str, int], list[tuple[list[str], Json]]] = {}
        for method in _methods(document):
            path = method["flatPath"].split("/")
            self._methods.setdefault((method["httpMethod"], len(path)), []).append((path, method))

    @classmethod
    def load(cls) -> Discovery:
        """The one that google-api-python-client brings."""
        folder = resources.files("googleapiclient.discovery_cache.documents")
        return cls(json.loads((folder / "compute.v1.json").read_text()))

    def route(self, verb: str, path: str) -> Route | None:
        """What a request asks for, by its path below /compute/v1/."""
        asked = path.split("/")
        for known, method in self._methods.get((verb, len(asked)), []):
            values = {}
            for have, want in zip(asked, known, strict=True):
                if want.startswith("{"):
                    values[want.strip("{+}")] = have
                elif have != want:
                    break
            else:
                return Route(method, values)
        return None

    def check_parameters(self, route: Route, query: Mapping[str, str]) -> None:
        """Whether the path's and the query's parameters are such as the method has."""
        known = route.method.get("parameters", {})
        for name, value in route.values.items():
            self._check_text(known[name], value, f"'{name}'")
        for name, value in query.items():
            schema = known.get(name) or self._common.get(name)
            if name.startswith("$"):
                continue
            if schema is None or schema.get("location") == "path":
                raise Mismatch(f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')
            self._check_text(schema, value, f"'{name}'")

    def check_request(self, route: Route, body: Any) -> None:
        """Whether a request's body is what the method takes."""
        if "request" in route.method:
            self._check(route.method["request"], body, "resource")

    def check_answer(self, route: Route, answer: Any) -> None:
        """Whether an answer is what the method gives."""
        self._check(route.method["response"], answer, "response")

    def _check(self, schema: Json, value: Any, path: str) -> None:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"]]
        kind = schema.get("type")
        expected = {"object": dict, "array": list, "boolean": bool, "integer": int, "string": (str, int)}.get(kind or "")
        if expected and (not isinstance(value, expected) or (kind != "boolean" and isinstance(value, bool))):
            raise Mismatch(f"'{path}': {kind} expected, not {value!r}")
        if kind == "object":
            known, other = schema.get("properties", {}), schema.get("additionalProperties")
            for name, item in value.items():
                inner = known.get(name) or other
                if inner is None:
                    raise Mismatch(f"'{path}': Unknown name \"{name}\"")
                self._check(inner, item, f"{path}.{name}")
        elif kind == "array":
            for index, item in enumerate(value):
                self._check(schema["items"], item, f"{path}[{index}]")
        elif kind == "string":
            self._check_text(schema, value, f"'{path}'")

    @staticmethod
    def _check_text(schema: Json, value: str | int, path: str) -> None:
        number = schema.get("format") in ("int64", "uint64", "int32", "uint32")
        if number and not re.fullmatch(r"-?\d+", str(value)):
            raise Mismatch(f"Invalid value for field {path}: '{value}'. A number is expected.")
        if not number and not isinstance(value, str):
            raise Mismatch(f"{path}: string expected, not {value!r}")
        if schema.get("type") == "boolean" and value not in ("true", "false"):
            raise Mismatch(f"Invalid value for field {path}: '{value}'. true or false is expected.")
        if "enum" in schema and value not in schema["enum"]:
            raise Mismatch(f"Invalid value for field {path}: '{value}'. It is none of the enum.")
        if "pattern" in schema and not re.fullmatch(schema["pattern"], str(value)):
            raise Mismatch(
                f"Invalid value for field {path}: '{value}'. Must be a match of regex '{schema['pattern']}'"
            )


def _methods(resource: Json) -> Iterator[Json]:
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from _methods(inner)
