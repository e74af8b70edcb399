"""Volumes, protection, spot, and what is not permitted."""

from __future__ import annotations

from typing import Any

from .endpoint import EndpointTest, poll


class Volumes(EndpointTest):
    def make(self, **changed: Any) -> Any:
        asked = {"AvailabilityZone": "eu-west-1a", "Size": 2, "VolumeType": "gp3", **changed}
        return self.ec2.create_volume(**asked)

    def volume(self, volume: str) -> Any:
        return self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]

    def ready(self, volume: str) -> None:
        poll(f"{volume} is available", lambda: self.volume(volume)["State"] == "available")

    def test_a_repeated_token_makes_one(self) -> None:
        first, second = self.make(ClientToken="t"), self.make(ClientToken="t")
        self.assertEqual(first["VolumeId"], second["VolumeId"])
        self.refused("IdempotentParameterMismatch", self.make, ClientToken="t", Size=3)

    def test_a_volume_is_attached_when_it_is_ready_and_in_its_zone(self) -> None:
        instance = self.run_instances()[0]["InstanceId"]
        zone = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["Placement"]
        here = self.make(AvailabilityZone=zone["AvailabilityZone"])["VolumeId"]
        asked = {"InstanceId": instance, "Device": "/dev/sdf"}
        self.refused("IncorrectState", self.ec2.attach_volume, VolumeId=here, **asked)
        self.ready(here)
        self.ec2.attach_volume(VolumeId=here, **asked)
        self.assertEqual(self.volume(here)["State"], "in-use")
        self.refused("VolumeInUse", self.ec2.attach_volume, VolumeId=here, **asked)
        there = self.make(AvailabilityZone="eu-west-1b")["VolumeId"]
        self.ready(there)
        elsewhere = {"InstanceId": instance, "Device": "/dev/sdg"}
        self.refused("InvalidVolume.ZoneMismatch", self.ec2.attach_volume, VolumeId=there, **elsewhere)

    def test_a_volume_grows_once_in_a_while(self) -> None:
        self.admin("POST", "settings", {"cooldown": 3600})
        volume = self.make()["VolumeId"]
        self.refused("InvalidParameterValue", self.ec2.modify_volume, VolumeId=volume, Size=1)
        self.ec2.modify_volume(VolumeId=volume, Size=3)
        self.assertEqual(self.volume(volume)["Size"], 3)
        self.refused("VolumeModificationRateExceeded", self.ec2.modify_volume, VolumeId=volume, Size=4)


class Instances(EndpointTest):
    def test_protection_is_asked_for_at_the_launch(self) -> None:
        instance = self.run_instances(DisableApiTermination=True)[0]["InstanceId"]
        self.refused("OperationNotPermitted", self.ec2.terminate_instances, InstanceIds=[instance])
        self.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.becomes(instance, "terminated")

    def test_a_deaf_system_stops_when_it_is_forced(self) -> None:
        instance = self.run_instances()[0]["InstanceId"]
        self.becomes(instance, "running")
        self.admin("POST", "deaf", instance)
        for _ in range(2):
            self.ec2.stop_instances(InstanceIds=[instance])
            self.assertEqual(self.state(instance), "stopping")
        self.ec2.stop_instances(InstanceIds=[instance], Force=True)
        self.becomes(instance, "stopped")

    def test_a_spot_instance_cannot_be_stopped_and_is_taken_back(self) -> None:
        instance = self.run_instances(InstanceMarketOptions={"MarketType": "spot"})[0]
        self.becomes(instance["InstanceId"], "running")
        self.refused("UnsupportedOperation", self.ec2.stop_instances, InstanceIds=[instance["InstanceId"]])
        self.admin("POST", "interrupt", instance["InstanceId"])
        self.becomes(instance["InstanceId"], "terminated")
        shown = self.ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"][0]["Instances"][0]
        self.assertEqual(shown["StateReason"]["Code"], "Server.SpotInstanceTermination")

    def test_what_is_denied_is_refused_also_when_only_asked(self) -> None:
        instance = self.run_instances()[0]["InstanceId"]
        self.refused("DryRunOperation", self.ec2.stop_instances, status=412, InstanceIds=[instance], DryRun=True)
        self.admin("POST", "denied", ["StopInstances"])
        for dry in (True, False):
            stop = {"InstanceIds": [instance], "DryRun": dry}
            self.refused("UnauthorizedOperation", self.ec2.stop_instances, status=403, **stop)

    def test_a_fault_may_be_about_one_type(self) -> None:
        full = {"action": "RunInstances", "error": "InsufficientInstanceCapacity", "where": {"InstanceType": "t3.small"}}
        self.admin("POST", "faults", full)
        self.run_instances()
        self.refused("InsufficientInstanceCapacity", self.run_instances, status=500, InstanceType="t3.small")

    def test_types_are_chosen_by_wildcards(self) -> None:
        families = [{"Name": "instance-type", "Values": ["t3.*", "m6i.*"]}]
        types = {one["InstanceType"] for one in self.ec2.describe_instance_types(Filters=families)["InstanceTypes"]}
        offered = self.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=families)
        prices = self.ec2.describe_spot_price_history(Filters=families)["SpotPriceHistory"]
        offered_types = {one["InstanceType"] for one in offered["InstanceTypeOfferings"]}
        self.assertEqual({name.split(".")[0] for name in types}, {"t3", "m6i"})
        self.assertEqual(types, offered_types)
        self.assertEqual(types, {one["InstanceType"] for one in prices})
