"""A repository that a GitOps tool applies over and over: ten commits, two of them bad, and no manual step.

What applies, prunes and waits is the library of Flux's kustomize-controller. The tool's own loop is here: at each run it
takes what the repository holds now."""

from __future__ import annotations

import copy
import json
import subprocess
import unittest
from pathlib import Path
from typing import Any

import yaml

from cluster.stack import NAMESPACE, ROOT, Stack

from .verdicts import ENGINE

Object = dict[str, Any]
MANAGER = "kustomize-controller"
# What the tool adds, to know its own.
LABELS = {"kustomize.toolkit.fluxcd.io/name": "inns", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
OURS = ("innkeeper-workload", "innkeeper-scheduler", "innkeeper-guest", "innkeeper-pool")


class Repository:
    """Manifests under Git, one object a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")

    def _git(self, *arguments: str) -> None:
        command = ["git", "-c", "user.name=tenant", "-c", "user.email=tenant@example.com", "-c", "commit.gpgsign=false", *arguments]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

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

    def manifests(self) -> str:
        """All that it holds."""
        return "---\n".join(file.read_text() for file in sorted(self.folder.glob("*.yaml")))


class Commits(unittest.TestCase):
    """From an empty repository to an empty one."""

    def setUp(self) -> None:
        self.stack = Stack().__enter__()
        self.addCleanup(self.stack.__exit__)
        self.stack.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        self.stack.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self.stack.kubectl("create", "namespace", NAMESPACE)
        self.stack.make_secrets()
        self.stack.operator(["run"], {}, self.stack.kubeconfig)
        self.repository = Repository(self.stack.folder / "repository")
        self.commits = 0

    def reconcile(self, within: str = "60s") -> tuple[dict[str, str], str]:
        """One run of the tool: what it changed, and what was wrong."""
        command = [str(ENGINE), "--kubeconfig", str(self.stack.kubeconfig), "--timeout", within]
        command += ["--inventory", str(self.stack.folder / "inventory"), "reconcile"]
        done = subprocess.run(command, input=self.repository.manifests(), capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        said = json.loads(done.stdout)
        return said["changed"] or {}, said.get("error", "")

    def lands(self, what: str, *objects: Object, guests: int, remove: tuple[str, ...] = ()) -> None:
        """Commits, and expects that all is current in one run, that the next run finds nothing to do, and no fight."""
        if objects or remove:
            self.repository.commit(what, *objects, remove=remove)
        self.commits += 1
        changed, error = self.reconcile()
        self.assertEqual(error, "", f"{what}: {self.stack.say()}")
        self.assertTrue(changed, f"{what}: nothing was changed")
        self.stack.wait_for_guests(guests) if guests else None
        self.assertEqual(self.reconcile(), ({}, ""), f"{what}: the second run found something to do")
        self.is_clean()

    def is_refused(self, what: str, *objects: Object, within: str = "60s") -> str:
        """Commits what is wrong, and answers what the tool says of it. The VMs stay as they are."""
        before = self.stack.running()
        self.repository.commit(what, *objects)
        self.commits += 1
        for _ in range(2):
            _, error = self.reconcile(within)
            self.assertTrue(error, f"{what}: the tool calls it current")
        self.assertEqual(self.stack.running(), before, what)
        return error

    def is_clean(self) -> None:
        """Nothing differs from the repository, and nobody but the tool owns a field of a spec."""
        objects = list(yaml.safe_load_all(self.repository.manifests()))
        for thing in objects:
            thing["metadata"]["labels"] = thing["metadata"].get("labels", {}) | LABELS
        text = yaml.safe_dump_all(objects)
        diff = self.stack.try_kubectl("diff", "--server-side", f"--field-manager={MANAGER}", "-f", "-", stdin=text)
        self.assertEqual((diff.returncode, diff.stdout), (0, ""), diff.stderr)
        for thing in [*self.stack.get("cloudpools", "--show-managed-fields"), *self.stack.get("vw", "-A", "--show-managed-fields")]:
            owners = {entry["manager"]: entry for entry in thing["metadata"]["managedFields"] if "f:spec" in entry["fieldsV1"]}
            self.assertEqual(set(owners), {MANAGER}, thing["metadata"]["name"])
            for entry in thing["metadata"]["managedFields"]:
                if entry["manager"] in OURS:
                    self.assertEqual((entry.get("subresource"), set(entry["fieldsV1"])), ("status", {"f:status"}), entry)

    def test_ten_commits(self) -> None:
        stack = self.stack
        xen, ec2, web = stack.examples()
        web["spec"]["replicas"] = 4
        self.lands("pools and a workload", xen, ec2, web, guests=4)

        web["spec"]["replicas"] = 6
        self.lands("more of them", web, guests=6)
        vms = stack.running()

        bad = copy.deepcopy(web)
        bad["spec"]["template"]["size"]["memory"] = "2GB of it"
        self.assertIn("memory", self.is_refused("a typing error", bad))
        self.repository.revert()
        self.commits += 1
        self.assertEqual(self.reconcile(), ({}, ""))
        self.is_clean()

        xen["metadata"]["labels"]["team"] = "a"
        xen["spec"]["capacity"] = {"limits": {"guests": 4}}
        self.lands("a limit and a label on a pool", xen, guests=6)

        job = {**copy.deepcopy(web), "metadata": {"name": "job", "namespace": "default"}}
        job["spec"] |= {"replicas": 1}
        job["spec"]["template"]["image"] = {"name": "no-such-image"}
        self.assertIn("job", self.is_refused("an image that no pool has", job, within="3s"))
        job["spec"]["template"]["image"] = {"name": "debian-12"}
        self.repository.commit("mended: a new workload, as an image cannot be changed", remove=("virtualworkload-job",))
        self.lands("the mended one under a new name", {**job, "metadata": {"name": "job-2", "namespace": "default"}}, guests=7)
        self.lands("without it", remove=("virtualworkload-job-2",), guests=6)

        web["spec"]["template"]["powerState"] = "Stopped"
        self.repository.commit("off for the night", web)
        self.commits += 1
        changed, error = self.reconcile()
        self.assertEqual((set(changed.values()), error), ({"configured"}, ""))
        self.assertEqual(stack.running(), set(), "off as wished is current, and what is current is off")
        web["spec"]["template"]["powerState"] = "Running"
        self.lands("on in the morning", web, guests=6)
        self.assertEqual(stack.running(), vms, "it is the same VMs")

        self.empty()
        self.assertGreaterEqual(self.commits, 10)

    def test_others_may_apply_too(self) -> None:
        """Another manager that applies the same manifests, without force, is never told of a conflict."""
        objects = self.stack.examples()
        self.stack.apply(*objects, manager="first")
        self.stack.wait_for_guests(6)
        self.stack.apply(*objects, manager="second")
        self.stack.kubectl("delete", "vw", "web")
        self.stack.wait_for_guests(0)

    def empty(self) -> None:
        """All is taken out at once: pools too, which wait for their guests."""
        names = [file.stem for file in self.repository.folder.glob("*.yaml")]
        self.repository.commit("nothing", remove=tuple(names))
        self.commits += 1
        changed, error = self.reconcile()
        self.assertEqual((set(changed.values()), error), ({"deleted"}, ""))
        self.stack.wait_for_guests(0)
        self.stack.kubectl("wait", "cloudpools", "--all", "--for=delete", "--timeout=60s")
        self.assertEqual(self.stack.held(), {})


if __name__ == "__main__":
    unittest.main()
