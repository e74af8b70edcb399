"""The HTTP server: checks each request against the description, routes it, and checks the answer too."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from . import catalogue, changes, disks, instances, lists, operations
from .admin import Admin, BadRequest
from .auth import Account
from .discovery import Discovery, Mismatch, Route
from .world import WORLD, Json, Refused

PREFIX = "/compute/v1/"
Values = Mapping[str, str]
Handler = Callable[[Values, Values, Json], Json]


def _operation(values: Values, _query: Values, _body: Json) -> Json:
    return operations.get(values["project"], catalogue.zone(values), values["operation"])


def _machine_types(values: Values, query: Values, _body: Json) -> Json:
    items = [kind for zone in catalogue.ZONES for kind in catalogue.machine_types(values["project"], zone)]
    return lists.aggregated(items, query, "compute#machineTypeAggregatedList", "machineTypes", values["project"])


def _types_of_zone(values: Values, query: Values, _body: Json) -> Json:
    zone = catalogue.zone(values)
    items = catalogue.machine_types(values["project"], zone)
    return lists.page(items, query, "compute#machineTypeList", f"projects/{values['project']}/zones/{zone}/machineTypes")


def _image(values: Values, _query: Values, _body: Json) -> Json:
    what = f"family/{values['family']}" if "family" in values else values["image"]
    return catalogue.image(f"projects/{values['project']}/global/images/{what}")


METHODS: dict[str, Handler] = {
    "disks.aggregatedList": disks.aggregated,
    "disks.delete": disks.delete,
    "disks.get": disks.get,
    "disks.insert": disks.insert,
    "disks.list": disks.listed,
    "disks.resize": disks.resize,
    "disks.setLabels": disks.set_labels,
    "images.get": _image,
    "images.getFromFamily": _image,
    "instances.aggregatedList": instances.aggregated,
    "instances.attachDisk": changes.attach_disk,
    "instances.delete": instances.delete,
    "instances.get": instances.get,
    "instances.insert": instances.insert,
    "instances.list": instances.listed,
    "instances.setDeletionProtection": changes.set_deletion_protection,
    "instances.setDiskAutoDelete": changes.set_disk_auto_delete,
    "instances.setLabels": changes.set_labels,
    "instances.setMachineType": changes.set_machine_type,
    "instances.testIamPermissions": changes.test_permissions,
    "machineTypes.aggregatedList": _machine_types,
    "machineTypes.list": _types_of_zone,
    "zoneOperations.get": _operation,
}


def _power(kind: str, values: Values, query: Values, _body: Json) -> Json:
    return changes.power(kind, values, query)


METHODS |= {f"instances.{kind}": partial(_power, kind) for kind in ("stop", "start", "suspend", "resume")}


class Api:
    """The API of Compute Engine."""

    def __init__(self, account: Account | None) -> None:
        self.discovery = Discovery.load()
        self.account = account

    def by_hand(self, asked: Json) -> Json:
        """What somebody does past all tokens and counts: {"verb", "path", "body"}."""
        body = json.dumps(asked["body"]).encode() if asked.get("body") is not None else b""
        status, value = self.answer(asked["verb"], PREFIX + asked["path"], None, body)
        return {"status": status, "value": value}

    def answer(self, verb: str, target: str, header: str | None, body: bytes) -> tuple[int, Json]:
        """Status and body for a request."""
        try:
            return 200, self._served(verb, target, header, body)
        except Refused as refused:
            return refused.status, refused.body()
        except Mismatch as mismatch:
            return 400, Refused(400, "invalid", str(mismatch)).body()
        except Exception:
            traceback.print_exc()
            return 500, Refused(500, "simulatorBroken", traceback.format_exc(limit=-1)).body()

    def _served(self, verb: str, target: str, header: str | None, body: bytes) -> Json:
        url = urlsplit(target)
        route = self.discovery.route(verb, unquote(url.path.removeprefix(PREFIX))) if url.path.startswith(PREFIX) else None
        if route is None:
            raise Refused(404, "notFound", f"There is no method {verb} {url.path}")
        if self.account and header is not None and not self.account.accepts(header):
            raise Refused(401, "authError", "Request had invalid authentication credentials. Expected OAuth 2 access token.")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.discovery.check_parameters(route, query)
        asked = _json(body)
        self.discovery.check_request(route, asked)
        with WORLD.lock:
            WORLD.settle()
            answer = json.loads(json.dumps(_handle(route, query, asked, header is not None)))
        try:
            self.discovery.check_answer(route, answer)
        except Mismatch as mismatch:
            raise RuntimeError(f"the simulator's own answer to {route.name}: {mismatch}") from mismatch
        return answer


def _json(body: bytes) -> Json:
    try:
        return json.loads(body) if body else {}
    except ValueError as error:
        raise Refused(400, "parseError", "Parse Error") from error


def _handle(route: Route, query: Values, body: Json, counts: bool) -> Json:
    name = route.name.removeprefix("compute.")
    if counts:
        WORLD.calls[name] = WORLD.calls.get(name, 0) + 1
    handler = METHODS.get(name)
    if handler is None:
        raise Refused(501, "notImplemented", f"{name} is in the API and not in this simulator")
    if counts and f"compute.{name}" in WORLD.denied:
        raise Refused(403, "forbidden", f"Required 'compute.{name}' permission for 'projects/{route.values['project']}'")
    if route.method["httpMethod"] != "GET":
        before = operations.repeated(route.values["project"], query.get("requestId"))
        if before is not None:
            return before
    return handler(route.values, query, body)


class Exchange(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: ClassVar[Api]
    admin: ClassVar[Admin]

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _reply(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not self.path.startswith("/innkeeper/"):
            self._reply(*self.api.answer(self.command, self.path, self.headers.get("authorization", ""), body))
            return
        url = urlsplit(self.path)
        try:
            answer = self.admin.answer(self.command, url.path.removeprefix("/innkeeper/"), dict(parse_qsl(url.query)), body)
        except BadRequest as error:
            self._reply(400, {"error": str(error)})
        else:
            self._reply(200, answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815


class Server(ThreadingHTTPServer):
    """Threads for connections, ended with the process."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is what these tests are about."""


@dataclass(frozen=True)
class Options:
    """How to serve."""

    port: int
    """On 127.0.0.1; 0 picks a free one."""
    state_file: Path | None
    """Written once it answers, removed at the end. It holds a service account's key."""
    anonymous: bool
    """Whether requests need no token."""
    exit_with: int | None
    """The process to end with."""


def serve(options: Options) -> None:
    """Serves until SIGTERM, SIGINT or the end of the process it follows."""
    account = Account()
    Exchange.api = Api(None if options.anonymous else account)
    Exchange.admin = Admin(account, Exchange.api.by_hand)
    server = Server(("127.0.0.1", options.port), Exchange)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.exit_with is not None:
        threading.Thread(target=_follow, args=(os.pidfd_open(options.exit_with), stop), daemon=True).start()
    threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True).start()
    url, key = f"http://127.0.0.1:{server.server_port}", account.key(good=True)
    if options.state_file:
        _write(options.state_file, {"url": url, "pid": os.getpid(), "project": key["project_id"], "key": key})
    print(f"gce: ready on {url}", flush=True)
    stop.wait()
    server.shutdown()
    if options.state_file:
        options.state_file.unlink(missing_ok=True)


def _write(path: Path, state: Json) -> None:
    following = path.with_name(f"{path.name}.next")
    following.touch(mode=0o600)
    following.write_text(json.dumps(state) + "\n")
    following.replace(path)


def _follow(pidfd: int, stop: threading.Event) -> None:
    """A pidfd becomes readable when its process ends, however it ends."""
    select.select([pidfd], [], [])
    stop.set()


