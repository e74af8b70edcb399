"""The WSGI application before moto: counts, checks the signature, injects faults, and answers errors as EC2 does."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from . import pricing
from .admin import Admin, BadRequest
from .errors import MESSAGES, Injected, error_xml, status_of
from .faults import Fault
from .lifecycle import LIFECYCLE
from .remember import remember, remembered, version_of_now
from .sigv4 import Credentials, Signed, accepts
from .world import WORLD

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

# Read-only actions run beside each other; they may be slow (all instance types: seconds).
_READING = ("Describe", "Get", "List", "GET ")


class Front:
    """Wraps moto's application."""

    def __init__(self, application: Application, credentials: Credentials | None, admin: Admin) -> None:
        self._application = application
        self._credentials = credentials
        self._admin = admin

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        path: str = environ["PATH_INFO"]
        if path.startswith("/innkeeper/"):
            return self._administer(environ, start_response, path.removeprefix("/innkeeper/"), body)
        if path.startswith("/moto-api"):
            return self._application(environ, start_response)
        action = _action(environ, body)
        WORLD.journal.called(action)
        agent = environ.get("HTTP_USER_AGENT", "")
        if "app/" in agent and not action.startswith(_READING):
            caller = agent.split("app/", 1)[1].split(" ", 1)[0]
            WORLD.journal.note("request", action=action, caller=caller)
        if self._credentials and not accepts(self._credentials, _signed(environ, body)):
            return _refuse(start_response, "AuthFailure")
        form = _form(environ, body)
        if action in WORLD.denied:
            return _refuse(start_response, "UnauthorizedOperation")
        # A request that only asks whether it is permitted meets no trouble on its way.
        asks = form.get("DryRun") == "true"
        fault = None if asks else WORLD.faults.take(action, form, capacity=False if action == "RunInstances" else None)
        if fault:
            WORLD.journal.note("fault", action=action, error=fault.error, delay=fault.delay, lost=fault.lost)
            if fault.delay:
                time.sleep(fault.delay)
            if fault.error:
                return _refuse(start_response, fault.error, fault.message)
        if action == pricing.ACTION:
            status, reply = pricing.answer(body)
            return _json(start_response, "200 OK" if status == 200 else f"{status} Refused", reply)
        return self._serve(environ, start_response, action, fault)

    def _serve(
        self, environ: Environ, start_response: StartResponse, action: str, fault: Fault | None
    ) -> Iterable[bytes]:
        began: list[tuple[Any, ...]] = []
        try:
            with WORLD.lock:
                LIFECYCLE.settle()
            if not fault and (known := remembered(environ, action)):
                start_response(*known[1])
                return [known[0]]
            version = version_of_now()
            with contextlib.nullcontext() if action.startswith(_READING) else WORLD.changing():
                answer = self._collect(environ, began)
        except Injected as fault_in_moto:
            return _refuse(start_response, fault_in_moto.code, fault_in_moto.message)
        except Exception as error:  # moto's own defects become EC2's errors; their trace goes to the log
            if not isinstance(error, NotImplementedError):
                traceback.print_exc()
            return _refuse(start_response, *_as_ec2(error))
        if fault and fault.lost:
            connection: socket.socket = environ["werkzeug.socket"]
            connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("the answer is lost on purpose")
        if action in ("TerminateInstances", "StopInstances", "StartInstances") and began[0][0].startswith("200"):
            form = dict(parse_qsl(environ["wsgi.input"].getvalue().decode()))
            WORLD.journal.note(action, instances=[v for k, v in form.items() if k.startswith("InstanceId.")])
        remember(environ, action, version, answer, began[0])
        start_response(*began[0])
        return [answer]

    def _collect(self, environ: Environ, began: list[tuple[Any, ...]]) -> bytes:
        def start(*arguments: Any) -> None:
            began[:] = [arguments[:2]]

        chunks = self._application(environ, start)
        try:
            return b"".join(chunks)
        finally:
            if close := getattr(chunks, "close", None):
                close()

    def _administer(self, environ: Environ, start_response: StartResponse, name: str, body: bytes) -> Iterable[bytes]:
        try:
            query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
            with contextlib.nullcontext() if environ["REQUEST_METHOD"] == "GET" else WORLD.changing():
                status, answer = "200 OK", self._admin.answer(environ["REQUEST_METHOD"], name, query, body)
        except BadRequest as error:
            status, answer = "400 Bad Request", {"error": str(error)}
        return _json(start_response, status, answer)


def _json(start_response: StartResponse, status: str, answer: Any) -> Iterable[bytes]:
    data = json.dumps(answer).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]


def _form(environ: Mapping[str, Any], body: bytes) -> dict[str, str]:
    form = dict(parse_qsl(body.decode("utf-8", "replace")))
    form.update(parse_qsl(environ.get("QUERY_STRING", "")))
    return form


def _action(environ: Mapping[str, Any], body: bytes) -> str:
    """The Query API's action, or for the REST services (EBS direct) method and the first part of the path."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    form = _form(environ, body)
    return form.get("Action") or f"{environ['REQUEST_METHOD']} /{environ['PATH_INFO'].split('/')[1]}"


def _signed(environ: Mapping[str, Any], body: bytes) -> Signed:
    headers = {k[5:].replace("_", "-").lower(): str(v) for k, v in environ.items() if k.startswith("HTTP_")}
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    headers["content-length"] = environ.get("CONTENT_LENGTH", "")
    return Signed(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""), headers, body)


def _as_ec2(error: Exception) -> tuple[str, str]:
    """What EC2 answers where moto fails or has nothing."""
    text = str(error)
    if isinstance(error, StopIteration):
        return "InsufficientFreeAddressesInSubnet", "The subnet has no free addresses left."
    if isinstance(error, NotImplementedError) and "ilter" in text:
        return "InvalidParameterValue", f"A filter of the request is invalid ({text.partition(' have not')[0]})."
    if isinstance(error, NotImplementedError):
        return "UnsupportedOperation", f"This endpoint does not serve the request: {text}"
    return "InternalError", f"{MESSAGES['InternalError']}: {type(error).__name__}"


def _refuse(start_response: StartResponse, code: str, message: str | None = None) -> Iterable[bytes]:
    data = error_xml(code, message or MESSAGES.get(code, code), str(uuid.uuid4()))
    status = status_of(code)
    headers = [("Content-Type", "text/xml;charset=UTF-8"), ("Content-Length", str(len(data)))]
    start_response(f"{status} {'Error' if status >= 500 else 'Refused'}", headers)
    return [data]
