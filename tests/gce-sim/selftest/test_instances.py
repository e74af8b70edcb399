"""Instances through Google's own client."""

from __future__ import annotations

from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed
from google.cloud import compute_v1 as compute

from .endpoint import PROJECT, ZONE, Endpoint, instance, poll

WHERE = {"project": PROJECT, "zone": ZONE}


class Instances(Endpoint):
    def setUp(self) -> None:
        super().setUp()
        self.compute = self.client()

    def make(self, name: str, **more: object) -> compute.Instance:
        self.compute.insert(**WHERE, instance_resource=instance(name, **more)).result(timeout=20)
        return self.compute.get(**WHERE, instance=name)

    def test_a_life(self) -> None:
        made = self.make("one", labels={"a": "b"})
        self.assertEqual((made.status, made.labels["a"]), ("RUNNING", "b"))
        self.assertEqual((made.disks[0].disk_size_gb, made.disks[0].boot), (4, True))
        self.compute.stop(**WHERE, instance="one").result(timeout=20)
        self.assertEqual(self.compute.get(**WHERE, instance="one").status, "TERMINATED")
        request = compute.InstancesSetMachineTypeRequest(machine_type=f"zones/{ZONE}/machineTypes/e2-medium")
        self.compute.set_machine_type(
            **WHERE, instance="one", instances_set_machine_type_request_resource=request
        ).result(timeout=20)
        self.compute.start(**WHERE, instance="one").result(timeout=20)
        again = self.compute.get(**WHERE, instance=str(made.id))
        self.assertEqual((again.status, again.machine_type.rsplit("/", 1)[-1]), ("RUNNING", "e2-medium"))
        self.compute.delete(**WHERE, instance="one").result(timeout=20)
        with self.assertRaises(NotFound):
            self.compute.get(**WHERE, instance="one")
        self.assertEqual(self.admin("GET", "state"), {"instances": [], "disks": []})

    def test_states_take_time_and_an_instance_that_runs_is_not_resized(self) -> None:
        self.admin("POST", "settings", {"step": 0.3})
        self.addCleanup(self.admin, "POST", "settings", {"step": 0.05})
        operation = self.compute.insert(**WHERE, instance_resource=instance("one"))
        self.assertEqual(self.compute.get(**WHERE, instance="one").status, "PROVISIONING")
        self.assertFalse(operation.done())
        operation.result(timeout=20)
        request = compute.InstancesSetMachineTypeRequest(machine_type=f"zones/{ZONE}/machineTypes/e2-medium")
        with self.assertRaises(BadRequest):
            self.compute.set_machine_type(
                **WHERE, instance="one", instances_set_machine_type_request_resource=request
            )

    def test_a_name_is_taken_once_in_a_zone(self) -> None:
        self.make("one")
        with self.assertRaises(Conflict):
            self.compute.insert(**WHERE, instance_resource=instance("one"))

    def test_a_repeated_request_is_the_same_operation(self) -> None:
        ask = compute.InsertInstanceRequest(
            **WHERE, instance_resource=instance("one"), request_id="b6d7a8b4-4c22-4a57-8d3c-0a1c8a3f2b11"
        )
        first, second = (self.compute.insert(ask) for _ in range(2))
        self.assertEqual(first.name, second.name)
        first.result(timeout=20)
        self.compute.delete(**WHERE, instance="one").result(timeout=20)
        # Also after the instance has gone: nothing is made a second time.
        self.assertEqual(self.compute.insert(ask).name, first.name)
        self.assertEqual(len([one for one in self.admin("GET", "history") if one["kind"] == "insert"]), 1)

    def test_no_room_ends_the_operation_with_an_error_and_leaves_nothing(self) -> None:
        self.admin("POST", "faults", {"method": "compute.instances.insert", "code": "ZONE_RESOURCE_POOL_EXHAUSTED"})
        operation = self.compute.insert(**WHERE, instance_resource=instance("one"))
        with self.assertRaisesRegex(Exception, "does not have enough resources"):
            operation.result(timeout=20)
        self.assertEqual(self.admin("GET", "state"), {"instances": [], "disks": []})
        self.make("one")

    def test_labels_are_set_on_the_state_that_was_seen(self) -> None:
        made = self.make("one", labels={"a": "b"})
        for _ in range(2):
            request = compute.InstancesSetLabelsRequest(label_fingerprint=made.label_fingerprint, labels={"c": "d"})
            ask = {**WHERE, "instance": "one", "instances_set_labels_request_resource": request}
            if self.compute.get(**WHERE, instance="one").labels.get("a"):
                self.compute.set_labels(**ask).result(timeout=20)
            else:
                with self.assertRaises(PreconditionFailed):
                    self.compute.set_labels(**ask)

    def test_a_protected_one_stays(self) -> None:
        self.make("one", deletion_protection=True)
        with self.assertRaises(BadRequest):
            self.compute.delete(**WHERE, instance="one")
        self.compute.set_deletion_protection(
            compute.SetDeletionProtectionInstanceRequest(**WHERE, resource="one", deletion_protection=False)
        ).result(timeout=20)
        self.compute.delete(**WHERE, instance="one").result(timeout=20)

    def test_lists_have_pages_filters_and_zones(self) -> None:
        for number in range(5):
            self.make(f"one-{number}", labels={"half": str(number % 2)})
        listed = self.compute.list(compute.ListInstancesRequest(**WHERE, max_results=2, filter="labels.half=0"))
        self.assertEqual([one.name for one in listed], ["one-0", "one-2", "one-4"])
        everywhere = compute.AggregatedListInstancesRequest(project=PROJECT, max_results=2)
        found = [one.name for _, scope in self.compute.aggregated_list(everywhere) for one in scope.instances]
        self.assertEqual(sorted(found), [f"one-{number}" for number in range(5)])

    def test_hidden_deaf_and_taken_back(self) -> None:
        self.admin("POST", "settings", {"hide": 0.3})
        self.compute.insert(**WHERE, instance_resource=instance("one"))
        with self.assertRaises(NotFound):
            self.compute.get(**WHERE, instance="one")
        status = lambda: [one["status"] for one in self.admin("GET", "state")["instances"]]  # noqa: E731
        poll("it runs", lambda: status() == ["RUNNING"])
        self.admin("POST", "deaf", f"{ZONE}/one")
        self.admin("POST", "preempt", f"{ZONE}/one")
        self.assertEqual(status(), ["STOPPING"])
        poll("its power is cut", lambda: status() == ["TERMINATED"])


class Disks(Endpoint):
    def test_disks_are_made_attached_grown_and_go_along(self) -> None:
        disks, instances = self.client(compute.DisksClient), self.client()
        instances.insert(**WHERE, instance_resource=instance("one")).result(timeout=20)
        disks.insert(**WHERE, disk_resource=compute.Disk(name="more", size_gb=2)).result(timeout=20)
        link = disks.get(**WHERE, disk="more").self_link
        attached = compute.AttachedDisk(source=link, device_name="more", auto_delete=True)
        instances.attach_disk(**WHERE, instance="one", attached_disk_resource=attached).result(timeout=20)
        with self.assertRaises(BadRequest):
            disks.delete(**WHERE, disk="more")
        resize = compute.DisksResizeRequest(size_gb=3)
        disks.resize(**WHERE, disk="more", disks_resize_request_resource=resize).result(timeout=20)
        sizes = [one.disk_size_gb for one in instances.get(**WHERE, instance="one").disks]
        self.assertEqual(sizes, [4, 3])
        with self.assertRaises(BadRequest):
            disks.resize(**WHERE, disk="more", disks_resize_request_resource=resize)
        instances.delete(**WHERE, instance="one").result(timeout=20)
        self.assertEqual(list(disks.list(**WHERE)), [])
