"""A repository that Flux's kustomize-controller applies over and over: ten commits, two of them bad, and no manual step."""

from __future__ import annotations

import copy
import unittest
from typing import Any

import yaml

from cluster.stack import NAMESPACE, ROOT, Stack

from .kustomize_controller import Flux, Repository

Object = dict[str, Any]
MANAGER = "kustomize-controller"
# What the tool adds, to know its own.
LABELS = {"kustomize.toolkit.fluxcd.io/name": "inns", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
OURS = ("innkeeper-workload", "innkeeper-scheduler", "innkeeper-guest", "innkeeper-pool")


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

    def watched(self) -> None:
        """The controller looks at a repository."""
        self.repository = Repository(self.stack.folder / "repository")
        self.flux = Flux(self.stack, self.repository)
        self.addCleanup(self.flux.stop)
        self.flux.start()

    def lands(self, what: str, *objects: Object, guests: int, remove: tuple[str, ...] = ()) -> None:
        """Commits, and expects that all is current in one run, that the next run finds nothing to do, and no fight."""
        self.repository.commit(what, *objects, remove=remove)
        self.is_current(what, guests)

    def is_current(self, what: str, guests: int) -> None:
        """The last commit is."""
        self.flux.publish()
        self.assertEqual(self.flux.verdict(), "", f"{what}: {self.stack.say()}")
        # What is current is so: nobody waits here.
        self.assertEqual(len(self.stack.running()), guests, what)
        written = self.written()
        self.assertEqual(self.flux.run_again(), "", what)
        self.assertEqual(self.written(), written, f"{what}: the second run found something to do")
        self.is_clean()

    def is_refused(self, what: str, *objects: Object) -> str:
        """Commits what is wrong, and answers what the controller says of it. The VMs stay as they are."""
        before = self.stack.running()
        self.repository.commit(what, *objects)
        self.flux.publish()
        error = self.flux.verdict()
        self.assertTrue(error, f"{what}: the controller calls it current")
        self.assertTrue(self.flux.run_again(), f"{what}: the second run calls it current")
        self.assertEqual(self.stack.running(), before, what)
        return error

    def applied(self) -> list[Object]:
        """The objects of the kinds, with who wrote them."""
        return [*self.stack.get("cloudpools", "--show-managed-fields"), *self.stack.get("vw", "-A", "--show-managed-fields")]

    def written(self) -> dict[str, Any]:
        """When the controller last wrote each, and which generation that was."""
        return {
            thing["metadata"]["name"]: (
                thing["metadata"]["generation"],
                [entry["time"] for entry in thing["metadata"]["managedFields"] if entry["manager"] == MANAGER],
            )
            for thing in self.applied()
        }

    def is_clean(self) -> None:
        """Nothing differs from the repository, and nobody but the controller owns a field of a spec."""
        objects = self.repository.objects()
        for thing in objects:
            thing["metadata"]["labels"] = thing["metadata"].get("labels", {}) | LABELS
        text = yaml.safe_dump_all(objects)
        diff = self.stack.try_kubectl("diff", "--server-side", f"--field-manager={MANAGER}", "-f", "-", stdin=text)
        self.assertEqual((diff.returncode, diff.stdout), (0, ""), diff.stderr)
        for thing in self.applied():
            owners = {entry["manager"]: entry for entry in thing["metadata"]["managedFields"] if "f:spec" in entry["fieldsV1"]}
            self.assertEqual(set(owners), {MANAGER}, thing["metadata"]["name"])
            for entry in thing["metadata"]["managedFields"]:
                if entry["manager"] in OURS:
                    self.assertEqual((entry.get("subresource"), set(entry["fieldsV1"])), ("status", {"f:status"}), entry)

    def test_ten_commits(self) -> None:
        self.watched()
        stack = self.stack
        xen, ec2, web = stack.examples()
        # So that the repository is never empty.
        note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note", "namespace": "default"}, "data": {"of": "inns"}}
        web["spec"]["replicas"] = 4
        self.lands("pools and a workload", note, xen, ec2, web, guests=4)

        web["spec"]["replicas"] = 6
        self.lands("more of them", web, guests=6)
        vms = stack.running()

        bad = copy.deepcopy(web)
        bad["spec"]["template"]["size"]["memory"] = "2GB of it"
        self.assertIn("memory", self.is_refused("a typing error", bad))
        self.repository.revert()
        self.is_current("the typing error taken back", 6)

        xen["metadata"]["labels"]["team"] = "a"
        xen["spec"]["capacity"] = {"limits": {"guests": 4}}
        self.lands("a limit and a label on a pool", xen, guests=6)

        job = {**copy.deepcopy(web), "metadata": {"name": "job", "namespace": "default"}}
        job["spec"] |= {"replicas": 1}
        job["spec"]["template"]["image"] = {"name": "no-such-image"}
        self.flux.wait_so_long("5s")
        self.assertIn("job", self.is_refused("an image that no pool has", job))
        self.flux.wait_so_long("90s")
        job["spec"]["template"]["image"] = {"name": "debian-12"}
        self.repository.commit("mended: a new workload, as an image cannot be changed", remove=("virtualworkload-job",))
        self.lands("the mended one under a new name", {**job, "metadata": {"name": "job-2", "namespace": "default"}}, guests=7)
        self.repository.commit("without it", remove=("virtualworkload-job-2",))
        self.flux.publish()
        self.assertEqual(self.flux.verdict(), "")
        stack.wait_for_guests(6)

        web["spec"]["template"]["powerState"] = "Stopped"
        self.lands("off for the night", web, guests=0)
        web["spec"]["template"]["powerState"] = "Running"
        self.lands("on in the morning", web, guests=6)
        self.assertEqual(stack.running(), vms, "it is the same VMs")

        self.empty()
        self.assertGreaterEqual(self.repository.commits(), 10)
        print(f"{self.repository.commits()} commits, two of them bad: each current or refused, none by hand, no field fought over")

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
        names = [file.stem for file in self.repository.folder.glob("*.yaml") if not file.stem.startswith("configmap")]
        self.repository.commit("nothing", remove=tuple(names))
        self.flux.publish()
        self.assertEqual(self.flux.verdict(), "")
        self.stack.wait_for_guests(0)
        self.stack.kubectl("wait", "cloudpools", "--all", "--for=delete", "--timeout=60s")
        self.assertEqual(self.stack.held(), {})


if __name__ == "__main__":
    unittest.main()
