"""Client tokens, counts, volumes, addresses and validation of RunInstances."""

from __future__ import annotations

import ipaddress
from concurrent.futures import ThreadPoolExecutor

from .endpoint import EndpointTest, poll


class Tokens(EndpointTest):
    def test_a_repeated_token_starts_nothing(self) -> None:
        first = self.run_instances(ClientToken="t")
        second = self.run_instances(ClientToken="t")
        self.assertEqual([i["InstanceId"] for i in first], [i["InstanceId"] for i in second])
        self.assertEqual(self.count(), 1)
        launches = self.admin("GET", "history?kind=RunInstances")
        self.assertEqual([(launch["token"], launch["repeated"]) for launch in launches], [("t", False), ("t", True)])

    def test_concurrent_requests_with_one_token_start_one_instance(self) -> None:
        with ThreadPoolExecutor(8) as threads:
            started = list(threads.map(lambda _: self.run_instances(ClientToken="t")[0]["InstanceId"], range(16)))
        self.assertEqual((len(set(started)), self.count()), (1, 1))

    def test_another_type_under_the_same_token_is_a_mismatch(self) -> None:
        self.run_instances(ClientToken="t")
        self.refused("IdempotentParameterMismatch", self.run_instances, ClientToken="t", InstanceType="t3.small")
        self.assertEqual(self.count(), 1)

    def test_a_token_is_bound_even_if_there_was_no_capacity(self) -> None:
        self.admin("POST", "faults", {"action": "RunInstances", "error": "InsufficientInstanceCapacity"})
        self.refused("InsufficientInstanceCapacity", self.run_instances, status=500, ClientToken="t")
        self.refused("IdempotentParameterMismatch", self.run_instances, ClientToken="t", InstanceType="t3.small")
        self.run_instances(ClientToken="t")
        self.assertEqual(self.count(), 1)

    def test_the_token_of_a_terminated_instance_starts_nothing(self) -> None:
        instance = self.run_instances(ClientToken="t")[0]["InstanceId"]
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.refused("IdempotentInstanceTerminated", self.run_instances, ClientToken="t")
        self.becomes(instance, "terminated")
        self.refused("IdempotentInstanceTerminated", self.run_instances, ClientToken="t")

    def test_instances_are_found_by_their_token(self) -> None:
        instance = self.run_instances(ClientToken="t")[0]["InstanceId"]
        self.run_instances(ClientToken="u")
        found = self.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["t"]}])["Reservations"]
        self.assertEqual([r["Instances"][0]["InstanceId"] for r in found], [instance])


class Requests(EndpointTest):
    def test_max_count_is_respected(self) -> None:
        self.assertEqual(len(self.run_instances(MinCount=1, MaxCount=3)), 3)
        self.refused("InvalidParameterValue", self.run_instances, MinCount=3, MaxCount=1)

    def test_unknown_image_and_type_are_refused(self) -> None:
        self.refused("InvalidAMIID.NotFound", self.run_instances, ImageId="ami-00000000000000000")
        self.refused("InvalidParameterValue", self.run_instances, InstanceType="t3.enormous")
        self.refused("InvalidInstanceType", self.ec2.describe_instance_types, InstanceTypes=["t3.enormous"])
        self.assertEqual(self.count(), 0)

    def test_dry_run_starts_nothing(self) -> None:
        self.refused("DryRunOperation", self.run_instances, status=412, DryRun=True)
        self.assertEqual(self.count(), 0)

    def test_addresses_come_from_the_subnet(self) -> None:
        subnets = {s["SubnetId"]: ipaddress.ip_network(s["CidrBlock"]) for s in self.ec2.describe_subnets()["Subnets"]}
        instances = [self.run_instances()[0] for _ in range(3)] + self.run_instances(SubnetId=next(iter(subnets)))
        addresses = [ipaddress.ip_address(i["PrivateIpAddress"]) for i in instances]
        self.assertEqual(len(set(addresses)), 4)
        for instance, address in zip(instances, addresses, strict=True):
            self.assertIn(address, subnets[instance["SubnetId"]])

    def test_volumes_go_with_the_instance_unless_they_are_to_stay(self) -> None:
        keep = {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": False}}
        gone = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}
        tags = [{"ResourceType": "volume", "Tags": [{"Key": "owner", "Value": "test"}]}]
        instance = self.run_instances(BlockDeviceMappings=[gone, keep], TagSpecifications=tags)[0]["InstanceId"]
        volumes = self.ec2.describe_volumes(Filters=[{"Name": "tag:owner", "Values": ["test"]}])["Volumes"]
        self.assertEqual(sorted(v["Size"] for v in volumes), [1, 2, 8])
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.assertEqual(len(self.ec2.describe_volumes()["Volumes"]), 3, "volumes stay until it is terminated")
        self.becomes(instance, "terminated")
        left = self.ec2.describe_volumes()["Volumes"]
        self.assertEqual([(v["Size"], v["State"]) for v in left], [(2, "available")])

    def test_the_image_says_how_large_a_root_volume_is(self) -> None:
        root = {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}
        self.assertEqual(len(self.run_instances(BlockDeviceMappings=[root])), 1)

    def test_a_root_volume_in_the_request_is_deleted_by_default(self) -> None:
        root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 9}}
        instance = self.run_instances(BlockDeviceMappings=[root])[0]["InstanceId"]
        self.assertEqual([v["Size"] for v in self.ec2.describe_volumes()["Volumes"]], [9])
        self.ec2.terminate_instances(InstanceIds=[instance])
        poll("no volume is left", lambda: not self.ec2.describe_volumes()["Volumes"])
