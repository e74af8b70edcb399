"""Flux's kustomize-controller, and a source for it.

The controller is the real one. What source-controller does, to hand over each commit as an archive, is done here: the object
`GitRepository` and its status are as that controller writes them."""

from __future__ import annotations

import hashlib
import http.server
import io
import subprocess
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml

from cluster.process import free_port, until
from cluster.stack import CACHE, Stack, condition

Object = dict[str, Any]
FLUX = CACHE / "bin/flux"
NAMESPACE, NAME = "flux-system", "inns"
GROUP = "source.toolkit.fluxcd.io"
KUSTOMIZATION = {
    "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
    "kind": "Kustomization",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "spec": {
        "interval": "10s", "retryInterval": "3s", "timeout": "90s", "path": "./", "prune": True, "wait": True,
        "sourceRef": {"kind": "GitRepository", "name": NAME},
    },
}  # fmt: skip


def source_kind(kind: str, plural: str) -> Object:
    """A kind of source-controller's group: the controller watches all of them. Their fields are not of interest here."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }  # fmt: skip


class Repository:
    """Manifests under Git, one object a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")

    def _git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=tenant", "-c", "user.email=tenant@example.com", "-c", "commit.gpgsign=false", *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, what: str, *objects: Object, remove: tuple[str, ...] = ()) -> None:
        """Writes objects, takes others away, and commits."""
        for thing in objects:
            (self.folder / f"{thing['kind']}-{thing['metadata']['name']}.yaml".lower()).write_text(yaml.safe_dump(thing))
        for name in remove:
            (self.folder / f"{name}.yaml").unlink()
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", what)

    def revert(self) -> None:
        """Takes the last commit back."""
        self._git("revert", "--no-edit", "HEAD")

    def revision(self) -> str:
        """The last commit, as Flux names it."""
        return f"main@sha1:{self._git('rev-parse', 'HEAD')}"

    def commits(self) -> int:
        """How many there are."""
        return int(self._git("rev-list", "--count", "HEAD"))

    def objects(self) -> list[Object]:
        """All that it holds."""
        return [yaml.safe_load(file.read_text()) for file in sorted(self.folder.glob("*.yaml"))]

    def archive(self) -> bytes:
        """The files of the last commit."""
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w:gz") as archive:
            for file in sorted(self.folder.glob("*.yaml")):
                archive.add(file, arcname=file.name)
        return written.getvalue()


class Flux:
    """The controller at work on one repository."""

    def __init__(self, stack: Stack, repository: Repository) -> None:
        self.stack, self.repository = stack, repository
        self.archives: dict[str, bytes] = {}
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        archives = self.archives

        class Archives(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802  the library's name
                body = archives.get(self.path)
                self.send_response(200 if body else 404)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        return Archives

    def start(self) -> None:
        """Installs the kinds and starts the controller."""
        kinds = [source_kind("GitRepository", "gitrepositories"), source_kind("OCIRepository", "ocirepositories"),
                 source_kind("Bucket", "buckets"), source_kind("ExternalArtifact", "externalartifacts")]  # fmt: skip
        self.stack.apply(*kinds)
        self.stack.kubectl("apply", "--server-side", "-f", str(FLUX / "crds.yaml"))
        self.stack.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self.stack.kubectl("create", "namespace", NAMESPACE)
        spec = {"interval": "1m", "url": "https://git.example.com/inns"}
        self.stack.apply({"apiVersion": f"{GROUP}/v1", "kind": "GitRepository", "metadata": KUSTOMIZATION["metadata"], "spec": spec})
        self.stack.apply(KUSTOMIZATION)
        folder = self.stack.folder / "flux"
        folder.mkdir()
        self.process = self.stack.launch(
            "kustomize-controller", FLUX / "kustomize-controller", f"--metrics-addr=127.0.0.1:{free_port()}", f"--health-addr=127.0.0.1:{free_port()}",
            "--interval-jitter-percentage=0",
            env={"KUBECONFIG": str(self.stack.kubeconfig), "RUNTIME_NAMESPACE": NAMESPACE, "TMPDIR": str(folder), "HOME": str(folder)},
        )  # fmt: skip

    def stop(self) -> None:
        """Ends the server of archives; the controller ends with the stack."""
        self.server.shutdown()
        self.server.server_close()

    def wait_so_long(self, timeout: str) -> None:
        """How long the controller waits until all is current."""
        self._kustomization("patch", "--type=merge", "-p", f'{{"spec": {{"timeout": "{timeout}"}}}}')

    def _kustomization(self, verb: str, *arguments: str) -> str:
        return self.stack.kubectl(verb, "kustomization.kustomize.toolkit.fluxcd.io", NAME, "-n", NAMESPACE, *arguments)

    def publish(self) -> None:
        """Hands the last commit over."""
        revision, archive = self.repository.revision(), self.repository.archive()
        path = f"/{revision.rpartition(':')[2]}.tar.gz"
        self.archives[path] = archive
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact", "lastTransitionTime": now}
        artifact = {"url": f"http://127.0.0.1:{self.server.server_port}{path}", "path": path[1:], "revision": revision,
                    "digest": f"sha256:{hashlib.sha256(archive).hexdigest()}", "lastUpdateTime": now, "size": len(archive)}  # fmt: skip
        status = {"status": {"observedGeneration": 1, "conditions": [ready], "artifact": artifact}}
        patch = yaml.safe_dump(status)
        self.stack.kubectl("patch", f"gitrepository.{GROUP}", NAME, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch)

    def verdict(self, within: float = 180) -> str:
        """What the controller says of the last commit: nothing where all is current, else what is wrong."""
        revision = self.repository.revision()

        def said() -> Object | None:
            seen = self.stack.get(f"kustomization.{KUSTOMIZATION['apiVersion'].partition('/')[0]}", NAME, "-n", NAMESPACE)
            ready, status = condition(seen, "Ready"), seen.get("status", {})
            if status.get("lastAttemptedRevision") != revision or ready.get("observedGeneration") != seen["metadata"]["generation"]:
                return None
            done = ready["status"] == "False" or (ready["status"] == "True" and status.get("lastAppliedRevision") == revision)
            return ready if done else None

        ready: Object = until("the controller has done with the commit", within, said, lambda: self.process.tail() + self.stack.say())
        return "" if ready["status"] == "True" else f"{ready['reason']}: {ready['message']}"

    def run_again(self) -> str:
        """Asks for one more run, and answers what the controller says after it."""
        token = str(time.time_ns())
        self._kustomization("annotate", "--overwrite", f"reconcile.fluxcd.io/requestedAt={token}")
        handled = lambda: self._kustomization("get", "-o", "jsonpath={.status.lastHandledReconcileAt}") == token  # noqa: E731
        until("the controller has run again", 180, handled, self.process.tail)
        return self.verdict()
