"""What the chart makes of its values, and what it refuses."""

from __future__ import annotations

import json
import re
import unittest
from typing import Any

import yaml

from .chart import CHART, ROOT, Manifests, Refused, render


class Defaults(unittest.TestCase):
    """With nothing but an image."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.made = Manifests()

    def test_everything_is_of_this_release(self) -> None:
        for each in self.made.objects:
            with self.subTest(each["kind"], name=each["metadata"]["name"]):
                self.assertEqual(each["metadata"]["labels"]["app.kubernetes.io/instance"], "ik")
                cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
                expected = None if each["kind"] in cluster_wide else "inns"
                if each["metadata"]["name"].endswith("-leader"):
                    expected = "kube-system"
                self.assertEqual(each["metadata"].get("namespace"), expected)

    def test_nothing_is_made_twice(self) -> None:
        names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in self.made.objects]
        self.assertEqual(len(names), len(set(names)))

    def test_the_pod_has_no_more_rights_than_it_needs(self) -> None:
        pod, container = self.made.pod(), self.made.container()
        # The restricted level of the Pod Security Standards, and a root file system that cannot be written.
        self.assertEqual(pod["securityContext"]["runAsNonRoot"], True)
        self.assertGreater(pod["securityContext"]["runAsUser"], 0)
        self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertEqual(
            container["securityContext"],
            {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        )
        for field in ("hostNetwork", "hostPID", "hostIPC", "volumes"):
            self.assertNotIn(field, pod)

    def test_two_replicas_on_two_nodes(self) -> None:
        self.assertEqual(self.made.one("Deployment")["spec"]["replicas"], 2)
        (spread,) = self.made.pod()["topologySpreadConstraints"]
        self.assertEqual(spread["topologyKey"], "kubernetes.io/hostname")
        selector = self.made.one("Deployment")["spec"]["selector"]
        self.assertEqual(spread["labelSelector"], selector)
        for kind in ("NetworkPolicy", "PodDisruptionBudget"):
            spec = self.made.one(kind)["spec"]
            self.assertEqual(spec.get("podSelector") or spec.get("selector"), selector, kind)
        self.assertEqual(self.made.one("Service")["spec"]["selector"], selector["matchLabels"])
        labels = self.made.one("Deployment")["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(selector["matchLabels"].items(), labels.items())

    def test_probes(self) -> None:
        container = self.made.container()
        (port,) = container["ports"]
        probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        self.assertEqual({name: probe["path"] for name, probe in probes.items()},
                         {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"})  # fmt: skip
        self.assertEqual({probe["port"] for probe in probes.values()}, {port["name"]})

    def test_the_image_is_that_of_this_version(self) -> None:
        self.assertEqual(self.made.container()["image"], f"registry.example.com/innkeeper:{version()}")

    def test_no_secret_can_be_read_in_the_whole_cluster(self) -> None:
        for role in self.made.all("ClusterRole"):
            for rule in role["rules"]:
                self.assertNotIn("*", rule["verbs"] + rule["resources"] + rule["apiGroups"], role["metadata"]["name"])
                self.assertNotIn("secrets", rule["resources"], role["metadata"]["name"])

    def test_tenants_reach_neither_pools_nor_bindings(self) -> None:
        for role in self.made.all("ClusterRole"):
            added = [label for label in role["metadata"]["labels"] if "aggregate-to-" in label]
            for rule in role["rules"] if added else []:
                self.assertFalse(any("cloudpools" in each for each in rule["resources"]), rule)
                if any(each.startswith("guests") for each in rule["resources"]):
                    self.assertLessEqual(set(rule["verbs"]), {"get", "list", "watch", "delete"}, rule)

    def test_kinds_are_upgraded_and_kept(self) -> None:
        kinds = self.made.all("CustomResourceDefinition")
        self.assertEqual(len(kinds), 3)
        self.assertFalse((CHART / "crds").exists(), "helm does not upgrade what is in crds/")
        for kind in kinds:
            self.assertEqual(kind["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
            source = yaml.safe_load((ROOT / f"crds/innkeeper.dev_{kind['spec']['names']['plural']}.yaml").read_text())
            self.assertEqual(kind["spec"], source["spec"])


class Chosen(unittest.TestCase):
    """With values of one's own."""

    def test_the_image(self) -> None:
        image = {"repository": "r/i", "tag": "v2"}
        self.assertEqual(Manifests({"image": image}).container()["image"], "r/i:v2")
        digest = "sha256:" + "0" * 64
        self.assertEqual(Manifests({"image": image | {"digest": digest}}).container()["image"], f"r/i@{digest}")

    def test_names(self) -> None:
        self.assertEqual(Manifests({"fullnameOverride": "inn"}).one("Deployment")["metadata"]["name"], "inn")
        self.assertEqual(Manifests({"nameOverride": "inn"}).one("Deployment")["metadata"]["name"], "ik-inn")

    def test_what_is_switched_off_is_not_made(self) -> None:
        off = {"enabled": False}
        made = Manifests({"podDisruptionBudget": off, "networkPolicy": off, "crds": off,
                          "rbac": {"create": False}, "serviceAccount": {"create": False, "name": "sa"}})  # fmt: skip
        self.assertEqual({each["kind"] for each in made.objects}, {"Deployment", "Service"})
        self.assertEqual(made.pod()["serviceAccountName"], "sa")

    def test_kinds_that_go_with_the_chart(self) -> None:
        for kind in Manifests({"crds": {"keep": False}}).all("CustomResourceDefinition"):
            self.assertNotIn("annotations", kind["metadata"])
        self.assertIn("WARNING: crds.keep is false", render({"crds": {"keep": False}}, notes=True))

    def test_roles_for_people_can_be_kept_apart(self) -> None:
        for role in Manifests({"rbac": {"aggregate": False}}).all("ClusterRole"):
            self.assertFalse([label for label in role["metadata"]["labels"] if "aggregate" in label])

    def test_secrets_elsewhere(self) -> None:
        made = Manifests({"rbac": {"secrets": [{"namespace": "pools"}, {"namespace": "shop", "names": ["first-boot"]}]}})
        rights = {}
        for role in made.all("Role"):
            for rule in role["rules"]:
                if rule["resources"] == ["secrets"]:
                    self.assertEqual(rule["verbs"], ["get"])
                    rights[role["metadata"]["namespace"]] = rule.get("resourceNames")
        self.assertEqual(rights, {"inns": None, "pools": None, "shop": ["first-boot"]})
        for binding in made.all("RoleBinding"):
            namespace, role = binding["metadata"]["namespace"], binding["roleRef"]["name"]
            self.assertTrue(any(each["metadata"]["namespace"] == namespace and each["metadata"]["name"] == role
                                for each in made.all("Role")), binding)  # fmt: skip
            self.assertEqual(binding["subjects"][0]["namespace"], "inns")

    def test_the_lease(self) -> None:
        made = Manifests({"leaderElection": {"namespace": "leases", "name": "lead", "seconds": 30}, "clusterId": "an-id"})
        arguments = made.container()["args"]
        for argument in ("--lease-namespace=leases", "--lease-name=lead", "--lease-seconds=30", "--cluster-id=an-id"):
            self.assertIn(argument, arguments)
        role = made.one("Role", "ik-innkeeper-leader")
        self.assertEqual(role["metadata"]["namespace"], "leases")
        self.assertEqual([rule.get("resourceNames") for rule in role["rules"]], [None, ["lead"]])

    def test_the_operators_options(self) -> None:
        container = Manifests({
            "operator": {"guestsAtOnce": 64, "logFormat": "text", "logFilter": "debug", "extraArgs": ["--x=1"],
                         "extraEnv": [{"name": "AWS_REGION", "value": "eu-west-1"}]}}).container()  # fmt: skip
        for argument in ("--guests-at-once=64", "--log-format=text", "--x=1"):
            self.assertIn(argument, container["args"])
        env = {each["name"]: each.get("value") for each in container["env"]}
        self.assertLessEqual({"RUST_LOG": "debug", "AWS_REGION": "eu-west-1"}.items(), env.items())

    def test_traces(self) -> None:
        self.assertNotIn("OTEL_EXPORTER_OTLP_ENDPOINT", [each["name"] for each in Manifests().container()["env"]])
        urls = {"http://collector.monitoring:4318": 4318, "https://collector/otlp": 443, "http://collector": 80, "http://[::1]:99": 99}
        for url, port in urls.items():
            made = Manifests({"operator": {"otlpEndpoint": url}})
            self.assertIn({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": url}, made.container()["env"])
            self.assertIn({"ports": [{"port": port, "protocol": "TCP"}]}, made.one("NetworkPolicy")["spec"]["egress"])

    def test_where_it_runs(self) -> None:
        pod = Manifests({
            "priorityClassName": "high", "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}}, "runAsUser": None, "imagePullSecrets": [{"name": "pull"}],
            "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            "podLabels": {"team": "x"}, "podAnnotations": {"note": "y"}, "resources": {"limits": {"memory": "2Gi"}},
        })  # fmt: skip
        spec = pod.pod()
        self.assertEqual(spec["priorityClassName"], "high")
        self.assertNotIn("runAsUser", spec["securityContext"])
        self.assertEqual(spec["topologySpreadConstraints"][0]["topologyKey"], "zone")
        self.assertEqual(pod.container()["resources"], {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}})
        metadata = pod.one("Deployment")["spec"]["template"]["metadata"]
        self.assertEqual((metadata["labels"]["team"], metadata["annotations"]["note"]), ("x", "y"))

    def test_the_network(self) -> None:
        policy = Manifests().one("NetworkPolicy")["spec"]
        self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])
        self.assertIn({"port": 6443, "protocol": "TCP"}, policy["egress"][1]["ports"])
        wide = Manifests({"networkPolicy": {"egress": {"restrict": False}}}).one("NetworkPolicy")["spec"]
        self.assertEqual(wide["egress"], [{}])
        extra = {"ports": [{"port": 4317}]}
        more = {"networkPolicy": {"egress": {"extra": [extra], "identityServers": []},
                                  "ingress": {"from": [{"podSelector": {}}]}}}  # fmt: skip
        policy = Manifests(more).one("NetworkPolicy")["spec"]
        self.assertEqual((len(policy["egress"]), policy["egress"][-1]), (3, extra))
        self.assertEqual(policy["ingress"][0]["from"], [{"podSelector": {}}])


class Refusals(unittest.TestCase):
    """What is wrong is said before anything is made."""

    CASES: tuple[tuple[dict[str, Any], str], ...] = (
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"image": {"repositry": "x"}}, "at '/image': additional properties 'repositry' not allowed"),
        ({"operator": {"guestAtOnce": 3}}, "at '/operator': additional properties 'guestAtOnce' not allowed"),
        ({"networkPolicy": {"egress": {"port": [1]}}}, "additional properties 'port' not allowed"),
        ({"rbac": {"secrets": [{"namespace": "a", "name": "b"}]}}, "additional properties 'name' not allowed"),
        ({"rbac": {"secrets": [{"names": ["b"]}]}}, "missing property 'namespace'"),
        ({"rbac": {"secrets": [{"namespace": "*"}]}}, "does not match pattern"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"replicas": 9}, "at '/replicas': maximum"),
        ({"operator": {"guestsAtOnce": 0}}, "minimum: got 0, want 1"),
        ({"operator": {"otlpEndpoint": "collector:4318"}}, "at '/operator/otlpEndpoint'"),
        ({"operator": {"logFormat": "xml"}}, "value must be one of 'json', 'text'"),
        ({"runAsUser": 0}, "at '/runAsUser': minimum"),
        ({"image": {"repository": "x", "digest": "latest"}}, "does not match pattern"),
        ({"image": {"pullPolicy": "Sometimes"}}, "value must be one of 'Always'"),
        ({"image": {"repository": ""}}, "image.repository is empty: write where the image is"),
        ({"serviceAccount": {"create": False}}, "write the name of a ServiceAccount that is there"),
        ({"metrics": {"serviceMonitor": {"interval": "often"}}}, "does not match pattern"),
    )

    def test_refusals(self) -> None:
        for values, sentence in self.CASES:
            with self.subTest(values=values), self.assertRaises(Refused) as refused:
                render(values)
            self.assertIn(sentence, str(refused.exception))

    def test_every_object_of_the_schema_is_closed_and_every_value_described(self) -> None:
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())

        def check(part: dict[str, Any], value: Any, path: str) -> None:
            self.assertTrue(part.get("description") or path == "", path)
            if "properties" not in part:
                return
            self.assertIs(part["additionalProperties"], False, path)
            self.assertEqual(set(part["properties"]) - {"global"}, set(value), f"{path}: values.yaml and the schema differ")
            for name, inner in part["properties"].items():
                if name != "global":
                    check(inner, value[name], f"{path}/{name}")

        check(schema, values, "")


class Drift(unittest.TestCase):
    """What is written in two places is the same in both."""

    def test_versions(self) -> None:
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual({chart["version"], chart["appVersion"]}, {version()})

    def test_definitions(self) -> None:
        copies = {file.name: file.read_bytes() for file in (CHART / "files/crds").iterdir()}
        sources = {file.name: file.read_bytes() for file in (ROOT / "crds").iterdir()}
        self.assertTrue(copies == sources, "charts/innkeeper/files/crds differs from crds/: run `make crds`")

    def test_every_value_is_used(self) -> None:
        text = "".join(file.read_text() for file in (CHART / "templates").iterdir())
        for name in yaml.safe_load((CHART / "values.yaml").read_text()):
            self.assertTrue(re.search(rf"\.Values\.{name}\b", text), name)


def version() -> str:
    """The operator's."""
    package = (ROOT / "Cargo.toml").read_text().split("[package]")[1]
    found = re.search(r'^version = "(.+)"$', package, re.MULTILINE)
    assert found, "Cargo.toml has no version"
    return found[1]


if __name__ == "__main__":
    unittest.main()
